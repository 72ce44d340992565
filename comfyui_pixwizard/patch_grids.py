"""Velocities averaged over patch grids that lie half a patch beside each other.

The network sees a picture in patches, and where it is unsure their borders show in its answer. Asked again with the
latents moved by half a patch it is unsure at other places; the mean has fewer borders, and is nearer to the truth
where the truth is one: cycle spinning (Coifman and Donoho, Translation-Invariant De-Noising, 1995, section 3). Moving
wraps round, so that every grid has the size that evaluators are prepared for; the patches that hold both ends of a
picture have no say. Answers that may be several things, drawn ones above all, are blurred by it.
Shapes: h, w latent pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Shift = tuple[int, int]
# By the number of grids, where each begins: latent pixels down and across.
SHIFTS: dict[int, tuple[Shift, ...]] = {
    1: ((0, 0),),
    2: ((0, 0), (1, 1)),
    4: ((0, 0), (0, 1), (1, 0), (1, 1)),
}


def check_grids(count: int) -> None:
    """A number of grids.

    Raises:
        ValueError: another than 1, 2 and 4.
    """
    if isinstance(count, bool) or count not in SHIFTS:
        raise ValueError(f"patch grids are {', '.join(map(str, SHIFTS))}, found {count!r}: 1 is the usual one alone")


def shifted(latents: Tensor, shift: Shift) -> Tensor:
    """Latents [..., h, w] that begin at a shift; what is before it comes last."""
    return latents.roll((-shift[0], -shift[1]), (-2, -1)) if any(shift) else latents


def mean_over_grids(found: Sequence[Tensor]) -> Tensor:
    """Values [..., h, w] that were found at the shifts of as many grids, in their order, to their mean in place."""
    height, width = found[0].shape[-2:]
    total, weights = torch.zeros_like(found[0]), found[0].new_zeros(height, width)
    for values, (down, across) in zip(found, SHIFTS[len(found)], strict=True):
        weight = _counts(height, down)[:, None] * _counts(width, across)
        total += values.roll((down, across), (-2, -1)) * weight.to(values)
        weights += weight.to(weights)
    return total / weights


def _counts(length: int, shift: int) -> Tensor:
    """0 for the rows of a patch that holds both ends, else 1."""
    counts = torch.ones(length)
    if shift:
        counts[:shift] = counts[-shift:] = 0
    return counts
