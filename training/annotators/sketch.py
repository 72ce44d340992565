"""A hand's sketch: few white strokes along the main boundaries, on black.

Shape legend: B batch, H x W pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .filters import blur, dilate, is_small, shifts, soften
from .hed import Boundary, boundary

LEVEL, COVER = 0.3, 0.55
WEAK, FOLLOW = 0.35, 6  # share of the level at which a stroke goes on, for so many pixels at each end
SPECK = 0.1
SHARPNESS = 3.0
# Ranges (low, high) that a generator draws each of these from.
LEVELS, COVERS, TREMBLES, FORGETS = (0.15, 0.45), (0.3, 0.75), (0.0, 1.2), (0.0, 0.15)
KNOT = 12  # pixels between the knots of the trembling hand


class Hand(NamedTuple):
    """How one sketch is drawn, each [B,1,1,1]."""

    level: Tensor  # boundary strength where strokes begin
    cover: Tensor  # ink on paper that counts, 1 on the middle of a stroke: the smaller, the broader the pen
    tremble: Tensor  # amplitude in pixels
    forget: Tensor  # share of the picture where no stroke is drawn


def sketch(image: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """White strokes two to three pixels wide on black [B,H,W] in [0,1], on the picture's device.

    The boundaries of `hed`, thinned to their crests, followed from strong ones into weaker ones, freed from specks,
    and drawn with a round pen.

    Args:
        image: [B,3,H,W] in [0,1].
        generator: draws for each sample how much is drawn, the pen's width, how far the hand trembles, and where it
            leaves strokes out; without it a medium pen and a steady hand.

    Raises:
        ValueError: wrong shape of the image.
    """
    edges = boundary(image)
    strength = edges.strength()
    hand = _hand(strength, generator)
    crest = _crest(edges)
    thin = crest * (strength > hand.level)
    for _ in range(FOLLOW):
        thin = dilate(thin) * crest * (strength > WEAK * hand.level)
    # A pixel stays only where enough others lie around it.
    thin = thin * (blur(blur(thin), 2) > SPECK)
    ink = soften(thin) * 2 if is_small(image) else blur(thin) * 8 / 3
    if generator is not None:
        ink = _trembling(ink, hand, generator) * _remembered(ink, hand, generator)
    return ((ink - hand.cover) * SHARPNESS + 0.5).clamp(0, 1)[:, 0]


def _hand(like: Tensor, generator: torch.Generator | None) -> Hand:
    shape = (like.shape[0], 1, 1, 1)
    if generator is None:
        level, cover, zero = like.new_tensor(LEVEL), like.new_tensor(COVER), like.new_tensor(0.0)
        return Hand(*(value.expand(shape) for value in (level, cover, zero, zero)))

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)

    return Hand(draw(*LEVELS), draw(*COVERS), draw(*TREMBLES), draw(*FORGETS))


def _crest(edges: Boundary) -> Tensor:
    """Float mask [B,1,H,W] of the pixels that no neighbour across the boundary exceeds (J. Canny, 1986)."""
    at = shifts(edges.energy, 1)
    straight = edges.cosine.abs() > edges.sine.abs()
    ways = (
        (straight & (edges.cosine > 0), (0, 1)),
        (straight & (edges.cosine <= 0), (1, 0)),
        (~straight & (edges.sine > 0), (1, 1)),
        (~straight & (edges.sine <= 0), (1, -1)),
    )
    crest = torch.zeros_like(straight, dtype=torch.bool)
    for turned, (dy, dx) in ways:
        # Of two equal neighbours only one is taken.
        crest |= turned & (edges.energy > at(dy, dx)) & (edges.energy >= at(-dy, -dx))
    return crest.float()


def _noise(like: Tensor, channels: int, generator: torch.Generator) -> Tensor:
    """Smooth standard normal noise [B,channels,H,W] with a knot every KNOT pixels."""
    batch, _, h, w = like.shape
    knots = (h // KNOT + 2, w // KNOT + 2)
    coarse = torch.randn(batch, channels, *knots, generator=generator, device=generator.device)
    return F.interpolate(coarse, (h, w), mode="bilinear", align_corners=True)


def _trembling(ink: Tensor, hand: Hand, generator: torch.Generator) -> Tensor:
    """The strokes moved by a smooth random field of the hand's amplitude."""
    h, w = ink.shape[-2:]
    dx, dy = (_noise(ink, 2, generator) * hand.tremble).unbind(1)
    y = torch.arange(h, device=ink.device)[:, None]
    x = torch.arange(w, device=ink.device)
    grid = torch.stack([(2 * (x + dx) + 1) / w - 1, (2 * (y + dy) + 1) / h - 1], dim=-1)
    return F.grid_sample(ink, grid, padding_mode="border", align_corners=False)


def _remembered(ink: Tensor, hand: Hand, generator: torch.Generator) -> Tensor:
    """1 where strokes are drawn, 0 in the share of the picture that is left out, with soft ends between."""
    quantile = torch.special.ndtri(hand.forget.clamp_min(1e-6))
    return ((_noise(ink, 1, generator) - quantile) * 4 + 0.5).clamp(0, 1)
