"""The place that figures stand in: a floor, a wall, and the soft shadow that figures throw on the floor.

Shape suffixes: N pictures, S side in pixels, G limbs that throw shadow.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..scenes.vocabulary import BACKDROPS
from .camera import Camera

FLOORS = ("plain", "checkered", "tiled")
PLAIN, CHECKERED, TILED = range(3)
SHADOW_STEP = 2  # shadows are soft: worked out on every second pixel


@dataclass(frozen=True)
class Rooms:
    """N rooms."""

    floor: Tensor  # [N] int64, into FLOORS
    color: Tensor  # [N,2] int64, into the names of BACKDROPS, of floor and wall
    rgb: Tensor  # [N,2,3] linear light of floor and wall
    wall: Tensor  # [N] metres behind the origin
    field: Tensor  # [N] side of a tile in metres
    light: Tensor  # [N,3] unit vector towards the light in the world
    strength: Tensor  # [N,2] ambient and direct light


def sample_rooms(count: int, generator: torch.Generator) -> Rooms:
    """`count` rooms on the generator's device; floor and wall never have the same colour."""
    device = generator.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator, device=device)

    first = torch.randint(len(BACKDROPS), (count,), generator=generator, device=device)
    step = torch.randint(1, len(BACKDROPS), (count,), generator=generator, device=device)
    color = torch.stack((first, (first + step) % len(BACKDROPS)), 1)
    rgb = torch.tensor(list(BACKDROPS.values()), device=device)[color] * uniform(0.94, 1.06, 2, 1)
    kinds = torch.tensor((0.6, 0.2, 0.2), device=device)
    floor = torch.multinomial(kinds, count, replacement=True, generator=generator)
    azimuth, height = torch.deg2rad(uniform(-65, 65)), torch.deg2rad(uniform(35, 65))
    light = torch.stack((azimuth.sin() * height.cos(), height.sin(), azimuth.cos() * height.cos()), 1)
    ambient = uniform(0.35, 0.6)
    strength = torch.stack((ambient, uniform(1.0, 1.2) - ambient), 1)
    return Rooms(floor, color, (rgb.clamp(0, 1)) ** 2.2, uniform(0.9, 3.0), uniform(0.35, 0.7), light, strength)


def _rays(camera: Camera, size: int, step: int) -> tuple[Tensor, Tensor]:
    """World directions [N,s,s,3] through every step-th pixel and the share of metres per pixel at distance 1 [N]."""
    ticks = torch.arange(size // step, device=camera.focal.device) * step + step / 2
    tx = (ticks[None] - camera.middle[:, :1]) / camera.focal[:, None]
    ty = (ticks[None] - camera.middle[:, 1:]) / camera.focal[:, None]
    frame = camera.frame()
    n, s = tx.shape
    across = frame[:, None, None, 0] * tx[:, None, :, None] + frame[:, None, None, 1] * ty[:, :, None, None]
    return (across - frame[:, None, None, 2]).expand(n, s, s, 3), step / camera.focal


def _floor_point(camera: Camera, rays: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """X and Z [N,s,s] where rays meet the floor and their parameter, infinite above the horizon."""
    drop = -rays[..., 1]
    t = torch.where(drop > 1e-4, camera.height[:, None, None] / drop.clamp_min(1e-4), torch.inf)
    far = t.clamp(max=1e3)
    return rays[..., 0] * far, camera.distance[:, None, None] + rays[..., 2] * far, t


def _wave(x: Tensor, width: Tensor) -> Tensor:
    """A square wave of period 2 in [-1,1] whose steps are as wide as a pixel, so that it has no jagged edges."""
    triangle = 1 - 2 * (x.remainder(2) - 1).abs()
    return (triangle / (2 * width).clamp_min(1e-3)).clamp(-1, 1) * (0.6 / width.clamp_min(1e-3)).clamp(max=1)


def room_picture(rooms: Rooms, camera: Camera, size: int) -> Tensor:
    """Floor and wall without figures: linear light [N,3,S,S]."""
    rays, pixel = _rays(camera, size, 1)
    x, z, t = _floor_point(camera, rays)
    to_wall = (camera.distance + rooms.wall)[:, None, None] / (-rays[..., 2])
    floor = t < to_wall
    kind = rooms.floor[:, None, None]
    u, v = x / rooms.field[:, None, None], z / rooms.field[:, None, None]
    width = (t.clamp(max=50) * (pixel / rooms.field)[:, None, None]).clamp_min(1e-3)
    slant = width / (-rays[..., 1]).clamp_min(0.03)
    checks = 0.5 + 0.5 * _wave(u, width) * _wave(v, slant)
    joints = 1 - torch.minimum(
        ((u.remainder(1) - 0.5).abs() - 0.46).clamp_min(0).mul(-12).add(1),
        ((v.remainder(1) - 0.5).abs() - 0.46).clamp_min(0).mul(-12).add(1),
    )
    dark = torch.where(kind == CHECKERED, checks * 0.5, torch.where(kind == TILED, joints, 0.0))
    floor_light = 1.05 - 0.16 * ((t - camera.distance[:, None, None]).clamp(-2, 3) / 3) - dark
    above = camera.height[:, None, None] + rays[..., 1] * to_wall
    wall_light = 0.82 + 0.2 * torch.exp(-(((above - 1.4) / 1.6) ** 2)) - 0.12 * torch.exp(-above.clamp_min(0) / 0.15)
    shade = torch.where(floor, floor_light, wall_light)[:, None]
    rgb = torch.where(floor[:, None], rooms.rgb[:, 0, :, None, None], rooms.rgb[:, 1, :, None, None])
    return rgb * shade * rooms.strength.sum(1)[:, None, None, None]


def shadow(rooms: Rooms, camera: Camera, size: int, start: Tensor, end: Tensor, radius: Tensor) -> Tensor:
    """How much of the light capsules [N,G,3] of radius [N,G] take from the floor: [N,1,S,S], 0 for none.

    A shadow is the capsule cast along the light, blurred the more the higher the capsule is; a radius of 0 casts none.
    """
    rays, _ = _rays(camera, size, SHADOW_STEP)
    x, z, t = _floor_point(camera, rays)
    slide = rooms.light[:, None] / rooms.light[:, None, 1:2]
    a, b = ((p - slide * p[..., 1:2])[..., (0, 2)] for p in (start, end))
    height = (start[..., 1] + end[..., 1]) / 2
    free = torch.ones_like(x)
    for g in range(start.shape[1]):
        way = b[:, g] - a[:, g]
        square = way.square().sum(1).clamp_min(1e-4)[:, None, None]
        dx, dz = x - a[:, g, 0, None, None], z - a[:, g, 1, None, None]
        share = ((dx * way[:, 0, None, None] + dz * way[:, 1, None, None]) / square).clamp_(0, 1)
        away = torch.hypot(dx - share * way[:, 0, None, None], dz - share * way[:, 1, None, None])
        soft = (0.03 + 0.09 * height[:, g])[:, None, None]
        r = radius[:, g, None, None]
        cover = ((r + soft - away) / (2 * soft)).clamp_(0, 1) * (r / (0.5 * soft + r)) * (r > 0)
        free *= 1 - 0.8 * cover
    dark = (1 - free) * (t < (camera.distance + rooms.wall)[:, None, None] / (-rays[..., 2]))
    return F.interpolate(dark[:, None], (size, size), mode="bilinear", align_corners=False)
