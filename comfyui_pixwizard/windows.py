"""Sampling a picture that is larger than the model's size in overlapping windows of that size.

At every step each window's velocity is found as if it were a picture of its own, and where windows overlap the
velocities are averaged (MultiDiffusion, Bar-Tal et al., arXiv 2302.08113, equation 5, whose least squares are that
mean; weights fall towards the windows' cuts). The state is one for all windows, and so is the noise that it began with.
The words, the task and the image tokens are the whole picture's, so conditions are encoded once.
Shapes: B samples, n windows, C latent channels, h, w latent pixels of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .evaluator import Branch, Evaluator, Step
from .pictures.buckets import CELL
from .scaling import PLAIN, Scaling
from .transformer import PixWizardTransformer

# Pixels of a latent pixel's side, and latent pixels of a token's.
LATENT_PIXEL, PATCH = 8, 2
# Least share of a window's side that it has in common with its neighbour.
OVERLAP = 0.25
# Tokens of all windows that go through the network together; more is not faster on a CPU.
TOGETHER = 2048


class Window(NamedTuple):
    """Rows and columns of latents [..., h, w]."""

    rows: slice
    columns: slice

    def of(self, latents: Tensor) -> Tensor:
        """A view of what it shows."""
        return latents[..., self.rows, self.columns]


def check_side(side: int) -> None:
    """A side of windows in pixels.

    Raises:
        ValueError: 16 does not divide it, or it is below 64.
    """
    if side < 4 * CELL or side % CELL:
        raise ValueError(
            f"windows have a side of a multiple of {CELL} pixels from {4 * CELL} up, found {side}: take "
            f"{max(4 * CELL, round(side / CELL) * CELL)}"
        )


class Windows:
    """The windows over latents of a size, all of one size.

    Args:
        height, width: of the latents, even.
        side: in pixels, of the square that a window is; 16 divides it.

    Raises:
        ValueError: a side that 16 does not divide, or below 64; latents of an odd side.
    """

    def __init__(self, height: int, width: int, side: int) -> None:
        check_side(side)
        if height % PATCH or width % PATCH:
            raise ValueError(
                f"windows lie over latents of even sides, found {height} x {width}: take a picture whose sides {CELL} "
                "divides"
            )
        self.height, self.width = height, width
        self.size = min(height, side // LATENT_PIXEL), min(width, side // LATENT_PIXEL)
        self.all = [
            Window(slice(top, top + self.size[0]), slice(left, left + self.size[1]))
            for top in _starts(height, self.size[0])
            for left in _starts(width, self.size[1])
        ]

    def together(self) -> Iterator[list[Window]]:
        """Groups that are evaluated at once."""
        each = max(1, TOGETHER * PATCH**2 // (self.size[0] * self.size[1]))
        for first in range(0, len(self.all), each):
            yield self.all[first : first + each]

    def mean(self, found: Sequence[Tensor]) -> Tensor:
        """Values of all windows [B, C, …] in their order to those of the whole [B, C, h, w]."""
        down, across = (_ramp(length).to(found[0]) for length in self.size)
        weight = down[:, None] * across
        total = found[0].new_zeros(*found[0].shape[:2], self.height, self.width)
        weights = found[0].new_zeros(self.height, self.width)
        for window, values in zip(self.all, found, strict=True):
            window.of(total).add_(values * weight)
            window.of(weights).add_(weight)
        return total / weights


class InWindows:
    """An evaluator that has another one evaluate windows, see `evaluator.Evaluator`.

    Args:
        evaluator: of the windows.
        side: of the windows, as in `Windows`.
    """

    def __init__(self, evaluator: Evaluator, side: int) -> None:
        self.evaluator, self.side = evaluator, side
        self.name, self.reason = evaluator.name, evaluator.reason

    def start(
        self,
        transformer: PixWizardTransformer,
        branches: Mapping[str, Branch],
        times: Sequence[float],
        scaling: Scaling = PLAIN,
    ) -> Step:
        return WindowedStep(self.evaluator, transformer, branches, times, scaling, self.side)


class WindowedStep:
    """Velocities of a large picture, see `evaluator.Step`.

    Each group of windows is prepared anew for every time, which costs little beside its velocities: what an evaluator
    keeps of a sampling, such as modulations of all times, would otherwise grow with the picture.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        transformer: PixWizardTransformer,
        branches: Mapping[str, Branch],
        times: Sequence[float],
        scaling: Scaling,
        side: int,
    ) -> None:
        self.evaluator, self.transformer, self.branches = evaluator, transformer, branches
        self.times, self.scaling = times, scaling
        source = next(iter(branches.values())).source
        self.windows = Windows(source.shape[-2], source.shape[-1], side)
        self.groups = list(self.windows.together())
        # The last group may be smaller.
        self.conditions = {
            count: {name: branch.conditions[list(range(len(source))) * count] for name, branch in branches.items()}
            for count in {len(group) for group in self.groups}
        }

    def __call__(self, x: Tensor, t: float, branches: Sequence[str]) -> dict[str, Tensor]:
        found: dict[str, list[Tensor]] = {name: [] for name in branches}
        for group in self.groups:
            shown = {
                name: Branch(
                    torch.cat([window.of(self.branches[name].source) for window in group]),
                    self.conditions[len(group)][name],
                )
                for name in branches
            }
            step = self.evaluator.start(self.transformer, shown, self.times, self.scaling)
            velocities = step(torch.cat([window.of(x) for window in group]), t, branches)
            for name in branches:
                found[name] += velocities[name].split(len(x))
        return {name: self.windows.mean(values) for name, values in found.items()}


def _starts(length: int, side: int) -> list[int]:
    """Where windows begin: evenly, at whole tokens, the last one at the end."""
    if length <= side:
        return [0]
    overlap = math.ceil(side * OVERLAP)
    steps = math.ceil((length - side) / (side - overlap))
    return [round(i * (length - side) / steps / PATCH) * PATCH for i in range(steps + 1)]


def _ramp(length: int) -> Tensor:
    """Weights of a window's rows: least at its cuts, 1 from the overlap on."""
    place = torch.arange(length) + 0.5
    return (torch.minimum(place, length - place) / (OVERLAP * length)).clamp(max=1)
