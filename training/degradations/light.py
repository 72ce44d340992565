"""Too little light, too much of it, and shadows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .checks import (
    chosen,
    grid,
    log_uniform,
    normal_like,
    per_sample,
    smooth_field,
    smoothstep,
    to_display,
    to_linear,
    uniform,
)

SIDES = 5
LOBES, STREAKS = 3, 3


def low_light(image: Tensor, generator: torch.Generator, *, gain: float | Tensor | None = None) -> Tensor:
    """Under-exposed, noisy version of a picture: [B,3,H,W] in [0,1].

    Linear light is scaled by a gain, gets photon noise (variance proportional to the light) and read noise, and goes
    back through the display gamma: the noise is worst where the picture is darkest, as on a real sensor.

    Args:
        image: [B,3,H,W] in [0,1].
        gain: share of the light that is left, in (0,1], one number or one for each sample [B]; None draws 0.05 to 0.3.

    Raises:
        ValueError: a gain outside (0,1] or neither a number nor [B].
    """
    batch = image.shape[0]
    if gain is None:
        scale = log_uniform(generator, 0.05, 0.3, batch)
    else:
        scale = torch.as_tensor(gain, dtype=image.dtype, device=image.device)
        if scale.numel() not in (1, batch) or bool((scale <= 0).any()) or bool((scale > 1).any()):
            raise ValueError(
                f"gain must lie in (0, 1], one number or one for each of {batch} samples, found {gain}: pass e.g. 0.1"
            )
        scale = scale.reshape(-1, 1, 1, 1)
    light = to_linear(image) * scale
    photons = log_uniform(generator, 800.0, 8000.0, batch)
    read = per_sample(generator, 0.0003, 0.002, batch)
    noisy = light + normal_like(image, generator) * (light / photons + read**2).sqrt()
    return to_display(noisy)


def deshadow(image: Tensor, generator: torch.Generator, *, amount: float = 1.0) -> Tensor:
    """Picture with a shadow across it: [B,3,H,W] in [0,1], nowhere brighter than the picture.

    The shadow of a thing (a convex polygon) or of leaves (cut from noise), with a penumbra. It leaves about 0.3 to 0.7
    of the display value, and less of red than of blue, because it is lit by the sky.

    Args:
        image: [B,3,H,W] in [0,1].
        amount: factor on the light that is taken; 1 lowers the PSNR of a photograph to 13 to 21 dB.
    """
    b, _, h, w = image.shape
    depth = torch.where(chosen(generator, 0.5, b)[:, 0], _polygon(b, h, w, generator), _patches(b, h, w, generator))
    penumbra = log_uniform(generator, 0.01, 0.12, b)[:, 0]
    matte = smoothstep(depth / penumbra + 0.5)[:, None]
    blue = per_sample(generator, 0.0, 0.06, b) * torch.tensor([1.0, 0.2, -1.0], device=image.device)[:, None, None]
    taken = 1 - per_sample(generator, 0.35, 0.7, b) + blue
    return image * (1 - amount * matte * taken).clamp_min(0).to(image.dtype)


def _polygon(b: int, h: int, w: int, generator: torch.Generator) -> Tensor:
    """Signed distance [B,H,W] to a convex polygon in shorter sides, positive inside."""
    y, x = grid(h, w, generator.device)
    y = (y - per_sample(generator, 0.2, 0.8, b)[:, 0] * h / min(h, w))[:, None]
    x = (x - per_sample(generator, 0.2, 0.8, b)[:, 0] * w / min(h, w))[:, None]
    turn = torch.arange(SIDES, device=y.device)[None, :, None, None] + uniform(generator, -0.4, 0.4, b, SIDES, 1, 1)
    angle = turn * (2 * math.pi / SIDES) + per_sample(generator, 0.0, 2 * math.pi, b)
    reach = uniform(generator, 0.15, 0.75, b, SIDES, 1, 1)
    return (reach - x * torch.cos(angle) - y * torch.sin(angle)).amin(1)


def _patches(b: int, h: int, w: int, generator: torch.Generator) -> Tensor:
    """A field [B,H,W] that is positive in patches of about half of the picture, with slopes as of a distance."""
    coarse = smooth_field(generator, 3, b, 1, h, w) - 0.5
    fine = smooth_field(generator, 10, b, 1, h, w) - 0.5
    field = coarse + per_sample(generator, 0.0, 0.8, b) * fine
    return 0.25 * (field[:, 0] + per_sample(generator, -0.1, 0.15, b)[:, 0])


def flash_reflection(image: Tensor, generator: torch.Generator, *, amount: float = 1.0) -> Tensor:
    """Picture with the glare of a flash in it: [B,3,H,W] in [0,1], nowhere darker than the picture.

    One to three lamps, each a burnt-out core, a wide halo and a star of streaks, are added in linear light over a thin
    veil; what exceeds white is lost.

    Args:
        image: [B,3,H,W] in [0,1].
        amount: factor on the added light; 1 lowers the PSNR of a photograph to 11 to 19 dB.
    """
    b, _, h, w = image.shape
    glare = per_sample(generator, 0.0, 0.05, b) + _lamps(b, h, w, generator)[:, None]
    tint = 1 - uniform(generator, 0.0, 0.15, b, 3, 1, 1)
    return to_display(to_linear(image) + amount * glare * tint)


def _lamps(b: int, h: int, w: int, generator: torch.Generator) -> Tensor:
    """Light of all lamps of a sample [B,H,W], in units of white."""
    y, x = grid(h, w, generator.device)
    shape = (b, LOBES, 1, 1)
    y = y[:, None] - uniform(generator, 0.05, 0.95, *shape) * h / min(h, w)
    x = x[:, None] - uniform(generator, 0.05, 0.95, *shape) * w / min(h, w)
    distance2 = y.square() + x.square()
    power = uniform(generator, 0.5, 1.0, *shape) * (uniform(generator, 0.0, 1.0, *shape) < 0.4)
    power[:, 0] = 1
    core = uniform(generator, 0.02, 0.06, *shape)
    halo = core * uniform(generator, 2.0, 5.0, *shape)
    light = 4 * torch.exp(-0.5 * distance2 / core**2)
    light += uniform(generator, 0.1, 0.5, *shape) * torch.exp(-0.5 * distance2 / halo**2)
    first = per_sample(generator, 0.0, math.pi, b)
    width, length = core * uniform(generator, 0.1, 0.3, *shape), core * uniform(generator, 2.0, 6.0, *shape)
    for k in range(STREAKS):
        angle = first + k * math.pi / STREAKS
        along, aside = x * torch.cos(angle) + y * torch.sin(angle), y * torch.cos(angle) - x * torch.sin(angle)
        light += 1.5 * torch.exp(-0.5 * (aside / width) ** 2 - along.abs() / length)
    return (power * light).sum(1)
