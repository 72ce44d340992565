"""What all degradations share: the check of the input and per-sample random numbers."""

from __future__ import annotations

import torch
from torch import Tensor

GAMMA = 2.2


def check_image(image: Tensor) -> None:
    """Raise ValueError unless image is a floating [B,3,H,W] tensor."""
    if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
        found = f"{tuple(image.shape)} {image.dtype}"
        raise ValueError(
            f"a degradation needs a float image [B,3,H,W] in [0,1], found {found}: add a batch axis or convert it"
        )


def uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    """Uniform numbers of a shape, drawn on the generator's device."""
    return torch.rand(*shape, generator=generator, device=generator.device) * (high - low) + low


def per_sample(generator: torch.Generator, low: float, high: float, batch: int) -> Tensor:
    """One uniform number for each sample: [B,1,1,1]."""
    return uniform(generator, low, high, batch, 1, 1, 1)


def log_uniform(generator: torch.Generator, low: float, high: float, batch: int) -> Tensor:
    """One log-uniform number for each sample, for quantities that span a decade: [B,1,1,1]."""
    return low * (high / low) ** per_sample(generator, 0.0, 1.0, batch)


def normal_like(image: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal noise in the shape and type of an image."""
    return torch.randn(image.shape, generator=generator, device=image.device, dtype=image.dtype)


def to_linear(image: Tensor) -> Tensor:
    """Display values to linear light (pure power law, so that it inverts exactly)."""
    return image.clamp(0, 1) ** GAMMA


def to_display(light: Tensor) -> Tensor:
    """Linear light to display values, clamped to [0,1]."""
    return light.clamp(0, 1) ** (1 / GAMMA)
