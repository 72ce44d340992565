"""Scores by a pair of towers for pictures and words: agreement, likeness, direction, aesthetics."""

from __future__ import annotations

from pathlib import Path

from torch.nn import functional as F

from ....comfyui_pixwizard.files.components import BUNDLED, PIPELINE_FILE
from ....comfyui_pixwizard.files.safe_files import read_tensors
from .clip_scores import Clip
from .judged import Judged
from .recipe import Filter
from .small_pair import BEGUN, SmallPair


def pair_of(told: Filter) -> Clip | SmallPair:
    """The pair that a filter names: a folder of transformers' CLIP, OpenCLIP's folder or file, or the small pair of one
    of this project's own models.

    Raises:
        ValueError: none is named, or none is there.
    """
    if not told.model:
        raise ValueError(
            f"score {told.score} needs a CLIP model, found none: set model to a folder of one, to an OpenCLIP file, or "
            f"to {BEGUN!r}, this project's own"
        )
    own = told.model in (BEGUN, *BUNDLED) or (Path(told.model) / PIPELINE_FILE).is_file()
    return SmallPair.shared(told.model) if own else Clip.shared(told.model)


class _Paired:
    """Either kind of pair."""

    def __init__(self, told: Filter):
        self.pair = pair_of(told)


class ClipText(_Paired):
    """Cosine of the target and its last caption, which is of the target where there are two."""

    def __call__(self, judged: Judged) -> float | None:
        if not judged.captions:
            return None
        told = self.pair.text(judged.captions[1 if judged.source is not None and len(judged.captions) > 1 else 0])
        return float(F.cosine_similarity(self.pair.picture(judged.target), told, dim=0))


class ClipImage(_Paired):
    """Cosine of source and target."""

    def __call__(self, judged: Judged) -> float | None:
        if judged.source is None:
            return None
        return float(F.cosine_similarity(self.pair.picture(judged.target), self.pair.picture(judged.source), dim=0))


class ClipDirection(_Paired):
    """How far the change of the picture is the one that words ask for, -1 to 1.

    By CLIP these are two captions, before and after; by a small pair, which knows this project's sentences and nothing
    else, the instruction.
    """

    def __call__(self, judged: Judged) -> float | None:
        return self.pair.direction(judged)


class Aesthetic(_Paired):
    """How good the target looks: by a linear head on CLIP's normalised picture vector, as the LAION predictor, or by
    the small pair's own, which knows blur, noise and JPEG.

    The head, options {"head": file of weights}, holds `weight` [1,P] or [P] and `bias`, safetensors or a plain state
    dict.
    """

    def __init__(self, told: Filter):
        super().__init__(told)
        if isinstance(self.pair, SmallPair):
            if told.options:
                raise ValueError(
                    f"score {told.score} by a small pair takes no options, found {next(iter(told.options))!r}"
                )
            self.rate = self.pair.quality
            return
        if "head" not in told.options:
            raise ValueError(f'score {told.score} needs a linear head, found none: set options {{"head": "file"}}')
        tensors = read_tensors(told.options["head"])
        if not {"weight", "bias"} <= set(tensors):
            raise ValueError(f"an aesthetic head holds weight and bias, found {sorted(tensors)}: give another file")
        weight, bias, clip = tensors["weight"].float().reshape(-1), float(tensors["bias"].float()), self.pair
        if len(weight) != clip.features:
            raise ValueError(f"the aesthetic head reads {len(weight)} numbers, CLIP gives {clip.features}: use its own")
        self.rate = lambda picture: float(clip.picture(picture) @ weight) + bias

    def __call__(self, judged: Judged) -> float | None:
        return self.rate(judged.target)


class AestheticGap(Aesthetic):
    """How much worse the target looks than the source."""

    def __call__(self, judged: Judged) -> float | None:
        return None if judged.source is None else self.rate(judged.source) - self.rate(judged.target)
