"""What generated pictures are measured by, each alone: control, distributions, likeness, words.

Shape legend: H, W pixels; N pictures; P features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...comfyui_pixwizard.pictures.images import image_to_unit
from ...comfyui_pixwizard.tasks import TASKS
from ..annotators import ANNOTATORS
from .judge import Figure, Shown
from .libraries import library
from .networks import ClipNetwork, InceptionNetwork, LpipsNetwork
from .question import BROKEN, Fault, Question

FEW = "not measured: needs at least two answers"
# Of the published figures: prompts a group, whose means give the deviation.
HPS_GROUPS = 10


@dataclass(frozen=True)
class Answered:
    """A question with its answer.

    Attributes:
        reference: the real picture, where there is one.
    """

    question: Question
    shown: Shown
    answer: Image.Image
    reference: Image.Image | None


class Measure(Protocol):
    """One figure, or a few that come together."""

    def add(self, one: Answered) -> Mapping[str, float]:
        """Look at one answer; its own figures, if it has some."""

    def result(self) -> Mapping[str, Figure]:
        """Over all answers."""

    def settings(self) -> Mapping[str, str]:
        """How, for people."""


class Missing:
    """In place of a measure whose network is not there: says so for each of its figures."""

    def __init__(self, names: tuple[str, ...], reason: str) -> None:
        self.names, self.reason = names, reason

    def add(self, one: Answered) -> Mapping[str, float]:
        return {}

    def result(self) -> Mapping[str, Figure]:
        return dict.fromkeys(self.names, self.reason)

    def settings(self) -> Mapping[str, str]:
        return {}


class Averaged:
    """The mean of a figure that each answer has."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def keep(self, figures: Mapping[str, float]) -> Mapping[str, float]:
        """Note an answer's figures."""
        for name, value in figures.items():
            self.values.setdefault(name, []).append(value)
        return figures

    def result(self) -> Mapping[str, Figure]:
        return {name: float(np.mean(values)) for name, values in self.values.items()}


def _source(one: Answered) -> Image.Image:
    if one.shown.source is None:
        raise Fault(BROKEN)
    return one.shown.source


def brought_to(answer: Image.Image, size: tuple[int, int]) -> Image.Image:
    """An answer at a size (width, height), bicubic as ControlNet++ resizes."""
    return answer if answer.size == size else answer.resize(size, Image.Resampling.BICUBIC)


class CannyF1(Averaged):
    """F1 of the edges that OpenCV finds in the answer (thresholds 100 and 200) against the given ones, pixel by pixel.

    In per cent, of each picture, then the mean; torchmetrics' BinaryF1Score.
    """

    def __init__(self) -> None:
        super().__init__()
        self.f1 = library("torchmetrics.classification", "F1 is torchmetrics'", "torchmetrics").BinaryF1Score()

    def add(self, one: Answered) -> Mapping[str, float]:
        source = _source(one)
        given = TASKS["canny"].decode(image_to_unit(source)) > 0.5
        edges = ANNOTATORS["canny"](image_to_unit(brought_to(one.answer, source.size))[None])[0] > 0.5
        return self.keep({"f1": float(self.f1(edges.flatten().int(), given.flatten().int())) * 100})

    def settings(self) -> Mapping[str, str]:
        return {"f1": "per cent, exact pixels; cv2.Canny 100/200 at 512x512; of each picture, then the mean"}


class DepthRmse(Averaged):
    """RMSE of the depth that an estimator finds in the answer, in bytes of 0 to 255 as ControlNet++ computes it.

    The given map is stretched to 0..255, the estimate divided by its largest value.
    """

    def __init__(self, folder: Path, device: str) -> None:
        super().__init__()
        from ..data.build.annotate_networks import Depth  # needs transformers, which takes seconds

        self.estimator, self.folder = Depth(str(folder)), folder
        self.estimator.model.to(device)

    @torch.no_grad()
    def add(self, one: Answered) -> Mapping[str, float]:
        source = _source(one)
        given = np.asarray(source.convert("L")).astype(np.float64)
        span = given.max() - given.min()
        if not span:
            raise Fault("depth without any difference")
        given = np.floor((given - given.min()) / span * 255)
        inputs = self.estimator.processor(images=one.answer, return_tensors="pt").to(self.estimator.model.device)
        depth = self.estimator.model(**inputs).predicted_depth[0].float().cpu()
        scaled = (depth / depth.max().clamp_min(1e-12)).clamp(0, 1)
        coded = Image.fromarray((scaled * 255).byte().numpy())
        estimate = np.asarray(coded.resize(source.size, Image.Resampling.BILINEAR)).astype(np.float64)
        return self.keep({"rmse": float(np.sqrt(((estimate - given) ** 2).mean()))})

    def settings(self) -> Mapping[str, str]:
        return {"rmse": f"of bytes, 0 to 255, of each picture, then the mean; estimator {self.folder.name}"}


