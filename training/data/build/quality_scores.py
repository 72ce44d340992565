"""Scores by which samples are kept or left out: `SCORES[name](told)` makes one.

After the filters of InstructDiffusion (aesthetics, and how much source and target differ) and of Emu Edit (agreement of
pictures and words by CLIP, structure that an edit must keep, things that must be there or not). A score that does not
apply to a sample is None, and then lets it through: the gap of a picture without a source, the agreement with a caption
that there is not.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor

from ....comfyui_pixwizard.pictures.images import to_tensor
from ....comfyui_pixwizard.tasks.codecs.clean_up import box_mean
from ...annotators.filters import gradient, opponent, soften
from .edit_scores import DepthGap, Presence
from .judged import Judged, Score
from .recipe import Filter
from .word_scores import Aesthetic, AestheticGap, ClipDirection, ClipImage, ClipText

SIDE = 256  # scores of pairs are taken at this shorter side, so that they mean the same for all sizes
# A pixel has changed when the mean round it of the largest channel's change is above this: JPEG's blocks are not.
CHANGED, ROUND = 0.06, 2


def _pair(target: Image.Image, source: Image.Image) -> tuple[Tensor, Tensor]:
    """Both [1,3,H,W] in [0,1] at one small size."""
    scale = SIDE / min(target.size)
    size = (max(1, round(target.width * scale)), max(1, round(target.height * scale)))
    first, second = (to_tensor(p.resize(size, Image.Resampling.BOX)) / 2 + 0.5 for p in (target, source))
    return first, second


def gap(judged: Judged) -> float | None:
    """Mean absolute difference of source and target, 0 to 1: near 0 nothing was done, far from it another picture."""
    if judged.source is None:
        return None
    first, second = _pair(judged.target, judged.source)
    return float((first - second).abs().mean())


def extent(judged: Judged) -> float | None:
    """Share of the picture that is not what it was, 0 to 1: little for a change of one thing, much for all of it."""
    if judged.source is None:
        return None
    first, second = _pair(judged.target, judged.source)
    return float((box_mean((first - second).abs().amax(1), ROUND) > CHANGED).float().mean())


def structure(judged: Judged) -> float | None:
    """How far slopes of source and target agree, 0 to 1 (1 - their L1 distance over their sum)."""
    if judged.source is None:
        return None
    pair = _pair(judged.target, judged.source)
    slopes = [torch.hypot(*gradient(soften(opponent(picture)[:, :1]))) for picture in pair]
    total = slopes[0].sum() + slopes[1].sum()
    return float(1 - (slopes[0] - slopes[1]).abs().sum() / total.clamp_min(1e-6))


def detail(judged: Judged) -> float:
    """Mean slope of the target's brightness in units of 1/255 a pixel, low for what is blurred or flat."""
    x, y = gradient(opponent(to_tensor(judged.target) / 2 + 0.5)[:, :1])
    return float(torch.hypot(x, y).mean() * 255)


SCORES: dict[str, Callable[[Filter], Score]] = {
    "gap": lambda told: gap,
    "extent": lambda told: extent,
    "structure": lambda told: structure,
    "detail": lambda told: detail,
    "depth": DepthGap,
    "presence": Presence,
    "clip_text": ClipText,
    "clip_image": ClipImage,
    "clip_direction": ClipDirection,
    "aesthetic": Aesthetic,
    "aesthetic_gap": AestheticGap,
}
