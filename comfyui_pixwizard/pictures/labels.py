"""Labels as files and as pictures to look at.

A label's kind is its task's (`Task.label_kind`): "depth" [H, W] metres, "relative" [H, W] from 0 farthest to 1 nearest,
"normal" [3, H, W] unit vectors, "classes" [H, W]
ids, "mask" [H, W] bool, "edges" [H, W] strength in [0, 1], "boxes" [N, 4] x0 y0 x1 y1, "keypoints" [K, 3] x y visible,
"pose" [P, 18, 3] x y visible; coordinates are pixels of the model's size. Kind "image" has no label of its own: the
answer is the picture.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from ..files.safe_files import replaced
from ..tasks.codecs.box import BOX, THIN
from ..tasks.codecs.edge import EDGES
from ..tasks.codecs.keypoint import KEYPOINT, SMALL
from ..tasks.codecs.marks import MARK_COLORS
from ..tasks.codecs.palette import palette
from ..tasks.codecs.pose import JOINTS, POSE
from .images import unit_to_image

MILLIMETRES = 1000
FARTHEST = 2**16 - 1
# Near to far: light yellow, orange, red, purple, nearly black.
DEPTH_COLORS = ((252, 246, 190), (252, 165, 70), (225, 80, 75), (140, 40, 120), (60, 15, 110), (8, 6, 30))

ENDINGS: dict[str, tuple[str, ...]] = {
    "image": (),
    "depth": ("_depth.png", "_depth.npy"),
    "relative": ("_relative_depth.png", "_relative_depth.npy"),
    "normal": ("_normal.npy",),
    "classes": ("_segmentation.png", "_segmentation.json"),
    "mask": ("_mask.png",),
    "edges": ("_edges.png",),
    "boxes": ("_boxes.json",),
    "keypoints": ("_keypoints.json",),
    "pose": ("_pose.json",),
}


def label_files(picture: Path, kind: str) -> list[Path]:
    """Where the label of an answer goes: beside it, under its name with an ending."""
    return [picture.with_name(picture.stem + ending) for ending in ENDINGS[kind]]


def save_label(
    picture: Path, kind: str, label: Tensor, class_names: Sequence[str] = (), size: tuple[int, int] | None = None
) -> list[Path]:
    """Write a label beside its picture, each file whole or not at all.

    depth: 16-bit PNG in millimetres (65535 is 65.5 m or farther), .npy float32 [H, W] in metres; relative: 16-bit PNG,
    65535 is the nearest, .npy float32 [H, W] from 0 to 1; normal: .npy float32 [H, W, 3], X right, Y up, Z to the
    viewer; classes: indexed PNG and a JSON legend; mask: PNG, 255 inside; edges: 16-bit PNG, 65535 is the strongest;
    boxes, keypoints: JSON; pose: JSON as OpenPose writes it.

    Args:
        size: width and height of the picture that coordinates refer to, for the JSON files.

    Returns:
        The files.
    """
    files = label_files(picture, kind)
    writers: dict[str, Callable[[], list[bytes]]] = {
        "image": lambda: [],
        "depth": lambda: [_png(_millimetres(label)), _npy(label)],
        "relative": lambda: [_png(_sixteen_bits(label)), _npy(label)],
        "normal": lambda: [_npy(rearrange(label, "c h w -> h w c"))],
        "classes": lambda: [_png(_indexed(label)), _legend(label, class_names)],
        "mask": lambda: [_png(Image.fromarray(label.numpy().astype(np.uint8) * 255))],
        "edges": lambda: [_png(_sixteen_bits(label))],
        "boxes": lambda: [_json({"boxes": _numbers(label)}, size)],
        "keypoints": lambda: [_json({"keypoints": _numbers(label)}, size)],
        "pose": lambda: [_json(_people(label), size)],
    }
    for path, content in zip(files, writers[kind](), strict=True):
        with replaced(path) as file:
            file.write(content)
    return files


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


def _npy(label: Tensor) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, label.float().numpy(), allow_pickle=False)
    return buffer.getvalue()


def _millimetres(depth: Tensor) -> Image.Image:
    values = (depth.double() * MILLIMETRES).round().clamp(0, FARTHEST)
    return Image.fromarray(values.numpy().astype(np.uint16))


def _sixteen_bits(shares: Tensor) -> Image.Image:
    return Image.fromarray((shares.clamp(0, 1) * FARTHEST).round().numpy().astype(np.uint16))


def _indexed(classes: Tensor) -> Image.Image:
    image = Image.fromarray(classes.numpy().astype(np.uint8), mode="P")
    image.putpalette(palette().flatten().tolist())
    return image


def _numbers(label: Tensor) -> list[list[float]]:
    return [[round(value, 2) for value in row] for row in label.tolist()]


def _people(pose: Tensor) -> dict[str, object]:
    """OpenPose's keys: x, y and confidence of all joints in one list, zeros for what is not seen."""
    people = [{"pose_keypoints_2d": [value for row in _numbers(person) for value in row]} for person in pose]
    return {"version": 1.3, "joints": list(JOINTS), "people": people}


