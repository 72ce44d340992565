"""The comparison of one stage with two: what each arm draws, and a whole one in small that is stopped on its way."""

import json

import pytest
import torch

from pixwizard.training.loop.checkpoints import newest, read
from pixwizard.training.recipes.two_stage import ARMS, TwoStageRecipe, table

COUNTS = {"denoise": 40, "text_to_image": 20, "depth": 8}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return TwoStageRecipe(
        tmp_path_factory.mktemp("two-stage"), steps=8, batch_size=4, scenes=12, sheets=1, held_out=4, asked=8,
        smallest=1, counts=dict(COUNTS),
    )  # fmt: skip


@pytest.fixture(scope="module")
def report(recipe):
    """The arm of two stages is stopped in its second one, and the command run again."""
    recipe._prepare()
    trainer, stages = recipe._trainer("two-stage")
    trainer.run(steps=4, plan_steps=8)
    trainer.use(stages[1][1])
    trainer.run(steps=6, plan_steps=8)
    assert recipe.run()
    return json.loads((recipe.folder / "result.json").read_text())


def test_stage1_draws_tasks_equally_and_stage2_by_size(recipe, report):
    first, second = (recipe.plan(name)[0].task_draws() for name in ("stage 1", "stage 2"))
    assert all(abs(n - 40) <= 1 for n in first.values())
    assert second["denoise"] == 40 and second["depth"] == 8 and second["text_to_image"] == 48


def test_both_arms_take_the_same_steps_from_the_same_start(recipe, report):
    assert [newest(recipe.folder / arm).name for arm in ARMS] == ["step-00000008"] * 2
    one, two = recipe.start().state_dict(), recipe.start().state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_stopped_arm_goes_on_in_its_stage(recipe, report):
    state = read(newest(recipe.folder / "two-stage"))[1]
    assert state["stage"] == "stage 2"
    assert {name: place["samples"] for name, place in state["data"].items()} == {"stage 1": 16, "stage 2": 16}


def test_the_report_compares_tasks_from_small_to_large(report):
    assert [row["task"] for row in report["rows"]] == ["depth", "text_to_image", "denoise"]
    for row in report["rows"]:
        assert set(row["losses"]) == set(ARMS) and all(loss > 0 for loss in row["losses"].values())
    assert report["smallest"] == ["depth"] and "values" in report["rows"][0]
    one, two = (report["mean_loss_on_smallest"][arm] for arm in ARMS)
    assert one != two and report["two_stages_win"] == (two < one)
    assert "mean loss on depth" in table(report)


def test_lengths_must_make_sense(tmp_path):
    with pytest.raises(ValueError, match=r"--steps is at least 2 and --stage-1 between 0 and 1, found 8 and 1"):
        TwoStageRecipe(tmp_path, steps=8, stage_1=1.0).run()
