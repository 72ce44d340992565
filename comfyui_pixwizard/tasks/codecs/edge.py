"""Edge maps as pictures: white lines on black, as Canny, HED, sketches and line art are drawn here.

Shape legend: edges [..., H, W] strength in [0, 1]; pictures [..., 3, H, W] in [0, 1].
"""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from ..task import Codec, check_picture

# Fainter than this everywhere is an empty picture with noise.
FAINTEST = 0.25


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


def edges_confidence(picture: Any, source: Any = None) -> float:
    """1 for a picture without colour, 0 when the channels differ by a quarter or more, or nothing is drawn."""
    channels = rearrange(check_picture(picture), "... c h w -> c (... h w)")
    if not bool((channels.mean(0) > FAINTEST).any()):
        return 0.0
    spread = float((channels.amax(0) - channels.amin(0)).mean())
    return max(1 - spread / 0.25, 0.0)


EDGES = Codec("edges", encode_edges, decode_edges, edges_confidence)
