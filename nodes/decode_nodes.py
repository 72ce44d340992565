"""Answers to labels: masks, metres, boxes, joints, each with a preview and with data that other nodes can use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from comfy_api.latest import io, ui
from einops import rearrange, repeat
from torch import Tensor

from ..comfyui_pixwizard.components import BUNDLED, Description, read_description
from ..comfyui_pixwizard.labels import draw_label
from ..comfyui_pixwizard.tasks import Task, get_task
from ..comfyui_pixwizard.tasks.codec_mask import COLORS as OVERLAY
from ..comfyui_pixwizard.tasks.codec_mask import DEFAULT_COLOR
from ..comfyui_pixwizard.tasks.codec_shapes import MARK_COLORS
from .common import from_pillow, one_for_each, schema

# Both kinds of one node, by the words that its choice shows.
MASKS = {"overlay (referring segmentation)": "referring_segmentation", "black and white (mask)": "referring_mask"}
POINTS = {"coloured dots (keypoint)": "keypoint", "skeleton (pose)": "pose"}
# Newer hosts have a type of their own for boxes; its name is the same.
BOUNDING_BOX = getattr(io, "BoundingBox", None) or io.Custom("BOUNDING_BOX")
POSE_KEYPOINT = io.Custom("POSE_KEYPOINT")
CONFIDENCE = io.Float.Output(
    display_name="confidence",
    tooltip="0 to 1: how much the least convincing picture of the batch looks like this task's code.",
)
DATA = io.String.Output(display_name="json", tooltip="What was found as JSON text, one entry for each picture.")


@cache
def nano() -> Description:
    """What the bundled model says of itself."""
    return read_description(BUNDLED["nano"])


def pictures(image: Tensor) -> Tensor:
    """IMAGE to [B, 3, H, W] in [0, 1]."""
    return rearrange(image[..., :3].float().cpu(), "b h w c -> b c h w")


def references(image: Tensor, source: Tensor | None, vae: Any) -> Tensor | None:
    """What marks are told apart from: the source [B, 3, H, W], after the autoencoder where there is one.

    Raises:
        ValueError: another size or number of pictures.
    """
    if source is None:
        return None
    if source.shape[1:3] != image.shape[1:3]:
        raise ValueError(
            f"answer and source must have one size, found {list(image.shape[1:3])} and {list(source.shape[1:3])} px: "
            "connect the source output of Image Conditioning"
        )
    source = one_for_each(source[..., :3], len(image), "a source", "answers")
    return pictures(source if vae is None else vae.decode(vae.encode(source)))


def decoded(task: Task, answers: Tensor, sources: Tensor | None, **options: Any) -> tuple[list[Tensor], list[float]]:
    """Labels and confidences of a batch."""
    given = [None] * len(answers) if sources is None else list(sources)
    labels = [task.decode(a, s, **options) for a, s in zip(answers, given, strict=True)]
    trust = {name: value for name, value in options.items() if name not in ("near", "far") or task.name != "depth"}
    sure = [task.confidence(a, s, **trust) for a, s in zip(answers, given, strict=True)]
    return labels, sure


def text_of(entries: Sequence[dict[str, Any]]) -> str:
    """JSON text of a batch, one entry a line."""
    return "[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]"


def preview_of(kind: str, labels: Sequence[Tensor], on: Tensor | None = None) -> Tensor:
    """IMAGE of labels for people."""
    return from_pillow([draw_label(kind, label, on=None if on is None else on[i]) for i, label in enumerate(labels)])


def answer_input(what: str) -> Any:
    """The picture that is read."""
    return io.Image.Input("image", tooltip=f"The model's answer to {what}, decoded by VAE Decode.")


def source_inputs(optional: bool) -> list[Any]:
    """Inputs of nodes that find marks by comparison."""
    return [
        io.Image.Input(
            "source",
            optional=optional,
            tooltip="The source that Image Conditioning gives: marks are what differs from it."
            + (" Without one they are found by their colour, which is less sure." if optional else ""),
        ),
        io.Vae.Input(
            "vae",
            optional=True,
            tooltip="Compares with the source after this autoencoder, so that its own error does not count.",
        ),
    ]


class DecodeDepth(io.ComfyNode):
    """Depth in metres."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        near, far = nano().depth_range or (0.0, 10.0)
        return schema(
            node_id="PixWizardDecodeDepth",
            display_name="Decode Depth",
            description="Reads metres out of a depth answer.",
            aliases=["depth map", "metric depth", "z depth"],
            inputs=[
                answer_input("a depth task"),
                io.Combo.Input(
                    "code",
                    options=list(get_task("depth").codecs),
                    default="walk",
                    tooltip="walk: along the edges of the colour cube, as nano answers. gray: linear grey, as "
                    "the released weights answer.",
                ),
                io.Float.Input(
                    "near",
                    default=near,
                    min=0.0,
                    max=1000.0,
                    step=0.1,
                    tooltip="Smallest depth that can occur, metres.",
                ),
                io.Float.Input(
                    "far", default=far, min=0.1, max=10000.0, step=0.1, tooltip="Largest depth that can occur, metres."
                ),
            ],
            outputs=[
                io.Image.Output(display_name="preview", tooltip="Light is near, dark is far."),
                io.Image.Output(
                    display_name="metres", tooltip="Depth in metres, the same in all three channels, not clipped."
                ),
                io.Mask.Output(display_name="nearness", tooltip="Inverse depth from 0 (farthest) to 1 (nearest)."),
                CONFIDENCE,
                DATA,
            ],
        )

    @classmethod
    def execute(cls, image: Tensor, code: str, near: float, far: float) -> io.NodeOutput:
        task, answers = get_task("depth"), pictures(image)
        depth = torch.stack([task.decode(answer, codec=code, near=near, far=far) for answer in answers])
        options = dict(near=near, far=far) if code == "gray" else {}
        sure = [task.confidence(answer, codec=code, **options) for answer in answers]
        inverse = 1 / depth.clamp_min(1e-3)
        low, high = (limit(inverse.flatten(1), dim=1)[:, None, None] for limit in (torch.amin, torch.amax))
        entries = [
            dict(nearest_m=round(float(d.min()), 3), farthest_m=round(float(d.max()), 3),
                 median_m=round(float(d.median()), 3), confidence=round(c, 3))
            for d, c in zip(depth, sure, strict=True)
        ]  # fmt: skip
        preview = preview_of("depth", list(depth))
        metres = repeat(depth, "b h w -> b h w c", c=3)
        nearness = (inverse - low) / (high - low).clamp_min(1e-6)
        shown = ui.PreviewImage(preview, cls=cls)
        return io.NodeOutput(preview, metres, nearness, min(sure), text_of(entries), ui=shown)


