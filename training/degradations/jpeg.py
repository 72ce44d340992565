"""JPEG's losses without its files: 4:2:0 chroma and quantised 8x8 cosine transforms, batched.

Shape legend: B batch, H, W pixels, n blocks of a channel.
"""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .checks import check_image

# ITU-T T.81, Annex K, tables K.1 and K.2, row by row.
LUMINANCE = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 32),
)
# ITU-T T.871 (JFIF), without the offset of the chroma channels.
TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def jpeg(image: Tensor, quality: float | Tensor) -> Tensor:
    """Picture as it comes back from a JPEG file: [B,3,H,W] in [0,1].

    Args:
        image: [B,3,H,W] in [0,1].
        quality: 1 to 100 on the scale of the Independent JPEG Group, one number or one for each sample [B].

    Raises:
        ValueError: wrong shape of the image, or a quality outside 1 to 100 or neither a number nor [B].
    """
    check_image(image)
    batch, _, height, width = image.shape
    value = torch.as_tensor(quality, dtype=torch.float32, device=image.device)
    if value.numel() not in (1, batch) or bool((value < 1).any()) or bool((value > 100).any()):
        raise ValueError(
            f"quality must lie in 1 to 100, one number or one for each of {batch} samples, found {quality}"
        )
    value = value.reshape(-1, 1, 1, 1, 1)
    percent = torch.where(value < 50, 5000 / value, 200 - 2 * value)
    luminance, chrominance, mixing, unmixing = _constants(image.device)
    padded = F.pad(image * 255 - 128, (0, -width % 16, 0, -height % 16), mode="replicate")
    channels = torch.einsum("dc,bchw->bdhw", mixing, padded)
    # Rows of the mixing matrix for chroma sum to zero: the shift by 128 left them centred.
    light = _quantise(channels[:, :1], _table(luminance, percent))
    colour = _quantise(F.avg_pool2d(channels[:, 1:], 2), _table(chrominance, percent))
    colour = F.interpolate(colour, scale_factor=2, mode="bilinear")
    decoded = torch.einsum("cd,bdhw->bchw", unmixing, torch.cat([light, colour], 1))
    return ((decoded[..., :height, :width] + 128) / 255).clamp_(0, 1)


@cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Quantisation tables [64] twice, RGB to YCbCr [3,3] and back."""
    mixing = torch.tensor(TO_YCBCR, dtype=torch.float64)
    tables = (torch.tensor(table, dtype=torch.float32, device=device) for table in (LUMINANCE, CHROMINANCE))
    return (*tables, mixing.float().to(device), mixing.inverse().float().to(device))  # type: ignore[return-value]


@cache
def _transform(device: torch.device) -> Tensor:
    """Orthonormal two-dimensional cosine transform of an 8x8 block as one matrix [64,64], coefficients by pixels."""
    k = torch.arange(8, dtype=torch.float64)
    line = 0.5 * torch.cos(math.pi * k[:, None] * (k + 0.5) / 8)
    line[0] *= math.sqrt(0.5)
    return torch.kron(line, line).float().to(device)


def _table(table: Tensor, percent: Tensor) -> Tensor:
    """Steps for each sample [B,1,1,1,64]."""
    return ((table * percent + 50) / 100).floor_().clamp_(1, 255)


def _quantise(channels: Tensor, steps: Tensor) -> Tensor:
    """Channels [B,C,H,W], H and W multiples of 8, with the cosine coefficients of their blocks rounded to steps."""
    transform = _transform(channels.device)
    blocks = rearrange(channels, "b c (y p) (x q) -> b c y x (p q)", p=8, q=8)
    coefficients = ((blocks @ transform.T) / steps).round_() * steps
    return rearrange(coefficients @ transform, "b c y x (p q) -> b c (y p) (x q)", p=8, q=8)
