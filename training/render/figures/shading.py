"""Colours of visible surfaces: light on clothes and skin, and the features of a face.

Shape suffixes: V visible pixels, N pictures, F figures of each.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .outfit import FACE, SHIRT, TROUSERS
from .raster import Surface


def _inside(value: Tensor, soft: float) -> Tensor:
    """1 where value < 1, falling to 0 over `soft`."""
    return ((1 - value) / soft + 0.5).clamp(0, 1)


def _oval(x: Tensor, y: Tensor, center: tuple[float, float], half: tuple[float, float], soft: float = 0.35) -> Tensor:
    return _inside(torch.hypot((x - center[0]) / half[0], (y - center[1]) / half[1]), soft)


def paint_faces(rgb: Tensor, local: Tensor, brow: Tensor) -> Tensor:
    """Linear skin colours [V,3] with brows, eyes and mouth; local [V,3] on the unit sphere of the head, brow [V,3]."""
    x, y, z = local.unbind(1)
    x = x.abs()
    front = ((z - 0.15) / 0.2).clamp(0, 1)
    dark = torch.tensor((0.02, 0.015, 0.015), device=rgb.device)
    layers = (
        (_oval(x, y, (0.5, -0.22), (0.28, 0.2), 0.9) * 0.25, rgb * torch.tensor((1.0, 0.62, 0.6), device=rgb.device)),
        (_oval(x, y, (0.41, 0.40), (0.22, 0.05)), brow),
        (_oval(x, y, (0.41, 0.18), (0.19, 0.105)), rgb.new_tensor((0.85, 0.85, 0.86)).expand_as(rgb)),
        (_oval(x, y, (0.41, 0.18), (0.105, 0.105)), dark.expand_as(rgb)),
        (_oval(x, y, (0.0, -0.46), (0.30, 0.07)), rgb * torch.tensor((0.62, 0.26, 0.26), device=rgb.device)),
    )
    for alpha, colour in layers:
        rgb = torch.lerp(rgb, colour, (alpha * front)[:, None])
    return rgb


def shade(surface: Surface, rgb: Tensor, brow: Tensor, light: Tensor, strength: Tensor) -> Tensor:
    """sRGB [V,3] of visible pixels.

    Args:
        rgb: [N,F,PARTS,3] linear colours of the parts.
        brow: [N,F,3] linear colour of the brows.
        light: [N,3] towards the light in picture axes (y down).
        strength: [N,2] ambient and direct light.
    """
    at, figure, part = surface.picture, surface.figure, surface.part
    albedo = rgb[at, figure, part]
    face = torch.nonzero(part == FACE)[:, 0]
    albedo[face] = paint_faces(albedo[face], surface.local[face], brow[at[face], figure[face]])
    towards, power = light[at], strength[at]
    cosine = (surface.normal * towards).sum(1)
    wrapped = ((cosine + 0.35) / 1.35).clamp_min(0)
    # Light from above and the floor's faint return, and darker rims so that limbs stand out from a trunk of one colour.
    ambient = power[:, 0] * (0.85 - 0.25 * surface.normal[:, 1]) * (0.55 + 0.45 * surface.normal[:, 2])
    half = light + torch.tensor((0.0, 0.0, 1.0), device=light.device)
    half = half / half.norm(dim=1, keepdim=True)
    cloth = (part == SHIRT) | (part == TROUSERS)
    gloss = torch.where(cloth, 0.015, 0.06) * (surface.normal * half[at]).sum(1).clamp_min(0) ** 24
    linear = albedo * (ambient + power[:, 1] * wrapped * 1.1)[:, None] + gloss[:, None]
    return linear.clamp(1e-5, 1) ** (1 / 2.2)
