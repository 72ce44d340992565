"""Pictures of people with their exact poses: `render_figures`.

Shape suffixes: N pictures, F = 2 places for figures, J = 18 joints, S side in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from .body import build_body
from .camera import Camera, project_body, sample_camera
from .figure_words import Person, backdrop_seen, captions
from .outfit import HAIR, HAIRS, STOOL, Outfits, sample_outfits
from .raster import Surface, rasterize
from .room import Rooms, room_picture, sample_rooms, shadow
from .shading import shade
from .skeleton import Skeletons, sample_skeletons

FIGURES = 2
OVERSAMPLING = 2
CHUNK = 8  # pictures rendered together: few enough that their pixels stay in the cache
STOOL_ID = FIGURES + 1
_SHADOW_LIMBS = ((1, 8, 0.15), (1, 11, 0.15), (2, 3, 0.05), (3, 4, 0.045), (5, 6, 0.05), (6, 7, 0.045),
                 (8, 9, 0.075), (9, 10, 0.06), (11, 12, 0.075), (12, 13, 0.06), (0, 1, 0.1))  # fmt: skip


@dataclass(frozen=True)
class Figures:
    """n pictures of one or two people."""

    image: Tensor  # [n,3,S,S] in [0,1]
    pose: Tensor  # [n,2,18,3] x, y in pixels as in `tasks.codecs.marks`, visible 1 or 0; zero for absent people
    captions: list[list[str]]  # some true sentences for each picture
    instance: Tensor  # [n,S,S] uint8: 0 backdrop, 1 and 2 the people of `pose`, 3 a stool


@dataclass(frozen=True)
class _Stage:
    """What is drawn at random before anything is rendered; figures in order of pictures, two each."""

    people: Skeletons
    outfits: Outfits
    present: Tensor  # [N,F] bool
    camera: Camera
    rooms: Rooms


def _order(people: Skeletons, outfits: Outfits, camera: Camera, present: Tensor) -> tuple[Skeletons, Outfits]:
    """Sort the two people of each picture by the place of their hips from left to right."""
    n = len(present)
    x = camera.project(people.hips.view(n, FIGURES, 3))[0][..., 0]
    swap = (x[:, 0] > x[:, 1]) & present[:, 1]
    base = torch.arange(n, device=x.device)[:, None] * FIGURES
    index = (base + torch.stack((swap.long(), 1 - swap.long()), 1)).flatten()
    return people[index], outfits[index]


def _stage(n: int, size: int, generator: torch.Generator, split: str) -> _Stage:
    device = generator.device
    pair = torch.rand(n, generator=generator, device=device) < 0.35
    present = torch.stack((torch.ones_like(pair), pair), 1)
    people = sample_skeletons(n * FIGURES, generator)
    outfits = sample_outfits(n * FIGURES, generator, split)
    gap = 0.22 + 0.38 * torch.rand(n, generator=generator, device=device)
    depth = 0.7 * torch.rand(n, FIGURES, generator=generator, device=device) - 0.35
    x = torch.stack((-gap, gap), 1) * present[:, 1:]
    place = torch.stack((x, torch.zeros_like(x), depth * present[:, 1:]), -1).flatten(0, 1)
    people = people.moved(place)
    close = torch.rand(n, generator=generator, device=device) < 0.2
    points = torch.cat((people.joints, _extremes(people)), 1).view(n, -1, 3)
    limbs = torch.ones(points.shape[1] // FIGURES, dtype=torch.bool, device=device)
    limbs[[9, 10, 12, 13, 20, 21]] = False
    counted = (limbs | ~close[:, None]).repeat(1, FIGURES) & present.repeat_interleave(len(limbs), 1)
    camera = sample_camera(points, counted, size, generator, close)
    people, outfits = _order(people, outfits, camera, present)
    return _Stage(people, outfits, present, camera, sample_rooms(n, generator))


def _extremes(people: Skeletons) -> Tensor:
    """Points [B,6,3] beyond the joints that belong in the frame: crown, chin, toes and fingertips."""
    joints, scale = people.joints, people.scale[:, None]
    crown = people.head + people.head_frame[:, :, 1] * 0.19 * scale
    chin = people.head - people.head_frame[:, :, 1] * 0.12 * scale
    toes = [joints[:, i] + people.pelvis_frame[:, :, 2] * 0.2 * scale - 0.08 * people.head.new_tensor((0, 1, 0))
            for i in (10, 13)]  # fmt: skip
    tips = [joints[:, i] + 0.6 * (joints[:, i] - joints[:, i - 1]) for i in (4, 7)]
    return torch.stack((crown, chin, *toes, *tips), 1)


def _paint(surface: Surface, stage: _Stage, raster: int) -> tuple[Tensor, Tensor]:
    """Premultiplied colour and cover [N,4,S,S], and instances [N,R,R]."""
    n = len(stage.present)
    rgb = stage.outfits.rgb.clamp(0, 1).view(n, FIGURES, -1, 3) ** 2.2
    brow = rgb[:, :, HAIR] * 0.7
    bald = brow.new_tensor(HAIRS["brown"]) ** 2.2
    brow = torch.where(brow.amax(-1, keepdim=True) > 0.35, bald, brow)
    light = (stage.camera.frame() @ stage.rooms.light[..., None])[..., 0]
    color = shade(surface, rgb, brow, light, stage.rooms.strength)
    row, column = surface.pixel // raster, surface.pixel % raster
    coarse = (row // OVERSAMPLING) * (raster // OVERSAMPLING) + column // OVERSAMPLING
    layer = torch.zeros(n * raster * raster // OVERSAMPLING**2, 4, device=rgb.device)
    layer.index_add_(0, coarse, F.pad(color, (0, 1), value=1.0), alpha=OVERSAMPLING**-2)
    instance = torch.zeros(n * raster * raster, dtype=torch.uint8, device=rgb.device)
    instance[surface.pixel] = torch.where(surface.part == STOOL, STOOL_ID, surface.figure + 1).to(torch.uint8)
    side = raster // OVERSAMPLING
    return layer.view(n, side, side, 4).permute(0, 3, 1, 2), instance.view(n, raster, raster)


def _visible(pixels: Tensor, present: Tensor, radius: Tensor, instance: Tensor, size: int) -> Tensor:
    """[N,F,J] bool: inside the frame, and the other person does not cover most of the joint's surroundings.

    pixels [N,F,J,2]; radius [N,F] pixels of the surroundings; instance [N,R,R].
    """
    raster = instance.shape[-1]
    inside = ((pixels >= 0) & (pixels < size)).all(-1)
    compass = pixels.new_tensor([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)])
    probes = pixels[..., None, :] + compass * radius[..., None, None, None]
    index = (probes * (raster / size)).floor().long().clamp(0, raster - 1)
    picture = torch.arange(len(pixels), device=pixels.device).view(-1, 1, 1, 1)
    shown = instance[picture, index[..., 1], index[..., 0]]
    other = FIGURES - torch.arange(FIGURES, device=pixels.device).view(1, -1, 1, 1)
    hidden = (shown == other).sum(-1) >= 3
    return inside & ~hidden & present[..., None]


def _render(stage: _Stage, size: int, backdrop: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    n, present, camera, rooms = len(stage.present), stage.present, stage.camera, stage.rooms
    raster = size * OVERSAMPLING
    fine = replace(camera, focal=camera.focal * OVERSAMPLING, middle=camera.middle * OVERSAMPLING)
    scene = project_body(build_body(stage.people, stage.outfits), fine, present)
    layer, instance = _paint(rasterize(scene, n, raster), stage, raster)

    joints = stage.people.joints.view(n, FIGURES, -1, 3)
    start, end = (joints[:, :, [limb[k] for limb in _SHADOW_LIMBS]].flatten(1, 2) for k in (0, 1))
    thick = joints.new_tensor([limb[2] for limb in _SHADOW_LIMBS]) * present[..., None]
    dark = shadow(rooms, camera, size, start, end, thick.flatten(1))
    share = rooms.strength[:, 1] / rooms.strength.sum(1)
    lit = 1 - dark * (0.35 + 0.5 * share)[:, None, None, None]
    behind = room_picture(rooms, camera, size) if backdrop is None else backdrop.clamp(0, 1) ** 2.2
    behind = (behind * lit).clamp(1e-5, 1) ** (1 / 2.2)
    image = (layer[:, :3] + (1 - layer[:, 3:]) * behind).clamp(0, 1)

    pixels, scale = camera.project(joints)
    radius = 0.03 * scale[:, :, 1]
    seen = _visible(pixels, present, radius, instance, size)
    pose = torch.cat((pixels, seen[..., None].float()), -1) * present[..., None, None]
    return image, pose, instance[:, ::OVERSAMPLING, ::OVERSAMPLING]


def _part(stage: _Stage, rows: slice) -> _Stage:
    every = torch.arange(len(stage.present) * FIGURES, device=stage.present.device).view(-1, FIGURES)[rows].flatten()
    camera = Camera(**{name: value[rows] for name, value in vars(stage.camera).items()})
    rooms = Rooms(**{name: value[rows] for name, value in vars(stage.rooms).items()})
    return _Stage(stage.people[every], stage.outfits[every], stage.present[rows], camera, rooms)


def render_figures(
    n: int, size: int, generator: torch.Generator, backdrop: Tensor | None = None, split: str = "train"
) -> Figures:
    """Render n pictures of one or two people in random poses, on the generator's device.

    Args:
        size: side in pixels, even and at least 32.
        backdrop: [n,3,size,size] in [0,1], pictures to stand in front of; None gives a floor and a wall.
        split: "train" never shows a pair of clothes from HELD_OUT, "test" shows nothing else.

    Returns:
        Figures; the first person of a picture is the one on the left. A joint is visible when it lies in the frame and
        the other person does not hide it (what its own body hides counts as visible).

    Raises:
        ValueError: size too small or odd, a backdrop of another shape, n < 1 or an unknown split.
    """
    if n < 1:
        raise ValueError(f"the number of pictures must be at least 1, found {n}; ask for one or more")
    if size < 32 or size % 2:
        raise ValueError(f"figures need an even size of at least 32 pixels, found {size}: choose one, e.g. 128")
    if split not in ("train", "test"):
        raise ValueError(f'split must be "train" or "test", found {split!r}; choose one of the two')
    if backdrop is not None and backdrop.shape != (n, 3, size, size):
        expected = (n, 3, size, size)
        raise ValueError(f"the backdrop must be {expected}, found {tuple(backdrop.shape)}: cut one for each picture")
    stage = _stage(n, size, generator, split)
    parts = []
    for first in range(0, n, CHUNK):
        rows = slice(first, first + CHUNK)
        parts.append(_render(_part(stage, rows), size, None if backdrop is None else backdrop[rows]))
    image, pose, instance = (torch.cat(part).contiguous() for part in zip(*parts, strict=True))
    rooms = stage.rooms if backdrop is None else None
    shown = backdrop_seen(stage.rooms, stage.camera, size)
    people = [
        [Person.of(stage.people, stage.outfits, pose[i, k], i * FIGURES + k) for k in range(FIGURES) if present[k]]
        for i, present in enumerate(stage.present.tolist())
    ]
    return Figures(image, pose, captions(people, rooms, shown, generator), instance)
