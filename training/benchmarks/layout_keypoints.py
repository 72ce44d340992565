"""COCO's keypoints: people of 17 joints, as skeletons of OpenPose's 18.

COCO numbers pixels; here the pixel of column j covers [j, j + 1), so that its middle is j + 0.5.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...comfyui_pixwizard.tasks.codecs.pose import JOINTS
from ..data.build.drawing import drawn
from ..data.build.places import file_ref
from .layout_pairs import sub_folder
from .question import MISSING_PAIR, Question

COCO_JOINTS = (
    "nose", "left eye", "right eye", "left ear", "right ear", "left shoulder", "right shoulder", "left elbow",
    "right elbow", "left wrist", "right wrist", "left hip", "right hip", "left knee", "right knee", "left ankle",
    "right ankle",
)  # fmt: skip
_OURS = [JOINTS.index(name) for name in COCO_JOINTS]
NECK, SHOULDERS = JOINTS.index("neck"), (JOINTS.index("left shoulder"), JOINTS.index("right shoulder"))


def to_skeleton(keypoints: Sequence[float]) -> np.ndarray:
    """COCO's 51 numbers to [18,3]: x, y, visible; the neck lies between two visible shoulders."""
    joints = np.zeros((len(JOINTS), 3))
    theirs = np.asarray(keypoints, np.float64).reshape(-1, 3)
    seen = theirs[:, 2] > 0
    joints[_OURS] = np.concatenate([(theirs[:, :2] + 0.5) * seen[:, None], seen[:, None]], 1)
    if joints[list(SHOULDERS), 2].all():
        joints[NECK] = joints[list(SHOULDERS)].mean(0)
    return joints


def from_skeleton(joints: np.ndarray, scale: tuple[float, float]) -> list[float]:
    """[18,3] to COCO's 51 numbers, x and y times a scale; joints that are not seen are zeros."""
    chosen = joints[_OURS]
    seen = chosen[:, 2:] > 0.5
    places = np.where(seen, chosen[:, :2] * np.asarray(scale) - 0.5, 0.0)
    found: list[float] = np.concatenate([places, seen], 1).ravel().tolist()
    return found


def coco_keypoints(root: Path, split: str = "val2017") -> Iterator[Question]:
    """`annotations/person_keypoints_SPLIT.json` and the pictures of `SPLIT`, all of them, also those without people.

    Raises:
        ValueError: no annotations, or not COCO's.
    """
    split = split or "val2017"
    path = root / "annotations" / f"person_keypoints_{split}.json"
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        images = sorted(listed["images"], key=lambda one: int(one["id"]))
        people: dict[int, list[Any]] = {int(one["id"]): [] for one in images}
        for one in listed["annotations"]:
            if not one.get("iscrowd") and one["num_keypoints"]:
                people[int(one["image_id"])].append(to_skeleton(one["keypoints"]).tolist())
    except FileNotFoundError as error:
        raise ValueError(
            f"COCO's keypoints are in {path.name}, found none at {path}: unpack the annotations"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} should hold COCO's keypoints: copy it again") from error
    folder = sub_folder(root, split, f"images/{split}")
    for one in images:
        source = file_ref(folder / Path(str(one["file_name"])).name)
        size, number = [int(one["height"]), int(one["width"])], int(one["id"])
        yield Question(
            f"{number:012d}",
            source,
            drawn(source, "pose", size=size, people=people[number]),
            "pose",
            truth={"annotations": str(path), "image": number, "size": size},
            fault="" if source.state else MISSING_PAIR,
        )
