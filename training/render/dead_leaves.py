"""Dead leaves: occluding textured shapes with power-law sizes, the statistics of photographs without photographs.

Model: Lee, Mumford, Huang, "Occlusion models for natural images" (IJCV 2001), with shaded and 1/f-textured leaves.
Shape legend: N pictures, S side in pixels, A side of the sheet that pictures are cut from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

TEXTURES = 12
SHEET = 768


@dataclass(frozen=True)
class LeafStyle:
    """Ranges that one sheet is drawn from (lengths in pixels of the sheet)."""

    smallest: float = 2.5
    largest: float = 320.0
    power: float = 3.0
    coverage: float = 5.0

    @classmethod
    def draw(cls, generator: torch.Generator) -> LeafStyle:
        """From cluttered to calm: photographs hold both leaves of a tree and an empty sky."""
        a, b = torch.rand(2, generator=generator).tolist()
        return cls(smallest=2.5 * 12**a, power=2.4 + 0.7 * b)


def _uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=generator) * (high - low) + low


def power_noise(size: int, count: int, exponent: Tensor, stretch: Tensor, generator: torch.Generator) -> Tensor:
    """Tileable Gaussian fields with spectrum 1/f^exponent, unit variance: [count, size, size].

    Args:
        exponent: [count] decay of the amplitude with frequency (1 is natural, 0 white).
        stretch: [count] anisotropy, 1 isotropic, larger for streaky fields (fur, grass, wood).
    """
    fy = torch.fft.fftfreq(size)[:, None] * size
    fx = torch.fft.rfftfreq(size)[None, :] * size
    frequency = torch.sqrt(fy**2 + (fx * stretch[:, None, None]) ** 2).clamp_min(1.0)
    spectrum = (
        torch.fft.rfft2(torch.randn(count, size, size, generator=generator)) * frequency ** -exponent[:, None, None]
    )
    spectrum[:, 0, 0] = 0
    field = torch.fft.irfft2(spectrum, s=(size, size))
    return field / field.std(dim=(1, 2), keepdim=True)


def _palette(generator: torch.Generator, count: int) -> Tensor:
    """Colours [count, 3] in linear-ish [0,1]: mostly grey axis, little chroma, as in photographs."""
    value = torch.rand(count, generator=generator) ** 1.3 * 0.95 + 0.02
    mood = torch.randn(2, generator=generator) * 0.06
    chroma = torch.randn(count, 2, generator=generator)
    chroma = chroma * torch.rand(count, 1, generator=generator) ** 2 * 0.30 + mood
    warm, green = chroma[:, 0], chroma[:, 1] * 0.5
    tint = torch.stack([1 + warm + green, 1 - green * 0.6, 1 - warm * 1.3 + green], dim=-1)
    return (value[:, None] * tint).clamp(0.0, 1.0)


def _leaf_alpha(kind: int, u: Tensor, v: Tensor, aspect: float, wave: Tensor) -> Tensor:
    """Signed distance-like field of a unit leaf (positive inside): [h, w]."""
    if kind == 0:
        return 1 - torch.sqrt(u**2 + (v / aspect) ** 2)
    if kind == 1:
        return torch.minimum(1 - u.abs(), 1 - (v / aspect).abs())
    if kind == 2:
        return torch.minimum(torch.minimum(1 - u, 0.6 * u + 0.8 - (v / aspect).abs()), 1 + u)
    angle = torch.atan2(v, u)
    ripple = wave[0] * torch.sin(2 * angle + wave[1] * 9) + wave[2] * torch.sin(5 * angle + wave[3] * 9)
    return 1 + 0.3 * ripple - torch.sqrt(u**2 + (v / aspect) ** 2)


def sheet(generator: torch.Generator, size: int = SHEET, style: LeafStyle | None = None) -> Tensor:
    """Paint one sheet of leaves: [3, size, size] in [0,1]."""
    style = style or LeafStyle.draw(generator)
    exponent = _uniform(generator, 0.6, 1.9, TEXTURES)
    stretch = 1 + _uniform(generator, 0, 1, TEXTURES) ** 3 * 12
    textures = power_noise(size, TEXTURES, exponent, stretch, generator)
    canvas = _palette(generator, 1)[0][:, None, None] * (1 + 0.25 * textures[0])

    # Radii by inverting the cumulative r^-power law; leaves are laid until the sheet is covered several times.
    low, high, p = style.smallest, style.largest * size / SHEET, style.power - 1
    radii = (_uniform(generator, 0, 1, 20000) * (high**-p - low**-p) + low**-p) ** (-1 / p)
    enough = int(torch.searchsorted(torch.cumsum(math.pi * radii**2 * 0.6, 0), style.coverage * size * size))
    count = max(min(enough, 6000), 200)
    radii = radii[:count]
    colours = _palette(generator, count)
    draws = torch.rand(count, 16, generator=generator)
    soft = draws[:, 0] ** 4 * 3.0 + 0.4
    for i in range(count):
        _paint(canvas, textures, float(radii[i]), colours[i], draws[i].tolist(), float(soft[i]))
    light = 1 + 0.25 * power_noise(size, 1, torch.tensor([1.8]), torch.ones(1), generator)[0]
    return (canvas * light.clamp(0.3, 1.8)).clamp(0, 1)


def _paint(canvas: Tensor, textures: Tensor, radius: float, colour: Tensor, d: list[float], soft: float) -> None:
    """Lay one leaf on the canvas in place; only its own window is touched."""
    size = canvas.shape[-1]
    kind, aspect = int(d[1] * 4), (0.08 + 0.3 * d[14] if d[3] < 0.15 else 0.4 + 0.9 * d[2])
    reach = radius * max(1.0, aspect) * 1.45 + 2 * soft + 1
    cx, cy, angle = d[4] * size, d[5] * size, d[6] * 2 * math.pi
    x0, x1 = max(int(cx - reach), 0), min(int(cx + reach) + 1, size)
    y0, y1 = max(int(cy - reach), 0), min(int(cy + reach) + 1, size)
    if x1 <= x0 or y1 <= y0:
        return
    x = torch.arange(x0, x1, dtype=torch.float32)[None, :] - cx
    y = torch.arange(y0, y1, dtype=torch.float32)[:, None] - cy
    u = (x * math.cos(angle) + y * math.sin(angle)) / radius
    v = (y * math.cos(angle) - x * math.sin(angle)) / radius
    inside = _leaf_alpha(kind, u, v, aspect, torch.tensor(d[7:11]) - 0.5) * radius * min(1.0, aspect)
    alpha = (inside / soft + 0.5).clamp(0, 1)

    texture = textures[int(d[11] * TEXTURES)]
    shift_y, shift_x = int(d[12] * size), int(d[13] * size)
    tile = (
        texture.roll((shift_y, shift_x), (0, 1))[y0:y1, x0:x1]
        if radius > 40
        else _window(texture, shift_y, shift_x, alpha)
    )
    contrast = 0.5 * d[15] ** 1.5
    shade = 1 + (d[8] - 0.5) * 0.9 * u + (d[9] - 0.5) * 0.5 * (u**2 + v**2)
    value = colour[:, None, None] * (shade * (1 + contrast * tile)).clamp(0.05, 2.0)
    window = canvas[:, y0:y1, x0:x1]
    window += alpha * (value - window)


def _window(texture: Tensor, y: int, x: int, like: Tensor) -> Tensor:
    """A window of the tileable texture the size of `like`, without rolling the whole field."""
    h, w = like.shape
    size = texture.shape[-1]
    return texture[min(y, size - h) :][:h, min(x, size - w) :][:, :w]


def finish(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Camera side of the model: defocus, gamma, exposure and grain, per picture: [N,3,S,S] -> [N,3,S,S]."""
    n = pictures.shape[0]
    sigma = 0.25 + torch.rand(n, generator=generator) ** 3 * 1.4
    taps = torch.arange(-4, 5, dtype=torch.float32)
    kernel = torch.exp(-(taps**2) / (2 * sigma[:, None] ** 2))
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)
    flat = pictures.reshape(1, -1, *pictures.shape[-2:])
    flat = F.conv2d(F.pad(flat, (4, 4, 0, 0), "reflect"), kernel[:, None, None, :], groups=flat.shape[1])
    flat = F.conv2d(F.pad(flat, (0, 0, 4, 4), "reflect"), kernel[:, None, :, None], groups=flat.shape[1])
    blurred = flat.reshape(pictures.shape)
    gamma = _uniform(generator, 0.55, 1.1, n, 1, 1, 1)
    grain = torch.randn(pictures.shape, generator=generator) * (torch.rand(n, 1, 1, 1, generator=generator) ** 2 * 0.03)
    return (blurred.clamp(1e-4, 1) ** gamma + grain).clamp(0, 1)


