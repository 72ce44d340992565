"""Holes and margins of a picture, and their filling fitted to what is round them.

A hole is what has one of the colours that holes are painted with. All outside of it is the source's, bit for bit.
Inside is the answer, moved by a membrane: what the answer lacks of the source along the rim, spread smoothly over the
hole, as in Poisson image editing (Pérez et al., SIGGRAPH 2003, equations 4 to 6), by pull and push over a pyramid
(Gortler et al., The Lumigraph, SIGGRAPH 1996, section 3.4), whose cost does not grow with the hole. That keeps steps
of the answer itself, which are edges where it is sharp. Where it is blurred, the mean of what may be there, they are
mistakes: as much as it is, the step across the rim is what is spread.
Shapes: B batch, h, w pixels at the model's size, H, W at the picture's own; pictures [B, 3, …] in [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from .change import Change, find_change

# Black, white and grey, as the tasks inpaint and outpaint have them.
FILLS = (-1.0, 1.0, 0.0)
# How far off rounding leads inside of a hole, of full scale 2, and at its rim a JPEG.
TOLERANCE, AT_THE_RIM = 2 * 3 / 255, 2 * 12 / 255
# Side in pixels of the least square that a hole covers everywhere, as thinner things belong to the picture; and of the
# squares round these that a rim lies in.
THINNEST, REACH = 3, 9
# How many rings of a pixel are looked at, of which the outer half is the picture's own; and the share of their distance
# from the fill below which a ring is mixed with it.
RINGS, SOFT = 6, 0.85
# Share of a hole's pixels off its own value from which it is a JPEG's, and rings that halved colours reach.
UNEVEN, COLOR_BLUR = 0.02, 2
# Side of the windows in which answer and source are compared along the rim and across it, and what is left of a step a
# level of the pyramid on, as what is far from the rim has little to do with it.
ALONG, ACROSS, FADE = 9, 13, 0.9
# Contrast, of full scale 2, below which a picture has none that an answer could lose.
FAINT = 1e-3


@dataclass(frozen=True)
class Filling:
    """An answer that fills holes, to be put into its source; it is fitted only then.

    Attributes:
        answer: [B, 3, h, w].
        change: what is taken of pictures without holes.
    """

    answer: Tensor
    change: Change

    def onto(self, picture: Tensor) -> Tensor:
        """The picture [B, 3, H, W] with its holes filled; outside of them it is left as it is, bit for bit."""
        answer = self.answer.to(picture)
        if answer.shape[-2:] != picture.shape[-2:]:
            answer = F.interpolate(answer, picture.shape[-2:], mode="bicubic", align_corners=False)
        holes = find_holes(picture, answer)
        found = holes.flatten(1).any(dim=1)
        filled = torch.where(holes, (answer + step_at_the_rim(picture, answer, holes)).clamp(-1, 1), picture)
        if bool(found.all()):
            return filled
        return torch.where(found[:, None, None, None], filled, self.change.onto(picture))


def find_filling(answer: Tensor, reference: Tensor, threshold: float | None) -> Filling:
    """What an answer fills in, both at the model's size [B, 3, h, w]; see `change.find_change` for the rest."""
    return Filling(answer, find_change(answer, reference, threshold))


def find_kept(answer: Tensor, reference: Tensor, threshold: float | None, fills: bool) -> Change | Filling:
    """What an answer changed, or fills in, of a source that is to be kept; see `find_filling`, `change.find_change`."""
    return (find_filling if fills else find_change)(answer, reference, threshold)


