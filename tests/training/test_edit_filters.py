"""Filters of edit data: relabelling, presence, depth, the small pair, and how they are judged."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from pixwizard.cli.main import main

pytest.importorskip("pyarrow")

from pixwizard.comfyui_pixwizard.pictures.images import unit_to_image
from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.comfyui_pixwizard.tasks.language.said import said
from pixwizard.training.data.build import small_pair
from pixwizard.training.data.build.annotate import Tools
from pixwizard.training.data.build.detectors import Found, meant
from pixwizard.training.data.build.edit_filters import EDIT_FILTERS, EDIT_RELABEL
from pixwizard.training.data.build.edit_scores import DepthGap, Presence, recolored
from pixwizard.training.data.build.judged import Judged
from pixwizard.training.data.build.recipe import BuildRecipe, Filter, Input, read_recipe
from pixwizard.training.evaluate.filter_judge import Verdict, report_of
from pixwizard.training.evaluate.spoiled_pairs import SPOILS

ROOT = Path(__file__).resolve().parents[2]
THINGS = {
    "edit_remove": {"caption": "the large red ball"},
    "edit_add": {"caption": "a small blue cone on the left"},
    "edit_replace": {"caption": "the green box at the back", "class": "a red ball"},
    "edit_recolor": {"caption": "the striped cone", "color": "blue"},
    "edit_texture": {"caption": "the leftmost ball", "class": "striped"},
    "edit_local": {"caption": "the red cube", "class": "larger"},
}
GRAY = Image.new("RGB", (64, 64), (120, 120, 120))


def test_the_words_of_an_instruction_are_found_in_almost_all_wordings() -> None:
    found, wrong = 0, 0
    for task, words in THINGS.items():
        for seed in range(50):
            text = TASKS[task].instruction(torch.Generator().manual_seed(seed), **words)
            answer = said(task, text)
            found += answer == words
            wrong += answer is not None and answer != words
    assert found >= 0.95 * 300 and wrong <= 0.02 * 300
    assert said("edit_remove", "What a lovely day") is None


def test_phrases_mean_pairs_of_colour_and_shape() -> None:
    assert len(meant("the leftmost object")) == 44 and len(meant("a red thing")) == 4
    assert len(meant("the large red ball")) == 1 and meant("all red boxes") == meant("the red cube")
    assert recolored("the big red ball", "blue") == "the big blue ball"
    assert recolored("the ball at the back", "blue") == "the blue ball at the back"


class Seen:
    """A detector that finds what it is told, by phrase, in the source (first) and in the target."""

    def __init__(self, **boxes: tuple[list[Found], list[Found]]):
        self.boxes = boxes

    def __call__(self, picture: Image.Image, phrase: str) -> list[Found]:
        return self.boxes.get(phrase.replace(" ", "_"), ([], []))[picture is not GRAY]


def present(task: str, sentence: str, **boxes: tuple[list[Found], list[Found]]) -> float | None:
    score = Presence(Filter("presence", model="scenes"))
    score.find = Seen(**boxes)  # type: ignore[assignment]
    return score(Judged(GRAY.copy(), GRAY, (), (sentence,), task))


def test_things_must_be_gone_or_there_or_still_there() -> None:
    here, there = [Found((0.1, 0.1, 0.4, 0.4), 0.9)], [Found((0.6, 0.6, 0.9, 0.9), 0.8)]
    larger = [Found((0.05, 0.05, 0.45, 0.5), 0.9)]
    remove, add = ("edit_remove", "Remove the red ball."), ("edit_add", "Add a red ball.")
    assert present(*remove, the_red_ball=(here, [])) == 0.9
    assert present(*remove, the_red_ball=(here, here)) == pytest.approx(0.09)
    assert present(*remove, the_red_ball=([], [])) == 0
    # Of two, one is gone.
    assert present(*remove, the_red_ball=(here + there, there)) == 0.9
    assert present(*add, a_red_ball=([], there)) == 0.8 and present(*add, a_red_ball=(there, there)) < 0.2
    replace = "edit_replace", "Replace the red ball with a blue cone."
    assert present(*replace, the_red_ball=(here, []), a_blue_cone=([], here)) == 0.9
    assert present(*replace, the_red_ball=(here, []), a_blue_cone=([], there)) == 0
    recolor = "edit_recolor", "Make the red ball blue."
    assert present(*recolor, the_red_ball=(here, []), the_blue_ball=([], here)) == 0.9
    assert present(*recolor, the_red_ball=(here, here), the_blue_ball=([], [])) == 0
    assert present("edit_local", "Make the red ball larger.", the_red_ball=(here, larger)) == pytest.approx(0.81)
    assert present("edit_local", "Make the red ball larger.", the_red_ball=(here, there)) == 0
    assert present("edit_style", "Make it a pencil drawing.") is None
    assert present("edit_remove", "What a lovely day") is None


def test_depth_of_one_picture_is_the_same_and_of_another_it_is_not() -> None:
    score = DepthGap(Filter("depth", model="nano"))
    ramp = unit_to_image(torch.linspace(0, 1, 64)[None, :, None].expand(3, 64, 64).contiguous())
    assert score(Judged(ramp)) is None
    assert score(Judged(ramp, ramp)) == pytest.approx(0, abs=1e-4)
    other = score(Judged(ramp.rotate(180), ramp))
    assert other is not None and other > 0.02


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The small pair, learned from a few scenes in few steps, and the folder of its heads."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("PIXWIZARD_CACHE", str(folder))
        patch.setattr(small_pair, "STEPS", 80)
        learned = small_pair.SmallPair("begun", scenes=4)
        patch.setattr(small_pair.SmallPair, "_learned", None)
        again = small_pair.SmallPair("begun", scenes=4)  # read, not learned
        assert again.heads.keys() == learned.heads.keys()
        assert all(torch.equal(again.heads[name], learned.heads[name]) for name in learned.heads)
        assert len(list(folder.rglob("*.safetensors"))) == 1
    return learned


def test_the_small_pair_knows_poor_pictures_and_which_change_is_asked_for(pair: Any) -> None:
    from pixwizard.training.evaluate.scene_samples import SceneSet

    shown = SceneSet(4, small_pair.SIDE, small_pair.SEED, "train")  # what it learned from
    found = shown.samples("edit_recolor")
    poor = small_pair.worsened(found.truth, torch.Generator().manual_seed(1))
    good, bad = ([pair.quality(unit_to_image(one)) for one in pictures] for pictures in (found.truth, poor))
    assert min(good) > max(bad)
    sentences = ["Make it a pencil drawing.", *found.instructions]
    pictures = [(unit_to_image(b), unit_to_image(a)) for b, a in zip(found.source, found.truth, strict=True)]
    for (source, target), own in zip(pictures, found.instructions, strict=True):
        values = {text: pair.direction(Judged(target, source, (), (text,))) for text in sentences}
        assert all(-1 <= value <= 1 for value in values.values()) and values[own] > values["Make it a pencil drawing."]
    assert pair.direction(Judged(GRAY, GRAY, ("a", "b"))) is None
    assert pair.picture(GRAY).norm() == pytest.approx(1, abs=1e-4) == pair.text("a ball").norm()


def test_pairs_count_as_the_task_that_they_ask_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(4):
        picture = Image.effect_noise((64, 64), 20 + number).convert("RGB")
        for role in "st":
            picture.save(tmp_path / f"{role}{number}.png")
    prompts = ["Remove the red ball.", "Make the ball blue.", "Zounds", "Remove the noise."]
    items = [{"input_path": f"s{n}.png", "target_path": f"t{n}.png", "prompt": text} for n, text in enumerate(prompts)]
    (tmp_path / "a.json").write_text(json.dumps(items))
    given = {"kind": "annotations", "path": "a.json", "task": "edit_remove"}
    told = {"tasks": ["edit_remove", "edit_recolor"]}
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"output": "out", "inputs": [given], "smallest": 32, "relabel": told, "unique": False}))
    assert main(["data", "build", str(path)]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["good"] == 3 and report["rejected"] == {"no task": 1}
    assert report["relabelled"] == {"edit_remove to edit_recolor": 1}
    assert "counted as another task: edit_remove to edit_recolor" in capsys.readouterr().out
    path.write_text(json.dumps({"output": "out", "inputs": [given], "relabel": {"tasks": ["edit_all"]}}))
    assert main(["data", "build", str(path)]) == 2
    assert "found 'edit_all'" in capsys.readouterr().err


def test_a_filter_looks_only_at_its_tasks() -> None:
    told = Filter("gap", at_least=0.5, tasks=("edit_add",))
    tools = Tools(BuildRecipe("out", (Input("folder", "x"),), filters=(told,)))
    assert tools.score(GRAY, GRAY, (), (), "edit_remove") == {}
    with pytest.raises(Exception, match="filter gap"):
        tools.score(GRAY, GRAY, (), (), "edit_add")


def test_the_guide_has_the_filters_that_are_judged(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "filters.md").read_text(encoding="utf-8")
    path = tmp_path / "recipe.json"
    path.write_text(text.split("```json\n")[1].split("```")[0])
    recipe = read_recipe(path)
    assert recipe.filters == EDIT_FILTERS and recipe.relabel == EDIT_RELABEL


def test_precision_and_recall_are_counted() -> None:
    verdicts = [
        Verdict("poor target", "edit_add", False, {}, ("gap",)),
        Verdict("poor target", "edit_add", False, {}, ()),
        Verdict("", "edit_add", False, {}, ("gap", "depth")),
        Verdict("", "edit_add", False, {}, ()),
    ]
    report = report_of(verdicts, ["gap", "depth"])
    assert report["filters"]["gap"] == {"caught": 2, "precision": 0.5, "recall": 0.5, "by_way": {"poor target": 0.5}}
    assert report["filters"]["depth"]["precision"] == 0 and not report["holds"]


def test_filters_are_judged_on_spoiled_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what needs no network but the small judge of scenes."""
    filters = [{"score": "gap", "at_least": 0.0005}, {"score": "structure", "at_least": 0.4}]
    filters += [{"score": "presence", "at_least": 0.4, "model": "scenes"}]  # type: ignore[dict-item]
    told = {"output": "o", "inputs": [{"kind": "folder", "path": "x"}], "relabel": {}, "filters": filters}
    (tmp_path / "r.json").write_text(json.dumps(told))
    out = tmp_path / "found.json"
    command = ["data", "judge-filters", "--recipe", str(tmp_path / "r.json"), "--pairs", "28", "--json", str(out)]
    assert main([*command, "--spoiled", "14"]) == 0
    report = json.loads(out.read_text())
    assert set(report["spoiled"]) == set(SPOILS) and sum(report["spoiled"].values()) == 14
    assert report["filters"]["gap"]["precision"] == 1 and report["filters"]["gap"]["by_way"]["identical target"] == 1
    assert report["filters"]["structure"]["by_way"]["unrelated target"] == 1
    assert report["together"]["recall"] >= 0.7
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].startswith("filter") and "together" in printed
    assert main(["data", "judge-filters", "--pairs", "5"]) == 2
