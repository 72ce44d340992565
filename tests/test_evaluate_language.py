"""Open language, the sweep, pictures of failures, the judge of generated scenes and `tasks --check`."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from pixwizard.cli import task_list
from pixwizard.cli.evaluate import Eval
from pixwizard.cli.main import main
from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.training.data.rendered import builders
from pixwizard.training.evaluate.following import UNSEEN, Truths, distance, follow, followed, paraphrased
from pixwizard.training.evaluate.measures import MEASURES
from pixwizard.training.evaluate.object_judge import PAIRS, asked_pairs, even_threshold, judged
from pixwizard.training.evaluate.questions import Questions
from pixwizard.training.evaluate.report import Failure, save_failures
from pixwizard.training.evaluate.runner import EvaluationSettings, answers, ceiling, referenced
from pixwizard.training.evaluate.samples import OWN, Samples
from pixwizard.training.evaluate.scene_samples import SceneSet
from pixwizard.training.evaluate.sweep import settings_of, sweep

READINGS = ("depth", "normal", "canny", "line_art", "referring_segmentation", "referring_mask", "edit_recolor")


class Same:
    """An autoencoder without loss."""

    def encode(self, image: Tensor) -> Tensor:
        return image

    def decode(self, latents: Tensor) -> Tensor:
        return latents


class Known:
    """Answers each sentence with the picture in a table; records what it was asked."""

    def __init__(self, table: dict[str, Tensor]):
        self.autoencoder, self.table, self.asked = Same(), table, []  # type: ignore[var-annotated]
        self.declared = OWN

    def generate(self, source: Tensor, instructions: list[str], **settings: Any) -> Tensor:
        self.asked += instructions
        pictures = [self.table.get(text, picture / 2 + 0.5) for text, picture in zip(instructions, source, strict=True)]
        return torch.stack(pictures) * 2 - 1


def nothing(count: int) -> None:
    """An advance that tells nobody."""


@pytest.fixture(scope="module")
def group() -> dict[str, Samples]:
    scenes = SceneSet(3, 64, 3, "test")
    return {name: scenes.samples(name) for name in READINGS}


def templates() -> dict[str, tuple[str, ...]]:
    filled = {name: " ".join(f"<{{{word}}}>" for word in TASKS[name].words) for name in TASKS}
    return {name: (f"{name} one {words}", f"{name} two {words}") for name, words in filled.items()}


def test_paraphrases_use_the_unseen_templates_and_the_samples_words(group: dict[str, Samples]) -> None:
    samples = group["edit_recolor"]
    asked = paraphrased(samples, templates()["edit_recolor"], seed=0)
    for text, words in zip(asked.instructions, samples.words, strict=True):
        assert text.startswith(("edit_recolor one <", "edit_recolor two <"))
        assert words["color"] in text and words["caption"] in text
    assert asked.instructions == paraphrased(samples, templates()["edit_recolor"], seed=0).instructions
    assert torch.equal(asked.source, samples.source)


def test_one_who_knows_follows_everything_and_a_copy_follows_nothing(group: dict[str, Samples]) -> None:
    every = {name: paraphrased(samples, templates()[name], 0) for name, samples in group.items()}
    table = {f"{text}": truth for s in every.values() for text, truth in zip(s.instructions, s.truth, strict=True)}
    # Sentences without words are the same for every scene: those are answered one scene at a time.
    for name, samples in group.items():
        if not TASKS[name].words:
            every[name] = samples.first(1)
            table |= {text: samples.truth[0] for text in templates()[name]}
    groups = [({name: group[name].first(len(every[name])) for name in group}, dict[int, list[Tensor]]())]
    right = follow(Known(table), groups, templates(), EvaluationSettings(), nothing)
    assert right["value"] == right["ceiling"] == 1 and right["holds"] and right["baseline"] == 0
    assert right["n"] == sum(len(samples) for samples in groups[0][0].values())
    assert set(right["families"]) == {"dense", "grounding", "editing"}
    assert set(right["tasks"]) == set(READINGS)
    wrong = follow(Known({}), groups, templates(), EvaluationSettings(), nothing)
    assert wrong["value"] == 0 and not wrong["holds"]


def test_another_tasks_answer_is_not_followed(group: dict[str, Samples]) -> None:
    truths = Truths(group)
    depth, normal = group["depth"], group["normal"]
    assert followed(depth, depth.truth, truths.rivals) == [True] * 3
    assert followed(depth, normal.truth, truths.rivals) == [False] * 3
    noisy = (depth.truth + 0.1 * torch.randn(depth.truth.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    assert followed(depth, noisy, truths.rivals) == [True] * 3


def test_rivals_share_the_source_and_differ_from_the_truth() -> None:
    questions = Questions(2, 64, 64, 0)
    group = {name: questions.samples(name) for name in ("denoise", "derain")}
    rivals = Truths(group).rivals(group["denoise"], 0)
    # The other task's truth is the same clean picture, which leaves the input itself.
    assert len(rivals) == 1 and torch.equal(rivals[0], group["denoise"].source[0])
    scenes = SceneSet(2, 64, 0, "test")
    mixed = {name: scenes.samples(name) for name in ("depth", "depth_to_image", "normal")}
    rivals = Truths(mixed).rivals(mixed["depth"], 1)
    assert len(rivals) == 2
    assert torch.equal(rivals[0], mixed["depth"].source[1]) and torch.equal(rivals[1], mixed["normal"].truth[1])


def test_edges_of_a_photograph_do_not_restore_it() -> None:
    questions = Questions(1, 64, 64, 0)
    samples = questions.samples("deblur")
    truths = Truths({"deblur": samples}, questions.readings())
    assert len(truths.rivals(samples, 0)) == 5
    assert followed(samples, samples.truth, truths.rivals) == [True]
    assert followed(samples, questions.readings()[0][1][None], truths.rivals) == [False]


def test_distances_are_relative_to_what_pictures_hold() -> None:
    a, b = torch.zeros(3, 16, 16), torch.zeros(3, 16, 16)
    a[:, 4:8], b[:, 4:8] = 1, 0.5
    assert distance(a, a, low_pass=True) == 0 and distance(a, 1 - a, low_pass=False) == 1
    assert distance(a, b, low_pass=False) == pytest.approx(1 / 3)
    assert distance(a / 10, b / 10, low_pass=True) == pytest.approx(distance(a, b, low_pass=True), abs=1e-5)


def test_what_a_pipeline_restores_is_restored_in_answers_and_in_the_ceiling(group: dict[str, Samples]) -> None:
    samples = group["edit_recolor"]

    class Restoring(Known):
        def finish(self, task: str, source: Tensor, picture: Tensor) -> Tensor:
            assert task == "edit_recolor" and source.shape == picture.shape and float(source.min()) < 0
            return source

    for pictures in (
        answers(Restoring({}), samples, EvaluationSettings(batch_size=2), nothing),
        ceiling(Restoring({}), samples, EvaluationSettings(batch_size=2)),
    ):
        assert torch.allclose(pictures, samples.source, atol=1e-6)
    assert torch.allclose(ceiling(Known({}), samples, EvaluationSettings()), samples.truth, atol=1e-6)


def test_marks_are_found_against_what_the_pipeline_compares_with(group: dict[str, Samples]) -> None:
    class Darkening(Known):
        def round_trip(self, pictures: Tensor) -> Tensor:
            return pictures - 0.2

    masks = referenced(Darkening({}), group["referring_segmentation"], EvaluationSettings(batch_size=2))
    assert torch.allclose(masks.compared, masks.source - 0.1, atol=1e-6)
    assert torch.equal(masks.first(2).compared, masks.compared[:2])
    depth = referenced(Darkening({}), group["depth"], EvaluationSettings())
    assert depth.compared is depth.source is group["depth"].source


def test_the_sweep_finds_the_setting_that_is_best(group: dict[str, Samples]) -> None:
    samples = group["normal"]

    class BestAtFive(Known):
        def generate(self, source: Tensor, instructions: list[str], **settings: Any) -> Tensor:
            return (samples.truth if settings["steps"] == 5 else samples.source) * 2 - 1

    found = sweep(BestAtFive({}), samples, EvaluationSettings(), nothing)
    assert found["settings"][found["best"]]["steps"] == 5
    assert found["settings"][found["best"]]["value"] == pytest.approx(0, abs=0.1)
    assert len(found["settings"]) == len(settings_of(samples)) > 3
    assert len({setting[1:] for setting in settings_of(group["edit_recolor"])}) > 2


def test_the_sweep_prints_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from pixwizard.comfyui_pixwizard.pipeline import PixWizardPipeline

    monkeypatch.setattr(PixWizardPipeline, "from_pretrained", lambda *a, **k: Known({}))
    out = tmp_path / "s.json"
    assert Eval("nano", out, tasks=("depth", "derain"), n=2, scene_size=64, sweep=True).run() == 0
    found = json.loads(out.read_text())["tasks"]
    assert list(found) == ["derain", "depth"] and all(len(row["settings"]) > 3 for row in found.values())
    assert "3/1/1" in capsys.readouterr().out


def test_the_worst_answers_are_kept(tmp_path: Path) -> None:
    good, bad = torch.full((3, 64, 64), 0.25), torch.full((3, 64, 64), 0.75)
    failures = [Failure(share, "depth", "How far?", (good, bad, good)) for share in (0.9, -2.0, 0.1)]
    paths = save_failures(failures, tmp_path / "f", 2)
    assert [path.name for path in paths] == ["01-depth.jpg", "02-depth.jpg"]
    assert sorted((tmp_path / "f").iterdir()) == paths
    with Image.open(paths[0]) as panel:
        assert panel.width > 3 * 64 and panel.height > 64
        assert abs(panel.getpixel((36, 50))[0] - 64) < 6 and abs(panel.getpixel((104, 50))[0] - 191) < 6


def test_failures_of_an_evaluation_are_its_worst(tmp_path: Path) -> None:
    evaluation = Eval("nano", tasks=("depth", "edit_text"), n=3, seen=0, scene_size=64, failures=tmp_path, worst=3)
    evaluation.measure(Known({}))
    names = [path.name for path in sorted(tmp_path.iterdir())]
    assert len(names) == 3 and {name[3:-4] for name in names} <= {"depth", "edit_text"}


def test_the_judge_knows_scenes_and_says_nothing_of_empty_canvases() -> None:
    scenes = SceneSet(24, 96, 11, "test")
    asked = asked_pairs(scenes.scenes)
    assert int(asked.sum(1).min()) >= 1 and asked.shape == (24, len(PAIRS))
    seen = judged(scenes.rendered.image)
    assert float((seen & asked).sum() / asked.sum()) > 0.8
    assert float((seen & asked).sum() / seen.sum()) > 0.8
    shades = torch.linspace(0, 1, 5)[:, None, None, None].expand(5, 3, 64, 64)
    assert not bool(judged(shades).any())
    # Pictures of other scenes do not show what was asked for.
    assert float((seen.roll(1, 0) & asked).sum() / asked.sum()) < 0.3


def test_the_threshold_lets_through_as_many_as_there_are() -> None:
    presence, truth = torch.tensor([[0.1, 0.4], [0.7, 0.9]]), torch.tensor([[True, False], [False, True]])
    assert 0.4 < float(even_threshold(presence, truth)) < 0.7
    many = torch.rand(50, 44, generator=torch.Generator().manual_seed(0))
    asked = torch.rand(50, 44, generator=torch.Generator().manual_seed(1)) < 0.1
    assert int((many > even_threshold(many, asked)).sum()) == int(asked.sum())


def test_tasks_check_names_empty_cells(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    full = task_list.task_cells({name: print for name in TASKS}, MEASURES)
    assert set(full) == set(TASKS) and all(all(row.values()) for row in full.values())
    monkeypatch.setattr(builders, "BUILDERS", {name: print for name in TASKS if name != "hed"})
    assert main(["tasks", "--check"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "empty: hed: builder"
    assert main(["tasks", "--check", "--json"]) == 2


def test_tasks_check_finds_no_empty_cell(capsys: Any) -> None:
    assert main(["tasks", "--check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == list(TASKS)
    assert lines[-1] == f"{len(TASKS)} tasks, no empty cell"


def test_tasks_check_needs_the_training(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, builders.__name__, None)
    assert main(["tasks", "--check"]) == 2
    assert "not installed" in capsys.readouterr().err


@pytest.mark.parametrize("wordings", ["unseen_paraphrases", "held_out_templates"])
def test_wordings_that_training_never_showed_are_a_row_of_the_table(wordings: str, capsys: Any) -> None:
    evaluation, model = Eval("nano", tasks=(wordings,), n=2, language=1, scene_size=64), Known({})
    rows = replace(evaluation).measure(model)["tasks"]
    row = rows[wordings]
    assert list(rows) == [wordings] and wordings in capsys.readouterr().out
    assert row["n"] >= len(TASKS) - 3 and row["value"] < 0.2 and row["ceiling"] > 0.95
    sentences = UNSEEN["denoise"] if wordings == "unseen_paraphrases" else TASKS["denoise"].held_out
    assert set(model.asked) & set(sentences) and not set(model.asked) & set(TASKS["denoise"].instructions)
