"""Impostors: the solids of figures drawn pixel by pixel with exact depth and normals, seen along the picture's z axis.

Every solid is evaluated on the pixels of its own bounding box only; the nearest surface wins.
Shape suffixes: N pictures, R side of the raster, M solids, T pixels of all bounding boxes, V pixels that show a figure.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .camera import Projected


@dataclass(frozen=True)
class Surface:
    """The visible surface: one entry for each of the V covered pixels."""

    pixel: Tensor  # [V] int64, index into [N,R,R]
    picture: Tensor  # [V] int64
    figure: Tensor  # [V] int64
    part: Tensor  # [V] int64, into PARTS
    normal: Tensor  # [V,3] unit vector, x right, y down, z towards the viewer
    local: Tensor  # [V,3] point on the unit sphere of an ellipsoid in its own axes; zero on capsules


def _boxes(low: Tensor, high: Tensor, picture: Tensor, raster: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Solid, x and y of the middle, and index [T] of all pixels with their middles in the boxes low to high [M,2]."""
    first = (low - 0.5).ceil().clamp(0, raster).long()
    extent = ((high - 0.5).floor().clamp(-1, raster - 1).long() + 1 - first).clamp_min(0)
    count = extent[:, 0] * extent[:, 1]
    solid = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    within = torch.arange(len(solid), device=count.device) - (count.cumsum(0) - count)[solid]
    width = extent[solid, 0]
    row = torch.div(within, width, rounding_mode="floor")
    x, y = within - row * width + first[solid, 0], row + first[solid, 1]
    return solid, x + 0.5, y + 0.5, (picture[solid] * raster + y) * raster + x


def _capsules(scene: Projected, raster: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Solid, pixel, depth, share of the length [T] and normal [T,3] where a capsule is hit.

    A capsule is swept by a sphere. Of all spheres that cover a pixel, the one with the nearest surface is found in
    closed form for a constant radius; a taper is small enough for that to be the place where the radius is read.
    """
    reach = scene.radius.amax(1, keepdim=True)
    low = torch.minimum(scene.start, scene.end)[:, :2] - reach
    high = torch.maximum(scene.start, scene.end)[:, :2] + reach
    solid, x, y, pixel = _boxes(low, high, scene.picture, raster)
    way = scene.end - scene.start
    flat = way[:, :2].norm(dim=1).clamp_min(1e-3)
    slope = way[:, 2] / torch.hypot(flat, way[:, 2])
    # A capsule that points at the viewer is a disc: any direction will do.
    ux, uy = torch.where(flat > 1e-3, way[:, 0] / flat, 1.0), torch.where(flat > 1e-3, way[:, 1] / flat, 0.0)
    taper = scene.radius[:, 1] - scene.radius[:, 0]
    table = torch.stack((*scene.start.unbind(1), ux, uy, flat, scene.radius[:, 0], taper, way[:, 2], slope))
    ax, ay, az, ux, uy, flat, radius, taper, dz, slope = table[:, solid].unbind(0)
    dx, dy = x - ax, y - ay
    along, across = dx * ux + dy * uy, dx * uy - dy * ux
    share = (along / flat).clamp(0, 1)
    chord = ((radius + share * taper) ** 2 - across**2).clamp_min_(0).sqrt_()
    share = ((along + chord * slope) / flat).clamp_(0, 1)
    beyond = along - share * flat
    square = (radius + share * taper) ** 2 - across**2 - beyond**2
    hit = torch.nonzero(square > 0)[:, 0]
    rise = square[hit].sqrt()
    depth = az[hit] + share[hit] * dz[hit] + rise
    ux, uy, beyond, across = ux[hit], uy[hit], beyond[hit], across[hit]
    normal = torch.stack((beyond * ux + across * uy, beyond * uy - across * ux, rise), -1)
    return solid[hit], pixel[hit], depth, share[hit], normal


def _ellipsoids(scene: Projected, raster: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Solid, pixel, depth [T] and place on the unit sphere [T,3] where an ellipsoid is hit."""
    reach = scene.axes[:, :2].norm(dim=2)
    low, high = scene.center[:, :2] - reach, scene.center[:, :2] + reach
    solid, x, y, pixel = _boxes(low, high, scene.ball_picture, raster)
    inverse = torch.linalg.inv(scene.axes)
    form = inverse.transpose(1, 2) @ inverse
    zz = form[:, 2, 2]
    gx, gy = form[:, 0, 2] / zz, form[:, 1, 2] / zz
    xx, yy, xy = form[:, 0, 0] / zz - gx**2, form[:, 1, 1] / zz - gy**2, 2 * (form[:, 0, 1] / zz - gx * gy)
    table = torch.stack((*scene.center.unbind(1), gx, gy, xx, yy, xy, 1 / zz))
    cx, cy, cz, gx, gy, xx, yy, xy, most = table[:, solid].unbind(0)
    dx, dy = x - cx, y - cy
    square = most - dx * (xx * dx + xy * dy) - yy * dy * dy
    hit = torch.nonzero(square > 0)[:, 0]
    dx, dy = dx[hit], dy[hit]
    dz = square[hit].sqrt() - gx[hit] * dx - gy[hit] * dy
    return solid[hit], pixel[hit], cz[hit] + dz, torch.stack((dx, dy, dz), -1)


def rasterize(scene: Projected, pictures: int, raster: int) -> Surface:
    """The visible surface of the solids of N pictures at raster x raster pixels."""
    solid, pixel, depth, share, normal = _capsules(scene, raster)
    ball, ball_pixel, ball_depth, place = _ellipsoids(scene, raster)
    nearest = torch.full((pictures * raster * raster,), -torch.inf, device=depth.device)
    nearest.scatter_reduce_(0, pixel, depth, "amax")
    nearest.scatter_reduce_(0, ball_pixel, ball_depth, "amax")
    front = torch.nonzero(depth == nearest[pixel])[:, 0]
    front_ball = torch.nonzero(ball_depth == nearest[ball_pixel])[:, 0]
    solid, share, ball, place = solid[front], share[front], ball[front_ball], place[front_ball]
    part = scene.part[solid]
    part = torch.where(share < scene.split[solid], part[:, 0], part[:, 1])
    inverse = torch.linalg.inv(scene.axes)[ball]
    local = (inverse @ place[..., None])[..., 0]
    ball_normal = (inverse.transpose(1, 2) @ local[..., None])[..., 0]
    return Surface(
        pixel=torch.cat((pixel[front], ball_pixel[front_ball])),
        picture=torch.cat((scene.picture[solid], scene.ball_picture[ball])),
        figure=torch.cat((scene.figure[solid], scene.ball_figure[ball])),
        part=torch.cat((part, scene.ball_part[ball])),
        normal=F.normalize(torch.cat((normal[front], ball_normal)), dim=1),
        local=torch.cat((torch.zeros(len(solid), 3, device=local.device), local)),
    )
