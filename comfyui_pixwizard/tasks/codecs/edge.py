"""Edge maps as pictures: white lines on black, as Canny, HED, sketches and line art are drawn here.

A model that is unsure where a line runs draws the mean of where it may: a grey band. Of Canny edges, which are one
pixel wide, the crest of the band is the likeliest line.

Shape legend: edges [..., H, W] strength in [0, 1]; pictures [..., 3, H, W] in [0, 1].
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..task import Codec, check_picture
from .clean_up import box_mean, flatten_batch, grayness, thick

# Fainter than this everywhere is an empty picture with noise.
FAINTEST = 0.25
# Brighter pixels are lines as they are.
DRAWN = 0.5
# Least mean brightness of 3x3 pixels of a crest; a line of one pixel has a third of its own.
CREST = 0.12
# Least bend across a crest; what bends less is flat but for rounding.
BEND = 1e-3
# Half of the directions from a pixel to its neighbours (down, right), and how long these steps are, squared.
ACROSS = (((0, 1), 1), ((1, 0), 1), ((1, 1), 2), ((1, -1), 2))


def encode_edges(edges: Any, source: Any = None) -> Tensor:
    """Strength of the edges to three equal channels: [...,H,W] -> [...,3,H,W].

    Raises:
        ValueError: not a map, or strengths outside [0, 1].
    """
    strength = torch.as_tensor(edges)
    if strength.ndim < 2:
        raise ValueError(f"edges are a map [..., H, W], found {tuple(strength.shape)}: pass a map, not a number")
    strength = strength.float()
    if strength.numel() and not (float(strength.min()) >= 0 and float(strength.max()) <= 1):
        span = f"{float(strength.min()):g} to {float(strength.max()):g}"
        raise ValueError(f"strengths of edges lie in 0 to 1, found {span}: divide bytes by 255")
    return torch.stack([strength] * 3, dim=-3)


def decode_edges(picture: Any, source: Any = None) -> Tensor:
    """Mean of the channels, clamped to [0, 1]: [...,3,H,W] -> [...,H,W]."""
    return check_picture(picture).mean(-3).clamp(0, 1)


def decode_lines(picture: Any, source: Any = None) -> Tensor:
    """Lines of one pixel, 1 on 0: [...,3,H,W] -> [...,H,W]; what is drawn in white, and the crests of grey bands.

    A crest is brighter than its two neighbours in the direction in which brightness bends down most. Beside what is
    drawn there is none.
    """
    strength = decode_edges(picture)
    flat = flatten_batch(strength, 2)
    drawn = flat > DRAWN
    return (drawn | (_crests(box_mean(flat)) & ~thick(drawn))).float().reshape(strength.shape)


def _crests(smooth: Tensor) -> Tensor:
    """Pixels [B,H,W] bool on the crests of brightness [B,H,W]."""
    height, width = smooth.shape[-2:]
    padded = F.pad(smooth[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]

    def beside(dy: int, dx: int) -> Tensor:
        return padded[:, 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]

    bend = torch.stack([(beside(-y, -x) + beside(y, x) - 2 * smooth) / step for (y, x), step in ACROSS])
    # One side strictly, or a plateau would be two lines.
    top = torch.stack([(smooth > beside(-y, -x)) & (smooth >= beside(y, x)) for (y, x), _ in ACROSS])
    most = bend.argmin(0, keepdim=True)
    return (smooth > CREST) & top.gather(0, most)[0] & (bend.gather(0, most)[0] < -BEND)


def lines_confidence(picture: Any, source: Any = None) -> float:
    """As `edges_confidence`, less for lines that are read off a grey band: by their brightness in the picture."""
    lines, strength = decode_lines(picture), decode_edges(picture)
    if not bool(lines.any()):
        return 0.0
    return grayness(check_picture(picture)) * float((strength[lines > 0] / DRAWN).clamp(max=1).mean())


def edges_confidence(picture: Any, source: Any = None) -> float:
    """1 for a picture without colour, 0 when the channels differ by a quarter or more, or nothing is drawn."""
    return grayness(check_picture(picture)) if bool((decode_edges(picture) > FAINTEST).any()) else 0.0


EDGES = Codec("edges", encode_edges, decode_edges, edges_confidence)
LINES = Codec("lines", encode_edges, decode_lines, lines_confidence)
