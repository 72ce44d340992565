"""What all degradations share: the check of the input and per-sample random numbers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

GAMMA = 2.2
# Lengths in the tables of the modules are pixels of a picture with this shorter side; they grow with the picture.
REFERENCE_SIZE = 128
LUMA = (0.299, 0.587, 0.114)


def check_image(image: Tensor) -> None:
    """Raise ValueError unless image is a floating [B,3,H,W] tensor."""
    if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
        shape = f"{tuple(image.shape)} {image.dtype}"
        raise ValueError(
            f"a degradation needs a float image [B,3,H,W] in [0,1], found {shape}: add a batch axis or convert it"
        )


def check_amount(amount: float) -> None:
    """Raise ValueError unless amount, the factor on a degradation's strength, is at least 0."""
    if not amount >= 0:
        raise ValueError(f"amount must be >= 0, found {amount:g}: pass e.g. 1.0")


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


def chosen(generator: torch.Generator, share: float, batch: int) -> Tensor:
    """Which samples fall into a random share of them: [B,1,1,1] bool."""
    return per_sample(generator, 0.0, 1.0, batch) < share


def grid(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Centres of pixels y [1,H,1] and x [1,1,W], in units of the shorter side."""
    short = min(height, width)
    y = (torch.arange(height, device=device) + 0.5) / short
    x = (torch.arange(width, device=device) + 0.5) / short
    return y[None, :, None], x[None, None, :]


def smooth_field(generator: torch.Generator, cells: int, batch: int, channels: int, height: int, width: int) -> Tensor:
    """Random fields [B,C,H,W] in [0,1] with features of about 1/cells of each side; each spans its range."""
    coarse = uniform(generator, 0.0, 1.0, batch, channels, cells + 1, cells + 1)
    low, high = coarse.amin((2, 3), keepdim=True), coarse.amax((2, 3), keepdim=True)
    coarse = (coarse - low) / (high - low).clamp_min(1e-6)
    return F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True).clamp_(0, 1)


def smoothstep(value: Tensor) -> Tensor:
    """0 below 0, 1 above 1, and a cubic with flat ends between."""
    value = value.clamp(0, 1)
    return value * value * (3 - 2 * value)


def luma(image: Tensor) -> Tensor:
    """Weighted mean of the channels (Rec. 601): [B,1,H,W]."""
    weights = torch.tensor(LUMA, device=image.device, dtype=image.dtype).reshape(1, 3, 1, 1)
    return (image * weights).sum(1, keepdim=True)
