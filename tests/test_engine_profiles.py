"""What engines are built for, and how far a build is."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixwizard.comfyui_pixwizard.config import PixWizardConfig
from pixwizard.export.build_progress import BuildProgress
from pixwizard.export.engine_options import Shapes, parse_size
from pixwizard.runtime.engine_profiles import Unsupported, bucket_profiles, choose, size_profiles, velocity_shapes
from pixwizard.runtime.graph_inputs import velocity_example

CONFIG = PixWizardConfig.from_dict(PixWizardConfig.preset("nano").to_dict() | {"n_layers": 2})


@given(
    tokens=st.integers(4, 4096),
    aspect=st.floats(1, 2),
    tall=st.booleans(),
    batch=st.integers(1, 3),
    text=st.integers(1, 256),
)
@settings(max_examples=200, deadline=None)
def test_a_bucket_takes_every_picture_up_to_its_tokens(
    tokens: int, aspect: float, tall: bool, batch: int, text: int
) -> None:
    short = max(1, int((tokens / aspect) ** 0.5))
    rows, columns = short, max(short, int(short * aspect))
    if tall:
        rows, columns = columns, rows
    profiles = bucket_profiles(CONFIG, (64, 1024, 4096), batch=3, text=256, aspect=2.0)
    place = choose(profiles, velocity_shapes(CONFIG, batch, rows, columns, text))
    # A bucket's longest side, rounded up, both ways.
    assert rows * columns <= math.ceil((2 * (64, 1024, 4096)[place]) ** 0.5) ** 2
    least, usual, most = profiles[place]["x"]
    assert all(a <= b <= c for a, b, c in zip(least, usual, most, strict=True))


def test_profiles_are_consistent_shapes_of_the_real_graph() -> None:
    example = velocity_example(CONFIG, 2, 8, 12, 7)
    assert {name: tuple(value.shape) for name, value in example.items()} == velocity_shapes(CONFIG, 2, 4, 6, 7)
    for profile in bucket_profiles(CONFIG, (64, 256)) + size_profiles(CONFIG, [(128, 64)]):
        for selector in range(3):
            shapes = {name: tuple(limits[selector]) for name, limits in profile.items()}
            batch, _, height, width = shapes["x"]
            p = CONFIG.patch_size
            assert shapes == velocity_shapes(CONFIG, batch, height // p, width // p, shapes["text_mask"][1])


def test_an_exact_size_takes_that_size_alone() -> None:
    profiles = size_profiles(CONFIG, [(128, 64), (64, 128)], batch=2, text=32)
    assert choose(profiles, velocity_shapes(CONFIG, 1, 8, 4, 5)) == 1
    with pytest.raises(Unsupported, match=r"128 x 64 px, up to 2 at once.*found 64 x 64 px, 3 at once and 5 text"):
        choose(profiles, velocity_shapes(CONFIG, 3, 4, 4, 5))


@pytest.mark.parametrize(
    "given, words",
    [
        ({"buckets": (64, 16)}, "growing numbers of tokens"),
        ({"buckets": (1,)}, "growing numbers of tokens"),
        ({"sizes": ("100",)}, "multiples of 16 px, found 100x100"),
        ({"sizes": ("big",)}, "a size is written 512 or 768x512"),
        ({"sizes": ("512",), "buckets": (64,)}, "found both"),
        ({"batch": 0}, "batch and text are at least 1"),
        ({"aspect": 0.5}, "lies in 1 to 8"),
    ],
)
def test_shapes_that_make_no_profile_are_named(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Shapes(**given).profiles(CONFIG)


def test_sizes_are_read_and_buckets_suit_the_model() -> None:
    assert parse_size("512") == (512, 512) and parse_size("768x512") == (768, 512)
    assert [p["cos"][1][0] for p in Shapes().profiles(CONFIG)] == [64, 256, 1024]
    large = PixWizardConfig.preset("2b")
    assert [p["cos"][1][0] for p in Shapes().profiles(large)] == [1024, 2304, 4096]


events = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 5)), min_size=1, max_size=8)


@given(events)
def test_progress_grows_to_one(phases: list[tuple[str, int]]) -> None:
    progress, seen = BuildProgress(), []
    names = [f"{name}{i}" for i, (name, _) in enumerate(phases)]
    for i, (name, (_, steps)) in enumerate(zip(names, phases, strict=True)):
        progress.start(name, names[i - 1] if i else None, steps)
        seen.append(progress.fraction)
    for name, (_, steps) in reversed(list(zip(names, phases, strict=True))):
        for step in range(steps):
            progress.step(name, step)
            seen.append(progress.fraction)
        progress.end(name)
    assert seen == sorted(seen) and seen[0] >= 0 and progress.fraction == 1.0
