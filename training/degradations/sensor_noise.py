"""Sensor noise: additive Gaussian, in part signal dependent, in part compressed."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import chosen, normal_like, per_sample
from .jpeg import jpeg

POISSON_SHARE = 0.2
JPEG_SHARE = 0.25


def denoise(image: Tensor, generator: torch.Generator, *, sigma: float | Tensor | None = None) -> Tensor:
    """Noisy version of a picture: [B,3,H,W] in [0,1], clamped.

    Args:
        image: [B,3,H,W] in [0,1].
        sigma: standard deviation in units of the full scale (50 of 255 is 50 / 255), a number or one for each sample
            [B]; the noise is then Gaussian. None draws 10/255 to 60/255, makes a fifth of the samples Poisson-like
            (variance proportional to the signal, the same at middle grey) and saves a quarter, of either kind, as JPEG
            of quality 15 to 60.

    Raises:
        ValueError: a sigma that is negative or neither a number nor [B].
    """
    batch = image.shape[0]
    noise = normal_like(image, generator)
    if sigma is not None:
        return (image + noise * _given(sigma, batch, image)).clamp(0, 1)
    scale = per_sample(generator, 10 / 255, 60 / 255, batch)
    poisson = chosen(generator, POISSON_SHARE, batch)
    if poisson.any():
        noise = torch.where(poisson, noise * (2 * image).clamp_min(0.02).sqrt(), noise)
    noisy = (image + noise * scale).clamp(0, 1)
    quality = per_sample(generator, 15.0, 60.0, batch).flatten()
    saved = chosen(generator, JPEG_SHARE, batch).flatten()
    if saved.any():
        noisy[saved] = jpeg(noisy[saved], quality[saved])
    return noisy


def _given(sigma: float | Tensor, batch: int, image: Tensor) -> Tensor:
    scale = torch.as_tensor(sigma, dtype=image.dtype, device=image.device)
    if scale.numel() not in (1, batch) or bool((scale < 0).any()):
        given = f"{tuple(scale.shape)} with minimum {float(scale.min()):g}"
        raise ValueError(
            f"sigma must be one number >= 0, or one for each of {batch} samples, found {given}: pass e.g. 50 / 255"
        )
    return scale.reshape(-1, 1, 1, 1)
