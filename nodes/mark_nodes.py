"""Answers that mark a picture: masks, boxes and joints, each with a preview and with data for other nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from comfy_api.latest import io
from einops import repeat
from torch import Tensor

from ..comfyui_pixwizard.pictures.interchange import pose_frames
from ..comfyui_pixwizard.tasks import get_task
from ..comfyui_pixwizard.tasks.codecs.asked import asked_colors
from ..comfyui_pixwizard.tasks.codecs.marks import MARK_COLORS
from ..comfyui_pixwizard.tasks.codecs.mask import COLORS as OVERLAY
from ..comfyui_pixwizard.tasks.codecs.mask import DEFAULT_COLOR
from .carried import carried
from .conversions import Node, matching_source, one_for_each
from .decoder_common import answered, decoded, decoder_schema, drawing_of, listed, pictures, preview_of
from .round_trip import round_trip

# Both kinds of one node, by the words that its choice shows.
MASKS = {"overlay (referring segmentation)": "referring_segmentation", "black and white (mask)": "referring_mask"}
POINTS = {"coloured dots (keypoint)": "keypoint", "skeleton (pose)": "pose"}
# Newer hosts have a type of their own for boxes; its name is the same.
BOUNDING_BOX = getattr(io, "BoundingBox", None) or io.Custom("BOUNDING_BOX")
POSE_KEYPOINT = io.Custom("POSE_KEYPOINT")


def references(image: Tensor, source: Tensor | None, vae: Any) -> Tensor | None:
    """The pictures that marks are compared with: the source [B, 3, H, W], after the autoencoder where there is one.

    Raises:
        ValueError: another size or number of pictures, another model's VAE.
    """
    if source is None:
        return None
    matching_source(image, source)
    reference = source if vae is None else round_trip(vae, source)
    return shown_source(image, reference)


def shown_source(image: Tensor, source: Tensor) -> Tensor:
    """The source [B, 3, H, W] for every answer, to draw marks on."""
    return pictures(one_for_each(source, len(image), "a source", "answers"))


def drawn_size(task: str, vae: Any) -> dict[str, Any]:
    """How large the marks are that a VAE's model draws, as options of the task's codec; the bundled model's without."""
    options = carried(vae)[task].codec_options
    return {name: options[name] for name in ("line", "radius") if name in options}


def ground_of(image: Tensor, source: Tensor | None) -> Tensor:
    """Pictures [B, 3, H, W] for drawings: the source where it fits the answer, which not every kind of answer asks."""
    if source is None or source.shape[1:3] != image.shape[1:3] or len(source) not in (1, len(image)):
        return pictures(image)
    return shown_source(image, source)


def source_inputs() -> list[Any]:
    """Inputs of nodes that find marks by comparison, in the colours that the sentence names."""
    return [
        io.Image.Input("source", optional=True),
        io.Vae.Input("vae", optional=True),
        io.String.Input("sentence", optional=True, force_input=True),
    ]


def names_input() -> Any:
    """What is written beside marks, in their order."""
    return io.String.Input("names", default="", optional=True)


class DecodeMask(Node):
    """The mask of the thing that the instruction means."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return decoder_schema(
            "PixWizardDecodeMask",
            ["referring segmentation", "select by words", "segment anything", "grounding"],
            {"mask": io.Mask, "preview": io.Image, "found": io.Boolean},
            io.Combo.Input("kind", options=list(MASKS), default=next(iter(MASKS))),
            io.Combo.Input("color", options=list(OVERLAY), default=DEFAULT_COLOR),
            *source_inputs(),
        )

    @classmethod
    def execute(
        cls, image: Tensor, kind: str, color: str, source: Tensor | None = None, vae: Any = None, sentence: str = ""
    ) -> io.NodeOutput:
        task, answers = get_task(MASKS[kind]), pictures(image)
        overlay = task.name == "referring_segmentation"
        base = references(image, source, vae) if overlay else None
        color = next(iter(asked_colors("overlay", sentence)), color)
        labels, sure = decoded(task, answers, base, **(dict(color=color) if overlay else {}))
        mask = torch.stack(labels).float()
        preview = repeat(mask, "b h w -> b h w c", c=3)
        shares = mask.mean((1, 2)).tolist()
        entries = [{"found": share > 0, "share": round(share, 4)} for share in shares]
        values = (mask, preview, all(share > 0 for share in shares))
        return answered(cls, values, entries, sure, drawing_of("mask", labels, sure, ground_of(image, source)))


def as_dicts(labels: Sequence[Tensor]) -> list[list[dict[str, int]]]:
    """Boxes [N, 4] of pictures in the form of the host's BOUNDING_BOX."""
    whole = [[[round(value) for value in row] for row in label.tolist()] for label in labels]
    return [[dict(x=x0, y=y0, width=x1 - x0, height=y1 - y0) for x0, y0, x1, y1 in boxes] for boxes in whole]


