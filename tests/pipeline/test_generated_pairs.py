"""Pairs of pictures from two captions: what is shared, what is blended, and how a build takes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pixwizard.comfyui_pixwizard.attention import attend
from pixwizard.comfyui_pixwizard.pipeline import PixWizardPipeline
from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.training.data.build.build import build
from pixwizard.training.data.build.generated_pairs import Captions, DrawnPairs, draw_pair, read_captions
from pixwizard.training.data.build.recipe import BuildRecipe, Filter, Input
from pixwizard.training.data.build.shared_attention import (
    Alignment,
    SharedAttend,
    Sharing,
    blended,
    changed_place,
    same_words,
)
from pixwizard.training.loop.seeding import seed_of

BALLS = Captions("a red ball on sand", "a blue ball on sand", "Make the ball blue.")


def heads(rows: int, length: int, count: int, seed: int) -> Tensor:
    return torch.randn(rows, count, length, 8, generator=torch.Generator().manual_seed(seed))


def test_words_in_common_keep_their_order() -> None:
    assert same_words([1, 5, 6, 7], [1, 9, 6, 7]) == [(0, 0), (2, 2), (3, 3)]
    assert same_words([1, 5, 6], [1, 2, 3, 5, 6]) == [(0, 0), (1, 3), (2, 4)]
    same, changed = Alignment([[1, 5, 6]], [[1, 2, 3, 5, 6]]).of(7)
    assert same.shape == (1, 7, 7) and changed[0].tolist() == [0, 1, 1, 0, 0, 0, 0]
    assert same[0].nonzero().tolist() == [[0, 0], [1, 3], [2, 4]]


def test_the_second_attends_to_itself_as_the_first_does() -> None:
    query, key, value = heads(2, 6, 4, 0), heads(2, 6, 2, 1), heads(2, 6, 2, 2)
    shared = SharedAttend(attend, Alignment([[1]], [[1]]))
    torch.testing.assert_close(shared(query, key, value, None), attend(query, key, value))
    shared.own = True
    found = shared(query, key, value, None)
    torch.testing.assert_close(found[:1], attend(query[:1], key[:1], value[:1]))
    torch.testing.assert_close(found[1:], attend(query[:1], key[:1], value[1:]))
    # Attention to the image is not shared.
    torch.testing.assert_close(shared(query, key, value), attend(query, key, value))


def test_words_in_common_are_attended_to_as_before_and_changed_ones_are_noted() -> None:
    query, key, value = heads(2, 6, 4, 0), heads(2, 3, 2, 1), heads(2, 3, 2, 2)
    mask = torch.tensor([[True, True, True], [True, True, True]])[:, None, None]
    shared = SharedAttend(attend, Alignment([[1, 5, 6]], [[1, 9, 6]]))
    torch.testing.assert_close(shared(query, key, value, mask=mask), attend(query, key, value, mask))
    shared.reads = True
    torch.testing.assert_close(shared(query, key, value, mask=mask), attend(query, key, value, mask))
    keys = key.repeat_interleave(2, 1)
    weights = (query @ keys.transpose(-1, -2) * 8**-0.5).softmax(-1)
    assert shared.attended is not None
    torch.testing.assert_close(shared.attended, weights[1:, :, :, 1].mean(1))
    shared.words = True
    found = shared(query, key, value, mask=mask)
    torch.testing.assert_close(found[:1], attend(query[:1], key[:1], value[:1]))
    expected = torch.stack((weights[0, ..., 0], weights[1, ..., 1], weights[0, ..., 2]), -1)
    expected = expected / expected.sum(-1, keepdim=True)
    torch.testing.assert_close(found[1], expected @ value[1].repeat_interleave(2, 0))


def test_outside_of_the_changed_words_the_picture_is_the_first() -> None:
    attended = torch.zeros(1, 16)
    attended[0, 5] = 1.0
    place = changed_place(attended, 8, 8)
    assert place.shape == (1, 1, 8, 8) and place[0, 0].nonzero().amin(0).tolist() == [0, 0]
    assert int(place.sum()) == 36 and place[0, 0, :6, :6].min() == 1
    x, velocity = heads(2, 8, 3, 0), heads(2, 8, 3, 1)
    t = 0.4
    images = (x + (1 - t) * velocity).chunk(2)
    found = blended(velocity, x, t, place)
    new = (x + (1 - t) * found).chunk(2)
    torch.testing.assert_close(new[0], images[0])
    inside = place.bool().expand_as(new[1])
    torch.testing.assert_close(new[1][inside], images[1][inside])
    torch.testing.assert_close(new[1][~inside], images[0][~inside])


def drawn(tiny: PixWizardPipeline, captions: Captions, **options: Any) -> Tensor:
    how = DrawnPairs(**(dict(candidates=1, size=64, steps=4) | options))
    return draw_pair(tiny, captions, how, 0, 0)


def test_nothing_shared_are_two_samples_of_one_noise(tiny: PixWizardPipeline) -> None:
    usual = tiny.evaluator
    free = drawn(tiny, BALLS, least_own=0.0, most_own=0.0, words=0.0, blend=1.0)
    assert tiny.evaluator is usual
    row = tiny.declared["text_to_image"]
    sentences = [TASKS["text_to_image"].instruction(caption=text) for text in (BALLS.before, BALLS.after)]
    alone = tiny.generate(
        torch.ones(2, 3, 64, 64), sentences, steps=4, solver=row.solver, guidance=(row.text_guidance,
        row.image_guidance), seeds=[seed_of("pairs", 0, 0, 0)] * 2,
    )  # fmt: skip
    torch.testing.assert_close(free, alone, atol=1e-4, rtol=1e-4)
    same = drawn(tiny, Captions(BALLS.before, BALLS.before, "Keep it."))
    torch.testing.assert_close(same[0], same[1], atol=1e-5, rtol=1e-5)


def test_sharing_brings_the_pictures_together_and_leaves_the_first(tiny: PixWizardPipeline) -> None:
    free = drawn(tiny, BALLS, least_own=0.0, most_own=0.0, words=0.0, blend=1.0)
    together = drawn(tiny, BALLS, least_own=0.9, most_own=0.9, words=0.9, blend=1.0)
    mixed = drawn(tiny, BALLS, least_own=0.9, most_own=0.9, words=0.9, blend=0.2)
    for other in (together, mixed):
        torch.testing.assert_close(other[0], free[0], atol=1e-4, rtol=1e-4)
        assert 0 < float((other[1] - other[0]).abs().mean()) < float((free[1] - free[0]).abs().mean())
    assert all(type(layer.attention.attend).__name__ == "function" for layer in tiny.transformer.layers)


def test_a_build_takes_all_candidates_and_its_filters_choose(tiny_folder: Path, tmp_path: Path) -> None:
    lines = [vars(BALLS), vars(BALLS) | {"after": "a green ball on sand", "instruction": "Make the ball green."}]
    file = tmp_path / "captions.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)) + "\n")
    options = dict(candidates=3, size=64, steps=2)
    given = Input("generated", str(file), task="edit_recolor", model=str(tiny_folder), options=options)
    recipe = BuildRecipe(str(tmp_path / "out"), (given,), smallest=32, filters=(Filter("gap"),))
    report = build(recipe)
    assert report["good"] == 6 and report["made"] == 1
    pictures = sorted((tmp_path / "out" / "generated").rglob("*.png"))
    times = [path.stat().st_mtime_ns for path in pictures]
    assert len(pictures) == 12 and build(recipe)["made"] == 0
    pictures[3].unlink()
    strict = BuildRecipe(str(tmp_path / "out"), (given,), smallest=32, filters=(Filter("gap", at_least=0.9),))
    with pytest.raises(ValueError, match="good"):
        build(strict)
    again = [path.stat().st_mtime_ns for path in pictures]
    # Both of the second candidate are drawn again, and nothing else.
    assert again[:2] + again[4:] == times[:2] + times[4:] and min(again[2:4]) > max(times)
    with pytest.raises(ValueError, match="draws pairs of a task, found none"):
        build(BuildRecipe(str(tmp_path / "out"), (Input("generated", str(file)),)))
    with pytest.raises(ValueError, match="candidates are at least 1"):
        DrawnPairs(candidates=0).check()
    with pytest.raises(ValueError, match="own is a share from 0 to 1, found 2"):
        Sharing(2.0)
    file.write_text('{"before": "a", "after": "b"}\n')
    with pytest.raises(ValueError, match=r"captions.jsonl:1 holds before, after, instruction"):
        read_captions(file)
