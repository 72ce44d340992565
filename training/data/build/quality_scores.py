"""Scores by which samples are kept or left out: `SCORES[name](told)` makes one.

After the filters of InstructDiffusion (aesthetics, and how much source and target differ) and of Emu Edit (agreement of
pictures and words by CLIP, structure that an edit must keep). A score that does not apply to a sample is None, and then
lets it through: the gap of a picture without a source, the agreement with a caption that there is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ....comfyui_pixwizard.pictures.images import to_tensor
from ...annotators.filters import gradient, opponent, soften
from .recipe import Filter

Score = Callable[[Image.Image, Image.Image | None, Sequence[str]], float | None]
SIDE = 256  # scores of pairs are taken at this shorter side, so that they mean the same for all sizes


def _pair(target: Image.Image, source: Image.Image) -> tuple[Tensor, Tensor]:
    """Both [1,3,H,W] in [0,1] at one small size."""
    scale = SIDE / min(target.size)
    size = (max(1, round(target.width * scale)), max(1, round(target.height * scale)))
    first, second = (to_tensor(p.resize(size, Image.Resampling.BOX)) / 2 + 0.5 for p in (target, source))
    return first, second


def gap(target: Image.Image, source: Image.Image | None, captions: Sequence[str]) -> float | None:
    """Mean absolute difference of source and target, 0 to 1: near 0 nothing was done, far from it another picture."""
    if source is None:
        return None
    first, second = _pair(target, source)
    return float((first - second).abs().mean())


def structure(target: Image.Image, source: Image.Image | None, captions: Sequence[str]) -> float | None:
    """How far slopes of source and target agree, 0 to 1 (1 - their L1 distance over their sum)."""
    if source is None:
        return None
    slopes = [torch.hypot(*gradient(soften(opponent(picture)[:, :1]))) for picture in _pair(target, source)]
    total = slopes[0].sum() + slopes[1].sum()
    return float(1 - (slopes[0] - slopes[1]).abs().sum() / total.clamp_min(1e-6))


def detail(target: Image.Image, source: Image.Image | None, captions: Sequence[str]) -> float:
    """Mean slope of the target's brightness in units of 1/255 a pixel, low for what is blurred or flat."""
    x, y = gradient(opponent(to_tensor(target) / 2 + 0.5)[:, :1])
    return float(torch.hypot(x, y).mean() * 255)


class _Clip:
    """CLIP's two towers from a folder."""

    def __init__(self, told: Filter):
        from .clip_scores import Clip

        if not told.model:
            raise ValueError(f"score {told.score} needs a folder of a CLIP model, found none: set model")
        self.clip = Clip.shared(told.model)


class ClipText(_Clip):
    """Cosine of the target and its first caption."""

    def __call__(self, target: Image.Image, source: Image.Image | None, captions: Sequence[str]) -> float | None:
        if not captions:
            return None
        return float(F.cosine_similarity(self.clip.picture(target), self.clip.text(captions[0]), dim=0))


class ClipImage(_Clip):
    """Cosine of source and target."""

    def __call__(self, target: Image.Image, source: Image.Image | None, captions: Sequence[str]) -> float | None:
        if source is None:
            return None
        return float(F.cosine_similarity(self.clip.picture(target), self.clip.picture(source), dim=0))


class ClipDirection(_Clip):
    """Cosine of the change of the picture and the change of its captions, which are two: before and after."""

    def __call__(self, target: Image.Image, source: Image.Image | None, captions: Sequence[str]) -> float | None:
        if source is None or len(captions) < 2:
            return None
        pictures = self.clip.picture(target) - self.clip.picture(source)
        words = self.clip.text(captions[1]) - self.clip.text(captions[0])
        return float(F.cosine_similarity(pictures, words, dim=0))


class Aesthetic(_Clip):
    """A linear head on CLIP's normalised picture vector, as the LAION predictor: options {"head": file of weights}.

    The file holds `weight` [1,P] or [P] and `bias`, safetensors or a plain state dict.
    """

    def __init__(self, told: Filter):
        from ....comfyui_pixwizard.files.safe_files import read_tensors

        super().__init__(told)
        if "head" not in told.options:
            raise ValueError('score aesthetic needs a linear head, found none: set options {"head": "file"}')
        tensors = read_tensors(told.options["head"])
        if not {"weight", "bias"} <= set(tensors):
            raise ValueError(f"an aesthetic head holds weight and bias, found {sorted(tensors)}: give another file")
        self.weight, self.bias = tensors["weight"].float().reshape(-1), float(tensors["bias"].float())
        if len(self.weight) != self.clip.features:
            raise ValueError(
                f"the aesthetic head reads {len(self.weight)} numbers, CLIP gives {self.clip.features}: use its own"
            )

    def __call__(self, target: Image.Image, source: Image.Image | None, captions: Sequence[str]) -> float:
        return float(self.clip.picture(target) @ self.weight) + self.bias


SCORES: dict[str, Callable[[Filter], Score]] = {
    "gap": lambda told: gap,
    "structure": lambda told: structure,
    "detail": lambda told: detail,
    "clip_text": ClipText,
    "clip_image": ClipImage,
    "clip_direction": ClipDirection,
    "aesthetic": Aesthetic,
}
