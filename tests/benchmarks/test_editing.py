"""Emu Edit's Parquet and MagicBrush's folder, and every figure against the networks asked directly."""

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
import torch.nn.functional as F
from PIL import Image
from sets import answered, copied, judged, noise_of, noisy, picture, questions, save
from stand_ins import DINO, clip, dino

from pixwizard.cli.main import main
from pixwizard.training.benchmarks.libraries import library

CAPTIONS = [("a dog on grass", "a cat on grass"), ("a red car", "a red car"), ("a house", "a house in the snow")]


def cell(image: Image.Image) -> dict[str, Any]:
    out = io.BytesIO()
    image.save(out, "PNG")
    return {"bytes": out.getvalue(), "path": None}


def emu(root: Path, captions: list[tuple[str, str]] = CAPTIONS) -> Path:
    rows = [
        {
            "instruction": f"edit number {i}", "image": cell(picture(i)), "task": ("add", "color", "style")[i % 3],
            "split": "test", "idx": i, "hash": f"h{i}", "input_caption": before, "output_caption": after,
        }
        for i, (before, after) in enumerate(captions)
    ]  # fmt: skip
    (root / "data").mkdir(parents=True)
    for part, chosen in enumerate((rows[:2], rows[2:])):
        name = f"test-0000{part}-of-00002-64edd860175df28a.parquet"
        pq.write_table(pa.Table.from_pylist(chosen), root / "data" / name, row_group_size=1)
    return root


def brush(root: Path) -> Path:
    turns, described = [], {}
    for i in range(2):
        folder = root / "test" / "images" / f"10{i}"
        save(picture(i), folder / f"10{i}-input.png")
        described[f"10{i}"] = {f"10{i}-input.png": "a street", f"10{i}-output1.png": "a street with a tree"}
        save(noisy(picture(i), i, 40), folder / f"10{i}-output1.png")
        turns.append({"input": f"10{i}-input.png", "output": f"10{i}-output1.png", "instruction": "add a tree"})
    (root / "test" / "edit_turns.json").write_text(json.dumps(turns))
    (root / "test" / "global_descriptions.json").write_text(json.dumps(described))
    return root


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("networks")
    return *clip(folder), dino(folder)


def options(networks: tuple[Path, Path, Path]) -> list[str]:
    weights, architecture, transformer = networks
    told = {"clip": weights, "clip-model": architecture, "dino": transformer, "dino-model": DINO}
    return [word for name, value in told.items() for word in (f"--{name}", str(value))]


