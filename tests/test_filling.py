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
@given(
    st.integers(0, 99), st.sampled_from(FILLS), st.booleans(), st.lists(st.floats(-0.1, 0.1), min_size=9, max_size=9)
)
def test_a_filling_of_the_wrong_light_is_brought_to_its_rim(
    seed: int, fill: float, margin: bool, light: list[float]
) -> None:
    truth = scene(seed=3)
    source, mask = holed(truth, seed, fill, margin)
    down, across, even = torch.tensor(light).reshape(3, 1, 3, 1, 1)
    ramp = torch.linspace(-1, 1, SIDE)
    wrong = down * ramp[:, None] + across * ramp + even
    made = find_filling(truth + even, source, 0.05).onto(source)
    torch.testing.assert_close(made[mask.expand_as(made)], truth[mask.expand_as(made)], atol=2e-3, rtol=0)
    made = find_filling(truth + wrong, source, 0.05).onto(source)
    known = ~find_holes(source, truth + wrong).expand_as(made)
    assert torch.equal(made[known], source[known]), "bit for bit"
    # Where a hole reaches the picture's edge nothing says how the light goes on.
    rest = (made - truth)[mask.expand_as(made)].abs().mean()
    assert rest <= (0.9 if margin else 0.6) * wrong.expand_as(made)[mask.expand_as(made)].abs().mean() + 0.01


def test_a_larger_picture_is_filled_at_its_own_size() -> None:
    truth = scene(4 * SIDE)
    source, mask = holed(truth, 5, -1.0)
    answer = F.avg_pool2d(truth, 4)
    made = find_filling(answer, F.avg_pool2d(source, 4), 0.05).onto(source)
    assert torch.equal(made[~mask.expand_as(made)], source[~mask.expand_as(made)])
    smooth = F.interpolate(answer, scale_factor=4, mode="bicubic")
    assert (made - smooth)[mask.expand_as(made)].abs().mean() < 0.02
    assert (made <= -0.99).all(dim=1).float().mean() < 1e-4, "nothing of the hole is left"


def test_a_jpeg_keeps_no_rim() -> None:
    truth = scene(2 * SIDE)
    source, mask = holed(truth, 2, 1.0)
    file = io.BytesIO()
    to_image(source[0]).save(file, "JPEG", quality=90)
    read = to_tensor(Image.open(file).convert("RGB"))
    assert find_holes(read, truth)[mask].float().mean() > 0.99
    made = find_filling(truth, read, 0.05).onto(read)
    assert (made - truth)[mask.expand_as(made)].abs().mean() < 0.03, "what JPEG mixed at the rim is not spread"


def test_without_a_hole_it_is_a_change() -> None:
    source = torch.cat([scene(seed=6), holed(scene(seed=7), 1, 0.0)[0]])
    answer = source.clone()
    answer[:, :, 40:80, 40:80] += 0.5
    made = find_filling(answer, source, 0.05).onto(source)
    torch.testing.assert_close(made[:1], find_change(answer[:1], source[:1], 0.05).onto(source[:1]))
    assert (made[1:] - find_change(answer[1:], source[1:], 0.05).onto(source[1:])).abs().max() > 0.05


def test_a_membrane_is_what_is_known_and_between_these() -> None:
    values = torch.randn(1, 2, 40, 56)
    assert membrane(values, torch.zeros(1, 1, 40, 56, dtype=torch.bool)).abs().max() == 0
    known = torch.zeros(1, 1, 40, 56, dtype=torch.bool)
    known[..., :5] = True
    torch.testing.assert_close(membrane(torch.full_like(values, 0.3), known), torch.full_like(values, 0.3))
    known[..., -5:] = True
    values[..., :28], values[..., 28:] = 0.0, 1.0
    between = membrane(values, known)[0, 0, 20]
    assert between[2] == 0 and between[-2] == 1 and (between.diff() >= -1e-3).all() and between.diff().max() < 0.2
