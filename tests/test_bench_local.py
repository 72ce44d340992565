"""`pixwizard bench local` in small."""

import json
from pathlib import Path

import pytest
from PIL import Image

from pixwizard.bench.local import OWN, PLAIN, TRUE, WHOLE, Figures, Local, edit_question, ideal_means, table
from pixwizard.comfyui_pixwizard.local_edits.edit import CHOICES
from pixwizard.comfyui_pixwizard.local_edits.forms import FORMS
from pixwizard.comfyui_pixwizard.pictures.images import to_image, to_tensor
from pixwizard.comfyui_pixwizard.tasks.language.things import OF_THINGS, thing_of


def test_a_small_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Local(n=2, size=64, json=tmp_path / "local.json", png=tmp_path / "local.png")
    assert run.run() == 0
    found = json.loads((tmp_path / "local.json").read_text())
    figures = found["figures"]
    masked = [f"{name}, {form}" for name in (OWN, TRUE) for form in CHOICES]
    assert list(figures) == [WHOLE, PLAIN, *masked, f"{OWN}, ideal", f"{TRUE}, ideal"]
    assert figures[f"{TRUE}, exact"]["outside"] == 0 < figures[WHOLE]["outside"]
    assert figures[f"{TRUE}, ideal"]["truth"] <= min(figures[f"{TRUE}, {form}"]["truth"] for form in FORMS) + 1e-6
    assert sum(found["chosen"].values()) == 4 - found["missed"]
    printed = capsys.readouterr().out
    assert printed.startswith("2 scenes of 64 px") and f"| {PLAIN} | " in printed
    with Image.open(tmp_path / "local.png") as sheet:
        assert sheet.size == (5 * 64 + 4 * 4, 2 * 64 + 4)


@pytest.mark.parametrize("task", OF_THINGS)
def test_a_question_changes_its_thing(task: str) -> None:
    question = edit_question(64, 5, task)
    change = (to_tensor(question.source) - to_tensor(question.truth)).abs().mean(1)[0]
    assert float(change[question.touched].mean()) > 4 * float(change[~question.touched].mean())
    assert bool((question.touched | ~question.mask).all())
    named = thing_of(question.instruction, task)
    assert named is not None and named.removeprefix("the ") == question.thing.lower().removeprefix("the ")


def test_figures_are_what_they_say() -> None:
    question = edit_question(64, 7, "edit_recolor")
    figures = Figures()
    for answer in (question.source, question.truth):
        figures.add(question, answer)
    shifted = to_image(to_tensor(question.source)[0] * 0.5 + 10 / 127.5 * ~question.touched)
    half = to_image(to_tensor(question.source)[0] * 0.5)
    figures.add(question, shifted)
    assert figures.outside[0] == 0 == figures.truth[1] and figures.truth[0] > 0
    moved = (to_tensor(shifted) - to_tensor(half)).abs().mean(1)[0]
    assert float(moved[~question.touched].mean()) * 127.5 == pytest.approx(10, abs=0.6)
    assert not bool(moved[question.touched].any())


def test_the_ideal_is_the_nearest_to_the_truth() -> None:
    values = {form: Figures([float(i)] * 2, [3.0 - i, float(i)]) for i, form in enumerate(FORMS)}
    figures = {f"{name}, {form}": found for name in (OWN, TRUE) for form, found in values.items()}
    assert ideal_means(figures)[f"{OWN}, ideal"] == {"outside": 1.0, "truth": 0.5}
    lines = table({PLAIN: {"outside": 2.0, "truth": 4.0}, "other": {"outside": 0.1, "truth": 2.0}})
    assert lines[3] == "| other | 0.100 | 0.05 | 2.000 | 0.50 |"
