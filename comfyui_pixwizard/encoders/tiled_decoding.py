"""Decoding large latents piece by piece, so that the autoencoder's memory does not grow with the picture.

Shapes: B pictures, C latent channels, h, w latent pixels, f the autoencoder's factor (8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

FACTOR = 8
# Latent pixels of a piece's side, and how far neighbours overlap. Within MARGIN of its cut a piece sees less than the
# whole does (the bundled decoder looks 12 latent pixels far); from there on it counts more and more.
TILE, OVERLAP, MARGIN = 96, 32, 12
# Side in latent pixels of the largest square that is decoded whole: 768 px.
WHOLE = 96


def needs_tiles(latents: Tensor) -> bool:
    """Whether latents [B, C, h, w] are too large to be decoded at once."""
    return latents.shape[-2] * latents.shape[-1] > WHOLE**2


def decode_tiled(decode: Callable[[Tensor], Tensor], latents: Tensor) -> Tensor:
    """Pictures [B, 3, f h, f w] of latents [B, C, h, w], decoded in overlapping pieces one after the other.

    Equal to `decode(latents)` for a decoder that looks no farther than MARGIN; without seams for others.
    """
    height, width = latents.shape[-2:]
    total = weights = None
    for top in _starts(height):
        for left in _starts(width):
            piece = decode(latents[..., top : top + TILE, left : left + TILE]).float()
            if total is None or weights is None:
                total = piece.new_zeros(*piece.shape[:2], height * FACTOR, width * FACTOR)
                weights = piece.new_zeros(height * FACTOR, width * FACTOR)
            down = _ramp(top, min(top + TILE, height), height, piece.device)
            across = _ramp(left, min(left + TILE, width), width, piece.device)
            weight = down[:, None] * across
            rows = slice(top * FACTOR, top * FACTOR + len(down))
            columns = slice(left * FACTOR, left * FACTOR + len(across))
            total[..., rows, columns] += piece * weight
            weights[rows, columns] += weight
    assert total is not None and weights is not None, "there is at least one piece"
    return total / weights


def _starts(side: int) -> Iterator[int]:
    """Where pieces begin: TILE - OVERLAP apart, the last one at the end."""
    last = max(side - TILE, 0)
    yield from range(0, last, TILE - OVERLAP)
    yield last


def _ramp(start: int, end: int, side: int, device: torch.device) -> Tensor:
    """Weight of each row of a piece in pixels: 0 near a cut, 1 far from it; the picture's rim is no cut."""
    place = (torch.arange(start * FACTOR, end * FACTOR, device=device) + 0.5) / FACTOR
    low = torch.full_like(place, float("inf")) if start == 0 else place - start
    high = torch.full_like(place, float("inf")) if end == side else end - place
    return ((torch.minimum(low, high) - MARGIN) / (OVERLAP - 2 * MARGIN)).clamp(0, 1)
