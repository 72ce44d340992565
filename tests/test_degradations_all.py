"""Degradations: shape, range, determinism and the physics each of them claims."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixwizard.training.degradations import DEGRADATIONS
from pixwizard.training.degradations import sensor_noise as noise
from pixwizard.training.degradations.holes import draw_frame, draw_mask

NAMES = sorted(DEGRADATIONS)
# An option that sets the strength, and values of it from weak to strong.
STRENGTHS: dict[str, tuple[str, list]] = {name: ("amount", [0.3, 1.0, 2.0]) for name in NAMES} | {
    "denoise": ("sigma", [0.02, 0.1, 0.3]),
    "low_light": ("gain", [0.5, 0.2, 0.05]),
    "super_resolution": ("scale", [1.0, 3.0, 8.0]),
    "inpaint": ("coverage", [(0.1, 0.1), (0.3, 0.3), (0.7, 0.7)]),
    "outpaint": ("coverage", [(0.1, 0.1), (0.3, 0.3), (0.7, 0.7)]),
}
RESTORATIONS = (
    "denoise low_light derain raindrop demoire dehaze deblur desnow deshadow flash_reflection face watermark "
    "super_resolution color_fade"
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def soft_picture(batch: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Smooth random pictures that use the whole range without clipping."""
    small = torch.rand(batch, 3, 5, 5, generator=seeded(seed))
    return torch.nn.functional.interpolate(small, (height, width), mode="bicubic").clamp(0.02, 0.98)


def psnr(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return -10 * torch.log10((a - b).square().mean((1, 2, 3)))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=12, deadline=None)
@given(batch=st.integers(1, 3), height=st.integers(16, 70), width=st.integers(16, 70), seed=st.integers(0, 999))
def test_shape_range_and_determinism(name: str, batch: int, height: int, width: int, seed: int) -> None:
    image = soft_picture(batch, height, width)
    before = image.clone()
    first, again = (DEGRADATIONS[name](image, seeded(seed)) for _ in range(2))
    assert first.shape == image.shape and first.dtype == torch.float32
    assert first.min() >= 0 and first.max() <= 1 and first.isfinite().all()
    assert torch.equal(first, again)
    assert torch.equal(image, before), "the input was written to"


def test_every_restoration_has_its_degradation() -> None:
    assert set(DEGRADATIONS) == {*RESTORATIONS.split(), "inpaint", "outpaint"}


@pytest.mark.parametrize("name", NAMES)
def test_strength_follows_its_option(name: str) -> None:
    image = soft_picture(12, 64, 64)
    option, values = STRENGTHS[name]
    quality = [psnr(DEGRADATIONS[name](image, seeded(1), **{option: value}), image).mean() for value in values]
    assert all(stronger < weaker - 0.5 for weaker, stronger in itertools.pairwise(quality)), quality


@pytest.mark.parametrize("name", [name for name in NAMES if STRENGTHS[name][0] == "amount"])
def test_negative_amount_is_named(name: str) -> None:
    with pytest.raises(ValueError, match="amount must be >= 0, found -1"):
        DEGRADATIONS[name](soft_picture(1, 16, 16), seeded(0), amount=-1.0)


