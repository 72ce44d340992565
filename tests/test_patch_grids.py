"""Velocities averaged over patch grids."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pixwizard.comfyui_pixwizard.evaluator import Branch, OverGrids
from pixwizard.comfyui_pixwizard.patch_grids import SHIFTS, check_grids, mean_over_grids, shifted
from pixwizard.comfyui_pixwizard.sampling import Sampling

counts = st.sampled_from(sorted(SHIFTS))
sides = st.integers(1, 5).map(lambda patches: 2 * patches)


class Patchy:
    """An evaluator that adds to x + source an error that alternates from one half of a patch to the other."""

    name, reason = "patchy", "for tests"

    def start(
        self, transformer: Any, branches: Mapping[str, Branch], times: Sequence[float], scaling: Any = None
    ) -> Any:
        def step(x: Tensor, t: float, names: Sequence[str]) -> dict[str, Tensor]:
            error = torch.tensor([1.0, -1.0]).repeat(x.shape[-1] // 2)
            error = error + error.new_tensor([1.0, -1.0]).repeat(x.shape[-2] // 2)[:, None]
            return {name: x * t + branches[name].source + error for name in names}

        return step


def evaluated(count: int, x: Tensor, source: Tensor) -> dict[str, Tensor]:
    branches = {name: Branch(source * i, None) for i, name in enumerate(("full", "none"))}  # type: ignore[arg-type]
    return OverGrids(Patchy(), count).start(None, branches, [0.5])(x, 0.5, ["none", "full"])  # type: ignore[arg-type]


@given(counts, sides, sides)
def test_the_mean_undoes_the_shifts(count: int, height: int, width: int) -> None:
    x = torch.randn(2, 3, height, width)
    moved = [shifted(x, shift) for shift in SHIFTS[count]]
    assert len({tuple(part.flatten().tolist()) for part in moved}) == count
    torch.testing.assert_close(mean_over_grids(moved), x)


def test_a_patch_that_holds_both_ends_has_no_say() -> None:
    for count in (2, 4):
        found = [torch.full((1, 1, 6, 6), float(i)) for i in range(count)]
        mean = mean_over_grids(found)[0, 0]
        assert mean[0, 0] == mean[0, -1] == mean[-1, 0] == mean[-1, -1] == 0, "corners are the usual grid's alone"
        assert mean[2, 3] == sum(range(count)) / count
        assert mean[0, 3] == mean[-1, 2] == (0.5 if count == 4 else 0), "(0, 0) and (0, 1) meet the rows at the rim"


def test_errors_that_follow_the_patches_cancel() -> None:
    x, source = torch.randn(2, 4, 8, 6), torch.randn(2, 4, 8, 6)
    usual = evaluated(1, x, source)
    assert list(usual) == ["none", "full"] and (usual["none"] - (x / 2 + source)).abs().max() > 1.9
    for count in (2, 4):
        found = evaluated(count, x, source)
        for name, factor in (("full", 0), ("none", 1)):
            inner = (found[name] - (x / 2 + factor * source))[..., 1:-1, 1:-1]
            torch.testing.assert_close(inner, torch.zeros_like(inner), atol=1e-6, rtol=0)


@pytest.mark.parametrize("count", [0, 3, 8, True, 2.5])
def test_other_numbers_are_refused(count: Any) -> None:
    with pytest.raises(ValueError, match="patch grids are 1, 2, 4, found"):
        check_grids(count)
    with pytest.raises(ValueError, match="patch grids are 1, 2, 4, found"):
        Sampling(patch_grids=count)