class DecodeNormals(io.ComfyNode):
    """Unit normals."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardDecodeNormals",
            display_name="Decode Normals",
            description="Reads unit normals out of a normal answer: X right, Y up, Z towards the viewer.",
            aliases=["normal map", "surface normals", "bump"],
            inputs=[answer_input("a normal task")],
            outputs=[
                io.Image.Output(display_name="preview", tooltip="The usual colours, cleaned: a normal map."),
                io.Image.Output(display_name="normals", tooltip="Unit vectors with values from -1 to 1, not clipped."),
                CONFIDENCE,
                DATA,
            ],
        )

    @classmethod
    def execute(cls, image: Tensor) -> io.NodeOutput:
        labels, sure = decoded(get_task("normal"), pictures(image), None)
        preview = preview_of("normal", labels)
        normals = rearrange(torch.stack(labels), "b c h w -> b h w c")
        means = [[round(value, 3) for value in label.mean((1, 2)).tolist()] for label in labels]
        entries = [dict(mean=mean, confidence=round(c, 3)) for mean, c in zip(means, sure, strict=True)]
        return io.NodeOutput(preview, normals, min(sure), text_of(entries), ui=ui.PreviewImage(preview, cls=cls))


class DecodeSegmentation(io.ComfyNode):
    """Classes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardDecodeSegmentation",
            display_name="Decode Segmentation",
            description="Reads a class for every pixel out of a segmentation answer, and a mask of one of them.",
            aliases=["semantic segmentation", "class map", "ade20k"],
            inputs=[
                answer_input("a segmentation task"),
                io.Combo.Input(
                    "code",
                    options=list(get_task("segmentation").codecs),
                    default="palette",
                    tooltip="palette: far apart colours, as nano answers. ade20k: the released weights' colours.",
                ),
                io.String.Input(
                    "class_names",
                    default=", ".join(nano().class_names),
                    multiline=True,
                    tooltip="Names of the classes in order of their ids, the first one for nothing; only these can be "
                    "found. Empty: all 150 classes, without names.",
                ),
                io.String.Input(
                    "pick", default="", tooltip="Name or number of the class for the mask; empty gives an empty mask."
                ),
            ],
            outputs=[
                io.Image.Output(display_name="preview", tooltip="One colour for each class."),
                io.Mask.Output(display_name="mask", tooltip="1 where the picked class is."),
                io.Image.Output(display_name="class_ids", tooltip="The class id in all three channels, not clipped."),
                CONFIDENCE,
                DATA,
            ],
        )

    @classmethod
    def execute(cls, image: Tensor, code: str, class_names: str, pick: str) -> io.NodeOutput:
        task, answers = get_task("segmentation"), pictures(image)
        names = [name.strip() for name in class_names.replace("\n", ",").split(",") if name.strip()]
        allowed = range(1, len(names)) if len(names) > 1 else None
        chosen = _class_id(pick.strip(), names)
        options: dict[str, Any] = dict(codec=code, classes=allowed)
        labels = [task.decode(answer, **options) for answer in answers]
        sure = [task.confidence(answer, **options) for answer in answers]
        entries = [
            {"classes": _shares(label, names), "confidence": round(c, 3)} for label, c in zip(labels, sure, strict=True)
        ]
        ids = torch.stack(labels)
        mask = (ids == chosen).float() if chosen is not None else torch.zeros(ids.shape)
        preview = preview_of("classes", labels)
        shown = ui.PreviewImage(preview, cls=cls)
        class_ids = repeat(ids.float(), "b h w -> b h w c", c=3)
        return io.NodeOutput(preview, mask, class_ids, min(sure), text_of(entries), ui=shown)


