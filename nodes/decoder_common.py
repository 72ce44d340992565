"""What all decoders share: outputs, labels of batches, JSON text, previews."""

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


def found_outputs() -> list[Any]:
    """How sure the least convincing picture of a batch is, and what was found in each."""
    return [io.Float.Output(display_name="confidence"), io.String.Output(display_name="json")]


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
