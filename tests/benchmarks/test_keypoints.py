"""COCO's keypoints: joints there and back, and AP against pycocotools asked directly."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sets import answered, judged, ladder, picture, questions, save, truth

from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.training.benchmarks.layout_keypoints import COCO_JOINTS, from_skeleton, to_skeleton

SIZE = (320, 320)
# x and y of a person who stands and holds the arms out, in shares of the box, as COCO lists the joints.
STANDING = (
    (0.50, 0.08), (0.53, 0.05), (0.47, 0.05), (0.57, 0.07), (0.43, 0.07), (0.64, 0.22), (0.36, 0.22), (0.80, 0.30),
    (0.20, 0.30), (0.95, 0.38), (0.05, 0.38), (0.59, 0.52), (0.41, 0.52), (0.61, 0.74), (0.39, 0.74), (0.62, 0.95),
    (0.38, 0.95),
)  # fmt: skip


def person(number: int, image: int, box: tuple[int, int, int, int], hidden: tuple[str, ...] = ()) -> dict[str, Any]:
    x, y, w, h = box
    joints = []
    for name, (a, b) in zip(COCO_JOINTS, STANDING, strict=True):
        joints += [0, 0, 0] if name in hidden else [round(x + a * w), round(y + b * h), 2]
    seen = sum(value > 0 for value in joints[2::3])
    return {
        "id": number, "image_id": image, "category_id": 1, "bbox": list(box), "area": w * h * 0.6, "iscrowd": 0,
        "keypoints": joints, "num_keypoints": seen,
    }  # fmt: skip


def coco(root: Path) -> Path:
    images = [{"id": i, "file_name": f"00000000000{i}.jpg", "width": SIZE[0], "height": SIZE[1]} for i in (1, 2, 3)]
    people = [
        person(1, 1, (20, 20, 130, 280)),
        person(2, 1, (165, 30, 140, 270), ("left ankle", "right ankle")),
        person(3, 2, (60, 20, 200, 290)),
    ]
    told = {"images": images, "annotations": people, "categories": [{"id": 1, "name": "person"}]}
    (root / "annotations").mkdir(parents=True)
    (root / "annotations" / "person_keypoints_val2017.json").write_text(json.dumps(told))
    for one in images:
        save(picture(one["id"], SIZE), root / "val2017" / one["file_name"])
    return root


def test_joints_there_and_back() -> None:
    joints = person(1, 1, (10, 20, 100, 200), ("nose", "left wrist"))["keypoints"]
    skeleton = to_skeleton(joints)
    assert skeleton.shape == (18, 3) and skeleton[1, 2] == 1, "the neck is seen with both shoulders"
    back = np.array(from_skeleton(skeleton, (1.0, 1.0))).reshape(-1, 3)
    theirs = np.array(joints).reshape(-1, 3)
    assert np.allclose(back[:, :2], theirs[:, :2]) and np.array_equal(back[:, 2] > 0, theirs[:, 2] > 0)


def test_ap_equals_pycocotools(tmp_path: Path) -> None:
    coco(tmp_path / "data")
    asked = questions("coco-keypoints", tmp_path / "data")
    assert [question.name for question in asked] == [f"{i:012d}" for i in (1, 2, 3)]

    def shifted(question: Any) -> Image.Image:
        told = json.loads(question.target.drawn)["people"]
        people = torch.tensor(told, dtype=torch.float32).reshape(-1, 18, 3) + torch.tensor([5.0, 4.0, 0.0])
        pixels = TASKS["pose"].encode(people * torch.tensor([0.5, 0.5, 1.0]), size=(160, 160))
        return Image.fromarray((pixels * 255).round().byte().movedim(0, -1).numpy())

    found = judged("coco-keypoints", tmp_path / "data", answered(asked, tmp_path / "shifted", shifted))["metrics"]
    results = []
    for question in asked:
        coded = torch.from_numpy(np.asarray(shifted(question)).copy()).movedim(-1, 0).float() / 255
        for joints in TASKS["pose"].decode(coded).numpy():
            places = from_skeleton(joints, (2.0, 2.0))
            score = float(np.mean(np.array(places[2::3]) > 0))
            results.append({"image_id": int(question.name), "category_id": 1, "keypoints": places, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        truths = COCO(str(tmp_path / "data" / "annotations" / "person_keypoints_val2017.json"))
        evaluation = COCOeval(truths, truths.loadRes(results), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    for i, name in ((0, "ap"), (1, "ap_50"), (2, "ap_75"), (5, "ar")):
        assert found[name] == pytest.approx(evaluation.stats[i], abs=1e-6)
    assert 0 < found["ap"] < 1


def test_truth_copy_and_noise(tmp_path: Path) -> None:
    coco(tmp_path / "data")
    best, copy, worst = ladder("coco-keypoints", tmp_path / "data", tmp_path)
    assert best["ap"] > 0.9 and best["ar"] > 0.9
    assert max(copy["ap"], worst["ap"]) < 0.05
    assert best["ap_medium"] == "not measured: no such person"


def test_a_picture_without_people_is_black(tmp_path: Path) -> None:
    coco(tmp_path / "data")
    assert not np.asarray(truth(questions("coco-keypoints", tmp_path / "data")[2])).any()
