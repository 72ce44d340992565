"""Annotators: edges lie where the pictures have them, and depend on nothing but the picture and the generator."""

import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pixwizard.training.annotators import ANNOTATORS

NAMES = sorted(ANNOTATORS)
DRAWN = ("canny", "sketch")
RED, ITS_GREEN = (0.9, 0.2, 0.2), (0.2, 0.5566, 0.2)  # of equal luma


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def soft_picture(batch: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Smooth random pictures with slopes of all strengths."""
    small = torch.rand(batch, 3, height // 6 + 2, width // 6 + 2, generator=seeded(seed))
    return torch.nn.functional.interpolate(small, (height, width), mode="bicubic").clamp(0, 1)


def signed_distance(size: int, angle: float) -> Tensor:
    """Pixels from the middle line of a picture at an angle: [size,size]."""
    place = torch.arange(size) + 0.5 - size / 2
    return place[None, :] * math.cos(angle) + place[:, None] * math.sin(angle)


def painted(where: Tensor, inside: tuple[float, ...] = (0.8,) * 3, outside: tuple[float, ...] = (0.2,) * 3) -> Tensor:
    """Picture [1,3,H,W] of two flat colours, mixed by coverage [H,W] in [0,1]."""
    share = where.clamp(0, 1)[None, None]
    return share * torch.tensor(inside)[:, None, None] + (1 - share) * torch.tensor(outside)[:, None, None]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=6, deadline=None)
@given(
    batch=st.integers(1, 3),
    height=st.integers(8, 90),
    width=st.integers(8, 90),
    seed=st.integers(0, 99),
    draw=st.booleans(),
)
def test_shape_range_and_determinism(name: str, batch: int, height: int, width: int, seed: int, draw: bool) -> None:
    image = soft_picture(batch, height, width, seed)
    before = image.clone()
    first, again = (ANNOTATORS[name](image, seeded(seed) if draw else None) for _ in range(2))
    assert first.shape == (batch, height, width) and first.dtype == torch.float32
    assert first.min() >= 0 and first.max() <= 1 and first.isfinite().all()
    assert torch.equal(first, again)
    assert torch.equal(image, before), "the input was written to"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [128, 224])
@settings(max_examples=8, deadline=None)
@given(angle=st.floats(0, 2 * math.pi), contrast=st.floats(0.5, 0.9))
def test_step_edge_is_found_within_a_pixel(name: str, size: int, angle: float, contrast: float) -> None:
    distance = signed_distance(size, angle)
    image = painted(distance + 0.5, (0.05 + contrast,) * 3, (0.05,) * 3)
    edges = ANNOTATORS[name](image)[0]
    inner = torch.zeros(size, size, dtype=torch.bool)
    inner[12:-12, 12:-12] = True
    lit = edges * inner
    # Line art lies on the dark side: its middle is one pixel beside the edge, its rim on the edge.
    assert abs(float((lit * distance).sum() / lit.sum())) < (1.5 if name == "line_art" else 0.75)
    reach = {"canny": 1.5, "line_art": 3.0, "sketch": 3.0, "hed": size / 20}[name]
    assert not lit[distance.abs() > reach].any(), "something is drawn away from the edge"
    # Every pixel of the edge has ink within one pixel.
    near = torch.nn.functional.max_pool2d(edges[None], 3, 1, 1)[0]
    assert (near[inner & (distance.abs() < 0.5)] > 0.4).all(), "the line has gaps"


@pytest.mark.parametrize("name", NAMES)
def test_edge_between_colours_of_equal_luma_is_found(name: str) -> None:
    edges = ANNOTATORS[name](painted(signed_distance(128, 0.3) + 0.5, RED, ITS_GREEN))[0]
    assert edges.max() > 0.8


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(64, 64), (200, 240)])
@settings(max_examples=6, deadline=None)
@given(colour=st.tuples(*[st.floats(0, 1)] * 3), draw=st.booleans())
def test_flat_picture_gives_zero(
    name: str, size: tuple[int, int], colour: tuple[float, float, float], draw: bool
) -> None:
    image = torch.tensor(colour)[None, :, None, None].expand(2, 3, *size)
    assert not ANNOTATORS[name](image, seeded(1) if draw else None).any()


@pytest.mark.parametrize("name", ["hed", "line_art", "sketch"])
def test_slow_shading_gives_nothing(name: str) -> None:
    ramp = torch.linspace(0.2, 0.8, 224).expand(1, 3, 224, 224)
    assert not ANNOTATORS[name](ramp).any()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8, deadline=None)
@given(dy=st.integers(-20, 20), dx=st.integers(-20, 20), seed=st.integers(0, 99))
def test_translation_moves_the_edges_along(name: str, dy: int, dx: int, seed: int) -> None:
    image = torch.full((1, 3, 140, 140), 0.5)
    image[..., 50:90, 50:90] = soft_picture(1, 40, 40, seed)
    moved = ANNOTATORS[name](image.roll((dy, dx), (-2, -1)))
    edges = ANNOTATORS[name](image)
    assert edges.any()
    assert torch.equal(moved, edges.roll((dy, dx), (-2, -1)))


@pytest.mark.parametrize("name", NAMES)
def test_samples_of_a_batch_do_not_mix(name: str) -> None:
    image = soft_picture(3, 80, 96)
    together = ANNOTATORS[name](image)
    alone = torch.cat([ANNOTATORS[name](image[i : i + 1]) for i in range(3)])
    assert torch.equal(together, alone)
    assert not torch.equal(together[0], together[1])


@pytest.mark.parametrize("name", DRAWN)
def test_generator_varies_seeds_and_samples(name: str) -> None:
    image = 0.35 * soft_picture(1, 96, 96).repeat(6, 1, 1, 1)
    one, two = (ANNOTATORS[name](image, seeded(seed)) for seed in (1, 2))
    assert not torch.equal(one, two)
    ink = one.mean((1, 2))
    assert len(set(ink.tolist())) > 3 and ink.max() > 1.2 * ink.min(), "strength does not vary in the batch"


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(DRAWN)))
def test_others_leave_the_generator_alone(name: str) -> None:
    image, generator = soft_picture(2, 64, 64), seeded(3)
    state = generator.get_state()
    assert torch.equal(ANNOTATORS[name](image, generator), ANNOTATORS[name](image))
    assert torch.equal(generator.get_state(), state)


def test_each_has_its_own_look() -> None:
    disc = painted(40.5 - torch.hypot(signed_distance(128, 0), signed_distance(128, math.pi / 2)))
    ink = {name: ANNOTATORS[name](disc)[0] for name in NAMES}
    # Thickness: ink per pixel of the circle.
    thickness = {name: float(lines.sum() / (2 * math.pi * 40)) for name, lines in ink.items()}
    assert 0.7 < thickness["canny"] < 1.3
    assert 0.7 < thickness["line_art"] < 2 < thickness["sketch"] < 3.2
    assert thickness["hed"] > 1.3 * thickness["sketch"]
    assert set(ink["canny"].unique().tolist()) == {0.0, 1.0}
    soft = {name: float(((lines > 0.1) & (lines < 0.9)).sum() / (lines > 0.1).sum()) for name, lines in ink.items()}
    assert soft["hed"] > 0.4


def test_hed_leaves_texture_out_where_canny_follows_it() -> None:
    image = (painted(signed_distance(224, 0.2) + 0.5) + 0.12 * torch.randn(1, 3, 224, 224, generator=seeded(0))).clamp(
        0, 1
    )
    away = signed_distance(224, 0.2).abs() > 10
    edges = {name: ANNOTATORS[name](image)[0] for name in ("canny", "hed")}
    assert edges["canny"][away].mean() > 0.1
    assert edges["hed"][away].mean() < 0.03
    assert edges["hed"][signed_distance(224, 0.2).abs() < 1].mean() > 0.7


def test_canny_keeps_less_with_higher_thresholds() -> None:
    image = soft_picture(2, 96, 96)
    canny = ANNOTATORS["canny"]
    assert torch.equal(canny(image), canny(image, low=100, high=200))
    few, many = canny(image, low=150, high=300), canny(image, low=30, high=60)
    assert few.sum() < canny(image).sum() < many.sum()
    assert (few <= many).all()


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"low": 200, "high": 100}, "0 < low <= high"),
        ({"low": 0, "high": 100}, "0 < low <= high"),
        ({"low": 100}, "both of low and high"),
        ({"low": 100, "high": 200, "generator": seeded(0)}, "a generator or"),
    ],
)
def test_wrong_thresholds_are_named(options: dict, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        ANNOTATORS["canny"](torch.zeros(1, 3, 8, 8), **options)


def test_missing_opencv_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ValueError, match="pip install opencv-python-headless"):
        ANNOTATORS["canny"](torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("image", [torch.zeros(3, 8, 8), torch.zeros(1, 4, 8, 8), torch.zeros(1, 3, 8, 8).byte()])
def test_wrong_input_is_named(name: str, image: Tensor) -> None:
    with pytest.raises(ValueError, match=r"needs a float image \[B,3,H,W\]"):
        ANNOTATORS[name](image)
