"""Boxes and poses through the forms of other programs and back."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from pixwizard.comfyui_pixwizard.pictures.interchange import (
    BODY_25,
    XYWH,
    XYXY,
    bare_boxes,
    coco_boxes,
    parsed,
    pose_frames,
    read_boxes,
    read_poses,
)
from pixwizard.comfyui_pixwizard.tasks.codecs.depth import metres_of, nearness_of
from pixwizard.comfyui_pixwizard.tasks.codecs.pose import JOINTS

LABELS = [torch.tensor([[4.0, 5.0, 30.0, 40.5], [0.0, 1.0, 2.0, 3.0]]), torch.tensor([[7.0, 8.0, 9.0, 11.0]])]
BOX = [4, 5, 26, 35.5]
CORNERS = [4, 5, 30, 40.5]


def test_coco_round_trip() -> None:
    text = json.dumps(coco_boxes([*LABELS, torch.zeros(0, 4)], (64, 48), ("cone", "box")))
    labels, names = read_boxes(json.loads(text))
    assert [len(label) for label in labels] == [2, 1, 0] and names == [["cone", "box"], ["cone"], []]
    for label, expected in zip(labels, LABELS, strict=False):
        assert torch.equal(label, expected)
    found = json.loads(text)
    assert found["images"][0] == {"id": 1, "width": 64, "height": 48}
    assert found["annotations"][0]["bbox"] == BOX and found["annotations"][0]["area"] == 26 * 35.5
    assert found["categories"] == [{"id": 1, "name": "cone"}, {"id": 2, "name": "box"}]


@pytest.mark.parametrize("form", [XYWH, XYXY])
def test_bare_numbers_round_trip(form: str) -> None:
    rows = bare_boxes(LABELS, form)
    assert rows[0] == tuple(BOX if form == XYWH else CORNERS)
    assert all(isinstance(value, int) for value in rows[1]), "whole numbers index pixels"
    for given in (rows, [list(row) for row in rows], np.array(rows), [np.array(row) for row in rows]):
        (label,), _ = read_boxes(given, form)
        assert torch.equal(label, torch.cat(LABELS))
    nested, _ = read_boxes([rows[:2], rows[2:]], form)
    assert all(torch.equal(one, other) for one, other in zip(nested, LABELS, strict=True))


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ([{"image_id": 9, "bbox": BOX, "score": 0.5}], ""),
        ([{"canvas_width": 64, "canvas_height": 48, "boxes": [CORNERS], "confidence": 0.9}], ""),
        ({"boxes": [CORNERS]}, ""),
        ({"x": 4, "y": 5, "width": 26, "height": 35.5}, ""),
        ([[{"x": 4, "y": 5, "width": 26, "height": 35.5}]], ""),
        ([{"bbox_2d": CORNERS, "label": "cone"}], "cone"),
        (BOX, ""),
    ],
)
def test_forms_of_one_box(value: Any, name: str) -> None:
    labels, names = read_boxes(value)
    assert torch.equal(labels[0], torch.tensor([CORNERS])) and names == [[name]]


def test_results_are_grouped_by_picture() -> None:
    labels, _ = read_boxes([{"image_id": k, "bbox": [k, 0, 1, 1]} for k in (3, 1, 3)])
    assert [len(label) for label in labels] == [2, 1] and labels[1][0, 0] == 1
    assert [len(label) for label in read_boxes([])[0]] == [0]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("text", "boxes have a form that is known, found 'text'"),
        ([[1, 2, 3]], "a box has four numbers, found "),
        ([{"bbox": [1, 2, float("nan"), 4]}], "a box has four numbers, found "),
        ({"annotations": [5]}, r"annotations are a list of objects, found \[5\]"),
    ],
)
def test_what_is_no_box_is_refused(value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        read_boxes(value)
    assert "\n" not in str(caught.value)


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError, match="json must be JSON, found Expecting value at line 1: copy it whole"):
        parsed("boxes", "json")


def figure(seed: int = 0) -> torch.Tensor:
    """Two people, one of them half seen."""
    pose = torch.rand(2, 18, 3, generator=torch.Generator().manual_seed(seed)) * 60 + 2
    pose[..., 2] = 1
    pose[1, 9:] = 0
    return pose.mul(100).round().div(100)


def aux_reads(frame: dict[str, Any]) -> list[list[tuple[float, float] | None]]:
    """A frame by controlnet_aux's rules: numbers by three, a joint below confidence 1 is none."""
    people = []
    for person in frame["people"]:
        numbers = person["pose_keypoints_2d"]
        assert len(numbers) % 3 == 0 and all(isinstance(n, float) for n in numbers)
        assert all(
            not person[key] for key in ("face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d")
        )
        people.append([None if numbers[i + 2] < 1 else tuple(numbers[i : i + 2]) for i in range(0, len(numbers), 3)])
    return people


def test_poses_round_trip_and_controlnet_aux_reads_them() -> None:
    pose = figure()
    frames = json.loads(json.dumps(pose_frames([pose, pose[:0]], (64, 48))))
    (label, nobody), sizes = read_poses(frames)
    torch.testing.assert_close(label, pose, atol=1e-4, rtol=0)
    assert sizes == [(64, 48)] * 2 and nobody.shape == (0, len(JOINTS), 3)
    first, second = aux_reads(frames[0])
    assert frames[0]["canvas_height"] == 48 and len(first) == 18 and second[9:] == [None] * 9
    np.testing.assert_allclose(first, pose[0, :, :2].numpy(), atol=1e-4)
    torch.testing.assert_close(read_poses(frames[0])[0][0], pose, atol=1e-4, rtol=0)


def test_poses_of_other_writers_are_read() -> None:
    pose = figure()[:1]
    shares = pose / torch.tensor([64.0, 64.0, 1.0])
    frame = {"canvas_width": 64, "canvas_height": 64, "people": [{"pose_keypoints_2d": shares.flatten().tolist()}]}
    torch.testing.assert_close(read_poses(frame)[0][0], pose)
    frame["people"] = [{"pose_keypoints_2d": pose[0].tolist()}, {"pose_keypoints_2d": None}]
    torch.testing.assert_close(read_poses([frame])[0][0], pose)
    body = torch.zeros(25, 3)
    body[list(BODY_25)] = pose[0]
    body[8] = 30.0  # the middle of the hips, which COCO has not
    frame["people"] = [{"pose_keypoints_2d": body.flatten().tolist()}]
    torch.testing.assert_close(read_poses(frame)[0][0], pose)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "a pose is a list of frames"),
        ({"animals": []}, "a frame of a pose has people"),
        ({"people": []}, "has canvas_width and canvas_height, found"),
        (
            {"people": [{"pose_keypoints_2d": [1, 2, 1]}], "canvas_width": 8, "canvas_height": 8},
            "found 1: dots of single",
        ),
        ({"people": [{"pose_keypoints_2d": [1, 2]}], "canvas_width": 8, "canvas_height": 8}, "are x, y and confidence"),
        ({"people": [3], "canvas_width": 8, "canvas_height": 8}, "people are a list of objects"),
    ],
)
def test_what_is_no_pose_is_refused(value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_poses(value)


def test_nearness_with_a_range_is_metres_again() -> None:
    metres = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(1)) * 9 + 1
    near, far = float(metres[0].min()), float(metres[0].max())
    torch.testing.assert_close(metres_of(nearness_of(metres[0]), near, far), metres[0])
