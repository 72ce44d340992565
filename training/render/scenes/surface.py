"""Colours of surfaces before light falls on them: patterns of solids, ground and walls, and skies. Linear RGB."""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from .parameters import Scenes
from .trace import Hits, SolidPixels, wall_normal
from .vocabulary import BOX, CHECKERED, CYLINDER, FIRST_SKY, GROUNDS, SPHERE, STRIPED

_PATTERNS = tuple(name.split()[0] for name in GROUNDS)
_NOISE_SIDE = 32


def to_linear(rgb: Tensor) -> Tensor:
    """sRGB values in [0,1] as light; the plain power law is close enough for rendered colours."""
    return rgb.clamp(0, 1) ** 2.2


def to_srgb(linear: Tensor) -> Tensor:
    """The inverse of `to_linear`, clipped to [0,1]."""
    return linear.clamp(1e-6, 1) ** (1 / 2.2)


@lru_cache(maxsize=4)
def _noise_table(device: torch.device) -> Tensor:
    """[1,1,S+1,S+1] values in [0,1] that repeat: the last row and column are the first."""
    table = torch.rand(_NOISE_SIDE, _NOISE_SIDE, generator=torch.Generator().manual_seed(0))
    return F.pad(table[None, None], (0, 1, 0, 1), mode="circular").to(device)


def _noise(u: Tensor, v: Tensor) -> Tensor:
    """Smooth noise in about [0,1] of period _NOISE_SIDE, three octaves, at points u and v of any equal shape [N,P]."""
    total, grid = torch.zeros_like(u), u.new_empty(1, *u.shape, 2)
    for octave in range(3):
        for axis, part in enumerate((u, v)):
            cell = part * (2**octave / _NOISE_SIDE)
            grid[0, ..., axis] = (cell - cell.floor()) * 2 - 1
        sample = F.grid_sample(_noise_table(u.device), grid, mode="bilinear", align_corners=True)
        total += sample[0, 0] * 0.5**octave
    return total / 1.75


def _flip(x: Tensor) -> Tensor:
    """0 or 1 by turns in steps of one."""
    return x.floor().remainder(2)


def _pattern(kind: str, u: Tensor, v: Tensor) -> Tensor:
    """The share [N,P] of the second colour where a backdrop's own coordinates are u and v, in units of its scale."""
    if kind == "plain":  # not quite: a slow change, so that a plain floor is no constant
        return 0.15 * _noise(u * 0.7, v * 0.7)
    if kind == "checkered":
        return (_flip(u) + _flip(v)).remainder(2)
    if kind == "striped":
        return _flip(u)
    if kind == "tiled":
        return ((u.remainder(1) < 0.08) | (v.remainder(1) < 0.08)).to(u)
    assert kind == "mottled", f"no pattern for {kind}"
    return ((_noise(u * 1.5, v * 1.5) - 0.3) * 2.5).clamp(0, 1)


def _mix(rgb: Tensor, share: Tensor) -> Tensor:
    """[N,3,P] between the two colours rgb [N,2,3], linear."""
    first, second = to_linear(rgb[..., None]).unbind(1)
    return torch.addcmul(first, second - first, share[:, None])


def _in_frame(a: Tensor, b: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
    """Plane coordinates in metres -> turned, moved and in units of the frame's scale."""
    scale, angle = frame[:, :1], frame[:, 1:2]
    u = (a * angle.cos() - b * angle.sin()) / scale + frame[:, 2:3]
    v = (a * angle.sin() + b * angle.cos()) / scale + frame[:, 3:4]
    return u, v


def ground_albedo(scenes: Scenes, hits: Hits) -> Tensor:
    """[N,3,P] colour of the ground under every pixel (meaningful where the ground is seen)."""
    u, v = _in_frame(hits.point[0], hits.point[2], scenes.ground_frame)
    share = torch.empty_like(u)
    for kind, name in enumerate(_PATTERNS):
        chosen = torch.nonzero(scenes.ground == kind)[:, 0]
        if len(chosen):
            share[chosen] = _pattern(name, u[chosen], v[chosen])
    return _mix(scenes.ground_rgb, share)


def background_albedo(scenes: Scenes, hits: Hits) -> Tensor:
    """[N,3,P] colour of the wall, or the sky's own light, behind every pixel."""
    normal_x, normal_z = wall_normal(scenes)
    along = hits.point[0] * normal_z - hits.point[2] * normal_x
    u, v = _in_frame(along, hits.point[1], scenes.background_frame)
    share = torch.empty_like(u)
    walls = {0: "plain", 1: "striped", 2: "tiled", 3: "mottled"}
    for kind, name in walls.items():
        chosen = torch.nonzero(scenes.background == kind)[:, 0]
        if len(chosen):
            share[chosen] = _pattern(name, u[chosen], v[chosen])
    for kind in (FIRST_SKY, FIRST_SKY + 1):
        chosen = torch.nonzero(scenes.background == kind)[:, 0]
        if len(chosen):
            horizon = torch.exp(-hits.point[1][chosen].clamp(min=0) / 1.5)
            cloud = ((_noise(u[chosen], 2 * v[chosen]) - 0.42) * 4).clamp(0, 1) if kind > FIRST_SKY else 0.0
            share[chosen] = torch.maximum(horizon, torch.as_tensor(cloud, device=u.device))
    return _mix(scenes.background_rgb, share)


def solid_albedo(scenes: Scenes, pixels: SolidPixels) -> Tensor:
    """[M,3] linear colour of the solids' pixels, texture included."""
    at = (pixels.scene, pixels.solid)
    first, second = to_linear(scenes.rgb)[at], to_linear(scenes.texture_rgb)[at]
    return torch.where(_second_color(scenes, pixels)[:, None], second, first)


def _second_color(scenes: Scenes, pixels: SolidPixels) -> Tensor:
    """[M] bool: the pixel lies on a stripe or field of the texture's second colour."""
    at = (pixels.scene, pixels.solid)
    texture, shape, extent, scale = scenes.texture[at], scenes.shape[at], scenes.extent[at], scenes.texture_scale[at]
    x, y, z = pixels.local.unbind(-1)
    facing_x, up, _ = (pixels.local_normal.abs() > 0.999).unbind(-1)
    top = up & (shape != SPHERE)
    # Whole numbers of fields around a solid of revolution, so that no seam shows.
    around = 2 * (math.pi * extent[:, 0] / (2 * scale)).round().clamp(min=2)
    u = torch.atan2(x, z) / (2 * math.pi) * around
    v = torch.where(top & (shape == CYLINDER), torch.hypot(x, z), y) / scale
    boxed = shape == BOX
    u = torch.where(boxed, torch.where(facing_x, z, x) / scale + 100.5, u)
    v = torch.where(boxed & top, z / scale, v)
    stripes = _flip(v)
    fields = (stripes + _flip(u)).remainder(2)
    return torch.where(texture == CHECKERED, fields, stripes * (texture == STRIPED)) > 0.5
