"""A task table as a file of its own: safetensors with the names of its tasks and its origin in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..task_table import TaskTable
from .safe_files import Spec, TensorFile, json_object, write_safetensors

TABLE_FILE = "task_table.safetensors"
VECTORS, TOKENS = "vectors", "tokens"


def save_table(
    table: TaskTable,
    path: str | Path,
    dtype: torch.dtype = torch.float32,
    *,
    provenance: Mapping[str, Any] | None = None,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Write a table, whole or not at all.

    Args:
        provenance: plain values: how it came to be.
        more: further plain values for the metadata, each under its name as JSON.

    Raises:
        ValueError: the place cannot be written.
    """
    state = {VECTORS: table.vectors.detach(), TOKENS: table.tokens.detach()}
    specs = {name: Spec(dtype, tuple(value.shape)) for name, value in state.items()}
    told = {"tasks": list(table.names), "provenance": dict(provenance or {})} | dict(more or {})
    metadata = {name: json.dumps(value) for name, value in told.items()}
    write_safetensors(path, specs, lambda names: {name: state[name] for name in names}, metadata)


def load_table(path: str | Path, dtype: torch.dtype = torch.float32) -> TaskTable:
    """Read a table, in eval mode on the CPU.

    Raises:
        ValueError: no such file, or none of a task table.
    """
    return read_table(TensorFile(Path(path)), dtype)


def read_table(file: TensorFile, dtype: torch.dtype = torch.float32) -> TaskTable:
    """The table in an opened file; errors as `load_table`."""
    names = json_object('{"tasks": ' + file.metadata.get("tasks", "null") + "}", file.path)["tasks"]
    shapes = [file.specs[name].shape if name in file.specs else () for name in (VECTORS, TOKENS)]
    fits = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not fits or any(len(shape) != 2 or shape[0] != len(names) for shape in shapes):
        found = f"tasks {str(names)[:60]} and {', '.join(sorted(file.specs)[:4]) or 'no tensors'}"
        raise ValueError(
            f"{file.path} should hold {VECTORS} and {TOKENS} with a row for each of its tasks, found {found}: use a "
            "file that pixwizard train wrote"
        )
    table = TaskTable(names, shapes[0][1], shapes[1][1])
    state = {name: value.to(dtype, copy=True) for name, value in file.read([VECTORS, TOKENS]).items()}
    table.load_state_dict(state, assign=True)
    return table.requires_grad_(False).eval()
