"""Old prints: dyes that bleached unevenly."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import chosen, luma, per_sample, smooth_field, smoothstep, uniform

# Gains of red, green and blue: the print turns yellow or red, seldom blue.
WARM = ((1.0, 1.15), (0.85, 1.02), (0.55, 0.9))
COLD = ((0.75, 0.95), (0.9, 1.02), (1.0, 1.12))
COLD_SHARE = 0.2
STAIN_SHARE = 0.5


def color_fade(image: Tensor, generator: torch.Generator, *, amount: float = 1.0) -> Tensor:
    """Faded version of a picture: [B,3,H,W] in [0,1].

    Colours pale, blacks lift, contrast drops, one dye goes faster than the others, all of it uneven over the print;
    half of the samples have faint brown stains.

    Args:
        image: [B,3,H,W] in [0,1].
        amount: factor on the change of every pixel; 1 lowers the PSNR of a photograph to 15 to 22 dB.
    """
    b, _, h, w = image.shape
    faded = torch.lerp(image, luma(image), per_sample(generator, 0.3, 0.85, b))
    lifted = per_sample(generator, 0.5, 0.7, b)
    faded = torch.lerp(lifted, faded, per_sample(generator, 0.35, 0.75, b))
    faded = faded * torch.where(
        chosen(generator, COLD_SHARE, b), _gains(COLD, b, generator), _gains(WARM, b, generator)
    )
    uneven = per_sample(generator, 0.0, 0.5, b) * smooth_field(generator, 2, b, 1, h, w)
    change = torch.lerp(faded, image, uneven) - image
    stains = smoothstep((smooth_field(generator, 6, b, 1, h, w) - 0.7) * 4)
    stains = stains * per_sample(generator, 0.1, 0.3, b) * chosen(generator, STAIN_SHARE, b)
    brown = torch.tensor([0.5, 0.8, 1.0], device=image.device).reshape(1, 3, 1, 1)
    change = change - stains * brown * (image + change)
    return (image + amount * change).clamp(0, 1)


def _gains(ranges: tuple[tuple[float, float], ...], batch: int, generator: torch.Generator) -> Tensor:
    """Gains [B,3,1,1]."""
    return torch.cat([uniform(generator, *span, batch, 1, 1, 1) for span in ranges], 1)