def _class_id(pick: str, names: Sequence[str]) -> int | None:
    if not pick:
        return None
    lowered = [name.lower() for name in names]
    if pick.lower() in lowered:
        return lowered.index(pick.lower())
    if pick.isdecimal():
        return int(pick)
    fix = f"choose one of {', '.join(names)}" if names else "give its number, or fill in class_names"
    raise ValueError(f"pick names a class of the list or its number, found {pick!r}: {fix}")


def _shares(label: Tensor, names: Sequence[str]) -> list[dict[str, Any]]:
    ids, counts = torch.unique(label, return_counts=True)
    return [
        dict(id=i, name=names[i] if i < len(names) else f"class {i}", share=round(n / label.numel(), 4))
        for i, n in zip(ids.tolist(), counts.tolist(), strict=True)
    ]


class DecodeMask(io.ComfyNode):
    """A mask of what was asked for."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardDecodeMask",
            display_name="Decode Mask",
            description="Reads the mask out of a referring answer, an overlay or a black-and-white mask.",
            aliases=["referring segmentation", "select by words", "segment anything", "grounding"],
            inputs=[
                answer_input("a referring task"),
                io.Combo.Input(
                    "kind", options=list(MASKS), default=next(iter(MASKS)), tooltip="How the answer marks it."
                ),
                io.Combo.Input("color", options=list(OVERLAY), default=DEFAULT_COLOR, tooltip="Colour of the overlay."),
                *source_inputs(optional=True),
            ],
            outputs=[
                io.Mask.Output(display_name="mask", tooltip="1 where the thing is."),
                io.Image.Output(display_name="preview", tooltip="The mask in white."),
                io.Boolean.Output(display_name="found", tooltip="Whether every picture has a pixel of it."),
                CONFIDENCE,
                DATA,
            ],
        )

    @classmethod
    def execute(
        cls, image: Tensor, kind: str, color: str, source: Tensor | None = None, vae: Any = None
    ) -> io.NodeOutput:
        task, answers = get_task(MASKS[kind]), pictures(image)
        overlay = task.name == "referring_segmentation"
        base = references(image, source, vae) if overlay else None
        labels, sure = decoded(task, answers, base, **(dict(color=color) if overlay else {}))
        mask = torch.stack(labels).float()
        preview = repeat(mask, "b h w -> b h w c", c=3)
        shares = mask.mean((1, 2)).tolist()
        entries = [
            dict(found=share > 0, share=round(share, 4), confidence=round(c, 3))
            for share, c in zip(shares, sure, strict=True)
        ]
        shown = ui.PreviewMask(mask, cls=cls)
        return io.NodeOutput(mask, preview, all(share > 0 for share in shares), min(sure), text_of(entries), ui=shown)


class DecodeBoxes(io.ComfyNode):
    """Boxes round what was asked for."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardDecodeBoxes",
            display_name="Decode Boxes",
            description="Reads the boxes that an answer draws.",
            aliases=["bounding box", "bbox", "detection", "detect by words"],
            inputs=[
                answer_input("a box task"),
                io.Combo.Input("color", options=list(MARK_COLORS), default="red", tooltip="Colour of the lines."),
                *source_inputs(optional=True),
            ],
            outputs=[
                io.Image.Output(display_name="preview", tooltip="The boxes, drawn on the source or on the answer."),
                BOUNDING_BOX.Output(
                    display_name="boxes", tooltip="For each picture a list of x, y, width, height in pixels."
                ),
                io.Mask.Output(display_name="mask", tooltip="1 inside the boxes."),
                io.Int.Output(display_name="count", tooltip="Boxes in the whole batch."),
                CONFIDENCE,
                DATA,
            ],
        )

    @classmethod
    def execute(cls, image: Tensor, color: str, source: Tensor | None = None, vae: Any = None) -> io.NodeOutput:
        answers = pictures(image)
        labels, sure = decoded(get_task("referring_box"), answers, references(image, source, vae), color=color)
        on = answers if source is None else pictures(one_for_each(source, len(image), "a source", "answers"))
        height, width = image.shape[1:3]
        mask = torch.zeros(len(answers), height, width)
        boxes: list[list[dict[str, int]]] = []
        for i, label in enumerate(labels):
            corners = [[round(value) for value in row] for row in label.tolist()]
            boxes.append([dict(x=x0, y=y0, width=x1 - x0, height=y1 - y0) for x0, y0, x1, y1 in corners])
            for x0, y0, x1, y1 in corners:
                mask[i, max(y0, 0) : y1, max(x0, 0) : x1] = 1.0
        entries = [
            dict(canvas_width=width, canvas_height=height, boxes=label.tolist(), confidence=round(c, 3))
            for label, c in zip(labels, sure, strict=True)
        ]
        preview = preview_of("boxes", labels, on)
        shown = ui.PreviewImage(preview, cls=cls)
        return io.NodeOutput(preview, boxes, mask, sum(map(len, boxes)), min(sure), text_of(entries), ui=shown)


