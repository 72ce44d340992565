"""Thin clean lines, as in an ink drawing with white ink on black, by extended differences of Gaussians.

Shape legend: B batch, H x W pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .filters import blur, check_image, dilate, opponent, shifts, soften

COLOUR = 1.2
DIRECTIONS, REACH = 8, 4
THRESHOLD, STEEPNESS = 0.011, 45.0
CREST, SHARPNESS = 0.6, 3.0
OWN = 1.5  # times a pixel's own response, at most, that its line can lend it


def line_art(image: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """White lines of one to two pixels on black [B,H,W] in [0,1], on the picture's device.

    A difference of Gaussians is positive on the dark side of an edge and on a dark line; it is averaged along the line
    of best fit among some directions, which joins what belongs together and drops specks, thinned to its crests, and
    pushed through a soft threshold (after H. Winnemoeller et al., XDoG, 2012). Fainter edges give greyer lines. The
    line of an edge lies on its dark side, about a pixel beside it.

    Args:
        image: [B,3,H,W] in [0,1].
        generator: not used; the filter has one strength.

    Raises:
        ValueError: wrong shape of the image.
    """
    check_image(image)
    picture = opponent(image)
    picture[:, 1:] *= COLOUR
    narrow = soften(picture)
    response = _dark_side(blur(narrow) - narrow)
    # A line that crosses another at its end has the other's mean but nothing of its own.
    lines = torch.minimum(_along_lines(response), OWN * response).clamp_min(0)
    # Beside a strong line its own flanks exceed any fixed threshold: what counts is the share of the crest nearby.
    share = lines / dilate(dilate(lines)).clamp_min(1e-6)
    thin = ((share - CREST) * SHARPNESS + 0.5).clamp(0, 1)
    return (thin * torch.tanh(STEEPNESS * (lines - THRESHOLD))).clamp_min(0)[:, 0]


def _dark_side(response: Tensor) -> Tensor:
    """Length of the response over colours [B,1,H,W], positive on one side of each edge and negative on the other.

    Both sides of an edge respond with opposite signs. Luma says which one is drawn; where it is equal, red and blue.
    """
    luma, red, blue = response.split(1, dim=1)
    return torch.copysign(response.square().sum(1, keepdim=True).sqrt(), luma + 0.4 * red + 0.2 * blue)


def _along_lines(response: Tensor) -> Tensor:
    """Largest mean of [B,1,H,W] along a line through the pixel, over all directions."""
    at = shifts(response, REACH)
    best = torch.full_like(response, -math.inf)
    for i in range(DIRECTIONS):
        angle = math.pi * i / DIRECTIONS
        dy, dx = math.sin(angle), math.cos(angle)
        length = max(abs(dx), abs(dy))
        total = response.clone()
        for step in range(1, REACH + 1):
            y, x = round(step * dy / length), round(step * dx / length)
            total += at(y, x)
            total += at(-y, -x)
        best = torch.maximum(best, total)
    return best / (2 * REACH + 1)
