"""Rays against solids: the ray's parameter at the first hit, in closed form, batched.

Shape suffixes: Q solids, P rays. A vector is a tuple of three tensors that broadcast to [Q,P], so that what is constant
(the camera's place, the light's direction) costs nothing per ray. Frames are local to a solid: its axis is Y, its base
lies at Y = 0. `extent` [Q,3] is half width or radius, height, half depth. A miss is +inf. Origins lie outside the solid
and not below its base.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .vocabulary import BOX, CONE, CYLINDER, SPHERE

Vector = tuple[Tensor, Tensor, Tensor]
_TINY = 1e-9


def _nonzero(x: Tensor) -> Tensor:
    """x with values too near to zero for a division moved away from it."""
    return torch.where(x.abs() < _TINY, torch.full_like(x, _TINY), x)


def _first_hit(enter: Tensor, leave: Tensor) -> Tensor:
    """The entry into a convex solid whose interval on the ray is [enter, leave]."""
    return torch.where((enter <= leave) & (enter > 0), enter, torch.inf)


def _slab(origin: Tensor, direction: Tensor, low: Tensor | float, high: Tensor) -> tuple[Tensor, Tensor]:
    inverse = 1 / _nonzero(direction)
    a, b = (low - origin) * inverse, (high - origin) * inverse
    return torch.minimum(a, b), torch.maximum(a, b)


def sphere(origin: Vector, direction: Vector, extent: Tensor) -> Tensor:
    """A ball of radius extent[0] that lies on the ground."""
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    r = extent[:, :1]
    oy = oy - r
    # |o|^2 |d|^2 - (o.d)^2 as a cross product: no cancellation for distant balls in float32.
    cx, cy, cz = oy * dz - oz * dy, oz * dx - ox * dz, ox * dy - oy * dx
    length = dx * dx + dy * dy + dz * dz
    discriminant = length * r * r - (cx * cx + cy * cy + cz * cz)
    t = -(ox * dx + oy * dy + oz * dz + discriminant.clamp(min=0).sqrt()) / length
    return torch.where((discriminant > 0) & (t > 0), t, torch.inf)


def box(origin: Vector, direction: Vector, extent: Tensor) -> Tensor:
    """A box of half width extent[0] along X, height extent[1], half depth extent[2] along Z."""
    half_x, height, half_z = extent[:, :1], extent[:, 1:2], extent[:, 2:]
    x0, x1 = _slab(origin[0], direction[0], -half_x, half_x)
    y0, y1 = _slab(origin[1], direction[1], 0.0, height)
    z0, z1 = _slab(origin[2], direction[2], -half_z, half_z)
    return _first_hit(torch.maximum(torch.maximum(x0, y0), z0), torch.minimum(torch.minimum(x1, y1), z1))


def cylinder(origin: Vector, direction: Vector, extent: Tensor) -> Tensor:
    """An upright cylinder of radius extent[0] and height extent[1]."""
    (ox, _, oz), (dx, _, dz) = origin, direction
    r = extent[:, :1]
    y0, y1 = _slab(origin[1], direction[1], 0.0, extent[:, 1:2])
    a = _nonzero(dx * dx + dz * dz)
    cross = ox * dz - oz * dx
    root = (a * r * r - cross * cross).clamp(min=0).sqrt()
    middle = -(ox * dx + oz * dz)
    t = _first_hit(torch.maximum((middle - root) / a, y0), torch.minimum((middle + root) / a, y1))
    return torch.where(root > 0, t, torch.inf)


def cone(origin: Vector, direction: Vector, extent: Tensor) -> Tensor:
    """An upright cone of base radius extent[0] and height extent[1]. No origin is below it, so none sees its base."""
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    height = extent[:, 1:2]
    slope2 = (extent[:, :1] / height) ** 2
    # Start where the ray passes nearest to the axis: coordinates stay as small as the cone, which float32 needs.
    flat = dx * dx + dz * dz
    start = -(ox * dx + oz * dz) / _nonzero(flat)
    ox, oz = ox + start * dx, oz + start * dz
    below = height - oy - start * dy  # distance of the new origin below the apex
    a = flat - slope2 * dy * dy
    b = slope2 * below * dy
    c = ox * ox + oz * oz - slope2 * below * below
    discriminant = b * b - a * c
    root = discriminant.clamp(min=0).sqrt()
    q = -torch.where(b < 0, b - root, b + root)  # the stable pair of roots: q / a and c / q
    best = torch.full_like(discriminant, torch.inf)
    for t in (q / _nonzero(a), c / _nonzero(q)):
        w = below - t * dy
        best = torch.where((w >= 0) & (w <= height) & (t + start > 0), torch.minimum(best, t), best)
    return torch.where(discriminant > 0, best + start, torch.inf)


INTERSECT: dict[int, Callable[[Vector, Vector, Tensor], Tensor]] = {
    SPHERE: sphere,
    BOX: box,
    CYLINDER: cylinder,
    CONE: cone,
}
