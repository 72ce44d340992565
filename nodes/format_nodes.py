"""Between PixWizard's labels and the forms of other nodes: boxes, poses, depth, and masks for the host's editor."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import folder_paths
import torch
from comfy_api.latest import io, ui
from einops import rearrange, repeat
from PIL import Image
from torch import Tensor

from ..comfyui_pixwizard.files.safe_files import replaced
from ..comfyui_pixwizard.pictures.images import unit_to_image
from ..comfyui_pixwizard.pictures.interchange import (
    BOX_FORMS,
    bare_boxes,
    coco_boxes,
    parsed,
    pose_frames,
    read_boxes,
    read_poses,
)
from ..comfyui_pixwizard.pictures.legends import draw_for_people
from ..comfyui_pixwizard.tasks import get_task
from ..comfyui_pixwizard.tasks.codecs.depth import metres_of, nearness_of
from .carried import carried
from .conversions import Node, from_pillow, one_for_each, resized_mask, schema
from .decode_nodes import model_inputs
from .decoder_common import LOOKED_AT, listed, pictures
from .image_nodes import LARGEST
from .mark_nodes import BOUNDING_BOX, POSE_KEYPOINT, as_dicts, inside

BBOX = getattr(io, "BBOX", None) or io.Custom("BBOX")
METRES, ANSWER = "metres", "PixWizard's picture of depth"
INVERSE = "inverse, near white (MiDaS, Depth Anything)"
NEAR_WHITE, FAR_WHITE = "linear, near white (Zoe, metric Depth Anything)", "linear, far white (Marigold)"
DEPTH_FORMS = (METRES, ANSWER, INVERSE, NEAR_WHITE, FAR_WHITE)
FILE_NAME = re.compile(r"[\w -]+")


class MaskToEditor(Node):
    """A picture and its mask as a file that the host's mask editor opens."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardMaskToEditor",
            purpose="formats",
            aliases=["mask editor", "edit mask", "save mask", "clipspace"],
            inputs=[io.Image.Input("image"), io.Mask.Input("mask"), io.String.Input("name", default="pixwizard_mask")],
            outputs={"file": io.String},
            is_output_node=True,
        )

    @classmethod
    def execute(cls, image: Tensor, mask: Tensor, name: str) -> io.NodeOutput:
        if not FILE_NAME.fullmatch(name.strip()):
            raise ValueError(
                f"name has letters, digits, spaces, - and _, found {name!r}: it becomes a file in the input folder"
            )
        masks = one_for_each(resized_mask(mask, image.shape[1], image.shape[2]), len(image), "a mask", "pictures")
        folder, begin, number, _, _ = folder_paths.get_save_image_path(name.strip(), folder_paths.get_input_directory())
        files = []
        for i, (picture, hole) in enumerate(zip(pictures(image), masks, strict=True)):
            shown = unit_to_image(picture)
            opaque = (255 * (1 - hole.cpu().clamp(0, 1))).round().to(torch.uint8).numpy()
            # As the editor itself writes: what is masked is transparent, and its colours stay.
            shown.putalpha(Image.fromarray(opaque))
            files.append(f"{begin}_{number + i:05}_.png")
            with replaced(Path(folder) / files[-1]) as file:
                shown.save(file, "PNG")
        told = [{"filename": file, "subfolder": "", "type": "input"} for file in files]
        return io.NodeOutput(files[0], ui={"images": told})


class BoxesToFormats(Node):
    """Boxes as other nodes and programs take them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardBoxesToFormats",
            purpose="formats",
            aliases=["bbox", "coco", "bounding box json", "segment anything boxes"],
            inputs=[
                BOUNDING_BOX.Input("boxes"),
                io.Image.Input("image"),
                io.Combo.Input("form", options=list(BOX_FORMS), default=BOX_FORMS[0]),
                io.String.Input("names", default=""),
            ],
            outputs={"bbox": BBOX, "json": io.String},
        )

    @classmethod
    def execute(cls, boxes: Any, image: Tensor, form: str, names: str) -> io.NodeOutput:
        labels, _ = read_boxes(boxes)
        size = (image.shape[2], image.shape[1])
        return io.NodeOutput(bare_boxes(labels, form), json.dumps(coco_boxes(labels, size, listed(names)), indent=1))


class BoxesFromFormats(Node):
    """Boxes of other nodes and programs."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardBoxesFromFormats",
            purpose="formats",
            aliases=["bbox", "coco", "bounding box json", "boxes to mask"],
            inputs=[
                io.Image.Input("image"),
                io.String.Input("json", default="", multiline=True),
                io.Combo.Input("form", options=list(BOX_FORMS), default=BOX_FORMS[0]),
                BBOX.Input("bbox", optional=True),
            ],
            outputs={
                "boxes": BOUNDING_BOX,
                "mask": io.Mask,
                "drawn": io.Image,
                "names": io.String,
                "count": io.Int,
            },
            is_output_node=True,
        )

    @classmethod
    def execute(cls, image: Tensor, json: str, form: str, bbox: Any = None) -> io.NodeOutput:
        labels, names = read_boxes(one_given(json, bbox, "Boxes From Formats", "bbox"), form)
        if len(labels) not in (1, len(image)):
            raise ValueError(
                f"boxes are of one picture or of each of {len(image)}, found those of {len(labels)}: pick or repeat "
                "pictures with the host's batch nodes"
            )
        labels, names = (labels * len(image))[: len(image)], (names * len(image))[: len(image)]
        rows = list(zip(labels, pictures(image), names, strict=True))[:LOOKED_AT]
        drawn = from_pillow([draw_for_people("boxes", label, None, on, _called(row)) for label, on, row in rows])
        mask = torch.stack([inside(label, *image.shape[1:3]) for label in labels])
        count = sum(map(len, labels))
        values = (as_dicts(labels), mask, drawn, ", ".join(_called(names[0])), count)
        return io.NodeOutput(*values, ui=ui.PreviewImage(drawn, cls=cls))


