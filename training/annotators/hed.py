"""Thick soft boundaries, as holistically-nested edge detection (HED) draws them, by a classical filter.

Shape legend: B batch, H x W pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .filters import blur, check_image, gradient, is_small, opponent, soften

# Step of each further blur and weight of the scale it leads to. Standard deviations 1, 2.2 and 4.6 pixels, or of a
# small picture 0.7, 1.2 and 2.3; a texture is gone at the widest.
STEPS, SMALL_STEPS = (1, 2, 4), (0, 1, 2)
WEIGHTS = (0.5, 1.0, 0.8)
COLOUR = 1.5  # weight of colour differences beside luma
ISOTROPY = 0.6  # share of the second eigenvalue that is taken off; 1 would open the corners
CONTRAST = 0.08  # energy of a lone boundary that gets half the strength
EXCESS, SURROUND = 0.7, 0.4  # share of the surround's energy that is taken off, and that divides
FLOOR, GAIN, THICKNESS = 0.05, 1.3, 1.4


class Boundary(NamedTuple):
    """How much each pixel looks like a boundary of a thing, and which way its gradient points, all [B,1,H,W]."""

    energy: Tensor  # amplitude of the oriented derivative; about half the contrast at a clean step
    surround: Tensor  # mean energy of the pixels around, which is high in a texture
    cosine: Tensor  # of twice the gradient's angle, times the squared energy
    sine: Tensor

    def strength(self) -> Tensor:
        """[B,1,H,W] in [0,1]: energy beyond that of the surround, in proportion to it."""
        squared = (self.energy - EXCESS * self.surround).clamp_min(0).square()
        divided = squared / (squared + CONTRAST**2 + (SURROUND * self.surround).square())
        return ((divided - FLOOR) * GAIN).clamp(0, 1)


def hed(image: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Soft boundaries a few pixels thick [B,H,W] in [0,1], on the picture's device.

    Derivatives of an opponent-colour picture at three scales are summed as structure tensors (S. Di Zenzo, 1986),
    whose oriented part is divided by its own mean over the surround (divisive normalisation; D. Heeger, 1992): long
    boundaries of things stay, grass and gravel fade.

    Args:
        image: [B,3,H,W] in [0,1].
        generator: not used; the filter has one strength.

    Raises:
        ValueError: wrong shape of the image.
    """
    strength = boundary(image).strength()
    thick = soften(strength) if is_small(image) else blur(strength)
    return (thick * THICKNESS).clamp(0, 1)[:, 0]


def boundary(image: Tensor) -> Boundary:
    """Oriented derivative energy of a picture [B,3,H,W] over all scales and colours.

    Raises:
        ValueError: wrong shape of the image.
    """
    check_image(image)
    picture = opponent(image)
    picture[:, 1:] *= COLOUR
    variance, xx, yy, xy = 0.0, *picture.new_zeros(3, len(image), 1, *image.shape[-2:])
    steps = SMALL_STEPS if is_small(image) else STEPS
    for step, weight in zip(steps, WEIGHTS, strict=True):
        picture = blur(picture, step) if step else soften(picture)
        variance += step**2 or 0.5
        dx, dy = gradient(picture)
        # Times the scale, so that a step has the same height at all of them.
        for entry, product in ((xx, dx * dx), (yy, dy * dy), (xy, dx * dy)):
            entry.add_(product.sum(1, keepdim=True), alpha=weight * variance)
    xx, yy, xy = soften(xx), soften(yy), soften(xy)
    total, cosine, sine = xx + yy, xx - yy, 2 * xy
    oriented = (cosine.square() + sine.square()).sqrt()
    # First eigenvalue less a share of the second, which is as large as the first where there is no direction.
    energy = ((total + oriented - ISOTROPY * (total - oriented)) / 2).clamp_min(0).sqrt()
    surround = energy
    for step in (*(step for step in steps if step), 2 * steps[-1]):
        surround = blur(surround, step)
    return Boundary(energy, surround, cosine, sine)
