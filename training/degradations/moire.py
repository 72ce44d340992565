"""Photographs of screens: the screen's pixels beat against the camera's.

Shape legend: B batch, H, W pixels.
"""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import REFERENCE_SIZE, chosen, log_uniform, normal_like, per_sample, to_display, to_linear, uniform
from .jpeg import jpeg

# Period of the coloured bands in pixels at 128 px.
PERIOD = (9.0, 48.0)
HALF_PITCH_SHARE = 0.3


def demoire(image: Tensor, generator: torch.Generator, *, amount: float = 1.0) -> Tensor:
    """Picture as photographed off a screen: [B,3,H,W] in [0,1], with coloured bands; its content stays in place.

    Each screen pixel is three stripes, red, green and blue, a third of the pitch apart, with a dark gap between rows.
    The camera samples them slightly rotated, scaled and in perspective at about one or half a screen pixel for each of
    its own, so the stripes alias to slow bands whose phase differs between the colours. Behind a Bayer mosaic each
    colour is sampled on its own grid; demosaicing spreads the bands, sensor noise and a light JPEG follow.

    Args:
        image: [B,3,H,W] in [0,1].
        amount: factor on the contrast of the stripes; 1 lowers the PSNR of a photograph to 17 to 24 dB, 0 leaves what
            mosaic, noise and compression do.
    """
    b, _, h, w = image.shape
    light = to_linear(image) * screen(h, w, b, generator, amount) * per_sample(generator, 0.75, 1.1, b)
    light = light + 0.002 * normal_like(image, generator)
    captured = to_display(demosaic(light.clamp(0, 1)))
    return jpeg(captured, per_sample(generator, 60.0, 95.0, b).flatten())


def screen(height: int, width: int, batch: int, generator: torch.Generator, amount: float) -> Tensor:
    """Brightness of the screen's stripes where the camera samples them, for each channel: [B,3,H,W], mean about 1.

    No finer grid is needed: the stripes are a cosine series, so their value at a sample's place is exact, and aliasing
    is nothing but taking it there.
    """
    device, scale = generator.device, min(height, width) / REFERENCE_SIZE
    y = (torch.arange(height, device=device) - height / 2)[None, :, None]
    x = (torch.arange(width, device=device) - width / 2)[None, None, :]
    pitch = torch.where(chosen(generator, HALF_PITCH_SHARE, batch)[:, 0], 0.5, 1.0)
    beat = 1 / (scale * log_uniform(generator, *PERIOD, batch)[:, 0])
    towards = per_sample(generator, 0.0, 2 * math.pi, batch)[:, 0]
    dx, dy = beat * torch.cos(towards), beat * torch.sin(towards)
    # Perspective and lens distortion: the pitch changes over the picture by up to a few beats.
    bend = uniform(generator, -1.2, 1.2, batch, 4, 1, 1) * beat[:, None] / (scale * REFERENCE_SIZE)
    across = pitch * x + dx * x + dy * y + bend[:, 0] * x * x + bend[:, 1] * y * y
    down = pitch * y - dy * x + dx * y + bend[:, 2] * x * y + bend[:, 3] * y * y
    third = torch.arange(3, device=device)[None, :, None, None] / 3
    contrast = amount * per_sample(generator, 0.3, 0.85, batch)
    stripes = 1 + contrast * torch.cos(2 * math.pi * (across[:, None] - third))
    gap = 1 + amount * per_sample(generator, 0.0, 0.4, batch) * torch.cos(2 * math.pi * down)[:, None]
    return stripes.clamp_min_(0) * gap.clamp_min_(0)


def demosaic(light: Tensor) -> Tensor:
    """What remains of light [B,3,H,W] behind an RGGB Bayer mosaic after bilinear interpolation: [B,3,H,W]."""
    h, w = light.shape[-2:]
    sites, kernel = _bayer(light.device)
    # A mirrored border keeps the parity of rows and columns, on which the mosaic depends.
    padded = F.pad(light, (1, 1, 1, 1), mode="reflect")
    mosaic = padded * sites.repeat(1, h // 2 + 2, w // 2 + 2)[:, 1 : h + 3, 1 : w + 3]
    return F.conv2d(mosaic, kernel, groups=3)


@cache
def _bayer(device: torch.device) -> tuple[Tensor, Tensor]:
    """Sites of each colour [3,2,2], and the interpolation from them [3,1,3,3]."""
    sites = torch.tensor([[[1, 0], [0, 0]], [[0, 1], [1, 0]], [[0, 0], [0, 1]]], device=device)
    line = torch.tensor([0.5, 1.0, 0.5], device=device)
    quarter = line[:, None] * line
    cross = torch.tensor([[0, 0.25, 0], [0.25, 1, 0.25], [0, 0.25, 0]], device=device)
    return sites.float(), torch.stack([quarter, cross, quarter])[:, None]
