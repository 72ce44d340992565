"""Marks that the grounding and pose codecs draw and find again: discs and capsules, with soft edges of one pixel.

Coordinates: x to the right and y down, in pixels; the pixel of row i and column j covers [j, j + 1) x [i, i + 1), so
that its centre is (j + 0.5, i + 0.5).

Shape legend: one picture [3, H, W] in [0, 1]; maps [H, W]; K points [K, 2] as x, y.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..task import check_picture, check_source
from .mask import COLORS

MARK_COLORS: dict[str, tuple[float, float, float]] = {**COLORS, "orange": (1.0, 0.5, 0.0), "purple": (0.5, 0.0, 1.0)}
# Least distance between the colours of source and paint at which a pixel's opacity can be read off.
LEAST_CONTRAST = 0.3


def mark_color(name: str) -> Tensor:
    """Colour of a mark by name: [3] in [0,1].

    Raises:
        ValueError: a name that is not in MARK_COLORS.
    """
    if name not in MARK_COLORS:
        raise ValueError(f"the colours of marks are {', '.join(MARK_COLORS)}, found {name!r}: choose one of them")
    return torch.tensor(MARK_COLORS[name])


def check_one(picture: Any, name: str = "picture") -> Tensor:
    """One picture [3,H,W]; boxes and points of several pictures differ in number and do not stack.

    Raises:
        ValueError: not a float picture, or a batch.
    """
    tensor = check_picture(picture, name)
    if tensor.ndim != 3:
        raise ValueError(
            f"this code takes one {name} [3, H, W] at a time, found {tuple(tensor.shape)}: go through the batch"
        )
    return tensor


def check_canvas(source: Any, why: str) -> Tensor:
    """The source on which marks are drawn: [3,H,W].

    Raises:
        ValueError: no source, or not one picture.
    """
    if source is None:
        raise ValueError(f"{why} needs the source picture, found none: pass source=<picture [3, H, W]>")
    return check_one(source, "source")


def check_base(source: Any, picture: Tensor, why: str) -> Tensor:
    """The source of a picture to decode: [3,H,W] of the picture's size and on its device."""
    return check_one(check_source(source, picture, why), "source").to(picture.device)


def paint(canvas: Tensor, start: Tensor, end: Tensor, radius: float, color: Tensor) -> None:
    """Paint a capsule (a disc where both ends are equal) onto canvas [3,H,W], in place; only its patch is touched."""
    height, width = canvas.shape[-2:]
    reach = radius + 1
    low = torch.minimum(start, end).sub(reach).floor().long().clamp_min(0).tolist()
    high = torch.maximum(start, end).add(reach).ceil().long().tolist()
    x1, y1 = min(high[0], width), min(high[1], height)
    if x1 <= low[0] or y1 <= low[1]:
        return
    patch = canvas[:, low[1] : y1, low[0] : x1]
    x = torch.arange(low[0], x1, device=canvas.device) + 0.5 - start[0]
    y = torch.arange(low[1], y1, device=canvas.device)[:, None] + 0.5 - start[1]
    along = end - start
    place = ((x * along[0] + y * along[1]) / along.square().sum().clamp_min(1e-9)).clamp(0, 1)
    distance = torch.hypot(x - place * along[0], y - place * along[1])
    coverage = (radius + 0.5 - distance).clamp(0, 1)
    patch += coverage * (color[:, None, None] - patch)


def paint_share(picture: Tensor, source: Tensor, color: Tensor) -> tuple[Tensor, Tensor]:
    """Opacity of a colour painted over the source at every pixel [H,W], and where it can be read off [H,W] bool.

    The least-squares opacity <picture - source, colour - source> / |colour - source|^2. Where the source has nearly the
    colour itself, painting changes nothing: there the opacity is unknown and given as 0.
    """
    toward = color[:, None, None] - source
    length = toward.square().sum(0)
    readable = length > LEAST_CONTRAST**2
    return torch.where(readable, ((picture - source) * toward).sum(0) / length.clamp_min(1e-6), 0.0), readable


def disc_windows(maps: Tensor, centers: Tensor, radius: float) -> Tensor:
    """Squares of a map [C,H,W] round discs, zero beyond the border: [K,2] -> [K,C,S,S], for `fit_discs`."""
    reach = _reach(radius)
    padded = F.pad(maps, (reach,) * 4)
    # Padding moves everything by reach, the corner of the square lies reach before the centre.
    place = torch.arange(2 * reach + 1, device=maps.device)
    column, row = ((centers[:, axis].floor().long())[:, None] + place for axis in (0, 1))
    return padded[:, row[:, :, None], column[:, None, :]].movedim(0, 1)


def _reach(radius: float) -> int:
    return int(2 * radius) + 2


def fit_discs(share: Tensor, known: Tensor, start: Tensor, radius: float, precision: float = 0.05) -> Tensor:
    """Centres of discs near the given ones, by least squares: [K,2] -> [K,2].

    Minimises sum known * (coverage - share)^2 over a window by trying the eight neighbours of the best centre at
    falling steps. A cut or half-hidden disc is placed right too, which a centroid is not.

    Args:
        share: [K,S,S] windows (`disc_windows` of start): how much each pixel belongs to the disc, in [0,1].
        known: [K,S,S] weight of a pixel, 0 where another mark hides it and beyond the border.
        start: [K,2] x and y.
    """
    corner = start.floor() - _reach(radius)
    grid = torch.arange(share.shape[-1], device=share.device) + 0.5
    center = start - corner
    moves = torch.cartesian_prod(*[torch.tensor([0.0, -1.0, 1.0], device=share.device)] * 2)
    rows = torch.arange(len(start), device=share.device)
    step = radius / 2
    while step > precision:
        for _ in range(4):
            tried = center[:, None] + step * moves
            dx, dy = ((grid - tried[..., axis, None]).square() for axis in (0, 1))
            coverage = (radius + 0.5 - (dx[:, :, None, :] + dy[:, :, :, None]).sqrt()).clamp(0, 1)
            cost = (known[:, None] * (coverage - share[:, None]).square()).sum((2, 3))
            best = cost.argmin(1)
            center = tried[rows, best]
            if not bool(best.any()):
                break
        step /= 2
    return center + corner


def region_sums(regions: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Area and weighted centre of the regions 1..K of `components`: [K], [K,2]."""
    count = int(regions.max()) + 1
    height, width = regions.shape
    y = (torch.arange(height, device=regions.device) + 0.5)[:, None].expand(height, width)
    x = (torch.arange(width, device=regions.device) + 0.5).expand(height, width)
    parts = torch.stack([torch.ones_like(weight), weight, weight * x, weight * y], dim=-1)
    sums = torch.zeros(count, 4, device=regions.device)
    sums.index_add_(0, regions.flatten(), rearrange(parts, "h w c -> (h w) c"))
    return sums[1:, 0], sums[1:, 2:] / sums[1:, 1:2].clamp_min(1e-6)
