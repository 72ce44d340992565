"""Shared by all decoders: their common inputs and outputs, labels of batches, JSON text, previews."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io
from einops import rearrange
from torch import Tensor

from ..comfyui_pixwizard.pictures.labels import draw_label
from ..comfyui_pixwizard.tasks import Task
from .conversions import from_pillow

CONFIDENCE = io.Float.Output(
    display_name="confidence",
    tooltip="0 to 1: how much the least convincing picture of the batch looks like this task's code.",
)
DATA = io.String.Output(display_name="json", tooltip="What was found as JSON text, one entry for each picture.")


def pictures(image: Tensor) -> Tensor:
    """IMAGE to [B, 3, H, W] in [0, 1]."""
    return rearrange(image[..., :3].float().cpu(), "b h w c -> b c h w")


def decoded(task: Task, answers: Tensor, sources: Tensor | None, **options: Any) -> tuple[list[Tensor], list[float]]:
    """Labels and confidences of a batch."""
    given = [None] * len(answers) if sources is None else list(sources)
    labels = [task.decode(a, s, **options) for a, s in zip(answers, given, strict=True)]
    sure = [task.confidence(a, s, **options) for a, s in zip(answers, given, strict=True)]
    return labels, sure


def text_of(entries: Sequence[dict[str, Any]]) -> str:
    """JSON text of a batch, one entry a line."""
    return "[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]"


def preview_of(kind: str, labels: Sequence[Tensor], on: Tensor | None = None) -> Tensor:
    """IMAGE of labels for people."""
    return from_pillow([draw_label(kind, label, on=None if on is None else on[i]) for i, label in enumerate(labels)])


def answer_input(question: str) -> Any:
    """The input for the answer to a question."""
    return io.Image.Input("image", tooltip=f"The model's answer to {question}, decoded by VAE Decode.")