def inside(label: Tensor, height: int, width: int) -> Tensor:
    """Mask [H, W], 1 inside boxes [N, 4]."""
    mask = torch.zeros(height, width)
    for x0, y0, x1, y1 in ([max(round(value), 0) for value in row] for row in label.tolist()):
        mask[y0:y1, x0:x1] = 1.0
    return mask


class DecodeBoxes(Node):
    """Boxes round the things that the instruction means."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return decoder_schema(
            "PixWizardDecodeBoxes",
            ["bounding box", "bbox", "detection", "detect by words"],
            {"preview": io.Image, "boxes": BOUNDING_BOX, "mask": io.Mask, "count": io.Int},
            io.Combo.Input("color", options=list(MARK_COLORS), default="red"),
            *source_inputs(),
            names_input(),
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        color: str,
        source: Tensor | None = None,
        vae: Any = None,
        sentence: str = "",
        names: str = "",
    ) -> io.NodeOutput:
        answers, color = pictures(image), next(iter(asked_colors("box", sentence)), color)
        size, base = drawn_size("referring_box", vae), references(image, source, vae)
        labels, sure = decoded(get_task("referring_box"), answers, base, color=color, **size)
        on = answers if source is None else shown_source(image, source)
        height, width = image.shape[1:3]
        boxes, mask = as_dicts(labels), torch.stack([inside(label, height, width) for label in labels])
        entries = [dict(canvas_width=width, canvas_height=height, boxes=label.tolist()) for label in labels]
        preview = preview_of("boxes", labels, on)
        values = (preview, boxes, mask, sum(map(len, boxes)))
        return answered(cls, values, entries, sure, drawing_of("boxes", labels, sure, on, listed(names)))


class DecodeKeypoints(Node):
    """Joints."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return decoder_schema(
            "PixWizardDecodeKeypoints",
            ["pose", "openpose", "joints", "landmarks"],
            {"preview": io.Image, "pose": POSE_KEYPOINT, "count": io.Int},
            io.Combo.Input("kind", options=list(POINTS), default=next(iter(POINTS))),
            io.String.Input("colors", default="red"),
            *source_inputs(),
            names_input(),
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        kind: str,
        colors: str,
        source: Tensor | None = None,
        vae: Any = None,
        sentence: str = "",
        names: str = "",
    ) -> io.NodeOutput:
        task, answers = get_task(POINTS[kind]), pictures(image)
        dots = task.name == "keypoint"
        colors_seen = asked_colors("keypoint", sentence) or listed(colors)
        base = references(image, source, vae) if dots else None
        labels, sure = decoded(
            task, answers, base, **(dict(colors=colors_seen) | drawn_size("keypoint", vae) if dots else {})
        )
        frames = pose_frames((label[None] if dots else label for label in labels), (image.shape[2], image.shape[1]))
        count = sum(int((label[..., 2] > 0).sum()) for label in labels)
        on = answers if source is None or not dots else shown_source(image, source)
        kind_of = "keypoints" if dots else "pose"
        preview = preview_of(kind_of, labels, on)
        named = listed(names) or (colors_seen if dots else ())
        drawn = drawing_of(kind_of, labels, sure, ground_of(image, source), named)
        return answered(cls, (preview, frames, count), frames, sure, drawn)
