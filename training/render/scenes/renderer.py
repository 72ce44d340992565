"""Scenes to pictures and exact labels, by analytic ray casting in chunks.

Shape suffixes: N scenes, K places for solids, H x W pixels.
"""

from dataclasses import dataclass, fields

import torch
from einops import rearrange, reduce
from torch import Tensor

from .intersect import Vector
from .parameters import Scenes
from .surface import background_albedo, ground_albedo, solid_albedo, to_srgb
from .trace import (
    BACKGROUND,
    FIRST_SOLID,
    GROUND,
    Hits,
    SolidPixels,
    in_shadow,
    solid_pixels,
    to_camera,
    trace,
    world_normals,
)
from .vocabulary import BACKGROUND_CLASS, FIRST_SHAPE_CLASS, FIRST_SKY, GROUND_CLASS

_CHUNK_RAYS = 1 << 18
_SHINE = 40.0


@dataclass(frozen=True)
class Labels:
    """Exact labels at pixel centres."""

    depth: Tensor  # [N,H,W] metres along the optical axis
    normal: Tensor  # [N,3,H,W] unit; X right, Y up, Z towards the viewer
    instance: Tensor  # [N,H,W] int64; 0 none, k + 1 the solid at place k
    classes: Tensor  # [N,H,W] int64, into CLASS_NAMES
    footprint: Tensor  # [N,K] int64: pixels in the frame that solid k would cover were nothing before it

    def __len__(self) -> int:
        return self.depth.shape[0]

    def visible(self) -> Tensor:
        """[N,K] pixels in which each solid is seen."""
        places = torch.arange(1, self.footprint.shape[1] + 1, device=self.instance.device)
        return (self.instance[:, None] == places[:, None, None]).sum((-2, -1))


@dataclass(frozen=True)
class Render(Labels):
    """Pictures with their labels."""

    image: Tensor  # [N,3,H,W] sRGB in [0,1]


def _size(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ValueError(f"a picture needs at least 1 x 1 pixels, found {height} x {width}; pass size=(height, width)")
    return height, width


def _in_chunks(scenes: Scenes, rays: int, each) -> list:  # type: ignore[no-untyped-def]
    step = max(1, _CHUNK_RAYS // rays)
    return [each(scenes[start : start + step]) for start in range(0, len(scenes), step)]


def _cat(parts: list) -> dict[str, Tensor]:
    return {field.name: torch.cat([getattr(part, field.name) for part in parts]) for field in fields(parts[0])}


def _labels(scenes: Scenes, hits: Hits, normal: Vector, height: int, width: int) -> Labels:
    k = (hits.surface - FIRST_SOLID).clamp(min=0)
    solid_class = torch.gather(scenes.shape, 1, k) + FIRST_SHAPE_CLASS
    classes = torch.where(hits.surface == BACKGROUND, BACKGROUND_CLASS, GROUND_CLASS)
    classes = torch.where(hits.surface >= FIRST_SOLID, solid_class, classes)
    instance = (hits.surface - FIRST_SOLID + 1).clamp(min=0)

    def picture(flat: Tensor) -> Tensor:
        return rearrange(flat, "n (h w) -> n h w", h=height, w=width)

    camera_normal = torch.stack([picture(part) for part in to_camera(normal, scenes.camera[:, 1:2])], 1)
    return Labels(picture(hits.depth), camera_normal, picture(instance), picture(classes), hits.footprint)


def _shade(scenes: Scenes, hits: Hits, pixels: SolidPixels, normal: Vector) -> Tensor:
    """[N,3,P] linear light: ambient from above, one directional light with shadows, a small highlight on solids."""
    light = tuple(scenes.light[:, axis, None] for axis in range(3))
    lambert = sum((n * part for n, part in zip(normal, light, strict=True)), start=torch.zeros(()))
    lit = lambert.clamp(min=0) * ~in_shadow(scenes, hits, pixels, normal)
    at = (pixels.scene, pixels.pixel)
    on_solid = (pixels.scene, slice(None), pixels.pixel)
    is_ground = (hits.surface == GROUND)[:, None]
    albedo = torch.where(is_ground, ground_albedo(scenes, hits), background_albedo(scenes, hits))
    albedo[on_solid] = solid_albedo(scenes, pixels)
    ambient = scenes.ambient_rgb[..., None] * (0.75 + 0.25 * normal[1])[:, None]
    color = albedo * torch.addcmul(ambient, scenes.light_rgb[..., None], lit[:, None])
    glows = (scenes.background >= FIRST_SKY)[:, None] & (hits.surface == BACKGROUND)
    color = torch.where(glows[:, None], albedo, color)
    color[on_solid] += _highlight(scenes, hits, pixels, normal) * (lit[at] > 0)[:, None]
    return color


def _highlight(scenes: Scenes, hits: Hits, pixels: SolidPixels, normal: Vector) -> Tensor:
    """[M,3] Blinn highlight on the pixels of solids, as if all of them were lit."""
    at = (pixels.scene, pixels.pixel)
    view = -torch.nn.functional.normalize(torch.stack([part[at] for part in hits.ray], -1), dim=-1)
    half = torch.nn.functional.normalize(view + scenes.light[pixels.scene], dim=-1)
    cosine = (half * torch.stack([part[at] for part in normal], -1)).sum(-1).clamp(min=0)
    strength = scenes.specular[pixels.scene, pixels.solid] * cosine**_SHINE
    return scenes.light_rgb[pixels.scene] * strength[:, None]


def labels(scenes: Scenes, size: int | tuple[int, int]) -> Labels:
    """Only the labels, about three times as fast as `render`. size: side or (height, width) in pixels."""
    height, width = _size(size)

    def each(part: Scenes) -> Labels:
        hits = trace(part, height, width)
        normal = world_normals(part, hits, solid_pixels(part, hits))
        return _labels(part, hits, normal, height, width)

    return Labels(**_cat(_in_chunks(scenes, height * width, each)))


def render(scenes: Scenes, size: int | tuple[int, int], samples: int = 1) -> Render:
    """Pictures and labels of all scenes.

    size: side or (height, width) in pixels. samples: the picture is the mean of samples x samples rays a pixel (in
    linear light); labels are always those of the pixel's centre. Errors: ValueError for an empty size or samples < 1.
    """
    height, width = _size(size)
    if samples < 1:
        raise ValueError(f"samples must be at least 1, found {samples}; 1 is no antialiasing, 2 four rays a pixel")

    def picture(part: Scenes) -> tuple[Tensor, Labels]:
        hits = trace(part, height * samples, width * samples)
        pixels = solid_pixels(part, hits)
        normal = world_normals(part, hits, pixels)
        light = rearrange(_shade(part, hits, pixels, normal), "n c (h w) -> n c h w", h=height * samples)
        light = reduce(light.clamp(max=1), "n c (h s) (w r) -> n c h w", "mean", s=samples, r=samples)
        label_maps = _labels(part, hits, normal, height, width) if samples == 1 else labels(part, (height, width))
        return to_srgb(light), label_maps

    parts = _in_chunks(scenes, height * width * samples**2, picture)
    return Render(image=torch.cat([image for image, _ in parts]), **_cat([label_maps for _, label_maps in parts]))
