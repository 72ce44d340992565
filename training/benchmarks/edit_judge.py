"""Editing: CLIP's direction and similarities, L1 and DINO, against the input and, where there is one, the true result.

Emu Edit has no true result: papers compare with the input there. Which one a figure compares with is in its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .judge import Figure, Shown, not_measured
from .networks import ClipNetwork, DinoNetwork
from .options import Options
from .pixel_judge import target_of
from .question import BROKEN, Fault, Question

# Normalised vectors of the same picture in two places of a batch differ by up to this.
ROUNDING = 1e-5


class EditJudge:
    """See `judge.Judge`.

    Args:
        compared: "vs_input" alone, or also "vs_gt".
    """

    def __init__(self, options: Options, compared: tuple[str, ...]) -> None:
        self.compared = compared
        self.clip = ClipNetwork(options.clip, options.clip_model, options.device) if options.clip else None
        self.dino = DinoNetwork(options.dino, options.dino_model, options.device) if options.dino else None
        self.main, self.higher = ("clip_dir", True) if self.clip else (f"l1_{compared[-1]}", False)
        self.each: list[dict[str, float]] = []

    def add(self, question: Question, shown: Shown, answer: Image.Image) -> Mapping[str, float]:
        if shown.source is None:
            raise Fault(BROKEN)
        others = {"vs_input": shown.source}
        if "vs_gt" in self.compared:
            others["vs_gt"] = target_of(question)
        figures = {f"l1_{name}": l1(answer, other) for name, other in others.items()}
        pictures = [answer, *others.values()]
        if self.dino is not None:
            figures |= _alike("dino", self.dino.pictures(pictures), others)
        if self.clip is not None:
            vectors = self.clip.pictures(pictures)
            figures |= _alike("clip_im", vectors, others) | self._with_words(self.clip, question, vectors)
        self.each.append(figures)
        return figures

    def _with_words(self, clip: ClipNetwork, question: Question, vectors: Tensor) -> dict[str, float]:
        """Of the vectors of answer and input, and the captions of input and result."""
        before, after = question.truth.get("input", ""), question.truth.get("output", "")
        if not after:
            return {}
        words = clip.sentences([before, after])
        found = {"clip_out": float(vectors[0] @ words[1])}
        # Equal captions have no direction, and some rows of Emu Edit have equal ones.
        if before and before.strip() != after.strip():
            moved = vectors[0] - vectors[1]
            # A copy goes nowhere: what is left is the rounding of single precision, which depends on the BLAS.
            moved = moved if float(moved.norm()) > ROUNDING else torch.zeros_like(moved)
            found["clip_dir"] = float(F.cosine_similarity(moved, words[1] - words[0], dim=0))
        return found

    def result(self) -> Mapping[str, Figure]:
        compared = [f"{kind}_{other}" for kind in ("clip_im", "l1", "dino") for other in self.compared]
        found: dict[str, Figure] = {}
        for name in ("clip_dir", "clip_out", *compared):
            values = [one[name] for one in self.each if name in one]
            if values:
                found[name] = float(np.mean(values))
            elif name.startswith("clip") and self.clip is None:
                found[name] = not_measured("--clip", "an open_clip checkpoint")
            elif name.startswith("dino"):
                found[name] = not_measured("--dino", "dino_vits16's weights")
            else:
                found[name] = "not measured: no captions"
        return found | {"clip_dir_n": float(sum("clip_dir" in one for one in self.each))}

    def settings(self) -> Mapping[str, str]:
        return {
            "clip": self.clip.name if self.clip else "none",
            "dino": self.dino.name if self.dino else "none",
            "clip_dir": "cosine of the differences of normalised vectors; rows with equal captions are left out of it",
            "l1": "mean over pixels and channels in [0, 1]; answers of another size are resized (Pillow, bicubic)",
        }


def l1(answer: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference in [0, 1], the answer resized to the other's size."""
    if answer.size != other.size:
        answer = answer.resize(other.size, Image.Resampling.BICUBIC)
    a, b = (np.asarray(picture).astype(np.float64) for picture in (answer, other))
    return float(np.abs(a - b).mean() / 255)


def _alike(kind: str, vectors: Tensor, others: Iterable[str]) -> dict[str, float]:
    """Cosines of the first of some vectors with each of the others."""
    return {f"{kind}_{name}": float(vectors[0] @ other) for name, other in zip(others, vectors[1:], strict=True)}
