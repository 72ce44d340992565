"""Boxes and poses in the forms that other programs write and read: plain values of JSON, to and from labels.

Shape legend: boxes [N, 4] as x0 y0 x1 y1; poses [P, 18, 3] as x y visible; both in pixels, one label for each picture.
Sources: COCO's data format (cocodataset.org), OpenPose's output format (its doc/02_output.md).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..tasks.codecs.pose import JOINTS

# How four bare numbers are read.
XYWH, XYXY = "x, y, width, height", "x0, y0, x1, y1"
BOX_FORMS = (XYWH, XYXY)
# Places of this project's joints among the 25 of OpenPose's BODY_25, which has the middle of the hips at 8.
BODY_25, OF_BODY_25 = (*range(8), *range(9, 19)), 25
JOINT_KEYS = ("pose_keypoints_2d", "face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d")
BOX_HELP = "give COCO's, {x, y, width, height}, {bbox_2d} or four numbers"

# A box and its name, empty where it has none.
Named = tuple[list[float], str]


def parsed(text: str, what: str) -> Any:
    """A value of JSON.

    Raises:
        ValueError: no JSON.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{what} must be JSON, found {error.msg} at line {error.lineno}: copy it whole") from None


def read_boxes(value: Any, form: str = XYWH) -> tuple[list[Tensor], list[list[str]]]:
    """Boxes [N, 4] of each picture, and their names, from any of the common forms.

    COCO's data set (annotations by image), COCO's results ([{"image_id", "bbox"}]), this project's own ([{"boxes"}]),
    {"x", "y", "width", "height"}, {"bbox_2d"} of language models, and lists of four numbers; one list of boxes is of
    one picture, a list of such lists of several.

    Args:
        form: of four bare numbers, an entry of BOX_FORMS.

    Raises:
        ValueError: another form, or numbers that are no box.
    """
    pictures = _pictures(_plain(value), form)
    labels = [torch.tensor([box for box, _ in boxes], dtype=torch.float32).reshape(-1, 4) for boxes in pictures]
    return labels, [[name for _, name in boxes] for boxes in pictures]


