"""Watermarks: letters and signs laid over a picture, tiled or once.

Shape legend: B batch, H, W pixels, G height of a glyph in pixels, T width of the longest mark in pixels.
"""

from __future__ import annotations

import math
import string
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .checks import REFERENCE_SIZE, chosen, grid, per_sample, uniform

CONSONANTS, VOWELS = "bcdfghjklmnprstvwz", "aeiou"
LETTERS = string.ascii_letters + string.digits + "© "
SIGNS = ("ring", "diamond", "triangle", "bars")
TILED_SHARE = 0.7
# Larger than any picture in heights of a glyph: a mark that is drawn once repeats beyond the borders.
ONCE = 1e3


def watermark(image: Tensor, generator: torch.Generator, *, amount: float = 1.0) -> Tensor:
    """Picture with a half-transparent mark over it: [B,3,H,W] in [0,1].

    The mark is a made-up name, a year or a sign with a name; turned, tiled in staggered rows over the whole picture or
    laid once across its middle; white, black or coloured, with an opacity of 0.3 to 0.7.

    Args:
        image: [B,3,H,W] in [0,1].
        amount: factor on the opacity, which stops at 1; 1 lowers the PSNR of a photograph to 15 to 26 dB.
    """
    b, _, h, w = image.shape
    shape = stencil(h, w, b, generator)[:, None].to(image.dtype)
    opacity = (amount * per_sample(generator, 0.3, 0.7, b)).clamp_max(1)
    draw = per_sample(generator, 0.0, 1.0, b)
    colour = uniform(generator, 0.0, 1.0, b, 3, 1, 1)
    colour = torch.where(draw < 0.6, 1.0, torch.where(draw < 0.8, 0.0, colour))
    return torch.lerp(image, colour.to(image.dtype), opacity * shape)


def stencil(height: int, width: int, batch: int, generator: torch.Generator) -> Tensor:
    """How much of each pixel the mark covers: [B,H,W] in [0,1]."""
    short = min(height, width)
    glyph = 24 * 2 ** max(round(math.log2(short / REFERENCE_SIZE)), 0)
    marks, widths = _marks(batch, glyph, generator)
    aspect = (widths / glyph)[:, None, None]
    tiled = chosen(generator, TILED_SHARE, batch)[:, 0]
    # Heights of the letters in shorter sides: a mark that stands alone spans most of the picture.
    alone = (per_sample(generator, 0.7, 0.98, batch)[:, 0] * width / short / aspect).clamp_max(0.5)
    letter = torch.where(tiled, per_sample(generator, 0.14, 0.3, batch)[:, 0], alone)
    angle = per_sample(generator, -0.7, 0.7, batch)[:, 0] * torch.where(tiled, 1.0, 0.6)
    y, x = grid(height, width, generator.device)
    y, x = y - 0.5 * height / short, x - 0.5 * width / short
    across = (torch.cos(angle) * x + torch.sin(angle) * y) / letter + aspect / 2
    down = (torch.cos(angle) * y - torch.sin(angle) * x) / letter + 0.5
    pitch_y = torch.where(tiled, per_sample(generator, 1.0, 1.7, batch)[:, 0], ONCE)
    pitch_x = torch.where(tiled, aspect + per_sample(generator, 0.3, 1.2, batch)[:, 0], ONCE)
    line = torch.floor(down / pitch_y)
    across = across + line * pitch_x * per_sample(generator, 0.2, 0.8, batch)[:, 0]
    across = across - torch.floor(across / pitch_x) * pitch_x
    down = down - line * pitch_y
    place = torch.stack([across * (2 * glyph / marks.shape[-1]) - 1, down * 2 - 1], -1)
    return F.grid_sample(marks, place, mode="bilinear", padding_mode="zeros", align_corners=False)[:, 0]


def _marks(batch: int, height: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Marks [B,1,G,T] filled with 0 on the right, and their widths [B]."""
    atlas = _atlas(height)
    rows = [torch.cat([atlas[glyph] for glyph in _mark(generator)], 1) for _ in range(batch)]
    widths = [row.shape[1] for row in rows]
    marks = torch.stack([F.pad(row, (0, max(widths) - row.shape[1])) for row in rows])[:, None]
    return marks.to(generator.device), torch.tensor(widths, device=generator.device)


def _mark(generator: torch.Generator) -> list[str]:
    """A mark as keys of the atlas: a sign or none, a name of two to four syllables, a year or none."""
    draw = torch.rand(12, generator=generator, device=generator.device).tolist()
    syllables = 2 + int(3 * draw[0])
    name = "".join(_pick(CONSONANTS, draw[1 + i]) + _pick(VOWELS, draw[5 + i]) for i in range(syllables))
    name = name.upper() if draw[9] < 0.5 else name.capitalize()
    if draw[10] < 0.3:
        return list(f"© {name} {2000 + int(25 * draw[11])}")
    return [*([SIGNS[int(len(SIGNS) * draw[11])], " "] if draw[10] < 0.7 else []), *name]


def _pick(letters: str, draw: float) -> str:
    return letters[int(len(letters) * draw)]


@cache
def _atlas(height: int) -> dict[str, Tensor]:
    """Every letter and sign as a picture [G,width] in [0,1], in the bold form of Pillow's own font."""
    bold = max(round(height / 24), 1)
    font = ImageFont.load_default(size=0.8 * height)
    atlas = {}
    for letter in LETTERS:
        image = Image.new("L", (max(math.ceil(font.getlength(letter)) + bold, 1), height))
        ImageDraw.Draw(image).text((bold / 2, 0.74 * height), letter, 255, font, anchor="ls", stroke_width=bold)
        atlas[letter] = _tensor(image)
    return atlas | {sign: _tensor(_sign(sign, height)) for sign in SIGNS}


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).float() / 255


def _sign(name: str, height: int) -> Image.Image:
    """A simple emblem [height,height], drawn four times larger and reduced for smooth edges."""
    side = 4 * height
    image = Image.new("L", (side, side))
    draw, low, high, middle = ImageDraw.Draw(image), 0.1 * side, 0.9 * side, 0.5 * side
    if name == "ring":
        draw.ellipse((low, low, high, high), outline=255, width=side // 7)
    elif name == "diamond":
        draw.polygon([(middle, low), (high, middle), (middle, high), (low, middle)], fill=255)
    elif name == "triangle":
        draw.polygon([(middle, low), (high, high), (low, high)], fill=255)
    else:
        for k in range(3):
            draw.rectangle((low, (0.15 + 0.27 * k) * side, high, (0.3 + 0.27 * k) * side), fill=255)
    return image.resize((height, height), Image.Resampling.BOX)
