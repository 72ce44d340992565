"""Holes: found by their colours, filled without a step."""

import io

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from pixwizard.comfyui_pixwizard.pictures.change import find_change
from pixwizard.comfyui_pixwizard.pictures.filling import FILLS, find_filling, find_holes, membrane
from pixwizard.comfyui_pixwizard.pictures.images import to_image, to_tensor
from pixwizard.training.degradations.holes import draw_frame, draw_mask
from pixwizard.training.render.dead_leaves import dead_leaves

SIDE = 128


def scene(side: int = SIDE, seed: int = 1) -> Tensor:
    """[1, 3, side, side] in [-0.85, 0.85]: nothing of it has a hole's colour everywhere."""
    generator = torch.Generator().manual_seed(seed)
    grain = 0.1 * (torch.rand(1, 3, side, side, generator=generator) - 0.5)
    return 0.8 * (dead_leaves(1, side, generator) * 2 - 1) + grain


def holed(picture: Tensor, seed: int, fill: float, margin: bool = False) -> tuple[Tensor, Tensor]:
    """The picture with holes, and where they are [1, 1, H, W]."""
    draw = draw_frame if margin else draw_mask
    mask = draw(1, *picture.shape[-2:], torch.Generator().manual_seed(seed))[:, None]
    return torch.where(mask, torch.full_like(picture, fill), picture), mask


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("margin", [False, True])
def test_holes_are_found_by_their_colour(fill: float, margin: bool) -> None:
    other = []
    for seed in range(6):
        truth = scene(seed=seed)
        source, mask = holed(truth, seed, fill, margin)
        found = find_holes(source, truth)
        assert found[mask].float().mean() > 0.998, "nothing is left"
        other.append(found[~mask].float().mean())
    assert torch.stack(other).mean() < 0.03 and torch.stack(other).median() < 0.01, "little else is taken"


def test_a_white_sky_is_no_hole_beside_a_black_one() -> None:
    truth = scene()
    truth[..., :60, :] = 1.0
    source = truth.clone()
    source[..., 80:100, 30:60] = -1.0
    found = find_holes(source, truth)
    assert torch.equal(found[0, 0].nonzero().aminmax(dim=0)[0], torch.tensor([80, 30]))
    assert int(found.sum()) == 20 * 30


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 99), st.sampled_from(FILLS), st.lists(st.floats(-0.15, 0.15), min_size=9, max_size=9))
def test_a_filling_of_the_wrong_light_is_brought_to_its_rim(seed: int, fill: float, light: list[float]) -> None:
    down, across, even = torch.tensor(light).reshape(3, 1, 3, 1, 1)
    ramp = torch.linspace(-1, 1, SIDE)
    truth = 0.5 + 0.1 * ramp - 0.2 * ramp[:, None] + torch.zeros(1, 3, SIDE, SIDE)
    source, mask = holed(truth, seed, fill)
    wrong = (down * ramp[:, None] + across * ramp + even).expand_as(truth)
    made = find_filling(truth + wrong, source, 0.05).onto(source)
    known, hole = ~find_holes(source, truth + wrong).expand_as(made), mask.expand_as(made)
    assert torch.equal(made[known], source[known]), "bit for bit"
    assert (made - truth)[hole].abs().mean() <= 0.5 * wrong[hole].abs().mean() + 0.04
    # Of all steps from a pixel of the hole to one that is known, hardly any is left.
    across_rim = (hole[..., 1:] & known[..., :-1]) | (known[..., 1:] & hole[..., :-1])
    pasted = torch.where(hole, truth + wrong, source)
    left, before = ((picture - truth).diff(dim=-1)[across_rim].abs().mean() for picture in (made, pasted))
    assert left <= 0.35 * before + 0.03


def test_a_larger_picture_is_filled_at_its_own_size() -> None:
    truth = scene(4 * SIDE)
    source, mask = holed(truth, 5, -1.0)
    answer = F.avg_pool2d(truth, 4)
    made = find_filling(answer, F.avg_pool2d(source, 4), 0.05).onto(source)
    assert torch.equal(made[~mask.expand_as(made)], source[~mask.expand_as(made)])
    smooth = F.interpolate(answer, scale_factor=4, mode="bicubic")
    assert (made - smooth)[mask.expand_as(made)].abs().mean() < 0.02
    assert (made <= -0.99).all(dim=1).float().mean() < 3e-4, "nothing of the hole is left"


def test_a_jpeg_keeps_no_rim() -> None:
    truth = scene(2 * SIDE)
    source, mask = holed(truth, 2, 1.0)
    file = io.BytesIO()
    to_image(source[0]).save(file, "JPEG", quality=90)
    read = to_tensor(Image.open(file).convert("RGB"))
    assert find_holes(read, truth)[mask].float().mean() > 0.99
    made = find_filling(truth, read, 0.05).onto(read)
    left = (made - truth)[mask.expand_as(made)].abs().mean()
    crisp = (find_filling(truth, source, 0.05).onto(source) - truth)[mask.expand_as(made)].abs().mean()
    assert left < crisp + 0.02, "what JPEG mixed at the rim is not spread"


def test_without_a_hole_it_is_a_change() -> None:
    source = torch.cat([scene(seed=6), holed(scene(seed=7), 1, 0.0)[0]])
    answer = source.clone()
    answer[:, :, 40:80, 40:80] += 0.5
    made = find_filling(answer, source, 0.05).onto(source)
    torch.testing.assert_close(made[:1], find_change(answer[:1], source[:1], 0.05).onto(source[:1]))
    assert (made[1:] - find_change(answer[1:], source[1:], 0.05).onto(source[1:])).abs().max() > 0.05


def test_a_membrane_is_what_is_known_and_may_fade() -> None:
    values = torch.ones(1, 2, 40, 56)
    nothing = torch.zeros(1, 1, 40, 56)
    assert membrane(values * nothing, nothing).abs().max() == 0
    known = nothing.clone()
    known[..., :5] = 1
    torch.testing.assert_close(membrane(values * known, known), values)
    spread = membrane(values * known, known, 0.9)[0, 0, 20]
    assert (spread[:5] == 1).all() and (spread.diff() <= 1e-6).all() and 0.5 < spread[20] < 1 and spread[-1] > 0.4


def test_a_sharp_answer_keeps_its_edges_and_a_blurred_one_gets_no_step() -> None:
    truth = scene(seed=4)
    source, mask = holed(truth, 3, -1.0)
    hole = mask.expand_as(truth)
    sharp = find_filling(truth, source, 0.05).onto(source)
    assert (sharp - truth)[hole].abs().mean() < 0.02
    even = torch.full_like(truth, 0.3)
    shifted = torch.where(mask, truth.mean() + even, truth)
    made = find_filling(shifted, source, 0.05).onto(source)
    assert (made - truth)[hole].abs().mean() < 0.8 * (shifted - truth)[hole].abs().mean()
