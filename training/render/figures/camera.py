"""Cameras that frame figures, and bodies as they appear on the picture plane.

World axes as in `skeleton`. Picture axes: x right and y down in pixels from the upper left corner (a pixel's middle
is at one half, as in `tasks.codecs.marks`), z in pixels towards the viewer.
Shape suffixes: N pictures, F figures of each, J joints, C capsules, E ellipsoids.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .body import Body


@dataclass(frozen=True)
class Camera:
    """N pinhole cameras at (0, height, distance) that look along -Z, tilted down by pitch."""

    height: Tensor  # [N] metres
    distance: Tensor  # [N] metres
    pitch: Tensor  # [N] radians
    focal: Tensor  # [N] pixels
    middle: Tensor  # [N,2] pixels, where the optical axis meets the picture

    def frame(self) -> Tensor:
        """[N,3,3] whose rows are the picture's x, y and z axes in the world (y is down: a left-handed frame)."""
        c, s = self.pitch.cos(), self.pitch.sin()
        one, zero = torch.ones_like(c), torch.zeros_like(c)
        return torch.stack((one, zero, zero, zero, -c, s, zero, s, c), -1).unflatten(-1, (3, 3))

    def depth_and_tangents(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Depth [N,...] and tangents [N,...,2] (x right, y down) of world points [N,...,3]."""
        extra = (1,) * (points.ndim - 2)
        zero = torch.zeros_like(self.height)
        eye = torch.stack((zero, self.height, self.distance), -1).view(-1, *extra, 3)
        seen = (self.frame().view(-1, *extra, 3, 3) @ (points - eye)[..., None])[..., 0]
        depth = -seen[..., 2]
        return depth, seen[..., :2] / depth[..., None]

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels [N,...,2] and scale [N,...] in pixels per metre of world points [N,...,3]."""
        extra = (1,) * (points.ndim - 2)
        depth, tangents = self.depth_and_tangents(points)
        pixels = tangents * self.focal.view(-1, *extra, 1) + self.middle.view(-1, *extra, 2)
        return pixels, self.focal.view(-1, *extra) / depth


@dataclass(frozen=True)
class Projected:
    """Solids on the picture plane, [M] in all, those of one picture one after the other."""

    picture: Tensor  # [C] int64
    figure: Tensor  # [C] int64
    start: Tensor  # [C,3] pixels
    end: Tensor  # [C,3]
    radius: Tensor  # [C,2]
    split: Tensor  # [C]
    part: Tensor  # [C,2]
    ball_picture: Tensor  # [E] int64
    ball_figure: Tensor  # [E] int64
    center: Tensor  # [E,3]
    axes: Tensor  # [E,3,3] half axes as columns
    ball_part: Tensor  # [E]


def sample_camera(points: Tensor, counted: Tensor, size: int, generator: torch.Generator, close: Tensor) -> Camera:
    """Cameras that show the counted of points [N,K,3] (counted [N,K] bool) at a random size and place in the frame.

    close [N] bool fills the frame with the counted points, so that what is not counted may lie outside it.
    """
    n, device = len(points), points.device

    def uniform(low: float | Tensor, high: float | Tensor) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator, device=device)

    height, distance = uniform(0.9, 1.7), uniform(3.6, 6.5)
    pitch = torch.deg2rad(uniform(0, 8)) + (height - 0.9) / distance
    unit = Camera(height, distance, pitch, torch.ones(n, device=device), torch.zeros(n, 2, device=device))
    tangents = unit.depth_and_tangents(points)[1]
    low = tangents.masked_fill(~counted[..., None], math.inf).amin(1)
    high = tangents.masked_fill(~counted[..., None], -math.inf).amax(1)
    extent = (high - low).clamp_min(0.05)
    fill = torch.where(close, uniform(0.62, 0.9), uniform(0.68, 0.94))
    focal = size * torch.minimum(fill / extent[:, 1], torch.where(close, 1.3, 0.93) / extent[:, 0])
    room = size - extent * focal[:, None]
    place = torch.stack((uniform(0.15, 0.85), uniform(0.25, 0.75)), -1)
    place = torch.where(room > 0, place, 0.5)
    middle = room * place - low * focal[:, None]
    return replace(unit, focal=focal, middle=middle)


def project_body(body: Body, camera: Camera, present: Tensor) -> Projected:
    """Bodies of N x F figures, [B = N*F] in order of pictures, each solid scaled by its own distance.

    present: [N,F] bool. Solids that are absent, or behind the camera, are left out.
    """
    n, f = present.shape
    reference = (camera.focal / camera.distance)[:, None]

    def place(points: Tensor) -> tuple[Tensor, Tensor]:
        points = points.reshape(n, -1, 3)
        depth = camera.depth_and_tangents(points)[0]
        pixels, scale = camera.project(points)
        return torch.cat((pixels, (-depth * reference)[..., None]), -1), scale

    def owner(count: int) -> tuple[Tensor, Tensor, Tensor]:
        picture = torch.arange(n, device=present.device)[:, None].expand(n, f * count)
        figure = torch.arange(f, device=present.device).repeat_interleave(count).expand(n, -1)
        return picture, figure, present.repeat_interleave(count, 1)

    capsules, balls = body.start.shape[1], body.center.shape[1]
    start, start_scale = place(body.start)
    end, end_scale = place(body.end)
    radius = body.radius.reshape(n, -1, 2) * torch.stack((start_scale, end_scale), -1)
    picture, figure, keep = owner(capsules)
    keep = keep & (radius.amax(-1) > 0) & (start_scale > 0) & (end_scale > 0)
    center, scale = place(body.center)
    axes = camera.frame()[:, None] @ body.axes.reshape(n, -1, 3, 3) * scale[..., None, None]
    ball_picture, ball_figure, ball_keep = owner(balls)
    ball_keep = ball_keep & (axes.abs().amax((-1, -2)) > 0) & (scale > 0)
    return Projected(
        picture[keep], figure[keep], start[keep], end[keep], radius[keep], body.split.reshape(n, -1)[keep],
        body.capsule_part.reshape(n, -1, 2)[keep], ball_picture[ball_keep], ball_figure[ball_keep],
        center[ball_keep], axes[ball_keep], body.ellipsoid_part.reshape(n, -1)[ball_keep],
    )  # fmt: skip
