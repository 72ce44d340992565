"""Edits of one thing by masks: forms, what is held, which thing, which candidate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pixwizard.comfyui_pixwizard.evaluator import Branch
from pixwizard.comfyui_pixwizard.flow import interpolate
from pixwizard.comfyui_pixwizard.guidance import DualGuidance
from pixwizard.comfyui_pixwizard.local_edits.direction import (
    PROBE_WORDS,
    Direction,
    asked_features,
    change_features,
    probe_of,
    probe_picture,
    tokens_of,
    vectors_of,
)
from pixwizard.comfyui_pixwizard.local_edits.edit import LocalEdit, make_candidates, outside_share
from pixwizard.comfyui_pixwizard.local_edits.forms import BOX, DILATED, EXACT, FORMS, in_form, latent_share
from pixwizard.comfyui_pixwizard.local_edits.masks import read_mask
from pixwizard.comfyui_pixwizard.pictures.images import to_image
from pixwizard.comfyui_pixwizard.pipeline import PixWizardPipeline
from pixwizard.comfyui_pixwizard.sampling import Held, Sampling, sample_latents
from pixwizard.comfyui_pixwizard.scaling import PLAIN, Scaling
from pixwizard.comfyui_pixwizard.solvers import EVALUATIONS
from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.comfyui_pixwizard.tasks.language.things import OF_THINGS, thing_of
from pixwizard.training.recipes.direction_fit import fitted_maps, right_share

WORDS = "Make the red ball blue."


def photo(width: int, height: int) -> Image.Image:
    return to_image(torch.rand(3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1)


def disc(height: int, width: int, radius: float = 9) -> Tensor:
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (y - height / 2) ** 2 + (x - width / 3) ** 2 < radius**2


def test_forms_grow_from_the_mask_to_its_box() -> None:
    mask = disc(64, 96)
    shares = {form: in_form(mask, form)[0, 0] for form in FORMS}
    assert torch.equal(shares[EXACT], mask.float())
    assert bool((shares[DILATED] >= mask.float()).all())
    soft = (shares[DILATED] > 0.01) & (shares[DILATED] < 0.99)
    assert not bool((soft & mask).any()) and 100 < int(soft.sum()) < 1000
    assert not bool((shares[DILATED][~disc(64, 96, 16)] > 0).any()), "within the dilation and the blur's reach"
    rows, columns = mask.any(1), mask.any(0)
    assert torch.equal(shares[BOX], (rows[:, None] & columns).float())
    touched = latent_share(shares[EXACT][None, None])
    assert touched.shape == (1, 1, 8, 12)
    for row in range(8):
        for column in range(12):
            part = mask[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            assert float(touched[0, 0, row, column]) == float(part.any())


def test_forms_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="an empty one"):
        in_form(torch.zeros(8, 8, dtype=torch.bool), EXACT)
    with pytest.raises(ValueError, match="exact, dilated, box, found 'round'"):
        in_form(disc(64, 64), "round")
    with pytest.raises(ValueError, match="best, exact, dilated, box, found 'round'"):
        LocalEdit(form="round")


class Recording:
    """An evaluator of a velocity that bends; keeps the states that it sees, with their times."""

    name, reason = "recording", "for a test"

    def __init__(self) -> None:
        self.seen: list[tuple[float, Tensor]] = []

    def start(
        self, transformer: Any, branches: Mapping[str, Branch], times: Sequence[float], scaling: Scaling = PLAIN
    ) -> Any:
        def step(x: Tensor, t: float, names: Sequence[str]) -> dict[str, Tensor]:
            self.seen.append((t, x.clone()))
            return {name: torch.sin(3 * x) + t for name in names}

        return step


@pytest.mark.parametrize("solver", EVALUATIONS)
def test_what_is_held_is_the_source_on_its_way_at_every_evaluation_of_every_solver(solver: str) -> None:
    generator = torch.Generator().manual_seed(0)
    noise, source = torch.randn(2, 3, 4, 4, generator=generator), torch.randn(2, 3, 4, 4, generator=generator)
    share = torch.zeros(2, 1, 4, 4)
    share[..., :2], share[..., 2, 2] = 1.0, 0.25
    evaluator, how = Recording(), Sampling(6, solver, DualGuidance(1.0, 1.0))
    branches: Any = {"full": None}
    held, whole = (
        sample_latents(evaluator, None, branches, noise, how, [], held=part)  # type: ignore[arg-type]
        for part in (Held(source, share), None)
    )
    kept = (share == 0).expand_as(source)
    torch.testing.assert_close(held[kept], source[kept])
    assert len(evaluator.seen) == 2 * 5 * EVALUATIONS[solver]
    for t, x in evaluator.seen[: len(evaluator.seen) // 2]:
        expected = interpolate(noise, source, torch.full((2,), t))
        assert isinstance(expected, Tensor)
        torch.testing.assert_close(x[kept], expected[kept])
    # This velocity knows no neighbours, so what is sampled is sampled as without anything held.
    torch.testing.assert_close(held[..., :2], whole[..., :2])
    assert bool(((held[..., 2, 2] - source[..., 2, 2]).abs() > 1e-3).all())


@pytest.mark.parametrize("form", FORMS)
def test_outside_of_the_mask_the_picture_stays_bit_for_bit(tiny: PixWizardPipeline, form: str) -> None:
    picture, mask = photo(96, 64), disc(64, 96)
    edit = LocalEdit(mask, form)
    once, again = (tiny(picture, WORDS, steps=3, local=edit, keep_unchanged=False) for _ in range(2))
    before, after = np.asarray(picture), np.asarray(once.image)
    assert np.array_equal(after, np.asarray(again.image))
    outside = (in_form(mask, form)[0, 0] == 0).numpy()
    assert np.array_equal(before[outside], after[outside])
    assert (before[~outside] != after[~outside]).mean() > 0.5
    assert once.settings["local_form"] == form and once.mask is not None and torch.equal(once.mask, mask)
    plain = tiny(picture, WORDS, steps=3, keep_unchanged=False)
    assert not np.array_equal(np.asarray(plain.image)[~outside], after[~outside]), "the surroundings are seen"


def test_a_larger_picture_and_a_size_of_no_whole_tokens(tiny: PixWizardPipeline) -> None:
    picture, mask = photo(330, 200), disc(200, 330, 40)
    found = tiny(picture, WORDS, steps=2, size=64, local=LocalEdit(mask, EXACT), keep_unchanged=False)
    assert found.image.size == (330, 200)
    far = ~disc(200, 330, 60).numpy()
    assert np.array_equal(np.asarray(picture)[far], np.asarray(found.image)[far])
    squeezed = tiny(picture, WORDS, steps=2, size=(64, 64), local=LocalEdit(mask, EXACT))
    assert squeezed.image.size == (330, 200)
    odd = tiny(photo(301, 45), WORDS, steps=2, windows=True, local=LocalEdit(disc(45, 301), EXACT))
    assert odd.image.size == (301, 45)


def test_a_mask_is_read_from_anything(tmp_path: Path) -> None:
    mask = disc(64, 96, 20)
    image = Image.fromarray((mask.numpy() * 255).astype(np.uint8))
    image.save(tmp_path / "mask.png")
    for given in (mask, mask.float(), image, image.convert("RGB"), mask.numpy().astype(np.uint8) * 255,
                  tmp_path / "mask.png"):  # fmt: skip
        assert torch.equal(read_mask(given, (96, 64)), mask)
    small = read_mask(mask, (48, 32))
    assert small.shape == (32, 48) and abs(int(small.sum()) * 4 / int(mask.sum()) - 1) < 0.1
    with pytest.raises(ValueError, match="the picture's shape, found 96 x 64 px for a picture of 64 x 64 px"):
        read_mask(mask, (64, 64))
    squeezed = read_mask(mask, (64, 64), (960, 640))
    assert squeezed.shape == (64, 64) and abs(float(squeezed.float().mean() / mask.float().mean()) - 1) < 0.1
    with pytest.raises(ValueError, match="found an empty one"):
        read_mask(torch.zeros(64, 64), (64, 64))
    with pytest.raises(ValueError, match=r"a mask is \[H, W\]"):
        read_mask(torch.ones(3, 64, 64), (64, 64))


@pytest.mark.parametrize("name", OF_THINGS)
def test_the_thing_of_every_template_and_paraphrase(name: str) -> None:
    words = {"caption": "the small red ball on the left", "color": "dark green", "class": "striped"}
    if name == "edit_replace":
        words["class"] = "a blue cone"
    given = {key: words[key] for key in TASKS[name].words}
    generator = torch.Generator().manual_seed(0)
    task, missed, wrong = TASKS[name], [], []
    for number in range(200):
        sentence = (task.held_out_instruction if number % 4 == 3 else task.instruction)(generator, **given)
        found = thing_of(sentence)
        if found is None:
            missed.append(sentence)
        elif found.removeprefix("the ") != "small red ball on the left":
            wrong.append((sentence, found))
    # Words that are misspelt.
    assert len(missed) <= 20 and len(wrong) <= 3, (missed, wrong)


@pytest.mark.parametrize(
    ("sentence", "thing"),
    [
        (WORDS, "the red ball"),
        ("could you please remove the man with the hat from the picture?", "the man with the hat"),
        ("Turn the car into a light blue bus", "the car"),
        ("Change the colour of the left chair to light blue!", "the left chair"),
        ("Make it red", None),
        ("The sky, but purple", "the sky"),
        ("It is raining", None),
    ],
)
def test_the_thing_of_free_sentences(sentence: str, thing: str | None) -> None:
    assert thing_of(sentence) == thing


def direction_of(model: Any, seed: int) -> Direction:
    generator = torch.Generator().manual_seed(seed)
    words, seen = model.task_encoder.features, model.image_encoder.features
    probe = probe_of(vectors_of(model.task_encoder, [PROBE_WORDS]), tokens_of(model.image_encoder, probe_picture()))
    return Direction(
        torch.randn(8, words, generator=generator), torch.zeros(8), torch.randn(8, 3 * seen, generator=generator),
        torch.zeros(8), probe,
    )  # fmt: skip


def test_the_best_of_three_by_direction(fresh_tiny: Callable[[], PixWizardPipeline], tmp_path: Path) -> None:
    model = fresh_tiny()
    with pytest.raises(ValueError, match=r"direction.safetensors, found none in its folder: make it"):
        model(photo(64, 64), WORDS, steps=2, local=LocalEdit(disc(64, 64)))
    model.direction = direction_of(model, 0)
    model.save_pretrained(tmp_path / "model", torch.float32)
    loaded = PixWizardPipeline.from_pretrained(tmp_path / "model")
    found = loaded(photo(64, 64), WORDS, steps=2, local=LocalEdit(disc(64, 64)), keep_unchanged=False)
    scores = dict(part.split() for part in found.settings["local_scores"].split(", "))
    assert list(scores) == list(FORMS)
    assert found.settings["local_form"] == max(scores, key=lambda form: float(scores[form]))
    alone = loaded(photo(64, 64), WORDS, steps=2, keep_unchanged=False,
                   local=LocalEdit(disc(64, 64), found.settings["local_form"]))  # fmt: skip
    assert np.abs(np.asarray(alone.image).astype(int) - np.asarray(found.image)).max() <= 1
    with torch.no_grad():
        for parameter in loaded.task_encoder.parameters():
            parameter.mul_(1.5)
    with pytest.raises(ValueError, match="was fitted to other encoders"):
        loaded(photo(64, 64), WORDS, steps=2, local=LocalEdit(disc(64, 64)))


def test_agreement_is_a_cosine_of_what_is_asked_and_what_is_shown(tiny: PixWizardPipeline) -> None:
    found = direction_of(tiny, 1)
    asked = asked_features(vectors_of(tiny.task_encoder, ["Make it red.", "Remove it."]))
    wanted = (asked @ found.asked_weight.T) @ torch.linalg.pinv(found.change_weight.T)
    torch.testing.assert_close(found.agreement(asked, wanted), torch.ones(2))
    torch.testing.assert_close(found.agreement(asked, -3 * wanted), -torch.ones(2))


def test_features_of_a_change_are_those_of_its_place() -> None:
    before = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(0))
    after = before.clone()
    after[:, 3] += 2.0
    found = change_features(before, after)
    torch.testing.assert_close(found, torch.cat((before[:, 3], after[:, 3], torch.full((2, 4), 2 / 9)), 1))
    assert bool(change_features(before, before).isfinite().all())


def test_maps_are_fitted_to_edits_that_they_have_not_seen() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(600, 6, generator=generator)
    sides = [
        hidden @ torch.randn(6, width, generator=generator) + 0.5 * torch.randn(600, width, generator=generator)
        for width in (20, 30)
    ]
    probe = torch.zeros(1)
    fitted = fitted_maps(sides[0][:400], sides[1][:400], 8, ridge=0.1, probe=probe)
    new = fitted.agreement(sides[0][400:], sides[1][400:])
    others = fitted.agreement(sides[0][400:], sides[1][400:].roll(1, 0))
    assert float(new.mean()) > 0.8 > 0.2 > float(others.mean().abs())
    assert right_share(fitted, sides[0][400:], sides[1][400:]) > 0.95


def test_scores_count_direction_and_change_outside() -> None:
    mask = disc(64, 64)
    source = torch.zeros(1, 3, 64, 64)
    chosen = make_candidates(
        source, mask, FORMS, lambda shares: torch.ones(3, 3, 64, 64), source, None, lambda made: torch.zeros(3)
    )
    assert chosen.best == 0 and chosen.scores[EXACT] == 0
    assert -0.5 < chosen.scores[DILATED] < 0 and -0.5 < chosen.scores[BOX] < 0
    area = float(mask.sum() / in_form(mask, BOX).sum())
    assert chosen.scores[BOX] == pytest.approx(-0.5 * (1 - area), abs=1e-4)
    better = make_candidates(
        source, mask, FORMS, lambda shares: torch.ones(3, 3, 64, 64), source, None,
        lambda made: torch.tensor([0.0, 0.0, 1.0]),
    )  # fmt: skip
    assert better.best == 2 and torch.equal(better.picture, better.pictures[2:])
    assert torch.equal(outside_share(source, source.expand(2, -1, -1, -1), mask), torch.zeros(2))


def test_a_thing_that_is_found_or_not(tiny: PixWizardPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def found(mask: Tensor) -> Callable[..., Any]:
        def read_label(task: Any, answer: Tensor, source: Tensor, instruction: str = "") -> Tensor:
            asked.append(instruction)
            return mask

        return read_label

    monkeypatch.setattr(tiny, "read_label", found(disc(64, 64)))
    result = tiny(photo(64, 64), WORDS, task="edit_recolor", steps=2, local=LocalEdit(form=EXACT))
    assert asked == [TASKS["referring_mask"].instruction(caption="the red ball")]
    assert result.mask is not None and torch.equal(result.mask, disc(64, 64)) and result.seconds["local"] > 0
    tiny(photo(64, 64), "Polish it", steps=2, local=LocalEdit(form=EXACT, thing="the cup"))
    assert "the cup" in asked[-1]
    monkeypatch.setattr(tiny, "read_label", found(torch.zeros(64, 64, dtype=torch.bool)))
    with pytest.raises(ValueError, match="finds nothing of 'the red ball' in the picture: name the thing"):
        tiny(photo(64, 64), WORDS, steps=2, local=LocalEdit(form=EXACT))


def test_local_edits_that_cannot_be(tiny: PixWizardPipeline) -> None:
    given = LocalEdit(disc(64, 64), EXACT)
    with pytest.raises(ValueError, match="needs a picture, found a blank canvas"):
        tiny(None, "Draw a ball", steps=2, local=given)
    with pytest.raises(ValueError, match="found task depth, which makes a new one"):
        tiny(photo(64, 64), "Depth", task="depth", steps=2, local=given)
    with pytest.raises(ValueError, match="found none in 'Polish it': name it"):
        tiny(photo(64, 64), "Polish it", steps=2, local=LocalEdit(form=EXACT))
    with pytest.raises(ValueError, match="found guidance that shows it none"):
        tiny(photo(64, 64), WORDS, steps=2, local=given, text_guidance=0.0, image_guidance=0.0)
