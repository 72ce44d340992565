"""Weather between the camera and the scene."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .checks import REFERENCE_SIZE, grid, log_uniform, per_sample, smooth_field, smoothstep, uniform


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


class Flakes(NamedTuple):
    """Ranges (low, high): radius in pixels at 128 px, density in flakes per pixel, softness of the edge, opacity."""

    radius: tuple[float, float]
    density: tuple[float, float]
    softness: tuple[float, float]
    opacity: tuple[float, float]


# Far flakes are many, small and sharp; those before the plane of focus few, large and blurred.
FLAKES = (
    Flakes(radius=(0.6, 0.8), density=(0.008, 0.03), softness=(0.7, 1.0), opacity=(0.55, 0.85)),
    Flakes(radius=(1.0, 1.7), density=(0.002, 0.007), softness=(0.5, 0.9), opacity=(0.7, 1.0)),
    Flakes(radius=(2.4, 4.5), density=(0.0003, 0.0012), softness=(0.9, 1.4), opacity=(0.4, 0.8)),
)


def derain(image: Tensor, generator: torch.Generator, *, amount: float = 1.0) -> Tensor:
    """Rainy version of a picture: [B,3,H,W] in [0,1], nowhere darker than the picture.

    Sparse drops are blurred along the direction they fall in, up to 30 degrees off the vertical, and laid over the
    picture by screen blending together with a thin bright veil, which is densest at the top, where the view is longest.

    Args:
        image: [B,3,H,W] in [0,1].
        amount: factor on the brightness of streaks and veil; 1 lowers the PSNR of a photograph to 16 to 21 dB.
    """
    b, _, h, w = image.shape
    angle = per_sample(generator, -math.pi / 6, math.pi / 6, b)[:, 0]
    rain = torch.zeros(b, h, w, device=image.device)
    for curtain in CURTAINS:
        rain = rain + _streaks(curtain, angle, b, h, w, generator)
    veil = per_sample(generator, 0.02, 0.14, b)[:, 0] * torch.linspace(1.2, 0.8, h, device=image.device)[:, None]
    clear = (1 - (amount * rain).clamp(0, 0.95)) * (1 - (amount * veil).clamp(0, 1))
    return 1 - (1 - image) * clear[:, None].to(image.dtype)


def _streaks(curtain: Curtain, angle: Tensor, b: int, h: int, w: int, generator: torch.Generator) -> Tensor:
    """Brightness of one curtain [B,H,W]; angle [B,1,1] from the vertical in radians."""
    scale = max(min(h, w) / REFERENCE_SIZE, 0.5)
    length = scale * per_sample(generator, *curtain.length, b)[:, 0]
    width = scale**0.5 * per_sample(generator, *curtain.width, b)[:, 0]
    density = log_uniform(generator, *curtain.density, b)[:, 0] / scale**1.5
    peak = per_sample(generator, *curtain.peak, b)[:, 0]
    draw = uniform(generator, 0.0, 1.0, b, h, w)
    # The number that decides whether there is a drop also says how bright it is: 0.4 to 1.
    drops = torch.where(draw < density, 1 - 0.6 * draw / density, torch.zeros((), device=draw.device))

    blur = _line_filter(length, width, angle, h, w)
    # Unit peak: a line of length L with a Gaussian profile of width s holds L s sqrt(2 pi) times its peak.
    energy = peak * length * width * math.sqrt(2 * math.pi)
    return torch.fft.irfft2(torch.fft.rfft2(drops) * (blur * energy), s=(h, w)).clamp_min(0)


def _line_filter(length: Tensor, width: Tensor, angle: Tensor, h: int, w: int) -> Tensor:
    """Blur along a line with a Gaussian profile, in the frequency domain [B,H,W//2+1]; arguments [B,1,1].

    There it is a sinc along the line times a Gaussian: exact at any angle, and its cost does not grow with the length.
    """
    fy = torch.fft.fftfreq(h, device=angle.device)[:, None]
    fx = torch.fft.rfftfreq(w, device=angle.device)[None, :]
    along = fy * torch.cos(angle) + fx * torch.sin(angle)
    return torch.sinc(length * along) * torch.exp(-2 * math.pi**2 * width**2 * (fy**2 + fx**2))


def desnow(image: Tensor, generator: torch.Generator, *, amount: float = 1.0) -> Tensor:
    """Picture in falling snow: [B,3,H,W] in [0,1].

    Three sheets of flakes from far to near, all drawn out along one direction, then a pale veil between the flakes.

    Args:
        image: [B,3,H,W] in [0,1].
        amount: factor on the opacity of flakes and veil; 1 lowers the PSNR of a photograph to 15 to 21 dB.
    """
    b, _, h, w = image.shape
    angle = per_sample(generator, -math.pi / 4, math.pi / 4, b)[:, 0]
    travel = per_sample(generator, 0.5, 3.0, b)[:, 0]
    veil = per_sample(generator, 0.05, 0.3, b)[:, 0] * smooth_field(generator, 2, b, 1, h, w)[:, 0]
    clear = 1 - (amount * veil).clamp(0, 0.95)
    for flakes in FLAKES:
        clear = clear * (1 - (amount * _sheet(flakes, angle, travel, h, w, generator)).clamp(0, 0.98))
    # Flakes in the shade of the sky: nearly white, a little blue.
    white = per_sample(generator, 0.86, 1.0, b) * torch.tensor([0.97, 0.985, 1.0], device=image.device)[:, None, None]
    return torch.lerp(white.to(image.dtype), image, clear[:, None].to(image.dtype))


def _sheet(flakes: Flakes, angle: Tensor, travel: Tensor, h: int, w: int, generator: torch.Generator) -> Tensor:
    """Opacity of one sheet [B,H,W]; angle [B,1,1] from the vertical, travel [B,1,1] during the exposure in radii.

    Bumps of unequal height are cut at one level: their outlines become flakes of unequal size, and flakes that touch
    run together into irregular ones.
    """
    b, scale = angle.shape[0], max(min(h, w) / REFERENCE_SIZE, 0.5)
    radius = scale * per_sample(generator, *flakes.radius, b)[:, 0]
    density = log_uniform(generator, *flakes.density, b)[:, 0] / scale**2
    softness = per_sample(generator, *flakes.softness, b)[:, 0]
    opacity = per_sample(generator, *flakes.opacity, b)[:, 0]
    draw = uniform(generator, 0.0, 1.0, b, h, w)
    heights = torch.where(draw < density, 0.7 + 1.3 * draw / density, torch.zeros((), device=draw.device))
    length = radius * travel
    bump = _line_filter(length, radius, angle, h, w) * (2 * math.pi * radius * (radius**2 + length**2 / 12).sqrt())
    field = torch.fft.irfft2(torch.fft.rfft2(heights) * bump, s=(h, w))
    return opacity * smoothstep((field - 0.35) / softness)


def dehaze(image: Tensor, generator: torch.Generator, *, amount: float = 1.0, depth: Tensor | None = None) -> Tensor:
    """Picture in haze: [B,3,H,W] in [0,1].

    The scattering model I = J t + A (1 - t) with transmission t = exp(-beta d), d the depth over its mean, and an
    airlight A that is nearly grey (McCartney 1976; the form that dehazing data sets are rendered with).

    Args:
        image: [B,3,H,W] in [0,1].
        amount: factor on beta; 1 lowers the PSNR of a photograph to 11 to 21 dB.
        depth: [B,H,W] > 0 in any unit; None draws smooth fields that are farther at the top.

    Raises:
        ValueError: a depth of another shape, or one that is not positive.
    """
    b, _, h, w = image.shape
    if depth is None:
        depth = random_depth(b, h, w, generator)
    elif depth.shape != (b, h, w) or not bool((depth > 0).all()):
        raise ValueError(
            f"depth must be positive and of the image's shape {(b, h, w)}, found {tuple(depth.shape)} with minimum "
            f"{float(depth.min()):g}: pass metres or leave it out"
        )
    beta = log_uniform(generator, 0.25, 0.9, b)
    airlight = per_sample(generator, 0.68, 0.96, b) + uniform(generator, -0.015, 0.015, b, 3, 1, 1)
    distance = depth / depth.mean((1, 2), keepdim=True)
    transmission = torch.exp(-amount * beta * distance[:, None])
    return torch.lerp(airlight.clamp(0, 1), image, transmission.to(image.dtype))


def random_depth(batch: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Smooth depths [B,H,W] between 0.1 and about 3: a ground that recedes to the top, with hills and things."""
    y, _ = grid(height, width, generator.device)
    up = 1 - y / (height / min(height, width))
    trend = per_sample(generator, 0.8, 2.2, batch)[:, 0] * up ** per_sample(generator, 0.6, 2.0, batch)[:, 0]
    hills = smooth_field(generator, 3, batch, 1, height, width)[:, 0]
    things = smooth_field(generator, 9, batch, 1, height, width)[:, 0]
    return 0.1 + trend + 0.5 * hills + 0.3 * things
