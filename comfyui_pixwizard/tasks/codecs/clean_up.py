"""Shared by the codecs: box sums, spreading of trusted values into doubtful pixels, how grey a picture is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SHIFTS = ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))


def flatten_batch(tensor: Tensor, keep: int) -> Tensor:
    """Merge all but the last `keep` axes into one batch axis."""
    return tensor.reshape(-1, *tensor.shape[tensor.ndim - keep :])


def grayness(picture: Tensor) -> float:
    """Of pictures [...,3,H,W], 1 without colour, 0 when the channels differ by a quarter or more."""
    return max(1 - float((picture.amax(-3) - picture.amin(-3)).mean()) / 0.25, 0.0)


def box_mean(field: Tensor, radius: int = 1) -> Tensor:
    """Mean over the square window around each pixel, windows cut at the border: [B,H,W] -> [B,H,W]."""
    return F.avg_pool2d(field[:, None], 2 * radius + 1, stride=1, padding=radius, count_include_pad=False)[:, 0]


def thick(mask: Tensor, radius: int = 1) -> Tensor:
    """A bool mask [B,H,W] grown by `radius` pixels in all eight directions."""
    return F.max_pool2d(mask.float()[:, None], 2 * radius + 1, stride=1, padding=radius)[:, 0] > 0


def even_windows(index: Tensor) -> Tensor:
    """Pixels of an integer map [H,W] whose 3x3 window (cut at the border) holds one value only: [H,W] bool."""
    value = index.float()[None, None]
    highest, lowest = (F.max_pool2d(sign * value, 3, stride=1, padding=1) * sign for sign in (1, -1))
    return (highest == lowest)[0, 0]


def snap(values: Tensor, trusted: Tensor, colours: Tensor, rounds: int = 24) -> Tensor:
    """Give every doubtful pixel the value of a near trusted one.

    Trust spreads by one pixel a round. Of the trusted neighbours a pixel takes the one whose colour is the most like
    its own, never a mean of them: a mixture of two colours then ends on one of its two sides.

    Args:
        values: [B,C,H,W] decoded value and whatever else travels with it.
        trusted: [B,H,W] bool; at least one pixel in each sample, or that sample is left as it is.
        colours: [B,3,H,W] the picture.
        rounds: how far trust spreads, in pixels; what it does not reach keeps its value.

    Returns:
        [B,C,H,W] values, changed only where not trusted.
    """
    values, trusted, anchor = values.clone(), trusted.clone(), colours.clone()
    for _ in range(rounds):
        if bool(trusted.all()) or not bool(trusted.any()):
            break
        best = torch.full_like(colours[:, 0], torch.inf)
        new_values, new_anchor = values.clone(), anchor.clone()
        for dy, dx in SHIFTS:
            near = _shift(trusted[:, None].float(), dy, dx)[:, 0] > 0
            candidate = _shift(anchor, dy, dx)
            cost = (candidate - colours).square().sum(1)
            better = near & ~trusted & (cost < best)
            best = torch.where(better, cost, best)
            new_values = torch.where(better[:, None], _shift(values, dy, dx), new_values)
            new_anchor = torch.where(better[:, None], candidate, new_anchor)
        values, anchor, trusted = new_values, new_anchor, trusted | best.isfinite()
    return values


def _shift(field: Tensor, dy: int, dx: int) -> Tensor:
    """Neighbour at (dy, dx) of every pixel, zero beyond the border: [B,C,H,W]."""
    h, w = field.shape[-2:]
    return F.pad(field, (1, 1, 1, 1))[..., 1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w]


def components(labels: Tensor) -> Tensor:
    """Connected regions of equal labels, diagonals included: [H,W] integer or bool, 0 outside -> [H,W] int64.

    Regions are numbered from 1 in the order of their first pixel, row by row. Every pixel points at a pixel of its
    region with a lower index; pointers are shortened and roots that touch are joined, lower one first, until nothing
    changes: about log(H * W) rounds, where spreading labels by one pixel a round could take H * W.
    """
    height, width = labels.shape
    index = torch.arange(height * width, device=labels.device).reshape(height, width)
    pairs = []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = (slice(0, height - dy), slice(max(-dx, 0), width - max(dx, 0)))
        there = (slice(dy, height), slice(max(dx, 0), width + min(dx, 0)))
        joined = (labels[here] == labels[there]) & (labels[here] != 0)
        pairs.append(torch.stack([index[here][joined], index[there][joined]]))
    first, second = torch.cat(pairs, dim=1)
    root = index.flatten()
    while True:
        a, b = root[first], root[second]
        apart = a != b
        if not bool(apart.any()):
            break
        low, high = torch.minimum(a, b)[apart], torch.maximum(a, b)[apart]
        root = root.scatter_reduce(0, high, low, "amin")
        while not torch.equal(root, shorter := root[root]):
            root = shorter
    inside = labels.flatten() != 0
    number = torch.zeros_like(root)
    number[inside] = torch.unique(root[inside], return_inverse=True)[1] + 1
    return number.reshape(height, width)


def hue_saturation_value(picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue in turns (red 0, green 1/3, blue 2/3), saturation and value in [0,1], each [...,H,W], of [...,3,H,W]."""
    red, green, blue = picture.unbind(-3)
    value = picture.amax(-3)
    chroma = value - picture.amin(-3)
    span = chroma.clamp_min(1e-6)
    from_green = torch.where(value == green, (blue - red) / span + 2, (red - green) / span + 4)
    sector = torch.where(value == red, (green - blue) / span, from_green)
    return (sector / 6) % 1, chroma / value.clamp_min(1e-6), value


def hue_distance(hue: Tensor, of: float) -> Tensor:
    """Shortest way round the circle of hues, in turns, 0 to 1/2."""
    return ((hue - of + 0.5) % 1 - 0.5).abs()
