"""RefCOCO and its kin: the layouts, the masks, and gRefCOCO's rules, against ReLA's evaluation written again."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_masks
from sets import answered, copied, judged, ladder, picture, questions, save, truth

from pixwizard.cli.main import main
from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.training.benchmarks.question import Question

SIZE = (96, 64)


def rectangle(x: int, y: int, w: int, h: int) -> list[float]:
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def instances() -> dict[str, Any]:
    runs = coco_masks.encode(np.asfortranarray(disc(70, 40, 14).astype(np.uint8)))
    shapes = [[rectangle(8, 8, 30, 20)], [rectangle(50, 6, 20, 24), rectangle(74, 6, 10, 24)]]
    annotations = [
        {"id": 10 + i, "image_id": 1 + i % 2, "segmentation": shape, "iscrowd": 0} for i, shape in enumerate(shapes)
    ]
    annotations.append(
        {
            "id": 12,
            "image_id": 1,
            "segmentation": {"size": runs["size"], "counts": runs["counts"].decode()},
            "iscrowd": 0,
        }
    )
    images = [
        {"id": i, "file_name": f"COCO_train2014_00000000000{i}.jpg", "height": SIZE[1], "width": SIZE[0]}
        for i in (1, 2)
    ]
    return {"images": images, "annotations": annotations, "categories": []}


def disc(x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]]
    return (columns - x) ** 2 + (rows - y) ** 2 < radius**2


def ref(number: int, annotation: Any, image: int, *sentences: str, split: str = "val") -> dict[str, Any]:
    told = [{"sent_id": 100 * number + i, "sent": text, "raw": text, "tokens": []} for i, text in enumerate(sentences)]
    return {
        "ref_id": number,
        "ann_id": annotation,
        "image_id": image,
        "split": split,
        "sentences": told,
        "category_id": 1,
    }


def layout(root: Path, name: str, refs: list[dict[str, Any]], stem: str) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "instances.json").write_text(json.dumps(instances()))
    if name == "grefcoco":
        (folder / f"{stem}.json").write_text(json.dumps(refs))
    else:
        (folder / f"{stem}.p").write_bytes(pickle.dumps(refs, protocol=2))
    for i in (1, 2):
        save(picture(i, SIZE), root / "images" / "train2014" / f"COCO_train2014_00000000000{i}.jpg")
    return root


PLAIN = [ref(1, 10, 1, "left box", "the box"), ref(2, 11, 2, "two bars"), ref(3, 12, 1, "disc", split="testA")]
GENERAL = [
    ref(1, [10, 12], 1, "box and disc"),
    ref(2, [-1], 2, "a horse"),
    ref(3, [11], 2, "bars"),
    ref(4, [-1], 1, "rain"),
]


@pytest.mark.parametrize(
    ("name", "stem"), [("refcoco", "refs(unc)"), ("refcoco+", "refs(unc)"), ("refcocog", "refs(umd)")]
)
def test_a_question_for_each_expression(name: str, stem: str, tmp_path: Path) -> None:
    layout(tmp_path, name, PLAIN, stem)
    asked = questions(name, tmp_path, split="val")
    assert [q.words["caption"] for q in asked] == ["left box", "the box", "two bars"]
    assert [q.name for q in asked] == ["000001_000100", "000001_000101", "000002_000200"]
    inside = np.asarray(truth(asked[2])).astype(int) - np.asarray(copied(asked[2]))
    changed = np.abs(inside).sum(-1) > 0
    assert changed[10, 55] and changed[10, 80] and not changed[10, 72] and not changed[50, 55]


@pytest.mark.parametrize("by", ["overlay", "hsv", "mask"])
def test_iou_of_masks_read_in_three_ways(by: str, tmp_path: Path) -> None:
    layout(tmp_path / "data", "refcoco", PLAIN, "refs(unc)")
    asked = questions("refcoco", tmp_path / "data", split="val", by=by)
    said = {asked[0].name: disc(20, 18, 12), asked[1].name: disc(60, 30, 20), asked[2].name: disc(66, 18, 15)}
    true = {asked[0].name: _filled([(8, 8, 30, 20)]), asked[1].name: _filled([(8, 8, 30, 20)])}
    true[asked[2].name] = _filled([(50, 6, 20, 24), (74, 6, 10, 24)])

    def answer(question: Question) -> Image.Image:
        inside = torch.from_numpy(said[question.name])
        base = torch.from_numpy(np.asarray(copied(question)).copy()).movedim(-1, 0).float() / 255
        task = "referring_mask" if by == "mask" else "referring_segmentation"
        pixels = TASKS[task].encode(inside, base)
        return Image.fromarray((pixels * 255).round().byte().movedim(0, -1).numpy())

    folder = answered(asked, tmp_path / "said", answer)
    found = judged("refcoco", tmp_path / "data", folder, "--by", by)["metrics"]
    read = {}
    for question in asked:
        coded = torch.from_numpy(np.asarray(answer(question)).copy()).movedim(-1, 0).float() / 255
        base = torch.from_numpy(np.asarray(copied(question)).copy()).movedim(-1, 0).float() / 255
        if by == "mask":
            read[question.name] = TASKS["referring_mask"].decode(coded).numpy()
        else:
            base = base if by == "overlay" else None
            read[question.name] = TASKS["referring_segmentation"].decode(coded, base).numpy()
    both = [(read[q.name] & true[q.name]).sum() for q in asked]
    either = [(read[q.name] | true[q.name]).sum() for q in asked]
    assert found["ciou"] == pytest.approx(sum(both) / sum(either) * 100, abs=1e-6)
    assert found["giou"] == pytest.approx(np.mean(np.array(both) / np.array(either)) * 100, abs=1e-6)
    if by != "hsv":
        assert found["ciou"] == pytest.approx(
            sum((said[q.name] & true[q.name]).sum() for q in asked)
            / sum((said[q.name] | true[q.name]).sum() for q in asked)
            * 100,
            abs=3,
        )


def _filled(boxes: list[tuple[int, int, int, int]]) -> np.ndarray:
    inside = np.zeros(SIZE[::-1], bool)
    for x, y, w, h in boxes:
        inside[y : y + h, x : x + w] = True
    return inside


@pytest.mark.parametrize("by", ["overlay", "mask"])
def test_truth_copy_and_noise(by: str, tmp_path: Path) -> None:
    layout(tmp_path / "data", "refcoco", PLAIN, "refs(unc)")
    best, copy, worst = ladder("refcoco", tmp_path / "data", tmp_path, "--by", by, split="val", by=by)
    for figure in ("ciou", "giou"):
        assert best[figure] > 95
        assert max(copy[figure], worst[figure]) < 60 < best[figure]
    if by == "overlay":
        assert copy["ciou"] == 0, "a copy marks nothing"


def rela(rows: list[tuple[np.ndarray, np.ndarray, bool]]) -> dict[str, float]:
    """ReLA's `refer_evaluation`, with a mask of fewer than 50 pixels for its no-target head."""
    intersections = unions = ious = 0.0
    right: dict[bool, list[bool]] = {True: [], False: []}
    for predicted, true, nothing in rows:
        said_nothing = predicted.sum() < 50
        predicted = predicted & (not said_nothing)
        right[nothing].append(said_nothing == nothing)
        i, u = (predicted & true).sum(), (predicted | true).sum()
        if nothing:
            ious += said_nothing
            unions += 0 if said_nothing else u
        else:
            ious += 0.0 if u == 0 else i / u
            intersections, unions = intersections + i, unions + u
    return {
        "ciou": intersections / unions * 100,
        "giou": ious / len(rows) * 100,
        "n_acc": np.mean(right[True]) * 100,
        "t_acc": np.mean(right[False]) * 100,
    }


