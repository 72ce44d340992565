"""Making answers: kept, known again, never made twice, and a model that is killed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from sets import noisy, picture, save

from pixwizard.cli.main import main
from pixwizard.comfyui_pixwizard.pipeline import PixWizardPipeline
from pixwizard.training.benchmarks.answering import ENTRY


class Model:
    """Answers with its input, turned; ends the process, as it were, after so many."""

    def __init__(self, ends_after: int | None = None):
        self.asked: list[dict[str, Any]] = []
        self.ends_after = ends_after

    def to(self, device: Any) -> Model:
        return self

    def __call__(self, image: Image.Image, instruction: str, **settings: Any) -> SimpleNamespace:
        if self.ends_after is not None and len(self.asked) >= self.ends_after:
            raise KeyboardInterrupt
        self.asked.append(settings | {"instruction": instruction})
        return SimpleNamespace(image=image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for i in range(5):
        save(picture(i), tmp_path / "data" / "target" / f"{i}.png")
        save(noisy(picture(i), i), tmp_path / "data" / "input" / f"{i}.png")
    return tmp_path / "data"


def run(data: Path, monkeypatch: pytest.MonkeyPatch, model: Model, *arguments: str) -> int:
    monkeypatch.setattr(PixWizardPipeline, "from_pretrained", lambda *a, **k: model)
    out = data.parent / "kept"
    return main(["eval", "benchmark", "pairs", "--data", str(data), "--out", str(out), *arguments])


def test_what_was_made_before_a_kill_is_not_made_again(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed, again, third = Model(ends_after=3), Model(), Model()
    assert run(data, monkeypatch, killed) == 130
    kept = data.parent / "kept"
    made = sorted(path.name for path in kept.iterdir())
    assert made == ["0.png", "1.png", "2.png"]
    draft = kept / ".3.png.0123abcd.tmp"
    draft.write_bytes(b"half of an answer")
    times = {name: (kept / name).stat().st_mtime_ns for name in made}
    out = data.parent / "out.json"
    assert run(data, monkeypatch, again, "--json", str(out)) == 0
    assert len(killed.asked) == 3 and len(again.asked) == 2
    assert {name: (kept / name).stat().st_mtime_ns for name in made} == times
    assert not draft.exists() and json.loads(out.read_text())["settings"]["answers_made_now"] == 2
    assert run(data, monkeypatch, third) == 0
    assert not third.asked


def test_each_picture_has_a_seed_of_its_own_and_the_tasks_sentence(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model()
    assert run(data, monkeypatch, model, "--steps", "3", "--size", "64") == 0
    assert len({asked["seed"] for asked in model.asked}) == 5
    first = model.asked[0]
    assert (first["task"], first["steps"], first["size"], first["keep_size"]) == ("denoise", 3, 64, True)
    assert first["instruction"]


@pytest.mark.parametrize("change", ["settings", "picture", "torn answer"])
def test_an_answer_that_was_made_otherwise_is_made_anew(
    change: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(data, monkeypatch, Model()) == 0
    arguments, expected = [], 1
    if change == "settings":
        arguments, expected = ["--steps", "4"], 5
    elif change == "picture":
        save(picture(77), data / "input" / "2.png")
    else:
        answer = data.parent / "kept" / "2.png"
        answer.write_bytes(answer.read_bytes()[:-60])
    again = Model()
    assert run(data, monkeypatch, again, *arguments) == 0
    assert len(again.asked) == expected


def test_a_broken_set_is_told_before_the_model_is_asked(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "input" / "4.png").write_bytes(b"torn")
    model = Model()
    assert run(data, monkeypatch, model) == 2
    assert not model.asked and "1 broken picture (4)" in capsys.readouterr().err
    assert run(data, monkeypatch, model, "--allow-missing") == 0
    assert len(model.asked) == 4


def test_the_report_says_which_model_and_how(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = data.parent / "out.json"
    assert run(data, monkeypatch, Model(), "--json", str(out)) == 0
    told = json.loads(out.read_text())["settings"]
    assert told["model"] == "nano" and len(told["model_digest"]) == 32
    assert "Lanczos" in told["resize_kernel"] and told["versions"]["scikit-image"]
    assert set(told["seconds"]) == {"answers", "judging"}
    with Image.open(data.parent / "kept" / "0.png") as answer:
        assert json.loads(answer.info[ENTRY])["model"] == told["model_digest"]


def test_the_bundled_model_answers(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    arguments = ["--data", str(data), "--out", str(tmp_path / "kept"), "--json", str(out), "--n", "1", "--size", "64"]
    assert main(["eval", "benchmark", "pairs", *arguments]) == 0
    assert json.loads(out.read_text())["metrics"]["psnr_rgb"] > 10