def find_holes(source: Tensor, answer: Tensor) -> Tensor:
    """Where a picture has holes, [B, 1, H, W] bool: all of one of their colours, the one where the answer, of the same
    size, changes most; a white sky beside a black hole is none. With them their rim, where a JPEG or another size has
    mixed it with what is round it.
    """
    off = torch.cat([(source - fill).abs().amax(1, keepdim=True) for fill in FILLS], dim=1)
    # One more pixel at each side, so that a margin of one pixel is found too.
    near = F.pad((off <= TOLERANCE).to(source), (1,) * 4, mode="replicate")
    solid = _grown(1 - _grown(1 - near, THINNEST), THINNEST)
    holes = ((off <= AT_THE_RIM) & (_grown(solid, REACH)[..., 1:-1, 1:-1] > 0)).to(source)
    changed = (answer - source).abs().mean(1, keepdim=True)
    most = (solid[..., 1:-1, 1:-1] * changed).sum((2, 3)).argmax(dim=1)
    every = [(holes[i, fill], off[i, fill]) for i, fill in enumerate(most.tolist())]
    return torch.stack([_with_rim(*one) for one in every])[:, None]


def _with_rim(holes: Tensor, off: Tensor) -> Tensor:
    """Holes [H, W] and the rings round them that are mixed with their fill: those whose pixels are on average nearer to
    it than those further out, and of a JPEG, whose holes are not of one value, as many again as it blurs colours by.
    """
    grown = [holes[None]]
    for _ in range(RINGS):
        grown.append(_grown(grown[-1], 3))
    means = [off[outer[0] > inner[0]].mean() for inner, outer in pairwise(grown)]
    far = torch.stack(means[RINGS // 2 :]).mean()
    width = next((i for i, mean in enumerate(means) if not mean < SOFT * far), 0)
    inside = off[(holes > 0) & (off <= TOLERANCE)]
    if len(inside) and float((inside > inside.median() + 1 / 255).float().mean()) > UNEVEN:
        width = min(width + COLOR_BLUR, RINGS)
    return grown[width][0] > 0


def step_at_the_rim(picture: Tensor, answer: Tensor, holes: Tensor) -> Tensor:
    """What brings an answer to what is round the holes [B, 1, H, W]: [B, 3, H, W], of use in these."""
    inside = holes.to(picture)
    outside = 1 - inside
    lacking, weight = _local_mean(picture - answer, outside, ALONG)
    known = (weight > 0).to(picture)
    along = membrane(lacking * known, known)
    (outer, weight), (inner, _) = (_local_mean(*one, ACROSS) for one in ((picture, outside), (answer, inside)))
    rim = inside * (weight > 0)
    across = membrane((outer - inner) * rim, rim, FADE)
    contrast, kept = (
        (_local_mean(values.square(), share, ACROSS)[0] - mean.square()).clamp_min(0).sqrt()
        for values, share, mean in ((picture, outside, outer), (answer, inside, inner))
    )
    lost = (1 - kept / contrast.clamp_min(FAINT)).clamp(0, 1).mean(1, keepdim=True)
    blurred = (lost * rim).sum((1, 2, 3), keepdim=True) / rim.sum((1, 2, 3), keepdim=True).clamp_min(1)
    return torch.lerp(along, across, blurred.expand_as(along))


def membrane(values: Tensor, known: Tensor, fade: float = 1.0) -> Tensor:
    """Values [B, C, H, W] that are known, and 0 elsewhere, spread to where known [B, 1, H, W] is 0.

    Args:
        fade: what is left of them a level of the pyramid on.
    """
    if min(values.shape[-2:]) == 1 or bool((known == 1).all()):
        mean = values.sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp_min(1e-6)
        return values + (1 - known) * mean
    coarser, weights = (F.avg_pool2d(part, 2, ceil_mode=True) for part in (values, known))
    below = membrane(coarser, weights, fade)
    below = F.interpolate(below, values.shape[-2:], mode="bilinear", align_corners=False)
    return values + (1 - known) * fade * below


def _local_mean(values: Tensor, share: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Means over windows of what the share is 1 for, and how much of a window that is."""
    weight, total = (F.avg_pool2d(part, side, stride=1, padding=side // 2) for part in (share, values * share))
    return total / weight.clamp_min(1e-6), weight


def _grown(mask: Tensor, side: int) -> Tensor:
    return F.max_pool2d(mask, side, stride=1, padding=side // 2)
