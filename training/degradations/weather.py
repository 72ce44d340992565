"""Weather between the camera and the scene."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .common import check_image, log_uniform, per_sample, uniform


class Curtain(NamedTuple):
    """Ranges (low, high): length and width in pixels at 128 px, density in drops per pixel, peak brightness."""

    length: tuple[float, float]
    width: tuple[float, float]
    density: tuple[float, float]
    peak: tuple[float, float]


# Far drops are many, short, thin and faint; near ones few, long, wide and bright.
CURTAINS = (
    Curtain(length=(6.0, 16.0), width=(0.55, 0.75), density=(0.004, 0.016), peak=(0.25, 0.55)),
    Curtain(length=(16.0, 40.0), width=(0.7, 1.2), density=(0.0008, 0.003), peak=(0.35, 0.8)),
)
REFERENCE_SIZE = 128


def derain(image: Tensor, generator: torch.Generator, *, amount: float = 1.0) -> Tensor:
    """Rainy version of a picture: [B,3,H,W] in [0,1], nowhere darker than the picture.

    Sparse drops are blurred along the direction they fall in, up to 30 degrees off the vertical, and laid over the
    picture by screen blending together with a thin bright veil, which is densest at the top, where the view is longest.

    Args:
        image: [B,3,H,W] in [0,1].
        amount: factor on the brightness of streaks and veil; 1 lowers the PSNR of a photograph to 16 to 21 dB.

    Raises:
        ValueError: wrong shape of the image, or a negative amount.
    """
    check_image(image)
    if amount < 0:
        raise ValueError(f"amount must be >= 0, found {amount:g}: pass e.g. 1.0")
    b, _, h, w = image.shape
    angle = per_sample(generator, -math.pi / 6, math.pi / 6, b)[:, 0]
    rain = torch.zeros(b, h, w, device=image.device)
    for curtain in CURTAINS:
        rain = rain + _streaks(curtain, angle, b, h, w, generator)
    veil = per_sample(generator, 0.02, 0.14, b)[:, 0] * torch.linspace(1.2, 0.8, h, device=image.device)[:, None]
    clear = (1 - (amount * rain).clamp(0, 0.95)) * (1 - (amount * veil).clamp(0, 1))
    return 1 - (1 - image) * clear[:, None].to(image.dtype)


def _streaks(curtain: Curtain, angle: Tensor, b: int, h: int, w: int, generator: torch.Generator) -> Tensor:
    """Brightness of one curtain [B,H,W]; angle [B,1,1] from the vertical in radians.

    The blur is a line of given length with a Gaussian profile, written in the frequency domain, where it is a sinc
    along the line times a Gaussian: exact at any angle and its cost does not grow with the length.
    """
    scale = max(min(h, w) / REFERENCE_SIZE, 0.5)
    length = scale * per_sample(generator, *curtain.length, b)[:, 0]
    width = scale**0.5 * per_sample(generator, *curtain.width, b)[:, 0]
    density = log_uniform(generator, *curtain.density, b)[:, 0] / scale**1.5
    peak = per_sample(generator, *curtain.peak, b)[:, 0]
    draw = uniform(generator, 0.0, 1.0, b, h, w)
    # The number that decides whether there is a drop also says how bright it is: 0.4 to 1.
    drops = torch.where(draw < density, 1 - 0.6 * draw / density, torch.zeros((), device=draw.device))

    fy = torch.fft.fftfreq(h, device=draw.device)[:, None]
    fx = torch.fft.rfftfreq(w, device=draw.device)[None, :]
    along = fy * torch.cos(angle) + fx * torch.sin(angle)
    blur = torch.sinc(length * along) * torch.exp(-2 * math.pi**2 * width**2 * (fy**2 + fx**2))
    # Unit peak: a line of length L with a Gaussian profile of width s holds L s sqrt(2 pi) times its peak.
    energy = peak * length * width * math.sqrt(2 * math.pi)
    return torch.fft.irfft2(torch.fft.rfft2(drops) * (blur * energy), s=(h, w)).clamp_min(0)
