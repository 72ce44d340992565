"""Too little light: exposure, photon and read noise."""

from __future__ import annotations

import torch
from torch import Tensor

from .common import check_image, log_uniform, normal_like, per_sample, to_display, to_linear


def low_light(image: Tensor, generator: torch.Generator, *, gain: float | Tensor | None = None) -> Tensor:
    """Under-exposed, noisy version of a picture: [B,3,H,W] in [0,1].

    Linear light is scaled by a gain, gets photon noise (variance proportional to the light) and read noise, and goes
    back through the display gamma: the noise is worst where the picture is darkest, as on a real sensor.

    Args:
        image: [B,3,H,W] in [0,1].
        gain: share of the light that is left, in (0,1], one number or one for each sample [B]; None draws 0.05 to 0.3.

    Raises:
        ValueError: wrong shape of the image, or a gain outside (0,1] or neither a number nor [B].
    """
    check_image(image)
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