class Distributions:
    """FID against the reference pictures, and inception score, of one Inception.

    Args:
        side: answers and references are cut to a square and brought to this side first; 0 leaves them as they are.
        score: also the inception score, in ten groups as torch-fidelity has it.
        fid: whether there are references.
    """

    def __init__(self, inception: InceptionNetwork, side: int = 0, *, fid: bool = True, score: bool = False) -> None:
        self.inception, self.side, self.fid, self.score = inception, side, fid, score
        self.features: list[Tensor] = []
        self.logits: list[Tensor] = []
        self.references: dict[object, Tensor] = {}

    def add(self, one: Answered) -> Mapping[str, float]:
        if self.fid and one.reference is None:
            raise Fault(BROKEN)
        features, *logits = self.inception.pictures([self._square(one.answer)])
        self.features.append(features)
        self.logits += logits
        of = one.question.truth.get("of", one.question.name)
        if one.reference is not None and of not in self.references:
            self.references[of] = self.inception.pictures([self._square(one.reference)])[0]
        return {}

    def _square(self, picture: Image.Image) -> Image.Image:
        if not self.side or picture.size == (self.side, self.side):
            return picture
        short = min(picture.size)
        left, top = (picture.width - short) // 2, (picture.height - short) // 2
        cut = picture.crop((left, top, left + short, top + short))
        return cut.resize((self.side, self.side), Image.Resampling.BICUBIC)

    def result(self) -> Mapping[str, Figure]:
        figures: dict[str, Figure] = {}
        if self.fid:
            figures["fid"] = FEW
            if min(len(self.features), len(self.references)) > 1:
                figures["fid"] = frechet(torch.cat(self.features), torch.cat(list(self.references.values())))
        if self.score:
            figures["inception_score"] = FEW
            if len(self.logits) > 1:
                module = library("torch_fidelity.metric_isc", "inception score is torch-fidelity's", "torch-fidelity")
                groups = min(10, len(self.logits))
                told = module.isc_features_to_metric(torch.cat(self.logits), splits=groups)
                figures["inception_score"] = told["inception_score_mean"]
                figures["inception_score_std"] = told["inception_score_std"]
        return figures

    def settings(self) -> Mapping[str, str]:
        square = f"centre square at {self.side}x{self.side} (Pillow, bicubic), then " if self.side else ""
        told = {"inception": self.inception.name, "inception_input": f"{square}299x299 inside, as TensorFlow 1 resizes"}
        return told | ({"fid_references": str(len(self.references))} if self.fid else {})


def frechet(answers: Tensor, references: Tensor) -> float:
    """FID of two sets of features [N, P], by torch-fidelity."""
    module = library("torch_fidelity.metric_fid", "FID is torch-fidelity's", "torch-fidelity")
    first, second = (module.fid_features_to_statistics(features.double()) for features in (answers, references))
    told = module.fid_statistics_to_metric(first, second, False)
    return float(told["frechet_inception_distance"])


class Lpips(Averaged):
    """LPIPS between answers and the true pictures, the mean."""

    def __init__(self, network: LpipsNetwork) -> None:
        super().__init__()
        self.network = network

    def add(self, one: Answered) -> Mapping[str, float]:
        if one.reference is None:
            raise Fault(BROKEN)
        return self.keep({"lpips": self.network.distance(brought_to(one.answer, one.reference.size), one.reference)})

    def settings(self) -> Mapping[str, str]:
        return {"lpips": self.network.name}


class Cosine(Averaged):
    """What rests on the cosine of a picture and its first caption under a CLIP."""

    def __init__(self, clip: ClipNetwork) -> None:
        super().__init__()
        self.clip = clip

    def cosine(self, one: Answered) -> float:
        """In [-1, 1]."""
        return float(self.clip.pictures([one.answer])[0] @ self.clip.sentences(one.question.captions[:1])[0])


class ClipScore(Cosine):
    """100 times the cosine, not below 0 (CLIPScore as torchmetrics has it)."""

    def add(self, one: Answered) -> Mapping[str, float]:
        if not one.question.captions:
            raise Fault("no caption")
        return self.keep({"clip_score": 100 * max(self.cosine(one), 0.0)})

    def settings(self) -> Mapping[str, str]:
        return {"clip": self.clip.name}


class Preference(Cosine):
    """HPSv2: 100 times the cosine under its CLIP; the deviation is that of ten groups' means."""

    def add(self, one: Answered) -> Mapping[str, float]:
        return self.keep({"hps_v2": 100 * self.cosine(one)})

    def result(self) -> Mapping[str, Figure]:
        values = np.array(self.values["hps_v2"])
        groups = [group.mean() for group in np.array_split(values, HPS_GROUPS) if len(group)]
        return {"hps_v2": float(values.mean()), "hps_v2_std": float(np.std(groups))}

    def settings(self) -> Mapping[str, str]:
        return {"hps": self.clip.name}