class DecodeKeypoints(io.ComfyNode):
    """Joints."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardDecodeKeypoints",
            display_name="Decode Keypoints",
            description="Reads points out of an answer: coloured dots on the source, or a skeleton.",
            aliases=["pose", "openpose", "joints", "landmarks"],
            inputs=[
                answer_input("a keypoint or pose task"),
                io.Combo.Input(
                    "kind", options=list(POINTS), default=next(iter(POINTS)), tooltip="What the answer draws."
                ),
                io.String.Input(
                    "colors",
                    default="red",
                    tooltip="Colours of the dots in order, with commas; not used for skeletons.",
                ),
                *source_inputs(optional=True),
            ],
            outputs=[
                io.Image.Output(display_name="preview", tooltip="The points or the skeleton, drawn."),
                POSE_KEYPOINT.Output(display_name="pose", tooltip="OpenPose's form, one entry for each picture."),
                io.Int.Output(display_name="count", tooltip="Points that were found in the whole batch."),
                CONFIDENCE,
                DATA,
            ],
        )

    @classmethod
    def execute(
        cls, image: Tensor, kind: str, colors: str, source: Tensor | None = None, vae: Any = None
    ) -> io.NodeOutput:
        task, answers = get_task(POINTS[kind]), pictures(image)
        dots = task.name == "keypoint"
        names = tuple(name.strip() for name in colors.split(",") if name.strip())
        base = references(image, source, vae) if dots else None
        labels, sure = decoded(task, answers, base, **(dict(colors=names) if dots else {}))
        height, width = image.shape[1:3]
        frames = []
        for label in labels:
            people = label[None] if dots else label
            rows = [{"pose_keypoints_2d": [round(v, 2) for v in person.flatten().tolist()]} for person in people]
            frames.append({"canvas_width": width, "canvas_height": height, "people": rows})
        count = sum(int((label[..., 2] > 0).sum()) for label in labels)
        on = (
            answers if source is None or not dots else pictures(one_for_each(source, len(image), "a source", "answers"))
        )
        preview = preview_of("keypoints" if dots else "pose", labels, on)
        entries = [frame | {"confidence": round(c, 3)} for frame, c in zip(frames, sure, strict=True)]
        shown = ui.PreviewImage(preview, cls=cls)
        return io.NodeOutput(preview, frames, count, min(sure), text_of(entries), ui=shown)
