"""What a build reads: every form of input, and recipes that are wrong."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixwizard.cli.main import main

pq = pytest.importorskip("pyarrow.parquet")
import pyarrow as pa  # noqa: E402

from pixwizard.training.data.feed.collection import Collection  # noqa: E402

NANO = Path(__file__).parent.parent.parent / "comfyui_pixwizard" / "weights" / "nano"


def image(seed: int, size: tuple[int, int] = (80, 64)) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def coded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def build(folder: Path, *inputs: dict[str, Any], **more: Any) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.json"
    path.write_text(json.dumps({"output": "out", "inputs": inputs, "smallest": 32} | more))
    return main(["data", "build", str(path)])


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / "out" / "manifest.parquet").to_pylist()
    return found


def left_out(folder: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((folder / "out" / "report.json").read_text())["rejected"]
    return found


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("pixwizard: error: ")
    return error


# -- forms ---------------------------------------------------------------------------------------------------------


def test_a_folder_with_folders_captions_and_strange_pictures(tmp_path: Path) -> None:
    place = tmp_path / "photos" / "deep"
    place.mkdir(parents=True)
    (place / "a.png").write_bytes(coded(image(1)))
    (place / "a.txt").write_text("a cat\n")
    exif = Image.Exif()
    exif[274] = 6
    (tmp_path / "photos" / "turned.jpg").write_bytes(coded(image(2), "JPEG", exif=exif))
    (tmp_path / "photos" / "large.png").write_bytes(coded(image(3, (300, 200))))
    (tmp_path / "photos" / "grey16.png").write_bytes(coded(Image.fromarray(np.ones((64, 64), np.uint16))))
    (tmp_path / "photos" / "notes.md").write_text("no picture")
    assert build(tmp_path, {"kind": "folder", "path": "photos"}, store_side=100) == 0
    found = {row["origin"]: row for row in rows(tmp_path)}
    assert set(found) == {"deep/a.png", "turned.jpg", "large.png"}
    assert found["deep/a.png"]["captions"] == ["a cat"]
    assert (found["turned.jpg"]["width"], found["turned.jpg"]["height"]) == (64, 80)
    assert (found["large.png"]["width"], found["large.png"]["height"]) == (100, 67)
    assert left_out(tmp_path) == {"wrong mode": 1}
    stored = Collection(tmp_path / "out").part(found["deep/a.png"], "target")
    assert stored == (place / "a.png").read_bytes(), "what needs no change is stored as it is"


def test_released_annotations_with_lists_blanks_and_gaps(tmp_path: Path) -> None:
    for seed in range(4):
        (tmp_path / f"{seed}.png").write_bytes(coded(image(seed)))
    (tmp_path / "tall.png").write_bytes(coded(image(9, (64, 80))))
    items = [
        {"height": 64, "width": 80, "ratio": 1.25, "input_path": "0.png", "target_path": "1.png", "prompt": "do it"},
        {"input_path": "0.png", "target_path": "2.png", "prompt": ["one", "two"]},
        {"input_path": "data/white_image.png", "target_path": "3.png", "prompt": ["a cat", "a dog"]},
        {"input_path": "tall.png", "target_path": "1.png", "prompt": "other shape"},
        {"input_path": "0.png", "prompt": "no target"},
        {"input_path": "0.png", "target_path": "1.png", "prompt": "do it"},
    ]
    (tmp_path / "a.json").write_text(json.dumps(items))
    assert build(tmp_path, {"kind": "annotations", "path": "a.json"}) == 0
    found = rows(tmp_path)
    assert [row["instructions"] for row in found] == [["do it"], ["one", "two"], []]
    assert found[2]["captions"] == ["a cat", "a dog"] and found[2]["task"] == "text_to_image"
    assert [part["name"] for part in found[2]["parts"]] == ["target.png", "json"]
    assert left_out(tmp_path) == {"duplicate": 1, "no target_path": 1, "pair of two shapes": 1}


def test_a_released_meta_file_keeps_fractions(tmp_path: Path) -> None:
    """`scale: 0.5` becomes 0 items in the released code."""
    pytest.importorskip("yaml")
    for name in ("rain", "snow"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(coded(image(len(name))))
        (tmp_path / name / "1.png").write_bytes(coded(image(len(name) + 5)))
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"input_path": "0.png", "target_path": "1.png"}) + "\n")
    (tmp_path / "meta.yaml").write_text(
        "META:\n"
        "  - {path: rain.jsonl, type: derain, scale: 0.5, ratio: 1.0, root: rain}\n"
        "  - {path: snow.jsonl, type: desnow, scale: 3, ratio: 0.2, root: snow}\n"
    )
    assert build(tmp_path, {"kind": "meta", "path": "meta.yaml"}) == 0
    collection = Collection(tmp_path / "out")
    assert [row["task"] for row in rows(tmp_path)] == ["derain", "desnow"]
    source = collection.items("derain", (64,), inputs=["meta-rain"]).source
    assert (source.repeats, source.fraction) == (0.5, 1.0)
    source = collection.items("desnow", (64,), inputs=["meta-snow"]).source
    assert (source.repeats, source.fraction) == (3, 0.2)


def test_a_tar_in_webdataset_form_and_a_broken_one(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, data in {
            "x/0.jpg": coded(image(0), "JPEG"),
            "x/0.txt": b"a cat",
            "x/1.source.png": coded(image(1)),
            "x/1.target.png": coded(image(2)),
            "x/1.json": json.dumps({"instruction": ["go"], "task": "derain"}).encode(),
            "x/2.txt": b"nothing to see",
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "b.tar").write_bytes(whole[:700])
    assert build(tmp_path, {"kind": "webdataset", "path": "*.tar", "name": "tars"}) == 0
    found = rows(tmp_path)
    assert [row["origin"] for row in found] == ["a.tar:x/0", "a.tar:x/1"]
    assert found[0]["captions"] == ["a cat"]
    assert found[1]["instructions"] == ["go"] and found[1]["task"] == "derain"
    assert left_out(tmp_path)["missing"] == 1 and sum(left_out(tmp_path).values()) == 2


def test_shards_are_tars_that_are_read_again(tmp_path: Path) -> None:
    """What a build writes is WebDataset's form: it is an input of another build."""
    (tmp_path / "photos").mkdir()
    for seed in range(5):
        (tmp_path / "photos" / f"{seed}.png").write_bytes(coded(image(seed)))
        (tmp_path / "photos" / f"{seed}.txt").write_text(f"number {seed}")
    assert build(tmp_path, {"kind": "folder", "path": "photos"}, shard=2) == 0
    shards = {"kind": "webdataset", "path": "../out/shards/*.tar", "name": "again"}
    assert build(tmp_path / "second", shards) == 0
    assert sorted(r["captions"][0] for r in rows(tmp_path / "second")) == [f"number {n}" for n in range(5)]
    webdataset = pytest.importorskip("webdataset")
    urls = sorted(map(str, (tmp_path / "out" / "shards").glob("*.tar")))
    samples = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False))
    assert len(samples) == 5 and all("target.png" in sample for sample in samples)


