"""What every pixel sees: rays of the camera, the nearest surface, world normals, and what lies in shadow.

Shape suffixes: N scenes, P pixels in rows from the top, K solids, Q solids of one shape, M pixels that show solids.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .intersect import INTERSECT, Vector
from .parameters import MAX_SOLIDS, Scenes
from .vocabulary import BOX, CONE, CYLINDER, SPHERE

GROUND, BACKGROUND, FIRST_SOLID = 0, 1, 2
_LIFT = 1e-3  # metres by which shadow rays start off their surface


@dataclass(frozen=True)
class Hits:
    """The first surface on every ray of a batch of cameras."""

    ray: Vector  # [N,P] world direction, scaled so that its length along the optical axis is 1: t is the z-depth
    depth: Tensor  # [N,P] metres along the optical axis
    surface: Tensor  # [N,P] int64: GROUND, BACKGROUND or FIRST_SOLID + k
    point: Vector  # [N,P] world, metres
    footprint: Tensor  # [N,K] pixels that solid k would cover were it alone


@dataclass(frozen=True)
class SolidPixels:
    """The pixels that show solids, as a flat list: rays meet solids on a small share of the picture."""

    scene: Tensor  # [M]
    pixel: Tensor  # [M]
    solid: Tensor  # [M]
    local: Tensor  # [M,3] in the solid's frame
    local_normal: Tensor  # [M,3]


def camera_rays(scenes: Scenes, height: int, width: int) -> Vector:
    """World directions [N,P] through the pixel centres; the focal length counts shorter image sides."""
    device = scenes.camera.device
    short = min(height, width)
    y, x = torch.meshgrid(
        (height / 2 - 0.5 - torch.arange(height, device=device)) / short,
        (torch.arange(width, device=device) + 0.5 - width / 2) / short,
        indexing="ij",
    )
    pitch, focal = scenes.camera[:, 1:2], scenes.camera[:, 2:3]
    right, up = x.reshape(1, -1) / focal, y.reshape(1, -1) / focal
    return right, up * pitch.cos() - pitch.sin(), -up * pitch.sin() - pitch.cos()


def to_camera(vector: Vector, pitch: Tensor) -> Vector:
    """World directions in camera axes: X right, Y up, Z towards the viewer."""
    x, y, z = vector
    return x, y * pitch.cos() - z * pitch.sin(), y * pitch.sin() + z * pitch.cos()


def _solids_by_shape(scenes: Scenes) -> Iterator[tuple[int, Tensor, Tensor]]:
    for shape in INTERSECT:
        scene, solid = torch.nonzero(scenes.present & (scenes.shape == shape), as_tuple=True)
        if len(scene):
            yield shape, scene, solid


def _turn(x: Tensor, z: Tensor, yaw: Tensor) -> tuple[Tensor, Tensor]:
    """From world axes to those of a frame turned by yaw about Y (and back with -yaw)."""
    return x * yaw.cos() - z * yaw.sin(), x * yaw.sin() + z * yaw.cos()


def _first_hits(scenes: Scenes, origin: Vector, ray: Vector, misses: Tensor) -> Tensor:
    """t [N,K,P] of the first hit with each solid, from world origins and directions ([N,P], [N,1] or [1,1]).

    `misses` is [N,K,P] filled with inf, written and returned.
    """
    for shape, scene, solid in _solids_by_shape(scenes):
        position, yaw = scenes.position[scene, solid], scenes.yaw[scene, solid][:, None]
        ox, oy, oz = (part.expand(len(scenes), -1)[scene] for part in origin)
        dx, dy, dz = (part[scene] for part in ray)
        ox, oz = ox - position[:, :1], oz - position[:, 1:]
        if shape == BOX:  # the others are solids of revolution
            (ox, oz), (dx, dz) = _turn(ox, oz, yaw), _turn(dx, dz, yaw)
        misses[scene, solid] = INTERSECT[shape]((ox, oy, oz), (dx, dy, dz), scenes.extent[scene, solid])
    return misses


def wall_normal(scenes: Scenes) -> tuple[Tensor, Tensor]:
    """X and Z [N,1] of the background's unit normal, which points at the viewer's side."""
    yaw = scenes.wall[:, 1:2]
    return yaw.sin(), yaw.cos()


def trace(scenes: Scenes, height: int, width: int) -> Hits:
    """The nearest surface through every pixel centre of pictures of height x width."""
    ray = camera_rays(scenes, height, width)
    eye = scenes.camera[:, :1]
    zero = torch.zeros_like(eye)
    normal_x, normal_z = wall_normal(scenes)
    towards = ray[0] * normal_x + ray[2] * normal_z
    wall = torch.where(towards < 0, -scenes.wall[:, :1] * normal_z / towards, torch.inf)
    ground = torch.where(ray[1] < 0, -eye / ray[1], torch.inf)
    shape = (len(scenes), MAX_SOLIDS, ray[1].shape[1])
    solids = _first_hits(scenes, (zero, eye, zero), ray, torch.full(shape, torch.inf, device=eye.device))
    backdrop = torch.minimum(ground, wall)
    nearest, solid = solids.min(1)
    surface = torch.where(nearest < backdrop, solid + FIRST_SOLID, (wall <= ground).long())
    depth = torch.minimum(nearest, backdrop)
    point = (ray[0] * depth, eye + ray[1] * depth, ray[2] * depth)
    return Hits(ray, depth, surface, point, (solids < torch.inf).sum(-1))


def in_shadow(scenes: Scenes, hits: Hits, pixels: SolidPixels, normal: Vector) -> Tensor:
    """[N,P] bool: another solid stands between the point and the light (a solid's own far side is dark by itself)."""
    origin = tuple(point + _LIFT * part for point, part in zip(hits.point, normal, strict=True))
    light = tuple(scenes.light[:, axis, None] for axis in range(3))
    n, p = hits.depth.shape
    misses = torch.full((n, MAX_SOLIDS, p), torch.inf, device=hits.depth.device)
    blocked = _first_hits(scenes, origin, light, misses) < torch.inf  # type: ignore[arg-type]
    blocked[pixels.scene, pixels.solid, pixels.pixel] = False
    return blocked.any(1)


def _normal_of(shape: int, local: Tensor, extent: Tensor) -> Tensor:
    """Outward unit normals [m,3] at surface points of solids of one shape, in their own frame."""
    x, y, z = local.unbind(-1)
    if shape == SPHERE:
        return torch.stack((x, y - extent[:, 0], z), -1) / extent[:, :1]
    if shape == BOX:
        gaps = torch.stack((x.abs() - extent[:, 0], y - extent[:, 1], z.abs() - extent[:, 2]), -1)
        face = torch.nn.functional.one_hot(gaps.argmax(-1), 3).to(local)
        return face * torch.stack((x.sign(), torch.ones_like(y), z.sign()), -1)
    radius = torch.hypot(x, z).clamp(min=1e-6)
    if shape == CYLINDER:
        side = (extent[:, 0] - radius).abs() < (extent[:, 1] - y).abs()
        return torch.stack((x / radius * side, (~side).to(y), z / radius * side), -1)
    assert shape == CONE, f"no normal for shape {shape}"
    slope = extent[:, 0] / extent[:, 1]
    return torch.stack((x / radius, slope, z / radius), -1) / torch.sqrt(1 + slope**2)[:, None]


def solid_pixels(scenes: Scenes, hits: Hits) -> SolidPixels:
    """Local points and normals of all pixels that show a solid."""
    scene, pixel = torch.nonzero(hits.surface >= FIRST_SOLID, as_tuple=True)
    solid = hits.surface[scene, pixel] - FIRST_SOLID
    x, y, z = (part[scene, pixel] for part in hits.point)
    position = scenes.position[scene, solid]
    x, z = _turn(x - position[:, 0], z - position[:, 1], scenes.yaw[scene, solid])
    local, shape, extent = torch.stack((x, y, z), -1), scenes.shape[scene, solid], scenes.extent[scene, solid]
    normal = torch.empty_like(local)
    for kind in INTERSECT:
        chosen = torch.nonzero(shape == kind)[:, 0]
        normal[chosen] = _normal_of(kind, local[chosen], extent[chosen])
    return SolidPixels(scene, pixel, solid, local, torch.nn.functional.normalize(normal, dim=-1))


def world_normals(scenes: Scenes, hits: Hits, pixels: SolidPixels) -> Vector:
    """Unit normals [N,P] in world axes, defined everywhere."""
    on_wall = hits.surface == BACKGROUND
    normal_x, normal_z = wall_normal(scenes)
    nx, ny, nz = on_wall * normal_x, (~on_wall).to(normal_x), on_wall * normal_z
    at = (pixels.scene, pixels.pixel)
    x, z = _turn(pixels.local_normal[:, 0], pixels.local_normal[:, 2], -scenes.yaw[pixels.scene, pixels.solid])
    nx[at], ny[at], nz[at] = x, pixels.local_normal[:, 1], z
    return nx, ny, nz
