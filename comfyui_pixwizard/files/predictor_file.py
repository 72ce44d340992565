"""A task predictor as a file of its own: safetensors; the tasks and words that it knows are in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..tasks import TASKS
from ..tasks.predictor import TaskPredictor
from .safe_files import Spec, TensorFile, json_object, write_safetensors

PREDICTOR_FILE = "task_predictor.safetensors"
# Entry of the metadata: tasks, words and sizes, as JSON.
KNOWS = "predictor"


def save_predictor(predictor: TaskPredictor, path: str | Path, *, provenance: Mapping[str, Any] | None = None) -> None:
    """Write a predictor in half precision, whole or not at all.

    Raises:
        ValueError: the place cannot be written.
    """
    state = predictor.state_dict()
    specs = {name: Spec(torch.float16, tuple(value.shape)) for name, value in state.items()}
    knows = {"tasks": predictor.names, "words": predictor.words, "pooled": predictor.width}
    metadata = {KNOWS: json.dumps(knows), "provenance": json.dumps(dict(provenance or {}))}
    write_safetensors(path, specs, lambda names: {name: state[name] for name in names}, metadata)


def load_predictor(path: str | Path) -> TaskPredictor:
    """Read a predictor, in float32 and eval mode on the CPU.

    Raises:
        ValueError: no such file, or none of a task predictor.
    """
    file = TensorFile(Path(path))
    fix = "train it again with pixwizard train predictor"
    if KNOWS not in file.metadata:
        raise ValueError(f"{file.path} should hold a task predictor, found no {KNOWS!r} in its metadata: {fix}")
    knows = json_object(file.metadata[KNOWS], file.path)
    tasks, words, pooled = (knows.get(name) for name in ("tasks", "words", "pooled"))
    listed = [isinstance(part, list) and all(isinstance(name, str) for name in part) for part in (tasks, words)]
    table = file.specs.get("bag.weight")
    if not all(listed) or not isinstance(pooled, int) or table is None or len(table.shape) != 2:
        raise ValueError(f"{file.path} should say which tasks and words it knows, found {str(knows)[:60]}: {fix}")
    assert isinstance(tasks, list) and isinstance(words, list)
    foreign = [name for name in tasks if name not in TASKS]
    if foreign:
        raise ValueError(f"{file.path} should know tasks of this version, found {foreign[0]!r}: {fix}")
    head = file.specs.get("head.2.weight", table)
    with torch.device("meta"):
        predictor = TaskPredictor(tasks, words, pooled, *table.shape, head.shape[0])
    state = {name: value.float() for name, value in file.read(list(file.specs)).items()}
    try:
        predictor.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{file.path} should hold this predictor's weights: {reason}; {fix}") from error
    return predictor.requires_grad_(False).eval()