def test_parquet_with_bytes_and_with_paths(tmp_path: Path) -> None:
    (tmp_path / "2.png").write_bytes(coded(image(2)))
    cells = [{"bytes": coded(image(seed)), "path": None} for seed in range(3)] + [None]
    table = {"image": cells, "caption": ["a", "b", "c", "d"], "more": [1, 2, 3, 4]}
    pq.write_table(pa.table(table), tmp_path / "a.parquet", row_group_size=2)
    pq.write_table(pa.table({"file": ["2.png", "3.png"], "words": ["x", "y"]}), tmp_path / "b.parquet")
    assert (
        build(
            tmp_path,
            {"kind": "parquet", "path": "a.parquet"},
            {"kind": "parquet", "path": "b.parquet", "columns": {"target": "file", "caption": "words"}},
            unique=False,
        )
        == 0
    )
    assert [row["captions"] for row in rows(tmp_path)] == [["a"], ["b"], ["c"], ["x"]]
    assert left_out(tmp_path) == {"missing": 2}


def test_a_changed_picture_makes_its_shard_again_and_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    for seed in range(6):
        (tmp_path / "photos" / f"{seed}.png").write_bytes(coded(image(seed)))
    given = {"kind": "folder", "path": "photos"}
    assert build(tmp_path, given, shard=2) == 0
    (tmp_path / "photos" / "3.png").write_bytes(coded(image(33)))
    assert build(tmp_path, given, shard=2) == 0
    assert "1 of 3 shards made now" in capsys.readouterr().out
    assert build(tmp_path, given, shard=2, filters=[{"score": "detail", "at_least": 0}]) == 0
    assert "3 of 3 shards made now" in capsys.readouterr().out


# -- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"colour": 1}, "found 'colour': leave it out"),
        ({"shard": "many"}, "shard takes a int, found 'many'"),
        ({"inputs": [{"kind": "zip", "path": "x"}]}, "is one of folder, annotations, meta, webdataset, parquet"),
        ({"inputs": [{"kind": "folder"}]}, "found no path: add it"),
        ({"inputs": [{"kind": "folder", "path": "nowhere"}]}, "found none at"),
        ({"inputs": [{"kind": "folder", "path": ".", "task": "cook"}]}, "task of the registry, found 'cook'"),
        ({"inputs": [{"kind": "folder", "path": "a"}, {"kind": "folder", "path": "b/a"}]}, "'a' twice"),
        ({"inputs": []}, "needs an output folder and inputs"),
        ({"annotators": [{"name": "smell"}]}, "annotators are canny"),
        ({"annotators": [{"name": "depth"}]}, "needs a folder of weights"),
        ({"annotators": [{"name": "depth", "model": "none"}]}, "found no config.json"),
        ({"annotators": [{"name": "pose", "model": "x"}]}, "pip install controlnet-aux"),
        ({"filters": [{"score": "taste"}]}, "scores are gap"),
        ({"filters": [{"score": "clip_text", "model": "none"}]}, "none"),
        ({"filters": [{"score": "gap", "at_least": 2, "at_most": 1}]}, "lets nothing through"),
    ],
)
def test_a_wrong_recipe_is_one_line_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: dict[str, Any], words: str
) -> None:
    if "controlnet-aux" in words and __import__("importlib").util.find_spec("controlnet_aux"):
        pytest.skip("controlnet-aux is installed")
    given = more.get("inputs", [{"kind": "folder", "path": "."}])
    assert build(tmp_path, *given, **{name: value for name, value in more.items() if name != "inputs"}) == 2
    assert words in complaint(capsys)
    assert not (tmp_path / "out").exists()


def test_nothing_good_is_an_error_that_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"broken")
    assert build(tmp_path, {"kind": "folder", "path": "photos"}) == 2
    assert "found none (1 unreadable)" in complaint(capsys)
