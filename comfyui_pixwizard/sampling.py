"""One sampling: how it is asked for, and the loop from noise to latents.

Shapes: B samples, C latent channels, h w latent sides, R layers, N image tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from .evaluator import Branch, Evaluator, OverGrids
from .flow import time_grid
from .guidance import DualGuidance
from .latents import Latents
from .patch_grids import check_grids
from .scaling import PLAIN, Scaling
from .solvers import DEFAULT_SOLVER, solve
from .tasks.defaults import GENERAL
from .token_sampler import exponential_draws
from .transformer import PixWizardTransformer

Progress = Callable[[int, int], None]
USUAL = DualGuidance(*GENERAL.guidance)
BEST, SAMPLED = TOKEN_CHOICES = ("best", "sampled")


@dataclass(frozen=True)
class Sampling:
    """How to sample.

    Attributes:
        steps: points of the time grid, counted as the released scripts do: 5 are 4 steps.
        solver: a key of `solvers.EVALUATIONS`.
        guidance: weights of the branches.
        token_choice: "best" takes the image tokens that each layer ranks highest; "sampled" draws them with Gumbel
            noise, anew for every layer, branch and evaluation, as the released code does (docs/mathematics.md
            section 8).
        shift: of the time grid: above 1 it crowds towards noise, as large pictures may want it; 1 is even.
        scaling: of positions and attention, for more tokens than the model was trained on.
        windows: in overlapping windows of the model's size, see `windows`.
        patch_grids: 1, 2 or 4 that velocities are averaged over, see `patch_grids`.

    Raises:
        ValueError: another token_choice, a shift that is not positive, another number of grids.
    """

    steps: int = GENERAL.steps
    solver: str = DEFAULT_SOLVER
    guidance: DualGuidance = USUAL
    token_choice: str = BEST
    shift: float = 1.0
    scaling: Scaling = PLAIN
    windows: bool = False
    patch_grids: int = 1

    def __post_init__(self) -> None:
        check_grids(self.patch_grids)
        if self.token_choice not in TOKEN_CHOICES:
            raise ValueError(f"the token choice is best or sampled, found {self.token_choice!r}: take best")
        if not 0 < self.shift < math.inf:
            raise ValueError(f"the time shift must be a positive number, found {self.shift:g}: 1 is an even grid")

    def told(self, *names: str) -> dict[str, Any]:
        """Some of the settings by name, those that are not as usual."""
        return {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if item.name in names and getattr(self, item.name) != item.default
        }


@dataclass(frozen=True)
class Held:
    """A part of the latents that is the source's at every step, as noisy as the time says, with the sampling's noise.

    What is held is the velocity: from the sampling's own noise straight to the source, which every solver follows
    exactly. Under a share between 0 and 1 the answer is the mixture of both at the end, not once again at every step.

    Attributes:
        source: latents [B, C, h, w].
        share: [B, 1, h, w] in [0, 1], how much is sampled; 0 holds.
    """

    source: Tensor
    share: Tensor

    def velocity(self, sampled: Tensor, noise: Tensor) -> Tensor:
        """The velocity of both parts, [B, C, h, w]."""
        return (self.source - noise).lerp(sampled, self.share)


def sampled_draws(is_null: Tensor, layers: int, tokens: int, generators: Sequence[torch.Generator | None]) -> Tensor:
    """Draws behind Gumbel noise [R, B, N], of each sample from its own generator; None is torch's global one."""
    rows = [
        exponential_draws(generator or torch.default_generator, layers, ~is_null[row : row + 1], tokens)
        for row, generator in enumerate(generators)
    ]
    return torch.cat(rows, dim=1)


def redrawn(branch: Branch, generators: Sequence[torch.Generator | None]) -> Branch:
    """A branch with image tokens that are drawn again."""
    layers, _, tokens = branch.conditions.scores.shape
    draws = sampled_draws(branch.conditions.is_null, layers, tokens, generators)
    # Without the keys to draw from: those of a branch without picture are of another length and could not be joined.
    drawn = replace(branch.conditions.redraw(draws), all_keys=None, all_values=None)
    return replace(branch, conditions=drawn)


def sample_latents(
    evaluator: Evaluator,
    transformer: PixWizardTransformer,
    branches: Mapping[str, Branch],
    noise: Tensor,
    how: Sampling,
    generators: Sequence[torch.Generator | None],
    progress: Progress | None = None,
    held: Held | None = None,
) -> Tensor:
    """From noise [B, C, h, w] to latents of the same shape, float32.

    Args:
        branches: of guidance, each of B samples; for "sampled" encoded so that they can be drawn again.
        generators: of the samples, from which "sampled" draws.
        progress: called after every step with (done, in all).
        held: what is not sampled.
    """
    grid = time_grid(how.steps, how.shift)
    times = grid[:-1].tolist()
    sampled = how.token_choice == SAMPLED
    if how.patch_grids > 1:
        evaluator = OverGrids(evaluator, how.patch_grids)
    prepared = None if sampled else evaluator.start(transformer, branches, times, how.scaling)

    def velocity(x: Any, t: Tensor) -> Latents:
        """Guided velocity of x [B, C, h, w]."""
        now, time = how.guidance.at(float(t)), float(t)
        names, step = now.branches(), prepared
        if step is None:
            drawn = {name: redrawn(branches[name], generators) for name in names}
            step = evaluator.start(transformer, drawn, [time], how.scaling)
        found = now.combine(step(x, time, names))
        if held is None:
            return found
        assert isinstance(found, Tensor), "a tensor goes in"
        return held.velocity(found, noise)

    # The state stays float32 whatever the weights are: many small steps are summed.
    x = solve(velocity, noise, grid, how.solver, progress)
    assert isinstance(x, Tensor), "a tensor goes in"
    return x