@pytest.mark.parametrize(
    "name",
    ["derain", "raindrop", "dehaze", "deblur", "desnow", "deshadow", "flash_reflection", "watermark", "color_fade"],
)
def test_no_amount_leaves_the_picture(name: str) -> None:
    image = soft_picture(3, 40, 56)
    assert torch.allclose(DEGRADATIONS[name](image, seeded(0), amount=0.0), image, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_other_seed_and_other_sample_differ(name: str) -> None:
    image = soft_picture(1, 64, 64).repeat(2, 1, 1, 1)
    one, two = (DEGRADATIONS[name](image, seeded(seed)) for seed in (1, 2))
    assert not torch.allclose(one, two, atol=1e-3)
    assert not torch.allclose(one[0], one[1], atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("image", [torch.zeros(3, 8, 8), torch.zeros(1, 4, 8, 8), torch.zeros(1, 3, 8, 8).byte()])
def test_wrong_input_is_named(name: str, image: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"needs a float image \[B,3,H,W\]"):
        DEGRADATIONS[name](image, seeded(0))


def test_noise_has_the_asked_sigma() -> None:
    grey = torch.full((3, 3, 96, 96), 0.5)
    sigma = torch.tensor([10.0, 25.0, 50.0]) / 255
    added = DEGRADATIONS["denoise"](grey, seeded(0), sigma=sigma) - grey
    assert added.mean().abs() < 2e-3
    assert torch.allclose(added.std((1, 2, 3)), sigma, rtol=0.03)
    whole = DEGRADATIONS["denoise"](grey, seeded(0), sigma=50 / 255) - grey
    assert torch.allclose(whole.std((1, 2, 3)), torch.full((3,), 50 / 255), rtol=0.03)


def test_noise_without_sigma_is_random_and_partly_signal_dependent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "JPEG_SHARE", 0.0)
    ramp = torch.cat([torch.full((256, 3, 32, 16), 0.25), torch.full((256, 3, 32, 16), 0.75)], -1)
    added = DEGRADATIONS["denoise"](ramp, seeded(3)) - ramp
    dark, bright = added[..., :16].std((1, 2, 3)), added[..., 16:].std((1, 2, 3))
    assert dark.min() > 6.5 / 255 and bright.max() < 78 / 255
    ratio = bright / dark
    poisson = ratio > 1.4
    assert 0.1 < poisson.float().mean() < 0.3
    assert ratio[poisson].mean() == pytest.approx(math.sqrt(3), rel=0.05)
    assert ratio[~poisson].mean() == pytest.approx(1, abs=0.05)


def test_noise_without_sigma_is_partly_compressed() -> None:
    grey = torch.full((200, 3, 32, 32), 0.5)
    chroma = DEGRADATIONS["denoise"](grey, seeded(3))
    chroma = chroma[:, 0] - chroma[:, 2]
    # 4:2:0 halves the resolution of colour: neighbours of compressed samples agree.
    correlation = (chroma[..., 1:] * chroma[..., :-1]).mean((1, 2)) / chroma.square().mean((1, 2)).clamp_min(1e-9)
    flat = chroma.square().mean((1, 2)) < 1e-6
    assert 0.15 < ((correlation > 0.4) | flat).float().mean() < 0.35


@pytest.mark.parametrize("sigma", [-0.1, torch.ones(2)])
def test_wrong_sigma(sigma) -> None:
    with pytest.raises(ValueError, match="sigma must be one number >= 0, or one for each of 3 samples"):
        DEGRADATIONS["denoise"](soft_picture(3, 16, 16), seeded(0), sigma=sigma)


def test_low_light_takes_light_and_adds_noise() -> None:
    image = soft_picture(16, 64, 64)
    dark = DEGRADATIONS["low_light"](image, seeded(0))
    share = dark.pow(2.2).mean((1, 2, 3)) / image.pow(2.2).mean((1, 2, 3))
    assert share.min() > 0.045 and share.max() < 0.32, "light that is left"
    assert (dark.mean((1, 2, 3)) < 0.65 * image.mean((1, 2, 3))).all()
    flat = torch.full((8, 3, 64, 64), 0.5)
    assert (DEGRADATIONS["low_light"](flat, seeded(0)).std((2, 3)) > 1e-3).all()
    given_gain = DEGRADATIONS["low_light"](flat, seeded(0), gain=0.1).pow(2.2).mean()
    assert given_gain == pytest.approx(0.1 * 0.5**2.2, rel=0.05)
    with pytest.raises(ValueError, match=r"gain must lie in \(0, 1\]"):
        DEGRADATIONS["low_light"](flat, seeded(0), gain=0.0)


def test_rain_only_brightens_and_is_heavy_enough() -> None:
    image = soft_picture(48, 128, 128) * 0.7
    rainy = DEGRADATIONS["derain"](image, seeded(0))
    assert (rainy >= image - 1e-6).all()
    quality = psnr(rainy, image)
    assert 14 < quality.median() < 22
    assert torch.allclose(DEGRADATIONS["derain"](image, seeded(0), amount=0.0), image, atol=1e-6)


def test_rain_falls_within_thirty_degrees_of_the_vertical() -> None:
    black = torch.zeros(24, 3, 128, 128)
    rain = DEGRADATIONS["derain"](black, seeded(1))[:, 0]
    dy = rain[:, 2:, 1:-1] - rain[:, :-2, 1:-1]
    dx = rain[:, 1:-1, 2:] - rain[:, 1:-1, :-2]
    # Structure tensor: the direction of least change is the direction of the streaks.
    angle = 0.5 * torch.atan2(2 * (dx * dy).sum((1, 2)), (dx.square() - dy.square()).sum((1, 2)))
    assert angle.abs().max() < math.radians(36)
    assert angle.std() > math.radians(8), "angles vary"


def test_holes_cover_what_was_asked_and_touch_nothing_else() -> None:
    image = soft_picture(64, 64, 96)
    holed, mask = DEGRADATIONS["inpaint"](image, seeded(0)), draw_mask(64, 64, 96, seeded(0))
    share = mask.float().mean((1, 2))
    assert share.min() >= 0.25 and share.max() <= 0.4 and share.std() > 0.02
    keep = ~mask[:, None].expand_as(image)
    assert torch.equal(holed[keep], image[keep])
    fills = {float(sample[:, hole].unique()[0]) for sample, hole in zip(holed, mask, strict=True)}
    assert fills == {0.0, 0.5, 1.0}
    assert all(len(sample[:, hole].unique()) == 1 for sample, hole in zip(holed, mask, strict=True))
    white = DEGRADATIONS["inpaint"](image, seeded(0), fill=1.0)
    assert (white.movedim(1, -1)[mask] == 1).all()
    with pytest.raises(ValueError, match=r"fill must lie in \[0, 1\]"):
        DEGRADATIONS["inpaint"](image, seeded(0), fill=2.0)


@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(16, 80),
    width=st.integers(16, 80),
    low=st.floats(0.05, 0.6),
    more=st.floats(0.05, 0.3),
    seed=st.integers(0, 99),
)
def test_any_coverage_is_met(height: int, width: int, low: float, more: float, seed: int) -> None:
    mask = draw_mask(4, height, width, seeded(seed), coverage=(low, low + more))
    share = mask.double().mean((1, 2))
    assert share.min() >= low - 1e-9 and share.max() <= low + more + 1.5 / (height * width)


