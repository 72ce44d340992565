"""Keypoints as pictures: a filled disc of one colour on each visible joint (as in InstructDiffusion).

Shape legend: K joints [K, 3] as x, y in pixels (see `marks`) and visible (1 or 0); one picture [3, H, W].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..task import Codec
from .clean_up import box_mean, components
from .marks import (
    check_base,
    check_canvas,
    check_one,
    disc_windows,
    fit_discs,
    mark_color,
    paint,
    paint_share,
    region_sums,
)

# Radii as shares of the shorter side: a disc that nearly fills a patch of 16 pixels of a picture of side 128, and
# InstructDiffusion's of 10 pixels of a side of 256.
BOLD, SMALL = 14 / 256, 10 / 256
# Least overlap of a mark with a disc at its centre; a disc that a corner of the picture cuts keeps a quarter.
LEAST_FITNESS = 0.15
# Least mean opacity of a stain that is no disc, in a square of a disc's size.
FAINT = 0.1
# Without a source a pixel belongs to a colour that is nearer than this.
NEAR = 0.45
COLORS = ("red",)


def disc_radius(height: int, width: int, radius: float = BOLD) -> float:
    """Radius of the discs in pixels, at least 1.5: a share of the shorter side."""
    return max(min(height, width) * radius, 1.5)


def _check_colors(colors: Sequence[str], count: int | None = None) -> Tensor:
    names = (colors,) if isinstance(colors, str) else tuple(colors)
    if not names or len(set(names)) != len(names) or (count is not None and len(names) != count):
        wanted = "one or more" if count is None else str(count)
        raise ValueError(f"keypoints need {wanted} different colours, found {', '.join(names) or 'none'}: one a joint")
    return torch.stack([mark_color(name) for name in names])


def encode_keypoints(label: Any, source: Any = None, *, colors: Sequence[str] = COLORS, radius: float = BOLD) -> Tensor:
    """Source with a disc on every visible joint: [K,3] and one colour name for each -> [3,H,W]. Later ones lie on top.

    Args:
        radius: of the discs, as a share of the shorter side.

    Raises:
        ValueError: not a [K,3] list of finite numbers, not K different colours, or no source.
    """
    joints = torch.as_tensor(label).float()
    if joints.ndim != 2 or joints.shape[-1] != 3 or not bool(joints.isfinite().all()):
        raise ValueError(f"keypoints are [K, 3] of x, y, visible, found {tuple(joints.shape)}: finite, one row a joint")
    canvas = check_canvas(source, "a keypoint").clone()
    paints = _check_colors(colors, len(joints)) if len(joints) else torch.zeros(0, 3)
    height, width = canvas.shape[-2:]
    reach = disc_radius(height, width, radius)
    for (x, y, visible), paint_color in zip(joints.tolist(), paints, strict=True):
        if visible > 0.5:
            center = torch.tensor([x, y], device=canvas.device)
            paint(canvas, center, center, reach, paint_color.to(canvas.device))
    return canvas


def _shown_colors(picture: Tensor, source: Any, paints: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Which of K paints [K,3] every pixel shows.

    Returns:
        The number of the paint [H,W] int64, 0 for none and k + 1 for the k-th; the opacity of each paint [K,H,W] in
        [0,1]; whether that opacity can be read off there [K,H,W] bool (see `paint_share`); and the opacity where the
        paint is the nearest and the pixel moved towards it mostly [K,H,W], zeros without a source.
    """
    distance = torch.stack([(picture - paint_color[:, None, None]).norm(dim=0) for paint_color in paints])
    if source is None:
        nearest, index = distance.min(0)
        share = (1.5 - distance / NEAR).clamp(0, 1)
        known = torch.ones_like(share, dtype=torch.bool)
        return torch.where(nearest < NEAR, index + 1, 0), share, known, torch.zeros_like(share)
    base = check_base(source, picture, "a keypoint")
    shares, readables = zip(*(paint_share(picture, base, paint_color) for paint_color in paints), strict=True)
    share, readable = torch.stack(shares).clamp(0, 1), torch.stack(readables)
    nearest, index = distance.min(0)
    painted = readable.gather(0, index[None])[0] & (share.gather(0, index[None])[0] > 0.5)
    # A pixel that moved in the colour's direction and stopped elsewhere was changed by something else.
    moved = (picture - base).norm(dim=0)
    painted &= nearest < torch.maximum(0.5 * moved, torch.tensor(0.2, device=picture.device))
    mostly = (
        readable & (distance < 3 * moved) & (index == torch.arange(len(paints), device=index.device)[:, None, None])
    )
    return torch.where(painted, index + 1, 0), share, readable, share * mostly


