"""Maps that the parts of a portrait are drawn with, and the coordinates of a turned head.

Shape legend: N faces, S side in pixels; maps [N,S,S], pictures [N,3,S,S] in linear light.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .traits import Traits


@dataclass(frozen=True)
class Head:
    """Coordinates of every pixel.

    x, y: on the picture plane in half widths and heights of the head, upright with it, y downwards; the outline of the
    head is where `edge` is 1. face_x, face_y, face_z: on the head's own surface, where its nose points to z = 1.
    """

    u: Tensor  # [N,S,S] picture coordinates, -1 to 1
    v: Tensor
    x: Tensor
    y: Tensor
    edge: Tensor
    depth: Tensor  # the head's bulge towards the viewer, 0 at its outline
    face_x: Tensor
    face_y: Tensor
    face_z: Tensor
    pixel: Tensor  # [N,1,1] height of a pixel in half heights of the head

    def window(self, inside: Tensor) -> tuple[Head, slice, slice]:
        """The part of the picture that holds all pixels inside [N,S,S] bool, with its rows and columns."""
        rows, columns = (_span(inside.any(0).any(axis)) for axis in (1, 0))
        maps = {name: value[:, rows, columns] for name, value in vars(self).items() if name != "pixel"}
        return Head(**maps, pixel=self.pixel), rows, columns


def _span(mask: Tensor) -> slice:
    indices = torch.nonzero(mask)[:, 0]
    return slice(int(indices[0]), int(indices[-1]) + 1) if len(indices) else slice(0, 1)


def step(value: Tensor, width: Tensor | float) -> Tensor:
    """0 to 1 as value passes through 0, over a width in its own units."""
    return (value / width + 0.5).clamp(0, 1)


def bump(square: Tensor) -> Tensor:
    """1 at 0 and smoothly 0 from a squared distance of 1 on."""
    rest = (1 - square).clamp_min(0)
    return rest * rest


def unit(vectors: Tensor) -> Tensor:
    """Vectors [N,3,...] scaled to length 1."""
    return vectors * vectors.square().sum(1, keepdim=True).clamp_min(1e-12).rsqrt()


def over(picture: Tensor, color: Tensor, alpha: Tensor) -> Tensor:
    """Colour [N,3,...] laid on a picture with alpha [N,S,S]; works in place."""
    return picture.lerp_(color, alpha[:, None])


def noise(n: int, cells: int, size: int, generator: torch.Generator) -> Tensor:
    """Smooth random maps [n,S,S] of about zero mean and unit scale, `cells` bumps across."""
    grid = torch.randn(n, 1, cells, cells, generator=generator, device=generator.device)
    return F.interpolate(grid, (size, size), mode="bicubic", align_corners=False)[:, 0]


def head_coordinates(traits: Traits, size: int) -> Head:
    """Coordinates of a head for every pixel of a picture."""
    device = traits.skin.device
    ticks = (torch.arange(size, device=device) + 0.5) * (2 / size) - 1
    v, u = torch.meshgrid(ticks, ticks, indexing="ij")
    height = traits["head_height"]
    du, dv = u - traits["head_x"], v - traits["head_y"]
    c, s = traits["roll"].cos(), traits["roll"].sin()
    x = (du * c + dv * s) / (height * traits["head_slim"])
    y = (dv * c - du * s) / height
    # The jaw narrows below the cheeks; the skull is a little wider above.
    lower = (y - 0.05).clamp(0, 1.2)
    profile = 1 - traits["jaw"] * lower**2 - 0.04 * (y - 0.2).clamp(-1, 0).square()
    round_x = x / profile
    square = round_x**2 + y.abs() ** 2.2
    edge = square.clamp_min(1e-6).sqrt()
    depth = (1 - square).clamp_min(0).sqrt()
    # Back from the turned head to the one that looks at the viewer: yaw, then pitch.
    cy, sy, cp, sp = traits["yaw"].cos(), traits["yaw"].sin(), traits["pitch"].cos(), traits["pitch"].sin()
    face_x, z = round_x * cy - depth * sy, round_x * sy + depth * cy
    face_y, face_z = y * cp - z * sp, y * sp + z * cp
    pixel = 2 / (size * height)
    n = len(traits.style)
    return Head(u.expand(n, -1, -1), v.expand(n, -1, -1), x, y, edge, depth, face_x, face_y, face_z, pixel)