def _plain(value: Any) -> Any:
    """Arrays and their numbers, which nodes pass on too, as lists and Python's numbers."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _pictures(value: Any, form: str) -> list[list[Named]]:
    if isinstance(value, Mapping) and "annotations" in value:
        return _coco(value)
    if isinstance(value, Mapping) and "boxes" in value:
        return [[_box(item, XYXY) for item in value["boxes"]]]
    if isinstance(value, Mapping) or _is_numbers(value):
        return [[_box(value, form)]]
    if not isinstance(value, list | tuple):
        raise ValueError(f"boxes have a form that is known, found {_shown(value)}: {BOX_HELP}")
    if value and all(isinstance(item, Mapping) and "image_id" in item for item in value):
        by_image: dict[Any, list[Named]] = {}
        for item in value:
            by_image.setdefault(item["image_id"], []).append(_box(item, form))
        return list(by_image.values())
    if value and all(isinstance(item, Mapping) and "boxes" in item for item in value):
        return [[_box(box, XYXY) for box in item["boxes"]] for item in value]
    if value and all(isinstance(item, list | tuple) and not _is_numbers(item) for item in value):
        return [[_box(box, form) for box in item] for item in value]
    return [[_box(item, form) for item in value]]


def _coco(value: Mapping[str, Any]) -> list[list[Named]]:
    names = {
        entry.get("id"): str(entry.get("name", "")) for entry in _objects(value.get("categories", []), "categories")
    }
    by_image: dict[Any, list[Named]] = {entry.get("id"): [] for entry in _objects(value.get("images", []), "images")}
    for entry in _objects(value["annotations"], "annotations"):
        box, name = _box(entry, XYWH)
        by_image.setdefault(entry.get("image_id"), []).append((box, name or names.get(entry.get("category_id"), "")))
    return list(by_image.values())


def _box(value: Any, form: str) -> Named:
    """One box as corners, and its name."""
    name, numbers = "", value
    if isinstance(value, Mapping):
        name = next((value[key] for key in ("label", "name") if isinstance(value.get(key), str)), "")
        if {"x", "y", "width", "height"} <= set(value):
            numbers, form = [value[key] for key in ("x", "y", "width", "height")], XYWH
        elif "bbox" in value:
            numbers, form = value["bbox"], XYWH
        elif "bbox_2d" in value:
            numbers, form = value["bbox_2d"], XYXY
    if not _is_numbers(numbers) or not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"a box has four numbers, found {_shown(value)}: {BOX_HELP}")
    x, y, a, b = (float(number) for number in numbers)
    return ([x, y, x + a, y + b] if form == XYWH else [x, y, a, b]), name


def _objects(value: Any, what: str) -> Sequence[Mapping[str, Any]]:
    if not isinstance(value, list | tuple) or not all(isinstance(entry, Mapping) for entry in value):
        raise ValueError(f"{what} are a list of objects, found {_shown(value)}: copy the JSON whole")
    return value


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 4 and all(isinstance(n, int | float) for n in value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def bare_boxes(labels: Sequence[Tensor], form: str) -> list[tuple[float, ...]]:
    """Boxes of all pictures in one list of four numbers each, as nodes of other packs pass them on."""
    rows = [row for label in labels for row in label.tolist()]
    return [tuple(_whole(v) for v in _as_form(row, form)) for row in rows]


def _as_form(corners: Sequence[float], form: str) -> tuple[float, ...]:
    x0, y0, x1, y1 = corners
    return (x0, y0, x1 - x0, y1 - y0) if form == XYWH else (x0, y0, x1, y1)


def _whole(value: float) -> float:
    """An int where a number is whole, as nodes that index pixels want it."""
    return int(value) if value == int(value) else round(value, 3)


def coco_boxes(labels: Sequence[Tensor], size: tuple[int, int], names: Sequence[str] = ()) -> dict[str, Any]:
    """Boxes as COCO's data set of pictures of a size (width, height).

    Args:
        names: of boxes in order, the same for every picture; a box beyond them is of the category "object".
    """
    called = [[names[i] if i < len(names) else "object" for i in range(len(label))] for label in labels]
    categories = {name: i + 1 for i, name in enumerate(dict.fromkeys(name for row in called for name in row))}
    annotations: list[dict[str, Any]] = []
    for picture, (label, row) in enumerate(zip(labels, called, strict=True)):
        for corners, name in zip(label.tolist(), row, strict=True):
            box = [_whole(value) for value in _as_form(corners, XYWH)]
            annotations.append({
                "id": len(annotations) + 1, "image_id": picture + 1, "category_id": categories[name], "bbox": box,
                "area": box[2] * box[3], "iscrowd": 0,
            })  # fmt: skip
    images = [{"id": i + 1, "width": size[0], "height": size[1]} for i in range(len(labels))]
    kinds = [{"id": number, "name": name} for name, number in categories.items()]
    return {"images": images, "annotations": annotations, "categories": kinds}


def pose_frames(people: Iterable[Tensor], size: tuple[int, int]) -> list[dict[str, Any]]:
    """Poses of pictures of a size (width, height) as the list of frames that controlnet_aux passes on and saves.

    Args:
        people: of each picture [P, K, 3]; joints that are not seen are zeros.
    """
    return [
        {
            "people": [
                dict.fromkeys(JOINT_KEYS) | {JOINT_KEYS[0]: [round(v, 2) for v in person.flatten().tolist()]}
                for person in poses
            ],
            "canvas_width": size[0],
            "canvas_height": size[1],
        }
        for poses in people
    ]


def read_poses(value: Any) -> tuple[list[Tensor], list[tuple[int, int]]]:
    """Poses [P, 18, 3] of each frame and the sizes (width, height) of their canvases.

    Numbers may be pixels or, where all of a person's lie within 0 to 1, shares of the canvas; joints those of COCO (18)
    or of BODY_25; hands and faces are left out.

    Raises:
        ValueError: another form, no canvas, or another number of joints.
    """
    frames = [value] if isinstance(value, Mapping) else value
    if not isinstance(frames, list | tuple) or not frames:
        raise ValueError(f"a pose is a list of frames, found {_shown(value)}: give OpenPose's form")
    labels, sizes = [], []
    for frame in frames:
        if not isinstance(frame, Mapping) or "people" not in frame:
            raise ValueError(f"a frame of a pose has people, found {_shown(frame)}: give OpenPose's form")
        size = tuple(int(frame.get(key) or 0) for key in ("canvas_width", "canvas_height"))
        if min(size) < 1:
            raise ValueError(f"a frame of a pose has canvas_width and canvas_height, found {size}: add them")
        found = [_person(entry.get(JOINT_KEYS[0]), size) for entry in _objects(frame["people"], "people")]
        seen = [person for person in found if bool(person[:, 2].any())]
        labels.append(torch.stack(seen) if seen else torch.zeros(0, len(JOINTS), 3))
        sizes.append((size[0], size[1]))
    return labels, sizes


def _person(numbers: Any, size: tuple[int, ...]) -> Tensor:
    rows = [] if numbers is None else numbers
    flat = [n for row in rows for n in (row if isinstance(row, list | tuple) else [row])] or [0.0] * 3 * len(JOINTS)
    if len(flat) % 3 or not all(isinstance(n, int | float) and math.isfinite(n) for n in flat):
        raise ValueError(f"joints are x, y and confidence each, found {_shown(numbers)}: give OpenPose's form")
    joints = torch.tensor(flat, dtype=torch.float32).reshape(-1, 3)
    if len(joints) == OF_BODY_25:
        joints = joints[list(BODY_25)]
    if len(joints) != len(JOINTS):
        raise ValueError(
            f"a skeleton has {len(JOINTS)} joints, or the {OF_BODY_25} of BODY_25, found {len(joints)}: dots of single "
            "joints are no skeleton"
        )
    seen = joints[:, 2:] > 0
    places = joints[seen[:, 0], :2]
    shares = len(places) > 0 and bool(((places >= 0) & (places <= 1)).all())
    joints[:, :2] *= torch.tensor(size if shares else (1, 1))
    joints[:, 2] = 1.0
    return torch.where(seen, joints, torch.zeros(()))