def _faint(opacity: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """The middle [2] of the square of a disc's size that is painted most, and its mean opacity: [H,W] -> [2], []."""
    reach = max(round(radius), 1)
    mean = F.avg_pool2d(opacity[None], (2 * reach + 1, 1), stride=1, padding=(reach, 0))
    mean = F.avg_pool2d(mean, (1, 2 * reach + 1), stride=1, padding=(0, reach))[0]
    at = int(mean.argmax())
    middle = opacity.new_tensor([at % mean.shape[1] + 0.5, at // mean.shape[1] + 0.5])
    return middle, mean.flatten()[at]


def _fitness(regions: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Centres of regions [N,2] and how much each is a disc [N]: intersection over union with one at its centre."""
    area, center = region_sums(regions, torch.ones_like(regions, dtype=torch.float32))
    row, column = (regions > 0).nonzero(as_tuple=True)
    region = regions[row, column] - 1
    offset = torch.stack([column, row], dim=1) + 0.5 - center[region]
    inside = torch.zeros_like(area).index_add_(0, region, (offset.norm(dim=1) <= radius).float())
    return center, inside / (area + math.pi * radius**2 - inside)


def _locate(picture: Tensor, source: Any, paints: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Joints [K,3], and the overlap of each mark with a disc [K] in [0,1]; both 0 for a joint that is not drawn."""
    marks, share, readable, mostly = _shown_colors(picture, source, paints)
    height, width = picture.shape[-2:]
    reach = disc_radius(height, width, radius)
    joints, match = picture.new_zeros(len(paints), 3), picture.new_zeros(len(paints))
    regions = components(marks)
    center, fitness = _fitness(regions, reach)
    owner = torch.zeros(len(center), dtype=torch.long, device=picture.device)
    owner[regions[marks > 0] - 1] = marks[marks > 0] - 1
    for k in range(len(paints)):
        mine = (owner == k) & (fitness >= LEAST_FITNESS)
        if not bool(mine.any()):
            # A model that is unsure draws the mean of where the disc may be: a stain that is no disc.
            place, opacity = _faint(mostly[k], reach)
            if float(opacity) >= FAINT:
                joints[k] = torch.cat([place, place.new_ones(1)])
                match[k] = LEAST_FITNESS * opacity
            continue
        best = int(torch.where(mine, fitness, -1.0).argmax())
        own = regions == best + 1
        near = box_mean(own[None].float())[0] > 0
        known = readable[k] & ((marks == 0) | (marks == k + 1))
        windows = disc_windows(torch.stack([share[k] * near, known.float()]), center[best : best + 1], reach)
        place = fit_discs(windows[:, 0], windows[:, 1], center[best : best + 1], reach)[0]
        joints[k] = torch.cat([place, place.new_ones(1)])
        match[k] = fitness[best]
    return joints, match


def decode_keypoints(
    picture: Any, source: Any = None, *, colors: Sequence[str] = COLORS, radius: float = BOLD
) -> Tensor:
    """Joints [K,3], one for each colour; x = y = visible = 0 where there is no disc of that colour.

    Args:
        source: the picture before the discs, against which things of the colour that were there before cancel; None
            trusts the colour alone.
        radius: of the discs, as a share of the shorter side.

    Raises:
        ValueError: not one float picture, colours that are unknown or named twice, or a source of another size.
    """
    paints = _check_colors(colors)
    one = check_one(picture)
    return _locate(one, source, paints.to(one.device), radius)[0]


def keypoints_confidence(
    picture: Any, source: Any = None, *, colors: Sequence[str] = COLORS, radius: float = BOLD
) -> float:
    """Mean over the colours of the mark's intersection over union with a disc; 0 for a colour without a mark."""
    one = check_one(picture)
    return float(_locate(one, source, _check_colors(colors).to(one.device), radius)[1].mean())


KEYPOINT = Codec("keypoint", encode_keypoints, decode_keypoints, keypoints_confidence)