def test_no_target_rules(tmp_path: Path) -> None:
    layout(tmp_path / "data", "grefcoco", GENERAL, "grefs(unc)")
    asked = questions("grefcoco", tmp_path / "data", split="val", by="mask")
    assert [bool(q.truth["empty"]) for q in asked] == [False, True, False, True]
    true = [_filled([(8, 8, 30, 20)]) | disc(70, 40, 14), _filled([]), _filled([(50, 6, 20, 24), (74, 6, 10, 24)])]
    true.append(_filled([]))
    said = [disc(24, 18, 14), disc(30, 30, 3), _filled([]), disc(50, 40, 12)]
    assert 0 < said[1].sum() < 50

    def answer(question: Question) -> Image.Image:
        return Image.fromarray(said[asked.index(question)].astype(np.uint8) * 255).convert("RGB")

    found = judged("grefcoco", tmp_path / "data", answered(asked, tmp_path / "said", answer), "--by", "mask")["metrics"]
    read = [
        TASKS["referring_mask"]
        .decode(torch.from_numpy(np.asarray(answer(q)).copy()).movedim(-1, 0).float() / 255)
        .numpy()
        for q in asked
    ]
    wanted = rela(list(zip(read, true, [False, True, False, True], strict=True)))
    for figure, value in wanted.items():
        assert found[figure] == pytest.approx(value, abs=1e-6)
    best, copy, worst = ladder("grefcoco", tmp_path / "data", tmp_path, "--by", "overlay", split="val")
    assert best["giou"] > 95 and best["n_acc"] == best["t_acc"] == 100
    assert copy["giou"] == 50 and copy["ciou"] == 0 and worst["n_acc"] == 0


class Trap:
    def __reduce__(self) -> Any:
        return (print, ("owned",))


def test_a_pickle_cannot_run_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout(tmp_path, "refcoco", PLAIN, "refs(unc)")
    (tmp_path / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps([Trap()]))
    assert main(["eval", "benchmark", "refcoco", "--data", str(tmp_path), "--answers", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert "owned" not in printed.out and "it asks for builtins.print" in printed.err


def test_annotations_are_not_trusted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refs = [*PLAIN[:1], ref(5, 99, 1, "nothing there"), ref(6, 10, 7, "no picture"), {"split": "val", "ref_id": 8}]
    layout(tmp_path, "refcoco", refs, "refs(unc)")
    (tmp_path / "images" / "train2014" / "COCO_train2014_000000000001.jpg").unlink()
    assert main(["eval", "benchmark", "refcoco", "--data", str(tmp_path), "--answers", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "3 broken annotation (ref 5, ref 6, ref 8)" in error and "2 missing pair" in error