def _called(names: list[str]) -> list[str]:
    return [name or f"box {i + 1}" for i, name in enumerate(names)]


def one_given(text: str, value: Any, node: str, name: str) -> Any:
    """What came as JSON or as a value of the host.

    Raises:
        ValueError: both or neither, no JSON.
    """
    if bool(text.strip()) == (value is not None):
        found = "both" if value is not None else "neither"
        raise ValueError(f"{node} takes json or {name}, found {found}: give one of them")
    return parsed(text, "json") if value is None else value


class PoseMap(Node):
    """Poses of other nodes as the skeletons that PixWizard draws from."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        side = dict(default=0, min=0, max=LARGEST, step=16)
        return schema(
            node_id="PixWizardPoseMap",
            purpose="formats",
            aliases=["openpose", "dwpose", "pose json", "skeleton", "controlnet aux"],
            inputs=[
                io.String.Input("json", default="", multiline=True),
                io.Int.Input("width", **side),
                io.Int.Input("height", **side),
                POSE_KEYPOINT.Input("pose", optional=True),
            ],
            outputs={"image": io.Image, "pose": POSE_KEYPOINT, "json": io.String, "count": io.Int},
            is_output_node=True,
        )

    @classmethod
    def execute(cls, json: str, width: int, height: int, pose: Any = None) -> io.NodeOutput:
        labels, canvases = read_poses(one_given(json, pose, "Pose Map", "pose"))
        sizes = {(width or across, height or down) for across, down in canvases}
        if len(sizes) > 1:
            raise ValueError(f"skeletons of one batch have one size, found {sorted(sizes)}: choose width and height")
        (size,) = sizes
        if max(size) > LARGEST:
            raise ValueError(f"a skeleton has sides of at most {LARGEST} px, found {size}: choose width and height")
        scaled = [
            label * torch.tensor([size[0] / canvas[0], size[1] / canvas[1], 1.0])
            for label, canvas in zip(labels, canvases, strict=True)
        ]
        drawn = torch.stack([get_task("pose").encode(label, size=size[::-1]) for label in scaled])
        image = rearrange(drawn, "b c h w -> b h w c")
        frames = pose_frames(scaled, size)
        values = (image, frames, text_of(frames), sum(map(len, scaled)))
        return io.NodeOutput(*values, ui=ui.PreviewImage(image, cls=cls))


def text_of(value: Any) -> str:
    """JSON of a value; nodes whose input is called json cannot name the module."""
    return json.dumps(value)


class ConvertDepth(Node):
    """Depth maps of other nodes to PixWizard's, and back."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardConvertDepth",
            purpose="formats",
            aliases=["depth anything", "midas", "marigold", "zoe depth", "inverse depth", "disparity"],
            inputs=[
                io.Image.Input("image"),
                io.Combo.Input("source_form", options=list(DEPTH_FORMS), default=INVERSE),
                io.Combo.Input("target_form", options=list(DEPTH_FORMS), default=ANSWER),
                io.Float.Input("near", default=1.0, min=0.01, max=1000.0, step=0.1),
                io.Float.Input("far", default=13.0, min=0.02, max=10000.0, step=0.1),
                *model_inputs(),
            ],
            outputs={"image": io.Image},
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        source_form: str,
        target_form: str,
        near: float,
        far: float,
        model: Any = None,
        vae: Any = None,
    ) -> io.NodeOutput:
        if not near < far:
            raise ValueError(f"near lies before far, found {near:g} and {far:g} m: swap or correct the two")
        options = carried(model, vae)["depth"].reading()
        metres = _to_metres(pictures(image), source_form, near, far, options)
        if bool((metres <= 0).any()) or not bool(metres.isfinite().all()):
            raise ValueError(f"depth in metres is above 0, found {float(metres.min()):g}: choose another source_form")
        return io.NodeOutput(rearrange(_of_metres(metres, target_form, options), "b c h w -> b h w c"))


def _to_metres(maps: Tensor, form: str, near: float, far: float, options: dict[str, Any]) -> Tensor:
    """Metres [B, H, W] of pictures [B, 3, H, W] of depth."""
    if form == METRES:
        return maps[:, 0]
    if form == ANSWER:
        return get_task("depth").decode(maps, **options)
    grey = maps.mean(1).clamp(0, 1)
    if form == INVERSE:
        return metres_of(grey, near, far)
    black, white = (near, far) if form == FAR_WHITE else (far, near)
    return black + grey * (white - black)


def _of_metres(metres: Tensor, form: str, options: dict[str, Any]) -> Tensor:
    """Pictures [B, 3, H, W] of metres [B, H, W]; forms without metres are stretched over each picture."""
    if form == ANSWER:
        codec = get_task("depth").codec(options["codec"])
        known = inspect.signature(codec.encode).parameters
        return codec.encode(metres, **{name: value for name, value in options.items() if name in known})
    shown = metres
    if form == INVERSE:
        shown = nearness_of(metres)
    elif form in (NEAR_WHITE, FAR_WHITE):
        low, high = metres.amin((1, 2), keepdim=True), metres.amax((1, 2), keepdim=True)
        far = (metres - low) / (high - low).clamp_min(1e-6)
        shown = far if form == FAR_WHITE else 1 - far
    return repeat(shown, "b h w -> b c h w", c=3)
