"""Guidance that acts in an interval of times only."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pixwizard.comfyui_pixwizard.flow import time_grid
from pixwizard.comfyui_pixwizard.guidance import BRANCHES, DualGuidance
from pixwizard.comfyui_pixwizard.solvers import solve

scales = st.sampled_from([-1.0, 0.0, 1.0, 1.5, 4.0])


def parts():
    drawn = torch.randn(3, 2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    return dict(zip(BRANCHES, drawn, strict=True))


@given(scales, scales, st.sampled_from([None, 2, 9]), st.floats(0, 1))
def test_at_a_time_it_is_plain_guidance_or_none(text, image, channels, t):
    plain = DualGuidance(text, image, channels)
    assert plain.interval == (0.0, 1.0) and plain.at(t) is plain
    guidance = DualGuidance(text, image, channels, (0.2, 0.9))
    assert set(guidance.branches()) == {*plain.branches(), "full"}  # what must be encoded
    now, found = guidance.at(t), parts()
    needed = {name: found[name] for name in now.branches()}
    if 0.2 <= t <= 0.9:
        assert now == plain and now.at(t) is now
        torch.testing.assert_close(now.combine(needed), plain.combine(found))
    elif not 0.199 < t < 0.901:
        assert list(needed) == ["full"]
        assert torch.equal(now.combine(needed), found["full"])
        ragged = now.combine({name: list(part) for name, part in needed.items()})
        assert torch.equal(torch.stack(ragged), found["full"])


def test_ends_belong_to_it_as_float32_too():
    for low, high in ((0.3, 0.7), (0.2, 0.9), (0.1, 0.6)):
        guidance = DualGuidance(2.0, 1.5, interval=(low, high))
        for end in (low, high, float(torch.tensor(low)), float(torch.tensor(high))):
            assert guidance.at(end).branches() == ["full", "image", "none"]
        assert guidance.at(low - 1e-4).branches() == guidance.at(high + 1e-4).branches() == ["full"]
    assert DualGuidance(2.0, 1.5, interval=(0.5, 1.0)).at(1.0 + 1e-7).branches() == ["full", "image", "none"]


def test_branches_of_a_sampling():
    guidance, found, evaluated = DualGuidance(4.0, 1.0, 3, (0.25, 0.5)), parts(), []

    def velocity(x, t):
        now = guidance.at(float(t))
        evaluated.append(now.branches())
        return now.combine({name: found[name] for name in now.branches()})

    out = solve(velocity, torch.zeros(2, 4, 3, 3), time_grid(9), "euler")
    assert [len(names) for names in evaluated] == [1, 1, 2, 2, 2, 1, 1, 1]
    guided = DualGuidance(4.0, 1.0, 3).combine(found)
    torch.testing.assert_close(out, (5 * found["full"] + 3 * guided) / 8)


@pytest.mark.parametrize("interval", [(0.5, 0.5), (0.9, 0.2), (-0.1, 0.5), (0.2, 1.1), (math.nan, 0.5), (0.5,)])
def test_error(interval):
    with pytest.raises(ValueError, match=r"guidance interval must be 0 <= low < high <= 1 .* found \(.*: take"):
        DualGuidance(interval=interval)
