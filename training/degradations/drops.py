"""Rain drops on the pane before the camera: each a small lens that shows the scene upside down.

Shape legend: B batch, H, W pixels, n cells of a layer along an axis.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import grid, per_sample, smooth_field, smoothstep, uniform


class Layer(NamedTuple):
    """A jittered lattice of drops: cells along the shorter side, share of the cells that hold one, radius in cells."""

    cells: float
    share: tuple[float, float]
    radius: tuple[float, float]


LAYERS = (
    Layer(cells=4.5, share=(0.25, 0.8), radius=(0.2, 0.42)),
    Layer(cells=9.0, share=(0.15, 0.7), radius=(0.18, 0.42)),
    Layer(cells=20.0, share=(0.05, 0.4), radius=(0.2, 0.4)),
)
MARGIN = 0.07


class Drops(NamedTuple):
    """What each pixel sees [B,H,W]: cover in [0,1], place u, v within its drop (edge at radius 1), the drop's gain."""

    cover: Tensor
    u: Tensor
    v: Tensor
    gain: Tensor


def raindrop(image: Tensor, generator: torch.Generator, *, amount: float = 1.0) -> Tensor:
    """Picture through a pane with rain drops: [B,3,H,W] in [0,1].

    A drop refracts: it shows a wide part of the scene, turned upside down, small and blurred, darker towards its rim
    and with a glint.

    Args:
        image: [B,3,H,W] in [0,1].
        amount: factor on the number of drops; 1 lowers the PSNR of a photograph to 16 to 23 dB.
    """
    b, _, h, w = image.shape
    softness = per_sample(generator, 0.1, 0.4, b)[:, 0]
    wobble = smooth_field(generator, 12, b, 2, h, w) - 0.5
    drops = _layer(LAYERS[0], wobble, softness, amount, generator)
    for layer in LAYERS[1:]:
        other = _layer(layer, wobble, softness, amount, generator)
        nearer = other.cover > drops.cover
        drops = Drops(*(torch.where(nearer, mine, theirs) for mine, theirs in zip(other, drops, strict=True)))
    radius2 = drops.u.square() + drops.v.square()
    shade = drops.gain * (1 - 0.4 * radius2.clamp(0, 1).square())
    glint = 0.6 * torch.exp(-((drops.u + 0.3).square() + (drops.v + 0.45).square()) / 0.03)
    through = refract(image, drops.u, drops.v, per_sample(generator, 0.5, 0.9, b)[:, 0])
    through = (through * shade[:, None] + glint[:, None]).clamp_(0, 1)
    return torch.lerp(image, through, drops.cover[:, None].to(image.dtype))


def refract(image: Tensor, u: Tensor, v: Tensor, reach: Tensor) -> Tensor:
    """Scene as seen through the drops: [B,3,H,W].

    Args:
        image: [B,3,H,W].
        u, v: place of each pixel within its drop [B,H,W], right and down.
        reach: how far from itself a drop's rim sees [B,1,1], in half sides of the picture.
    """
    h, w = image.shape[-2:]
    y = (torch.arange(h, device=image.device) * 2 + 1) / h - 1
    x = (torch.arange(w, device=image.device) * 2 + 1) / w - 1
    place = torch.stack([x - reach * u, y[:, None] - reach * v], -1)
    # A drop shows the scene much smaller than it is: what it sees is taken from a reduced copy.
    reduced = F.adaptive_avg_pool2d(image, (max(h // 4, 2), max(w // 4, 2)))
    return F.grid_sample(reduced, place, mode="bilinear", padding_mode="reflection", align_corners=False)


def _layer(layer: Layer, wobble: Tensor, softness: Tensor, amount: float, generator: torch.Generator) -> Drops:
    """Drops of one layer; wobble [B,2,H,W] deforms their outlines, softness [B,1,1] is the width of the edge.

    A drop lies within its cell, so each pixel has to look at its own cell alone.
    """
    b, _, h, w = wobble.shape
    y, x = grid(h, w, generator.device)
    y = y * layer.cells + per_sample(generator, 0.0, 1.0, b)[:, 0]
    x = x * layer.cells + per_sample(generator, 0.0, 1.0, b)[:, 0]
    row, column = y.long(), x.long()
    ny, nx = (int(layer.cells * side / min(h, w)) + 2 for side in (h, w))
    radius = uniform(generator, *layer.radius, b, ny, nx)
    present = uniform(generator, 0.0, 1.0, b, ny, nx) < amount * per_sample(generator, *layer.share, b)[:, 0]
    free = 1 - 2 * (radius + MARGIN)
    centre_y, centre_x = (radius + MARGIN + free.clamp_min(0) * uniform(generator, 0, 1, b, ny, nx) for _ in range(2))
    gain = uniform(generator, 0.65, 1.3, b, ny, nx)
    narrow = uniform(generator, 0.75, 1.0, b, ny, nx)
    cells = torch.stack([present.float(), centre_y, centre_x, 1 / radius, gain, narrow], -1)
    sample = torch.arange(b, device=row.device)[:, None, None]
    here, cy, cx, inverse, gain, narrow = cells[sample, row, column].unbind(-1)
    v = (y - row - cy + 2 * MARGIN * wobble[:, 0]) * inverse
    # Wider below than above, as a hanging drop is.
    u = (x - column - cx + 2 * MARGIN * wobble[:, 1]) * inverse / (narrow * (1 + 0.15 * v.clamp(-1, 1)))
    edge = (1 - (u.square() + v.square()).sqrt()) / softness
    return Drops(here * smoothstep(edge), u, v, gain)