class Asked:
    """The same networks, asked without this project's code."""

    def __init__(self, networks: tuple[Path, Path, Path]):
        from safetensors.torch import load_file

        weights, architecture, transformer = networks
        told = json.loads(architecture.read_text())
        self.clip = library("open_clip.model", "a test", "open_clip_torch").CLIP(**told).eval()
        self.clip.load_state_dict(load_file(weights))
        self.prepare = library("open_clip", "a test", "open_clip_torch").image_transform(32, is_train=False)
        self.tokens = library("open_clip", "a test", "open_clip_torch").tokenize
        self.dino = library("timm", "a test", "timm").create_model(DINO, num_classes=0).eval()
        self.dino.load_state_dict(torch.load(transformer, weights_only=True))

    @torch.no_grad()
    def figures(self, answer: Image.Image, source: Image.Image, before: str, after: str) -> dict[str, float]:
        pictures = self.clip.encode_image(torch.stack([self.prepare(source), self.prepare(answer)])).double()
        words = self.clip.encode_text(self.tokens([before, after])).double()
        (a, b), (s, t) = F.normalize(pictures, dim=1), F.normalize(words, dim=1)
        found = {"clip_im_vs_input": float(a @ b), "clip_out": float(b @ t)}
        if before != after:
            found["clip_dir"] = float((b - a) @ (t - s) / ((b - a).norm() * (t - s).norm()))
        x, y = (np.asarray(p).astype(np.float64) / 255 for p in (answer, source))
        tokens = F.normalize(torch.cat([self.dino(self._small(p)) for p in (answer, source)]).double(), dim=1)
        return found | {"l1_vs_input": float(np.abs(x - y).mean()), "dino_vs_input": float(tokens[0] @ tokens[1])}

    def _small(self, image: Image.Image) -> torch.Tensor:
        """Shorter side to 183, the longer one rounded down, then the centre of 160."""
        short = min(image.size)
        width, height = (int(183 * side / short) for side in image.size)
        left, top = (round((side - 160) / 2) for side in (width, height))
        cut = image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + 160, top + 160))
        unit = (np.asarray(cut).astype(np.float32) / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
        return torch.from_numpy(unit.astype(np.float32)).movedim(-1, 0)[None]


def test_emu_edit_equals_the_networks_asked_directly(tmp_path: Path, networks: tuple[Path, Path, Path]) -> None:
    emu(tmp_path / "data")
    asked = questions("emu-edit", tmp_path / "data", split="test")
    assert [q.task for q in asked] == ["edit_add", "edit_recolor", "edit_style"]
    folder = answered(asked, tmp_path / "answers", lambda q: noisy(copied(q), 3, 60))
    found = judged("emu-edit", tmp_path / "data", folder, *options(networks))
    directly = Asked(networks)
    each = [directly.figures(noisy(copied(q), 3, 60), copied(q), *CAPTIONS[i]) for i, q in enumerate(asked)]
    for figure in ("clip_dir", "clip_out", "clip_im_vs_input", "l1_vs_input", "dino_vs_input"):
        values = [one[figure] for one in each if figure in one]
        assert found["metrics"][figure] == pytest.approx(np.mean(values), abs=1e-6), figure
    assert found["metrics"]["clip_dir_n"] == 2, "the row with equal captions has no direction"
    assert "sha256" in found["settings"]["clip"] and "clip.json" in found["settings"]["clip"]


@pytest.mark.parametrize(("name", "layout", "against"), [("emu-edit", emu, "input"), ("magicbrush", brush, "gt")])
def test_truth_copy_and_noise(
    name: str, layout: Any, against: str, tmp_path: Path, networks: tuple[Path, Path, Path]
) -> None:
    layout(tmp_path / "data")
    asked = questions(name, tmp_path / "data", split="test")
    kinds = {"copy": copied, "noise": lambda q: noise_of(copied(q), 1)}
    if against == "gt":
        kinds["truth"] = lambda q: Image.open(q.target.path)
    found = {
        kind: judged(name, tmp_path / "data", answered(asked, tmp_path / kind, how), *options(networks))["metrics"]
        for kind, how in kinds.items()
    }
    copy, noise = found["copy"], found["noise"]
    assert copy["l1_vs_input"] == 0 < noise["l1_vs_input"]
    assert copy["clip_im_vs_input"] == pytest.approx(1) and noise["clip_im_vs_input"] < 1
    assert copy["dino_vs_input"] == pytest.approx(1) and noise["dino_vs_input"] < 1
    assert copy["clip_dir"] == pytest.approx(0, abs=1e-6), "a copy goes nowhere"
    if against == "gt":
        best = found["truth"]
        assert best["l1_vs_gt"] == 0 < copy["l1_vs_gt"] < noise["l1_vs_gt"]
        for figure in ("clip_im_vs_gt", "dino_vs_gt"):
            assert best[figure] == pytest.approx(1) and best[figure] > copy[figure]
            assert best[figure] > noise[figure]


def test_without_files_the_figures_say_what_they_need(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    emu(tmp_path / "data")
    folder = answered(questions("emu-edit", tmp_path / "data", split="test"), tmp_path / "answers", copied)
    found = judged("emu-edit", tmp_path / "data", folder)["metrics"]
    for figure, option in (("clip_dir", "--clip"), ("clip_out", "--clip"), ("dino_vs_input", "--dino")):
        assert found[figure].startswith(f"not measured: needs FILE ({option}")
    assert found["l1_vs_input"] == 0
    assert "not measured: needs FILE (--clip" in capsys.readouterr().out


def test_another_networks_weights_are_refused(
    tmp_path: Path, networks: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    emu(tmp_path / "data")
    command = ["eval", "benchmark", "emu-edit", "--data", str(tmp_path / "data"), "--answers", str(tmp_path)]
    assert main([*command, "--clip", str(networks[2]), "--clip-model", str(networks[1])]) == 2
    assert "no such entry" in capsys.readouterr().err
    assert main([*command, "--clip", str(networks[0]), "--clip-model", "ViT-Z"]) == 2
    assert "open_clip has no architecture 'ViT-Z'" in capsys.readouterr().err


def test_a_shard_that_lies_there_twice_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    emu(tmp_path)
    first = tmp_path / "data" / "test-00001-of-00002-64edd860175df28a.parquet"
    (tmp_path / "data" / "test-00001-of-00002-19d12e4411a8d96c.parquet").write_bytes(first.read_bytes())
    assert main(["eval", "benchmark", "emu-edit", "--data", str(tmp_path), "--answers", str(tmp_path)]) == 2
    assert "shard 00001-of-00002 of test lies" in capsys.readouterr().err


def test_turns_that_are_broken_are_counted(tmp_path: Path) -> None:
    brush(tmp_path)
    turns = json.loads((tmp_path / "test" / "edit_turns.json").read_text())
    turns += [{"input": "../../etc/passwd"}, {"input": "9-input.png", "output": "9-output1.png", "instruction": "x"}]
    (tmp_path / "test" / "edit_turns.json").write_text(json.dumps(turns))
    found = questions("magicbrush", tmp_path, split="test")
    assert [question.fault for question in found] == ["", "", "broken annotation", "missing pair"]
