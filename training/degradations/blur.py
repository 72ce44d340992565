"""Loss of sharpness: a camera that moved during the exposure, or was out of focus.

Shape legend: B batch, H, W pixels, K side of a point spread function in pixels, odd, R = K // 2.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import REFERENCE_SIZE, chosen, log_uniform, normal_like, per_sample, to_display, to_linear, uniform

# Reach of the trajectory from its centre, and radius of the disc, in pixels at 128 px.
REACH = (3.5, 10.0)
RADIUS = (2.2, 5.5)
DISC_SHARE = 0.4
POINTS = 96


def deblur(image: Tensor, generator: torch.Generator, *, amount: float = 1.0) -> Tensor:
    """Blurred version of a picture: [B,3,H,W] in [0,1].

    Three fifths of the samples are blurred along a random trajectory as by a shaking hand, the rest by a disc as by a
    lens out of focus; in linear light, so that highlights stay bright, and with a little sensor noise.

    Args:
        image: [B,3,H,W] in [0,1].
        amount: factor on the extent of the blur; 1 lowers the PSNR of a photograph to 17 to 26 dB.
    """
    b, _, h, w = image.shape
    scale = amount * min(h, w) / REFERENCE_SIZE
    reach = min(math.ceil(scale * REACH[1]) + 1, min(h, w) - 1)
    shake = trajectory_psf(scale * log_uniform(generator, *REACH, b).flatten(), reach, generator)
    disc = disc_psf(scale * log_uniform(generator, *RADIUS, b).flatten(), reach)
    psf = torch.where(chosen(generator, DISC_SHARE, b)[:, 0], disc, shake)
    blurred = to_display(convolve(to_linear(image), psf))
    noise = normal_like(image, generator) * per_sample(generator, 0.0, 0.012, b)
    return (blurred + min(amount, 1.0) * noise).clamp(0, 1)


def trajectory_psf(extent: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Traces of a shaking camera [B,K,K] with K = 2 reach + 1, sum 1, the centre of mass in the middle.

    A point walks with a heading that drifts and now and then jerks, at a speed that varies, and leaves light where it
    passes.

    Args:
        extent: largest distance from the centre in pixels [B], at most reach - 1 counts.
    """
    b, device = extent.shape[0], extent.device
    drift = torch.randn(b, POINTS, generator=generator, device=device) * uniform(generator, 0.02, 0.25, b, 1)
    jerk = uniform(generator, -math.pi, math.pi, b, POINTS) * (uniform(generator, 0.0, 1.0, b, POINTS) < 0.02)
    heading = uniform(generator, 0.0, 2 * math.pi, b, 1) + (drift + jerk).cumsum(1)
    speed = uniform(generator, 0.2, 1.0, b, POINTS)
    path = torch.stack([heading.sin(), heading.cos()], -1).mul_(speed[..., None]).cumsum(1)
    path = path - path.mean(1, keepdim=True)
    path = path * (extent.clamp_max(reach - 1) / path.norm(dim=-1).amax(1).clamp_min(1e-6))[:, None, None]
    return _splat(path + reach, 2 * reach + 1)


def disc_psf(radius: Tensor, reach: int) -> Tensor:
    """Evenly lit discs with smooth rims [B,K,K], K = 2 reach + 1, sum 1; radius [B] in pixels."""
    axis = torch.arange(-reach, reach + 1, device=radius.device)
    distance = (axis[:, None] ** 2 + axis**2).sqrt()
    disc = (radius[:, None, None] + 0.5 - distance).clamp(0, 1)
    return disc / disc.sum((1, 2), keepdim=True)


def convolve(image: Tensor, psf: Tensor) -> Tensor:
    """Each sample of image [B,C,H,W] with its own kernel psf [B,K,K], mirrored at the borders: [B,C,H,W].

    By Fourier transform, whose cost hardly grows with the kernel. K is at most 2 min(H,W) - 1.
    """
    h, w = image.shape[-2:]
    r = psf.shape[-1] // 2
    padded = F.pad(image, (r, r, r, r), mode="reflect")
    size = padded.shape[-2:]
    transfer = torch.fft.rfft2(psf, s=size)[:, None]
    result = torch.fft.irfft2(torch.fft.rfft2(padded) * transfer, s=size)
    return result[..., 2 * r : 2 * r + h, 2 * r : 2 * r + w]


def _splat(points: Tensor, side: int) -> Tensor:
    """Points [B,N,2] as y, x, each shared among the four nearest cells of [B,side,side]; sum 1."""
    corner = points.floor()
    offset = points - corner
    y, x = corner.long().unbind(-1)
    canvas = points.new_zeros(points.shape[0], side * side)
    for dy in (0, 1):
        for dx in (0, 1):
            share = (offset[..., 0] - (1 - dy)).abs() * (offset[..., 1] - (1 - dx)).abs()
            index = (y + dy).clamp(0, side - 1) * side + (x + dx).clamp(0, side - 1)
            canvas.scatter_add_(1, index, share / points.shape[1])
    return canvas.reshape(-1, side, side)