def _json(content: dict[str, object], size: tuple[int, int] | None) -> bytes:
    if size is not None:
        content = {"canvas_width": size[0], "canvas_height": size[1]} | content
    return (json.dumps(content, indent=1) + "\n").encode()


def _legend(classes: Tensor, names: Sequence[str]) -> bytes:
    colors = palette().tolist()
    ids, counts = torch.unique(classes, return_counts=True)
    entries = [
        {
            "id": i,
            "name": names[i] if i < len(names) else f"class {i}",
            "color": colors[i],
            "share": round(count / classes.numel(), 6),
        }
        for i, count in zip(ids.tolist(), counts.tolist(), strict=True)
    ]
    return (json.dumps({"classes": entries}, indent=1) + "\n").encode()


def draw_label(kind: str, label: Tensor, like: Tensor | None = None, on: Tensor | None = None) -> Image.Image:
    """A label as a picture for people: depth from light (near) to dark, normals and classes in colours, masks white.

    Args:
        like: another depth map whose range of colours to use, so that the two can be compared.
        on: picture [3, H, W] in [0, 1] on which boxes and keypoints are drawn, and whose size poses take.

    Raises:
        ValueError: boxes, keypoints or a pose without `on`.
    """
    if kind == "depth":
        return _draw_depth(label, label if like is None else like)
    if kind == "relative":
        return depth_colors(1 - label)
    if kind == "normal":
        return unit_to_image((label + 1) / 2)
    if kind == "classes":
        return _indexed(label).convert("RGB")
    if kind == "mask":
        return Image.fromarray(label.numpy().astype(np.uint8) * 255).convert("RGB")
    if kind == "edges":
        return unit_to_image(EDGES.encode(label.clamp(0, 1)))
    if kind == "boxes":
        return unit_to_image(BOX.encode(label, on, line=THIN))
    if kind == "keypoints":
        return unit_to_image(KEYPOINT.encode(label, on, colors=tuple(MARK_COLORS)[: len(label)], radius=SMALL))
    if kind == "pose":
        return unit_to_image(POSE.encode(label, on))
    return unit_to_image(label)


def depth_range(depth: Tensor) -> tuple[float, float]:
    """Inverse depth, in 1 / metres, of the nearest and the farthest hundredth: a sky then flattens nothing near."""
    near, far = torch.quantile(1 / depth.clamp_min(1e-3).flatten(), torch.tensor([0.99, 0.01])).tolist()
    return near, far


def _draw_depth(depth: Tensor, like: Tensor) -> Image.Image:
    """Over inverse depth, in the range of colours that `like` has."""
    near, far = depth_range(like)
    return depth_colors((near - 1 / depth.clamp_min(1e-3)) / max(near - far, 1e-6))


def depth_colors(place: Tensor) -> Image.Image:
    """Places [H, W] from 0 (nearest) to 1 in DEPTH_COLORS."""
    place = place.clamp(0, 1) * (len(DEPTH_COLORS) - 1)
    colors = torch.tensor(DEPTH_COLORS) / 255
    low = place.floor().long().clamp(max=len(DEPTH_COLORS) - 2)
    mixed = torch.lerp(colors[low], colors[low + 1], (place - low)[..., None])
    return unit_to_image(rearrange(mixed, "h w c -> c h w"))