def test_wrong_coverage() -> None:
    with pytest.raises(ValueError, match="coverage must be"):
        draw_mask(1, 16, 16, seeded(0), coverage=(0.5, 0.2))


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(8, 80),
    width=st.integers(8, 80),
    low=st.floats(0.05, 0.6),
    more=st.floats(0.0, 0.3),
    seed=st.integers(0, 99),
)
def test_outpainting_keeps_one_rectangle(height: int, width: int, low: float, more: float, seed: int) -> None:
    lost = draw_frame(6, height, width, seeded(seed), coverage=(low, low + more))
    rows, columns = (~lost).any(2), (~lost).any(1)
    assert torch.equal(~lost, rows[:, :, None] & columns[:, None, :])
    for inside in (rows, columns):
        assert (inside.diff(dim=1).sum(1) <= 2).all() and inside.any(1).all(), "one interval"
        assert (inside.float().diff(dim=1).clamp_min(0).sum(1) + inside[:, 0] == 1).all(), "one interval"
    share, slack = lost.double().mean((1, 2)), 0.5 / height + 0.5 / width
    assert share.min() >= low - slack - 1e-6 and share.max() <= low + more + slack + 1e-6


def test_outpainting_draws_its_sides() -> None:
    image = soft_picture(64, 48, 64)
    framed, lost = DEGRADATIONS["outpaint"](image, seeded(0)), draw_frame(64, 48, 64, seeded(0))
    keep = ~lost[:, None].expand_as(image)
    assert torch.equal(framed[keep], image[keep])
    assert {float(sample[:, gone].unique()) for sample, gone in zip(framed, lost, strict=True)} == {0.0, 0.5, 1.0}
    sides = torch.stack([lost[:, 0].all(1), lost[:, -1].all(1), lost[..., 0].all(1), lost[..., -1].all(1)], 1)
    assert {1, 2, 3, 4} == set(sides.sum(1).tolist()) and len(sides.unique(dim=0)) > 8
    with pytest.raises(ValueError, match="coverage must be"):
        DEGRADATIONS["outpaint"](image, seeded(0), coverage=(0.0, 0.2))
