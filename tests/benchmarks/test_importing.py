"""The same layouts as inputs of `data build`: what is stored is what judging calls right, and training reads it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from sets import noisy, picture, questions, save, truth
from test_dense import ade, metres, millimetres
from test_editing import brush, cell, emu
from test_keypoints import coco, person
from test_refer import PLAIN, layout

from pixwizard.cli.main import main
from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.training.data.feed.collection import Collection


def build(folder: Path, **given: Any) -> list[dict[str, Any]]:
    """The rows of a build of one layout that lies in `data`."""
    recipe = {"output": "out", "inputs": [{"kind": "layout", "path": "data"} | given], "smallest": 16}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    assert main(["data", "build", str(folder / "recipe.json")]) == 0
    rows: list[dict[str, Any]] = pq.read_table(folder / "out" / "manifest.parquet").to_pylist()
    return rows


def stored(folder: Path, row: dict[str, Any], role: str) -> Image.Image:
    data = Collection(folder / "out").part(row, role)
    assert data is not None
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("task", ["referring_segmentation", "referring_mask"])
def test_refcoco(task: str, tmp_path: Path) -> None:
    layout(tmp_path / "data", "refcoco", PLAIN, "refs(unc)")
    rows = build(tmp_path, layout="refcoco", split="val", task=task)
    assert [row["captions"] for row in rows] == [["left box", "the box"], ["two bars"]], (
        "expressions of one thing together"
    )
    assert {row["task"] for row in rows} == {task} and not any(row["instructions"] for row in rows)
    by = "mask" if task == "referring_mask" else "overlay"
    asked = questions("refcoco", tmp_path / "data", split="val", by=by)
    assert np.array_equal(np.asarray(stored(tmp_path, rows[1], "target")), np.asarray(truth(asked[2])))


def test_classes_and_depth(tmp_path: Path) -> None:
    (tmp_path / "ade").mkdir()
    ade(tmp_path / "ade" / "data")
    rows = build(tmp_path / "ade", layout="ade20k", split="validation")
    assert len(rows) == 3 and {row["task"] for row in rows} == {"segmentation"}
    asked = questions("ade20k", tmp_path / "ade" / "data")
    assert np.array_equal(np.asarray(stored(tmp_path / "ade", rows[0], "target")), np.asarray(truth(asked[0])))

    place = tmp_path / "nyu" / "data" / "sync" / "kitchen"
    depth = metres(3)
    save(picture(0, (64, 48)), place / "rgb_00001.jpg")
    save(Image.fromarray(millimetres(depth)), place / "sync_depth_00001.png")
    (row,) = build(tmp_path / "nyu", layout="nyuv2-depth")
    pixels = np.asarray(stored(tmp_path / "nyu", row, "target")).copy()
    read = TASKS["depth"].decode(torch.from_numpy(pixels).movedim(-1, 0).float() / 255, snap_edges=False).numpy()
    known = depth > 0
    assert np.abs(read[known] - depth[known]).max() < 0.05
    assert read[~known].min() > 0.9, "holes of the sensor take the nearest depth"


def test_people(tmp_path: Path) -> None:
    data = coco(tmp_path / "data")
    (data / "annotations" / "person_keypoints_train2017.json").write_bytes(
        (data / "annotations" / "person_keypoints_val2017.json").read_bytes()
    )
    (data / "val2017").rename(data / "train2017")
    rows = build(tmp_path, layout="coco-keypoints")
    assert [row["task"] for row in rows] == ["pose"] * 3
    assert np.asarray(stored(tmp_path, rows[0], "target")).any()
    (tmp_path / "out").rename(tmp_path / "poses")
    rows = build(tmp_path, layout="coco-keypoints", task="keypoint")
    assert len(rows) == 17, "each joint of the one person who is alone in a picture"
    row = next(row for row in rows if row["origin"].endswith("_07"))
    assert all("left wrist of the person" in sentence for sentence in row["instructions"])
    color = next(name for name in ("red", "green", "blue", "yellow", "cyan", "magenta", "orange", "purple")
                 if all(name in sentence for sentence in row["instructions"]))  # fmt: skip
    both = [
        torch.from_numpy(np.asarray(stored(tmp_path, row, role).convert("RGB")).copy()).movedim(-1, 0).float() / 255
        for role in ("target", "source")
    ]
    found = TASKS["keypoint"].decode(*both, colors=(color,))[0]
    joints = np.array(person(3, 2, (60, 20, 200, 290))["keypoints"]).reshape(-1, 3)
    assert found[2] == 1 and np.abs(found[:2].numpy() - joints[9, :2] - 0.5).max() < 1.5


def test_edits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Emu Edit's own set has no results, so nothing can be learnt from it; with them, and MagicBrush, pairs."""
    (tmp_path / "bare").mkdir()
    emu(tmp_path / "bare" / "data")
    recipe = {"output": "out", "inputs": [{"kind": "layout", "path": "data", "layout": "emu-edit", "split": "test"}]}
    (tmp_path / "bare" / "recipe.json").write_text(json.dumps(recipe))
    assert main(["data", "build", str(tmp_path / "bare" / "recipe.json")]) == 2
    assert "3 no target" in capsys.readouterr().err

    rows = [
        {"instruction": f"do {i}", "image": cell(picture(i)), "edited_image": cell(noisy(picture(i), i)), "task": "add"}
        for i in range(2)
    ]
    (tmp_path / "full" / "data" / "data").mkdir(parents=True)
    table = pa.Table.from_pylist(rows)
    pq.write_table(
        table, tmp_path / "full" / "data" / "data" / "validation-00000-of-00001-ab.parquet", row_group_size=1
    )
    built = build(tmp_path / "full", layout="emu-edit")
    assert [(row["task"], row["instructions"]) for row in built] == [("edit_add", ["do 0"]), ("edit_add", ["do 1"])]
    assert np.array_equal(np.asarray(stored(tmp_path / "full", built[1], "target")), np.asarray(noisy(picture(1), 1)))

    rows = [
        {
            "img_id": str(i), "turn_index": 1, "source_img": cell(picture(i)), "target_img": cell(picture(i + 9)),
            "instruction": "remove the tree" if i else "a new sky",
        }
        for i in range(2)
    ]  # fmt: skip
    (tmp_path / "magic" / "data" / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "magic" / "data" / "data" / "train-00000-of-00001.parquet")
    built = build(tmp_path / "magic", layout="magicbrush")
    assert [row["instructions"] for row in built] == [["a new sky"], ["remove the tree"]]
    assert built[1]["task"] == "edit_remove"
    assert np.array_equal(np.asarray(stored(tmp_path / "magic", built[0], "source")), np.asarray(picture(0)))


def test_training_draws_pairs_from_it(tmp_path: Path) -> None:
    layout(tmp_path / "data", "refcoco", PLAIN, "refs(unc)")
    build(tmp_path, layout="refcoco", split="val")
    items = Collection(tmp_path / "out").items("referring_segmentation", centers=(64,))
    (size,) = {(int(w), int(h)) for w, h in items._order["size"]}
    found = items.sample(0, size, torch.Generator().manual_seed(0))
    assert "box" in found.instruction
    assert found.image.shape == found.target.shape and not torch.equal(found.image, found.target)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"layout": "refcocoo"}, "the layouts are pairs, refcoco"),
        ({"layout": "magicbrush", "split": "test"}, "layout magicbrush has the splits train, dev"),
        ({"layout": "ade20k", "task": "depth"}, "layout ade20k has the tasks segmentation"),
    ],
)
def test_mistakes(given: dict[str, str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    brush(tmp_path / "data")
    (tmp_path / "r.json").write_text(
        json.dumps({"output": "o", "inputs": [{"kind": "layout", "path": "data"} | given]})
    )
    assert main(["data", "build", str(tmp_path / "r.json")]) == 2
    assert words in capsys.readouterr().err
