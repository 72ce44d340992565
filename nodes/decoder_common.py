"""What all decoders share: outputs, labels of batches, JSON text, previews."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io, ui
from einops import rearrange
from torch import Tensor

from ..comfyui_pixwizard.pictures.labels import draw_label
from ..comfyui_pixwizard.pictures.legends import draw_for_people
from ..comfyui_pixwizard.tasks import Task
from .conversions import from_pillow, schema

# Pictures of a batch that are drawn for people: enlarged, a thousand small ones would fill the memory.
LOOKED_AT = 64


def decoder_schema(node_id: str, aliases: list[str], outputs: dict[str, Any], *inputs: Any) -> io.Schema:
    """The schema of a node that decodes an image; to its outputs come those that `answered` adds."""
    every = outputs | {"confidence": io.Float, "json": io.String, "drawn": io.Image}
    return schema(node_id, "decoding", aliases, [io.Image.Input("image"), *inputs], every, is_output_node=True)


def pictures(image: Tensor) -> Tensor:
    """IMAGE to [B, 3, H, W] in [0, 1]."""
    return rearrange(image[..., :3].float().cpu(), "b h w c -> b c h w")


def decoded(
    task: Task, answers: Tensor, sources: Tensor | None = None, **options: Any
) -> tuple[list[Tensor], list[float]]:
    """Labels and confidences of a batch; options are the decoder's, of which the confidence takes those it has."""
    given = [None] * len(answers) if sources is None else list(sources)
    labels = [task.decode(a, s, **options) for a, s in zip(answers, given, strict=True)]
    sure = [task.trust(a, s, **options) for a, s in zip(answers, given, strict=True)]
    return labels, sure


def answered(
    cls: Any, values: Sequence[Any], entries: Sequence[dict[str, Any]], sure: Sequence[float], drawn: Tensor
) -> io.NodeOutput:
    """A decoder's outputs: its values, the confidence of the least convincing picture, JSON of all, and drawings.

    Args:
        cls: the node.
        entries: what was found in each picture; one line of the JSON, with its confidence.
        drawn: IMAGE for people, which the page shows.
    """
    lines = [json.dumps(entry | {"confidence": round(c, 3)}) for entry, c in zip(entries, sure, strict=True)]
    text = "[\n" + ",\n".join(lines) + "\n]"
    return io.NodeOutput(*values, min(sure), text, drawn, ui=ui.PreviewImage(drawn, cls=cls))


def drawing_of(
    kind: str, labels: Sequence[Tensor], sure: Sequence[float], on: Tensor | None = None, names: Sequence[str] = ()
) -> Tensor:
    """IMAGE of labels with scales, legends, names and confidence; of a batch the first LOOKED_AT."""
    places = [None] * len(labels) if on is None else list(on)
    rows = list(zip(labels, sure, places, strict=True))[:LOOKED_AT]
    return from_pillow([draw_for_people(kind, label, c, place, names) for label, c, place in rows])


def preview_of(kind: str, labels: Sequence[Tensor], on: Tensor | None = None) -> Tensor:
    """IMAGE of labels for people."""
    return from_pillow([draw_label(kind, label, on=None if on is None else on[i]) for i, label in enumerate(labels)])


def listed(text: str) -> tuple[str, ...]:
    """Words between commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())
