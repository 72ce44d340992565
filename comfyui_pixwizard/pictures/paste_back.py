"""Keep what a task leaves alone: paste the source back wherever the answer says nothing new.

An autoencoder changes every pixel a little, so an edit of one object comes back with all the rest softened. The same
autoencoder's round trip of the source holds the same softening: where the answer differs from it by less than a
threshold, nothing was meant to change. The idea is Emu Edit's (arXiv 2311.10089, section on sequential edits), which
compares with the source itself, at `CHAIN_THRESHOLD`; chains of edits do so too, a single one takes the round trip.
Shapes: B batch, H, W pixels; pictures [B, 3, H, W] in [-1, 1].
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

# What an answer is compared with.
ROUND_TRIP, SOURCE = REFERENCES = ("round-trip", "source")
# Emu Edit's alpha for edits one after the other, of full scale, against the source.
CHAIN_THRESHOLD = 0.03


def changed_share(answer: Tensor, reference: Tensor, threshold: float) -> Tensor:
    """How much of the answer to take at every pixel, [B, 1, H, W] in [0, 1].

    Args:
        answer: the model's picture.
        reference: the source after the autoencoder, or the source.
        threshold: mean difference of the channels, as a share of full scale, up to which nothing changed; from twice
            this on everything did. Differences are averaged over windows of 1/25 of the shorter side.
    """
    radius = max(1, round(min(answer.shape[-2:]) / 50))
    window = 2 * radius + 1
    difference = (answer - reference).abs().mean(1, keepdim=True) / 2
    smooth = F.avg_pool2d(F.pad(difference, (radius,) * 4, mode="replicate"), window, stride=1)
    share = ((smooth - threshold) / threshold).clamp(0, 1)
    # A changed object's rim differs less than its middle: grow by one window, then soften the seam.
    grown = F.max_pool2d(share, window, stride=1, padding=radius)
    return F.avg_pool2d(F.pad(grown, (radius,) * 4, mode="replicate"), window, stride=1)


def pasted(source: Tensor, answer: Tensor, share: Tensor) -> Tensor:
    """The source with a share [B, 1, H, W] of the answer."""
    return source + (answer - source) * share
