"""Procedural portraits: `draw_faces`.

Shape legend: N faces, S side in pixels; maps [N,S,S], pictures [N,3,S,S] in linear light until the end.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .canvas import Head, bump, head_coordinates, noise, over, step, unit
from .features import paint_brows, paint_eyes, paint_glasses, paint_mouth, paint_skin, relief
from .hair import behind, fringe, strand_light
from .traits import LONG, Traits, draw_traits

CHUNK = 8  # faces drawn together: few enough that their maps stay in the cache


def _backdrop(traits: Traits, size: int) -> Tensor:
    """A wall with an even fall of light, or something far out of focus."""
    patches = F.interpolate(traits.backdrop, (size, size), mode="bicubic", align_corners=False).clamp(0.003, 1)
    ramp = torch.linspace(1.1, 0.75, size, device=patches.device)[:, None]
    plain = traits.backdrop.mean((2, 3), keepdim=True) * ramp
    return torch.where(traits.blurred[:, None], patches, plain)


def _light(normal: Tensor, traits: Traits) -> tuple[Tensor, Tensor]:
    """Diffuse light and gloss [N,S,S] for normals [N,3,S,S] (y down, z towards the viewer)."""
    x, y = traits["light_x"], traits["light_y"]
    z = torch.full_like(x, 0.85)
    length = torch.sqrt(x * x + y * y + z * z)
    towards = torch.stack((x, y, z), 1) / length[:, None]
    cosine = (normal * towards).sum(1)
    diffuse = traits["ambient"] * (0.85 - 0.2 * normal[:, 1]) + 1.05 * (1 - traits["ambient"] * 0.55) * (
        (cosine + 0.25) / 1.25
    ).clamp_min(0)
    half = unit(towards + towards.new_tensor((0.0, 0.0, 1.0))[:, None, None])
    gloss = (normal * half).sum(1).clamp_min(0) ** 28
    return diffuse, gloss


def _normal(head: Head, height: Tensor) -> Tensor:
    """Normals [N,3,S,S] of the head with a relief, both in half heights of the head."""
    gap = 2 * head.pixel
    hx = F.pad((height[:, :, 2:] - height[:, :, :-2]) / gap, (1, 1))
    hy = F.pad((height[:, 2:] - height[:, :-2]) / gap, (0, 0, 1, 1))
    # A face is flatter than a ball.
    return unit(torch.stack((0.8 * head.x - hx, 0.62 * head.y - hy, 0.35 + 0.65 * head.depth), 1))


def _body(picture: Tensor, head: Head, traits: Traits, rough: Tensor) -> Tensor:
    """Neck, shoulders and shirt."""
    pixel = head.pixel
    middle = traits["head_x"] + 0.25 * traits["roll"]
    x, high = head.u - middle, traits["head_height"]
    chin = traits["head_y"] + high
    slim = 0.52 * high * traits["head_slim"] * (1 + 0.35 * step(head.v - chin - 0.12, 0.3))
    neck = torch.minimum(step(slim - x.abs(), 2 * pixel * high), step(head.v - chin + 0.4, 0.1))
    round_light = 0.78 - 0.5 * (x / slim).square().clamp(max=1) + 0.25 * traits["light_x"] * (x / slim).clamp(-1, 1)
    shadow = 1 - 0.55 * step(chin + 0.16 - head.v, 0.22)
    over(picture, traits.skin * (round_light * shadow).clamp_min(0.08)[:, None], neck)
    top = chin + 0.17 + 0.30 * (x / traits["shoulder"]).abs() ** 2.6 - 0.10 * bump((x / 0.5) ** 2)
    collar = chin + 0.30 - 1.1 * (x / 0.42).square().clamp(max=1) * 0.2
    cloth = step(head.v - top, 2 * pixel * high)
    cloth = cloth * torch.maximum(step(head.v - collar, 2 * pixel * high), step(x.abs() - 0.33, 0.02))
    folds = 0.82 + 0.10 * rough + 0.25 * traits["light_x"] * x - 0.25 * (x / traits["shoulder"]).clamp(-1, 1) ** 4
    seam = bump(((head.v - collar - 0.03) / 0.03) ** 2) * step(0.34 - x.abs(), 0.03)
    return over(picture, traits.shirt * (folds * (1 - 0.3 * seam)).clamp_min(0.1)[:, None], cloth)


def _ears(picture: Tensor, head: Head, traits: Traits) -> Tensor:
    """Both ears, of which a turn of the head hides one."""
    for side in (-1, 1):
        turned = 1 + side * 0.5 * traits["yaw"]
        center = side * (0.97 - 0.10 * side * traits["yaw"])
        x, y = (head.x - center) / (0.14 * turned), (head.y - 0.12 - 0.3 * traits["pitch"]) / 0.2
        inside = 1 - torch.hypot(x, y)
        hollow = 0.75 - 0.35 * bump((x - 0.15 * side).square() * 2.5 + y.square() * 1.8)
        over(picture, traits.skin * hollow[:, None], step(inside, 8 * head.pixel))
    return picture


def _paint(traits: Traits, size: int, generator: torch.Generator) -> Tensor:
    """sRGB pictures [N,3,S,S] of faces with given traits; the generator draws textures."""
    n = len(traits.style)
    head = head_coordinates(traits, size)
    rough = noise(n, 22, size, generator)
    blotches = noise(n, 7, size, generator)
    # Last, because its share of the generator depends on the size: faces stay the same at every size.
    fine = noise(n, max(size * 2 // 3, 24), size, generator)

    picture = _backdrop(traits, size)
    mass = strand_light(head, traits, rough, fine)
    dark = 0.55 + 0.3 * step(head.edge - 0.95, 0.3)
    back = behind(head, traits, rough)
    flowing = traits.style == LONG
    over(picture, traits.hair * (mass * dark)[:, None], back * ~flowing)
    over(picture, traits.hair * (mass * dark * 0.8)[:, None], back * flowing)
    _body(picture, head, traits, rough)
    _ears(picture, head, traits)

    face, rows, columns = head.window(head.edge < 1 + 3 * head.pixel)
    skin = _face(face, traits, blotches[:, rows, columns], fine[:, rows, columns])
    scalp = fringe(face, traits, rough[:, rows, columns])
    over(skin, traits.skin * 0.25, 0.5 * step(scalp.roll(max(size // 40, 1), 1), 1.0) * (1 - scalp))
    over(skin, traits.hair * mass[:, rows, columns][:, None], scalp)
    over(picture[:, :, rows, columns], skin, step(1 - face.edge, 1.6 * face.pixel))
    _locks(picture, head, traits, mass)
    paint_glasses(picture[:, :, rows, columns], face, traits)
    return picture.clamp(1e-5, 1) ** (1 / 2.2)


def _face(head: Head, traits: Traits, blotches: Tensor, fine: Tensor) -> Tensor:
    """Lit skin with all features [N,3,h,w], for the pixels of a window; blotches and fine are noise."""
    front = step(head.face_z - 0.12, 0.25)
    skin = traits.skin * (1 + 0.035 * blotches + 0.02 * fine)[:, None]
    paint_skin(skin, head, traits, front, fine)
    diffuse, gloss = _light(_normal(head, relief(head, traits)), traits)
    skin = skin * diffuse[:, None] + 0.09 * gloss[:, None]
    above = head.face_y - traits["eye_y"]
    eyes, rows, columns = head.window((above.abs() < 0.36) & (head.face_z > 0))
    part, ahead = skin[:, :, rows, columns], front[:, rows, columns]
    paint_brows(part, eyes, traits, ahead, fine[:, rows, columns])
    paint_eyes(part, eyes, traits, ahead)
    mouth, rows, columns = head.window(((head.face_y - traits["mouth_y"]).abs() < 0.28) & (head.face_x.abs() < 0.42))
    paint_mouth(skin[:, :, rows, columns], mouth, traits, front[:, rows, columns])
    return skin


def _locks(picture: Tensor, head: Head, traits: Traits, mass: Tensor) -> Tensor:
    """Long hair that falls before the shoulders at both sides of the face."""
    wide = (0.13 + 0.5 * traits["volume"]) * step(head.y + 0.45, 1.1)
    center = 0.98 + 0.12 * step(head.y - 0.3, 1.0)
    inside = torch.minimum(wide - (head.x.abs() - center).abs(), 1.3 + traits["volume"] - head.y)
    inside = torch.minimum(inside, head.y + 0.45)
    alpha = step(inside, 0.02 + 1.5 * head.pixel) * (traits.style == LONG)
    return over(picture, traits.hair * (0.9 * mass)[:, None], alpha)


def draw_faces(n: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw n portraits [n,3,size,size] in [0,1], on the generator's device.

    Args:
        size: side in pixels, at least 32.

    Raises:
        ValueError: size too small or n < 1.
    """
    if n < 1:
        raise ValueError(f"the number of faces must be at least 1, found {n}; ask for one or more")
    if size < 32:
        raise ValueError(f"faces need a size of at least 32 pixels, found {size}: choose a larger one, e.g. 128")
    traits = draw_traits(n, generator)
    parts = [_paint(traits.rows(slice(i, i + CHUNK)), size, generator) for i in range(0, n, CHUNK)]
    return torch.cat(parts)
