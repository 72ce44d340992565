"""Exported graphs against the network itself, in ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..comfyui_pixwizard.transformer import PixWizardTransformer
from ..runtime.exported import CONDITIONS_FILE, VELOCITY_FILE
from ..runtime.graph_inputs import velocity_example
from ..runtime.onnx_evaluator import open_session
from .onnx_graph import CONDITION_OUTPUTS, VelocityGraph, conditions_example

# Batch, rows and columns of tokens, text tokens: none is a shape that was exported with.
SHAPES = ((1, 4, 4, 1), (2, 8, 6, 9), (3, 16, 16, 24))
# Largest difference of a float32 graph, relative to the largest value where that is above one.
TOLERANCE = 1e-4
# Root mean square of the difference over that of the velocity, of an int8 graph.
INT8_TOLERANCE = 0.15


@dataclass(frozen=True)
class Difference:
    """How far a graph is from the network at one shape.

    Attributes:
        largest: difference of one value.
        relative: root mean square of the differences over that of the network's values.
        allowed: whether the precision explains it.
    """

    what: str
    largest: float
    relative: float
    allowed: bool

    def __str__(self) -> str:
        return f"{self.what}: largest difference {self.largest:.1e}, relative {self.relative:.1e}"


def compare(transformer: PixWizardTransformer, folder: Path, precision: str) -> Iterator[Difference]:
    """Both graphs of a folder at three shapes each, against a float32 network on the CPU.

    Raises:
        ValueError: ONNX's own checker, or ONNX Runtime, refuses a file.
    """
    import onnx

    for name in (VELOCITY_FILE, CONDITIONS_FILE):
        try:
            onnx.checker.check_model(str(folder / name), full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise ValueError(f"{name} is not valid ONNX: {error}; report this with the versions of onnx") from error
    yield from _velocity(transformer, folder / VELOCITY_FILE, precision)
    yield from _conditions(transformer, folder / CONDITIONS_FILE)


def _velocity(transformer: PixWizardTransformer, path: Path, precision: str) -> Iterator[Difference]:
    session, p = open_session(path), transformer.config.patch_size
    for batch, rows, columns, text in SHAPES:
        example = velocity_example(transformer.config, batch, rows * p, columns * p, text)
        with torch.inference_mode():
            expected = VelocityGraph(transformer)(**example)
        what = f"velocity of {batch} x {rows}x{columns} tokens, {text} of text"
        yield difference(what, run(session, example)["velocity"], expected, precision)


def _conditions(transformer: PixWizardTransformer, path: Path) -> Iterator[Difference]:
    session, config = open_session(path), transformer.config
    for batch, _, columns, text in SHAPES:
        example = conditions_example(config, batch, text, config.sample_tokens + columns)
        with torch.inference_mode():
            expected = transformer.encode_conditions(
                example["text_features"], torch.ones(batch, text), example["task_vector"], example["image_tokens"]
            )
        found = run(session, example)
        what = f"conditions of {batch} x {config.sample_tokens + columns} image tokens, {text} of text"
        parts = [difference(what, found[name], getattr(expected, name), "float32") for name in CONDITION_OUTPUTS]
        yield max(parts, key=lambda part: (not part.allowed, part.largest))


def run(session: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Outputs by name."""
    names = [output.name for output in session.get_outputs()]
    values = session.run(names, {name: value.numpy() for name, value in inputs.items()})
    return {name: torch.from_numpy(value) for name, value in zip(names, values, strict=True)}


def difference(what: str, found: Tensor, expected: Tensor, precision: str) -> Difference:
    """Compare, and judge by what the precision allows."""
    found, expected = found.double(), expected.double()
    off = (found - expected).abs()
    largest = float(off.max())
    relative = float(off.square().mean().sqrt() / expected.square().mean().sqrt().clamp_min(1e-12))
    if precision == "int8":
        allowed = relative <= INT8_TOLERANCE
    else:
        allowed = largest <= TOLERANCE * max(1.0, float(expected.abs().max()))
    return Difference(what, largest, relative, allowed)
