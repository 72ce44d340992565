"""Three forms of a mask, each of which gives a candidate of a local edit (Emu Edit, arXiv 2311.10089).

The exact mask leaves a new thing no room beyond the old one's outline; the box leaves the most, and the background in
it to be made anew; the dilated mask lies between, with a soft edge. Which one suits, the edit decides.
Shapes: H, W pixels, h, w = H/8, W/8 latent pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EXACT, DILATED, BOX = FORMS = ("exact", "dilated", "box")
# How far the dilated mask reaches beyond the exact one, as a share of the shorter side; its edge falls within that.
REACH = 1 / 32
LATENT_PIXEL = 8


def in_form(mask: Tensor, form: str) -> Tensor:
    """A mask [H, W] bool in one of FORMS: how much of an answer is taken at every pixel, [1, 1, H, W] in [0, 1].

    Raises:
        ValueError: another form, or an empty mask.
    """
    if form not in FORMS:
        raise ValueError(f"a mask has the form {', '.join(FORMS)}, found {form!r}: choose one of them")
    if not bool(mask.any()):
        raise ValueError("a mask shows where to edit, found an empty one: mark some pixels")
    exact = mask.float()[None, None]
    if form == EXACT:
        return exact
    if form == BOX:
        rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
        box = torch.zeros_like(exact)
        box[..., int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1] = 1
        return box
    reach = max(2, round(min(mask.shape) * REACH))
    grown = F.max_pool2d(exact, 2 * reach + 1, stride=1, padding=reach)
    # Two deviations of the edge lie outside of the exact mask, which is taken whole.
    return torch.maximum(_blurred(grown, reach / 2), exact)


def latent_share(share: Tensor) -> Tensor:
    """Shares of pixels [B, 1, H, W] to those of latents [B, 1, h, w]: whatever a latent pixel touches, it takes.

    What is too much of an answer then is left out again by what counts as a change.
    """
    return F.max_pool2d(share, LATENT_PIXEL)


def _blurred(share: Tensor, sigma: float) -> Tensor:
    """[B, 1, H, W] after a Gaussian, the rim repeated."""
    radius = max(1, round(3 * sigma))
    places = torch.arange(-radius, radius + 1, dtype=share.dtype, device=share.device)
    weights = torch.exp(-(places**2) / (2 * sigma**2))
    weights /= weights.sum()
    padded = F.pad(share, (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, weights[None, None, :, None]), weights[None, None, None])