def cut(picture: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Cut a square from a sheet or photograph [3,H,W] at random zoom, place and mirror image: [3,size,size]."""
    height, width = picture.shape[-2:]
    shortest = min(height, width)
    zoom = float(_uniform(generator, 0.5, 1.0, 1)) if torch.rand(1, generator=generator) < 0.4 else 1.0
    side = min(int(size / zoom), shortest)
    top = int(torch.randint(height - side + 1, (1,), generator=generator))
    left = int(torch.randint(width - side + 1, (1,), generator=generator))
    piece = picture[:, top : top + side, left : left + side]
    if side != size:
        scaled = F.interpolate(piece[None].float(), (size, size), mode="bilinear", antialias=True)[0]
        piece = scaled if picture.is_floating_point() else scaled.round().to(picture.dtype)
    turn = int(torch.randint(8, (1,), generator=generator))
    piece = torch.rot90(piece, turn % 4, (1, 2))
    return piece.flip(2) if turn >= 4 else piece


def dead_leaves(n: int, size: int, generator: torch.Generator, *, per_sheet: int = 32) -> Tensor:
    """Draw n photograph-like pictures: [n, 3, size, size] in [0,1], deterministic for a generator.

    Args:
        size: side in pixels, at most 768.
        per_sheet: pictures cut from one painted sheet.

    Raises:
        ValueError: size outside 16..768.
    """
    if not 16 <= size <= SHEET:
        raise ValueError(f"dead_leaves needs a size of 16 to {SHEET} pixels, found {size}: choose one in that range")
    pictures: list[Tensor] = []
    while len(pictures) < n:
        painted = sheet(generator)
        pictures += [cut(painted, size, generator) for _ in range(min(per_sheet, n - len(pictures)))]
    return finish(torch.stack(pictures), generator)
