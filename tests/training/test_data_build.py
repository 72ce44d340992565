"""`pixwizard data build`: killed, broken, changed, filtered and resumed; every form of input; processes and Ray."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixwizard.cli.main import main

pq = pytest.importorskip("pyarrow.parquet")

GOOD, BROKEN = 1900, 100
BREAKS = ("unreadable", "truncated", "too small", "wrong mode", "missing pair")


def jpeg(seed: int, size: tuple[int, int] = (80, 64), mode: str = "RGB") -> bytes:
    """A smooth picture that is different for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode).save(out, "JPEG", quality=85)
    return out.getvalue()


def picture(path: Path, seed: int, size: tuple[int, int] = (80, 64)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg(seed, size))
    return path


def recipe(folder: Path, *inputs: dict[str, Any], **more: Any) -> Path:
    path = folder / "recipe.json"
    path.write_text(json.dumps({"output": "out", "inputs": inputs, "smallest": 64} | more))
    return path


def build(path: Path, *more: object) -> int:
    return main(["data", "build", str(path), *map(str, more)])


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "out" / "report.json").read_text())
    return found


def rows(folder: Path, out: str = "out") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / out / "manifest.parquet").to_pylist()
    return found


def part(folder: Path, row: dict[str, Any], role: str) -> bytes:
    """The bytes of a part where the manifest says that they are."""
    found = next(p for p in row["parts"] if p["name"].startswith(role + "."))
    with (folder / "out" / "shards" / f"{row['shard']}.tar").open("rb") as file:
        file.seek(found["at"])
        return file.read(found["bytes"])


# -- many, broken ones among them, killed --------------------------------------------------------------------------


def collection(folder: Path) -> tuple[Path, Counter[str]]:
    """2,000 pairs, 5 % of them broken in five ways, as released annotations; and what a build should count."""
    items, wanted = [], Counter[str]()
    base = [jpeg(seed, (64 + seed % 33, 64 + seed % 17)) for seed in range(40)]
    for number in range(GOOD + BROKEN):
        name = f"{number % 20:02}/{number:04}.jpg"
        path = folder / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # A comment makes each file another one without coding it again.
        data = base[number % 40][:2] + b"\xff\xfe\x00\x06%04d" % number + base[number % 40][2:]
        item = {"input_path": name, "target_path": name, "prompt": f"do {number}", "height": 1, "width": 1, "ratio": 1}
        if number % 20 == 7:
            kind = BREAKS[number // 20 % len(BREAKS)]
            wanted[kind] += 1
            data = {
                "unreadable": b"no picture at all",
                "truncated": data[: len(data) * 3 // 5],
                "too small": jpeg(number, (64, 30)),
                "wrong mode": jpeg(number, mode="CMYK"),
                "missing pair": data,
            }[kind]
            if kind == "missing pair":
                item["input_path"] = "nowhere.jpg"
        path.write_bytes(data)
        items.append(item)
    lines = folder / "pairs.jsonl"
    lines.write_text("".join(json.dumps(item) + "\n" for item in items))
    return (
        recipe(
            folder,
            {"kind": "annotations", "path": "pairs.jsonl", "root": "pictures", "task": "edit_replace"},
            shard=50,
            filters=[{"score": "gap"}],
        ),
        wanted,
    )


def killed_at(count: int, path: Path) -> None:
    """Start a real build and kill it, with all it started, when so many shards are there."""
    command = [sys.executable, "-m", "pixwizard.cli", "data", "build", str(path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    silent: dict[str, Any] = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    process = subprocess.Popen(command, **silent)
    shards = path.parent / "out" / "shards"
    end = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < end and len(list(shards.glob("*.parquet"))) < count:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the build was over before it could be killed"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Counter[str]]:
    """The collection, built by a process that was killed twice and then finished."""
    folder = tmp_path_factory.mktemp("large")
    path, wanted = collection(folder)
    killed_at(5, path)
    first = {p.name: p.stat().st_mtime_ns for p in (folder / "out" / "shards").glob("*.parquet")}
    killed_at(20, path)
    for name, time_ns in first.items():
        assert (folder / "out" / "shards" / name).stat().st_mtime_ns == time_ns, "a finished shard was made again"
    assert not (folder / "out" / "manifest.parquet").exists()
    assert build(path) == 0
    return folder, wanted


def test_a_build_that_was_killed_twice_has_every_good_picture_once(large: tuple[Path, Counter[str]]) -> None:
    folder, _ = large
    found = rows(folder)
    assert len(found) == GOOD and len({row["key"] for row in found}) == GOOD
    assert sorted(row["instructions"][0] for row in found) == sorted(
        f"do {number}" for number in range(GOOD + BROKEN) if number % 20 != 7
    )
    for row in found[::97]:
        number = int(row["instructions"][0].split()[1])
        assert part(folder, row, "target") == (folder / "pictures" / f"{number % 20:02}/{number:04}.jpg").read_bytes()
    assert not [p for p in (folder / "out").rglob("*") if p.name.endswith(".tmp")]


def test_broken_pictures_are_counted_by_reason(large: tuple[Path, Counter[str]]) -> None:
    folder, wanted = large
    told = report(folder)
    assert told["good"] == GOOD and sum(wanted.values()) == BROKEN
    assert told["rejected"] == dict(wanted)
    assert all(origin.startswith("pairs: pairs.jsonl:") for origin in told["examples"]["truncated"])


def test_a_finished_build_does_nothing_again(large: tuple[Path, Counter[str]], capsys: Any) -> None:
    folder, _ = large
    before = {p: p.stat().st_mtime_ns for p in (folder / "out" / "shards").iterdir()}
    manifest = (folder / "out" / "manifest.parquet").read_bytes()
    assert build(folder / "recipe.json") == 0
    assert "0 of 40 shards made now" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in (folder / "out" / "shards").iterdir()} == before
    assert (folder / "out" / "manifest.parquet").read_bytes() == manifest


def test_two_processes_make_the_same_manifest(large: tuple[Path, Counter[str]]) -> None:
    same_manifest(large[0], "--workers", "2")


def test_ray_makes_the_same_manifest(large: tuple[Path, Counter[str]]) -> None:
    pytest.importorskip("ray.data", reason="ray is not installed: pip install 'ray[data]'")
    same_manifest(large[0], "--workers", "2", "--ray", "local")


def same_manifest(folder: Path, *more: str) -> None:
    """Build the same elsewhere."""
    told = json.loads((folder / "recipe.json").read_text()) | {"output": "other" + "".join(more)}
    (folder / "other.json").write_text(json.dumps(told))
    assert build(folder / "other.json", *more) == 0
    for name in ("manifest.parquet", "manifest.arrow", "report.json"):
        assert (folder / told["output"] / name).read_bytes() == (folder / "out" / name).read_bytes(), name
    for tar in (folder / "out" / "shards").glob("*.tar"):
        assert (folder / told["output"] / "shards" / tar.name).read_bytes() == tar.read_bytes()
