"""A folder of exported graphs, made and checked under another name and put in place when it is whole."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch

from ..comfyui_pixwizard.transformer import PixWizardTransformer
from ..runtime.exported import FILES, VELOCITY_FILE, Manifest, described
from ..runtime.identity import config_text, weights_hash
from .onnx_check import Difference, compare
from .onnx_cpu import for_onnxruntime
from .onnx_graph import exportable
from .onnx_model import OPSET, export_conditions, export_velocity, require_onnx

Precision = Literal["fp32", "int8"]
# What export_onnx tells its caller: the part that begins, or a comparison that was made.
STAGES = 4


def export_onnx(
    transformer: PixWizardTransformer,
    folder: Path,
    precision: Precision = "fp32",
    tell: Callable[[str], None] = lambda stage: None,
) -> list[Difference]:
    """Write both graphs, their weights and export.json; nothing is left where anything fails.

    Args:
        transformer: of any type and place; the graphs compute in float32.
        folder: a new one, an empty one, or an earlier export, which is replaced.
        precision: int8 quantises the large products of the velocity, in a graph for ONNX Runtime on CPUs alone.
        tell: called as each of `STAGES` stages begins.

    Returns:
        Differences from the network at three shapes a graph.

    Raises:
        ValueError: packages are missing, the folder holds something else, or a graph differs from the network.
    """
    require_onnx()
    plain = exportable(transformer, torch.float32, adapt=lambda block: None)
    with built(folder) as draft:
        tell("exporting the conditions")
        export_conditions(plain, draft)
        tell("exporting the velocity")
        if precision == "int8":
            export_velocity(plain, draft / "float32", adapt=for_onnxruntime)
            from .onnx_int8 import quantise

            tell("quantising")
            quantise(draft / "float32" / VELOCITY_FILE, draft / VELOCITY_FILE)
            shutil.rmtree(draft / "float32")
        else:
            export_velocity(plain, draft)
        tell("comparing with the network")
        differences = list(compare(plain, draft, precision))
        refuse_differences(differences)
        Manifest(
            config=config_text(transformer),
            weights=weights_hash(transformer),
            precision={"fp32": "float32", "int8": "int8"}[precision],
            opset=OPSET,
            files={path.name: described(path) for path in sorted(draft.iterdir())},
            measured={item.what: {k: v for k, v in asdict(item).items() if k != "what"} for item in differences},
        ).write(draft)
    return differences


def refuse_differences(differences: list[Difference]) -> None:
    """Raise where a graph is not what its precision explains.

    Raises:
        ValueError: the first such difference.
    """
    worst = [item for item in differences if not item.allowed]
    if worst:
        raise ValueError(
            f"exported graphs must compute what the network does, found {worst[0]}: report this with the versions "
            "of torch, onnxscript and onnxruntime"
        )


@contextlib.contextmanager
def built(folder: Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of `folder` when the block ends and vanishes when it fails.

    Raises:
        ValueError: `folder` holds something that is not an export, or cannot be written.
    """
    check_replaceable(folder)
    draft = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.tmp"
    try:
        draft.mkdir(parents=True)
    except OSError as error:
        raise ValueError(f"cannot write {folder}: {error.strerror or error}; choose another place") from error
    try:
        yield draft
        check_replaceable(folder)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def check_replaceable(folder: Path) -> None:
    """Refuse to replace what this project did not write.

    Raises:
        ValueError: a file, or a folder with something else in it.
    """
    if not folder.exists():
        return
    others = [path.name for path in folder.iterdir() if path.name not in FILES] if folder.is_dir() else [folder.name]
    if others:
        raise ValueError(
            f"an export takes a folder of its own, found {', '.join(others[:3])} at {folder}: choose another place"
        )
