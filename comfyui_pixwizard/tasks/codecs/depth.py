"""Metric depth as a picture: a walk along the edges of the RGB cube (default), or the paper's linear grey; and relative
depth in grey.

The walk: depth d in metres is squashed to f = 1 - (1 + d / 10)^-2 in [0,1), and f is the position on a path over seven
edges of the RGB cube that visits each corner once. The path is seven times as long as a grey axis of one channel, so
the same error of a colour is a much smaller error of depth. One channel changes at a time, and points of edges that do
not touch are a full channel apart, so no noise of a usable picture can take one for the other.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..task import Codec, check_picture
from .clean_up import flatten_batch, grayness, snap

SCALE = 10.0
POWER = 2.0
FARTHEST = 1000.0
# Metres; nearer is as near as this where depth is inverted.
LEAST = 1e-3
# A Gray code: black, blue, cyan, green, yellow, red, magenta, white; near is black, the sky is white.
CORNERS = ((0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0), (1, 1, 0), (1, 0, 0), (1, 0, 1), (1, 1, 1))
EDGES = len(CORNERS) - 1
# Colours farther than this from the path are mixtures of two depths.
OFF_PATH = 0.16


def _check_depth(depth: Any) -> Tensor:
    tensor = torch.as_tensor(depth).float()
    if tensor.ndim < 2:
        raise ValueError(f"depth is [..., H, W] in metres, found {tuple(tensor.shape)}: pass a map, not a number")
    if bool((tensor < 0).any()) or bool(tensor.isnan().any()):
        raise ValueError(
            f"depth must be >= 0 metres, found a minimum of {float(tensor.min()):g}: mask or clamp it first"
        )
    return tensor


def squash(depth: Tensor) -> Tensor:
    """Depth in metres to [0,1): near depths get most of the range."""
    return 1 - (1 + depth.clamp(0, FARTHEST) / SCALE) ** -POWER


def unsquash(position: Tensor) -> Tensor:
    """Inverse of squash, at most FARTHEST metres."""
    last = 1 - (1 + FARTHEST / SCALE) ** -POWER
    return SCALE * ((1 - position.clamp(0, last)) ** (-1 / POWER) - 1)


def encode_walk(depth: Any, source: Any = None) -> Tensor:
    """Depth [...,H,W] in metres (infinity allowed) to colours of the walk [...,3,H,W].

    Raises:
        ValueError: not a map, negative or NaN.
    """
    position = squash(_check_depth(depth)) * EDGES
    edge = position.floor().clamp(0, EDGES - 1)
    corners = torch.tensor(CORNERS, dtype=position.dtype, device=position.device)
    start, end = corners[edge.long()], corners[edge.long() + 1]
    return (start + (end - start) * (position - edge)[..., None]).movedim(-1, -3)


def _project(picture: Tensor, near: float = 0.0, far: float = math.inf) -> tuple[Tensor, Tensor]:
    """Nearest point of the path between two depths: position in [0,1] and distance to it, each [B,H,W]."""
    first, last = (float(squash(torch.tensor(depth))) * EDGES for depth in (near, far))
    corners = torch.tensor(CORNERS, dtype=picture.dtype, device=picture.device)
    best = torch.full_like(picture[:, 0], torch.inf)
    position = torch.zeros_like(best)
    for edge in range(EDGES):
        if not first - 1 < edge < last:
            continue
        offset = picture - corners[edge][:, None, None]
        step = corners[edge + 1] - corners[edge]
        along = torch.einsum("bchw,c->bhw", offset, step).clamp(max(first - edge, 0.0), min(last - edge, 1.0))
        distance = (offset - along[:, None] * step[:, None, None]).square().sum(1)
        closer = distance < best
        best = torch.where(closer, distance, best)
        position = torch.where(closer, edge + along, position)
    return position / EDGES, best.sqrt()


def decode_walk(
    picture: Any, source: Any = None, *, near: float = 0.0, far: float = FARTHEST, snap_edges: bool = True
) -> Tensor:
    """Colours of the walk [...,3,H,W] to depth [...,H,W] in metres, none nearer than near or farther than far.

    A pixel between two depths mixes two colours, and a mixture may lie near a third depth's. Mixtures lie far from the
    path; with snap_edges they take the depth of the trusted neighbour whose colour is nearest.

    Raises:
        ValueError: not a float picture, or not 0 <= near < far.
    """
    _check_range(near, far)
    whole = check_picture(picture)
    flat = flatten_batch(whole, 3)
    position, distance = _project(flat, near, far)
    if snap_edges:
        position = snap(position[:, None], distance < OFF_PATH, flat)[:, 0]
    return unsquash(position).reshape(*whole.shape[:-3], *whole.shape[-2:])


def walk_confidence(picture: Any, source: Any = None) -> float:
    """Share of pixels whose colour is on the path, rescaled so that random colours score about 0."""
    _, distance = _project(flatten_batch(check_picture(picture), 3))
    on_path = float((distance < OFF_PATH).float().mean())
    return min(max((on_path - CHANCE) / (1 - CHANCE), 0.0), 1.0)


# Share of uniformly random colours that lie within OFF_PATH of the path (measured; edges of a cube hold little of it).
CHANCE = 0.124


def _check_range(near: float, far: float) -> None:
    if not far > near >= 0:
        raise ValueError(
            f"the depth range needs 0 <= near < far in metres, found {near:g} to {far:g}: pass e.g. near=0, far=10"
        )


def encode_gray(
    depth: Any, source: Any = None, *, near: float = 0.0, far: float = 10.0, near_bright: bool = False
) -> Tensor:
    """The paper's code: (depth - near) / (far - near) in three equal channels, clamped: [...,H,W] -> [...,3,H,W].

    near_bright turns it round: near is white, as in depth maps that networks draw.
    """
    _check_range(near, far)
    value = ((_check_depth(depth) - near) / (far - near)).clamp(0, 1)
    return torch.stack([1 - value if near_bright else value] * 3, dim=-3)


def decode_gray(
    picture: Any, source: Any = None, *, near: float = 0.0, far: float = 10.0, near_bright: bool = False
) -> Tensor:
    """Mean of the channels back to metres: [...,3,H,W] -> [...,H,W]."""
    _check_range(near, far)
    value = check_picture(picture).mean(-3).clamp(0, 1)
    return near + (1 - value if near_bright else value) * (far - near)


def gray_confidence(
    picture: Any, source: Any = None, *, near: float = 0.0, far: float = 10.0, near_bright: bool = False
) -> float:
    """1 for a picture without colour, 0 when the channels differ by a quarter or more."""
    return grayness(check_picture(picture))


def nearness_of(depth: Any) -> Tensor:
    """Relative depth of metres [...,H,W]: inverse depth, stretched over each map from 0 (farthest) to 1 (nearest).

    Any constant factor of the metres drops out. A map of one depth has no near and far and is 0.

    Raises:
        ValueError: not a map, negative or NaN.
    """
    inverse = 1 / _check_depth(depth).clamp_min(LEAST)
    low, high = inverse.amin((-2, -1), keepdim=True), inverse.amax((-2, -1), keepdim=True)
    return (inverse - low) / (high - low).clamp_min(1e-6)


def metres_of(nearness: Tensor, near: float, far: float) -> Tensor:
    """Metres of relative depth whose nearest (1) and farthest (0) are known: inverse to `nearness_of`."""
    return 1 / (nearness / near + (1 - nearness) / far)


def encode_relative(depth: Any, source: Any = None) -> Tensor:
    """Grey, white nearest and black farthest of its own map: depth [...,H,W] in metres to [...,3,H,W]."""
    return torch.stack([nearness_of(depth)] * 3, dim=-3)


def decode_relative(picture: Any, source: Any = None) -> Tensor:
    """Mean of the channels: [...,3,H,W] to nearness [...,H,W] in [0,1]; there is no way back to metres."""
    return check_picture(picture).mean(-3).clamp(0, 1)


WALK = Codec("walk", encode_walk, decode_walk, walk_confidence)
GRAY = Codec("gray", encode_gray, decode_gray, gray_confidence)
RELATIVE = Codec("relative", encode_relative, decode_relative, gray_confidence, kind="relative")
