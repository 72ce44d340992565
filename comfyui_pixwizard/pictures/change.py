"""What an answer changed of its source, carried to the source, at the model's size or the picture's own.

An autoencoder changes every pixel a little, so an edit of one object comes back with all the rest softened. The same
autoencoder's round trip of the source holds the same softening: where the answer differs from it by less than a
threshold, nothing was meant to change. The idea is Emu Edit's (arXiv 2311.10089, section on sequential edits), which
compares with the source itself, at `CHAIN_THRESHOLD`; chains of edits do so too, a single one takes the round trip.

What changed is not pasted but carried, with the picture as guide: so a larger picture gets it too, and what the
autoencoder loses stays also where light or colours change. Within small windows the change is fitted as a linear
function of the small picture's colours, and that function is applied to the large picture: the guided filter (He et
al., IEEE TPAMI 2013, equations 10 to 14, with a guide in colour) in its fast form, whose coefficients are found at the
small size and upsampled (He and Sun, arXiv 1505.00996). So the edge of a recoloured object is the large picture's
edge, its texture stays, and that of a removed one goes. What the fit does not explain, such as new objects, is
upsampled as it is.
Shapes: B batch, h, w pixels at the model's size, H, W at the picture's own; pictures [B, 3, …] in [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

# What an answer is compared with.
ROUND_TRIP, SOURCE = REFERENCES = ("round-trip", "source")
# Emu Edit's alpha for edits one after the other, of full scale, against the source.
CHAIN_THRESHOLD = 0.03
# Reach of the windows in pixels at the model's size, and the squared contrast, of full scale 2, up to which a picture
# guides nothing.
RADIUS, EPSILON = 4, 0.05**2
# Rows of the large picture that are made at a time.
ROWS = 256


@dataclass(frozen=True)
class Change:
    """What an answer changed, to be carried to its source; it is fitted only then.

    Attributes:
        answer, reference: [B, 3, h, w], see `find_change`.
        share: [B, 1, h, w] in [0, 1], how much of the change to take.
    """

    answer: Tensor
    reference: Tensor
    share: Tensor

    def onto(self, picture: Tensor) -> Tensor:
        """The picture [B, 3, H, W] with the change; where the share is 0 it is left as it is, bit for bit.

        A picture of the answer's own size keeps what the autoencoder loses, changed as what is left of it.
        """
        height, width = picture.shape[-2:]
        linear, rest = _explained(self.reference, self.answer - self.reference)
        changed = picture.clone()
        for top in range(0, height, ROWS):
            bottom = min(top + ROWS, height)
            grid = _places(top, bottom, height, width).to(self.share).expand(len(picture), -1, -1, -1)
            share = _read(self.share, grid, "bilinear")
            if not bool(share.any()):
                continue
            part = picture[..., top:bottom, :].to(linear)
            factors, constant = _read(linear, grid, "bilinear").split([9, 3], dim=1)
            factors = rearrange(factors, "b (c d) h w -> b c d h w", c=3)
            change = (factors * part[:, None]).sum(2) + constant + _read(rest, grid, "bicubic")
            changed[..., top:bottom, :] = torch.where(share > 0, (part + share * change).clamp(-1, 1), part)
        return changed


def find_change(answer: Tensor, reference: Tensor, threshold: float | None) -> Change:
    """What an answer changed, both at the model's size [B, 3, h, w].

    Args:
        answer: the model's.
        reference: what an answer without any change would be, such as the source after the autoencoder.
        threshold: as in `changed_share`; None and 0 take the change everywhere.
    """
    share = changed_share(answer, reference, threshold) if threshold else torch.ones_like(answer[:, :1])
    return Change(answer, reference, share)


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


def _explained(guide: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
    """Of every changed channel the factors of the guide's colours and the constant [B, 12, h, w], and the rest."""
    linear = _fit(guide, change)
    factors = rearrange(linear[:, :9], "b (c d) h w -> b c d h w", c=3)
    return linear, change - (factors * guide[:, None]).sum(2) - linear[:, 9:]


def _fit(guide: Tensor, wanted: Tensor) -> Tensor:
    """Coefficients [B, 12, h, w] of the guided filter that makes `wanted` of a guide, averaged over windows."""
    mean_guide, mean_wanted = _mean(guide), _mean(wanted)
    variance = _mean(_products(guide, guide)) - _products(mean_guide, mean_guide)
    together = _mean(_products(guide, wanted)) - _products(mean_guide, mean_wanted)
    matrix = rearrange(variance, "b (c d) h w -> b h w c d", c=3) + EPSILON * torch.eye(3).to(guide)
    solved = torch.linalg.solve(matrix, rearrange(together, "b (c d) h w -> b h w c d", c=3))
    factors = rearrange(solved, "b h w c d -> b d c h w")
    constant = mean_wanted - (factors * mean_guide[:, None]).sum(2)
    return _mean(torch.cat([rearrange(factors, "b d c h w -> b (d c) h w"), constant], dim=1))


def _products(one: Tensor, other: Tensor) -> Tensor:
    """All products of two channels, [B, 9, h, w]."""
    return rearrange(one[:, :, None] * other[:, None], "b c d h w -> b (c d) h w")


def _mean(values: Tensor) -> Tensor:
    """Over windows, which the picture's rim cuts."""
    return F.avg_pool2d(values, 2 * RADIUS + 1, stride=1, padding=RADIUS, count_include_pad=False)


def _places(top: int, bottom: int, height: int, width: int) -> Tensor:
    """Centres of the pixels of some rows, [1, rows, W, 2] as (x, y) in [-1, 1] over the whole picture."""
    y = (torch.arange(top, bottom) + 0.5) / height * 2 - 1
    x = (torch.arange(width) + 0.5) / width * 2 - 1
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]


def _read(values: Tensor, grid: Tensor, mode: str) -> Tensor:
    return F.grid_sample(values, grid, mode=mode, padding_mode="border", align_corners=False)
