"""Decoding and encoding large pictures piece by piece, so that the autoencoder's memory does not grow with them.

Shapes: B pictures, C latent channels, h, w latent pixels, f the autoencoder's factor (8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

FACTOR = 8
# Latent pixels of a piece's side, and how far neighbours overlap. Within MARGIN of its cut a piece sees less than the
# whole does (the bundled decoder looks 12 latent pixels far); from there on it counts more and more.
TILE, OVERLAP, MARGIN = 96, 32, 12
# Side in latent pixels of the largest square that is decoded whole: 768 px. Encoded whole, as the released model is
# trained, are pictures up to 1536 px.
WHOLE, ENCODED_WHOLE = 96, 192


def needs_tiles(latents: Tensor) -> bool:
    """Whether latents [B, C, h, w] are too large to be decoded at once."""
    return latents.shape[-2] * latents.shape[-1] > WHOLE**2


def decode_tiled(decode: Callable[[Tensor], Tensor], latents: Tensor) -> Tensor:
    """Pictures [B, 3, f h, f w] of latents [B, C, h, w], decoded in overlapping pieces one after the other.

    Equal to `decode(latents)` for a decoder that looks no farther than MARGIN; without seams for others.
    """
    return _in_pieces(decode, latents, 1, FACTOR)


def encode_pictures(autoencoder: Any, pictures: Tensor, generators: Sequence[torch.Generator | None]) -> Tensor:
    """Latents [B, C, h, w] of pictures [B, 3, f h, f w]; very large ones are encoded in pieces as `decode_tiled` does.

    Args:
        autoencoder: with `.encode`.
        pictures: in [-1, 1].
        generators: of the samples; a posterior that is sampled draws from each, after its noise, and is encoded whole.
    """
    if getattr(autoencoder, "posterior", "mode") != "mode":
        parts = zip(pictures.split(1), generators, strict=True)
        return torch.cat([autoencoder.encode(picture, generator) for picture, generator in parts])
    if pictures.shape[-2] * pictures.shape[-1] <= (ENCODED_WHOLE * FACTOR) ** 2:
        return autoencoder.encode(pictures)
    return _in_pieces(autoencoder.encode, pictures, FACTOR, 1).to(pictures.dtype)


def _in_pieces(function: Callable[[Tensor], Tensor], values: Tensor, read: int, made: int) -> Tensor:
    """A function of overlapping pieces, joined; `read` and `made` are pixels a latent pixel before and after it."""
    height, width = values.shape[-2] // read, values.shape[-1] // read
    total = weights = None
    for top in _starts(height):
        for left in _starts(width):
            ends = min(top + TILE, height), min(left + TILE, width)
            piece = function(values[..., top * read : ends[0] * read, left * read : ends[1] * read]).float()
            if total is None or weights is None:
                total = piece.new_zeros(*piece.shape[:2], height * made, width * made)
                weights = piece.new_zeros(height * made, width * made)
            down = _ramp(top, ends[0], height, made, piece.device)
            across = _ramp(left, ends[1], width, made, piece.device)
            weight = down[:, None] * across
            rows = slice(top * made, ends[0] * made)
            columns = slice(left * made, ends[1] * made)
            total[..., rows, columns] += piece * weight
            weights[rows, columns] += weight
    assert total is not None and weights is not None, "there is at least one piece"
    return total.div_(weights)


def _starts(side: int) -> Iterator[int]:
    """Where pieces begin: TILE - OVERLAP apart, the last one at the end."""
    last = max(side - TILE, 0)
    yield from range(0, last, TILE - OVERLAP)
    yield last


def _ramp(start: int, end: int, side: int, made: int, device: torch.device) -> Tensor:
    """Weight of each row of a piece: 0 near a cut, 1 far from it; the picture's rim is no cut."""
    place = (torch.arange(start * made, end * made, device=device) + 0.5) / made
    low = torch.full_like(place, float("inf")) if start == 0 else place - start
    high = torch.full_like(place, float("inf")) if end == side else end - place
    return ((torch.minimum(low, high) - MARGIN) / (OVERLAP - 2 * MARGIN)).clamp(0, 1)
