"""Generated pictures: a judge that is made of measures, chosen by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PIL import Image

from .generation_measures import (
    Answered,
    CannyF1,
    ClipScore,
    DepthRmse,
    Distributions,
    Lpips,
    Measure,
    Missing,
    Preference,
)
from .judge import Figure, Shown, not_measured
from .layout_generation import COCO_SIDE
from .networks import FEATURES, LOGITS, ClipNetwork, InceptionNetwork, LpipsNetwork
from .options import Options
from .question import Question, picture_of


def _depth(options: Options) -> Measure:
    if options.depth_model is None:
        reason = "not measured: needs FILE (--depth-model, a folder of a depth estimator such as dpt-large)"
        return Missing(("rmse",), reason)
    return DepthRmse(options.depth_model, options.device)


def _distributions(side: int = 0, *, fid: bool = True, score: bool = False) -> Callable[[Options], Measure]:
    names = ("fid",) * fid + ("inception_score",) * score

    def make(options: Options) -> Measure:
        if options.inception is None:
            return Missing(names, not_measured("--inception", "weights-inception-2015-12-05-6726825d.pth"))
        network = InceptionNetwork(options.inception, (FEATURES, LOGITS) if score else (FEATURES,), options.device)
        return Distributions(network, side, fid=fid, score=score)

    return make


def _lpips(options: Options) -> Measure:
    if options.lpips is None:
        return Missing(("lpips",), not_measured("--lpips", f"torchvision's {options.lpips_net}"))
    return Lpips(LpipsNetwork(options.lpips, options.lpips_net, options.device))


def _clip(options: Options) -> Measure:
    if options.clip is None:
        return Missing(("clip_score",), not_measured("--clip", "an open_clip checkpoint"))
    return ClipScore(ClipNetwork(options.clip, options.clip_model, options.device))


def _preference(options: Options) -> Measure:
    if options.hps is None:
        return Missing(("hps_v2",), not_measured("--hps", "HPS_v2_compressed.pt"))
    return Preference(ClipNetwork(options.hps, options.hps_model, options.device))


MEASURES: dict[str, Callable[[Options], Measure]] = {
    "canny": lambda options: CannyF1(),
    "depth": _depth,
    "fid": _distributions(),
    "fid_coco": _distributions(COCO_SIDE),
    "fid_and_score": _distributions(score=True),
    "lpips": _lpips,
    "clip": _clip,
    "hps": _preference,
}
# By which figure one answer is compared with another, the first that was measured, and whether more is better.
MAIN = (("f1", True), ("rmse", False), ("lpips", False), ("hps_v2", True), ("clip_score", True))


class GenerationJudge:
    """See `judge.Judge`.

    Args:
        measures: keys of MEASURES.
    """

    def __init__(self, options: Options, *measures: str) -> None:
        self.measures = [MEASURES[name](options) for name in measures]
        silent = {name for measure in self.measures if isinstance(measure, Missing) for name in measure.names}
        given = {"canny": "f1", "depth": "rmse", "lpips": "lpips", "clip": "clip_score", "hps": "hps_v2"}
        told = {given[name] for name in measures if name in given} - silent
        self.main, self.higher = next(((name, more) for name, more in MAIN if name in told), ("", True))

    def add(self, question: Question, shown: Shown, answer: Image.Image) -> Mapping[str, float]:
        one = Answered(question, shown, answer, reference_of(question))
        figures: dict[str, float] = {}
        for measure in self.measures:
            figures |= measure.add(one)
        return figures

    def result(self) -> Mapping[str, Figure]:
        return {name: value for measure in self.measures for name, value in measure.result().items()}

    def settings(self) -> Mapping[str, str]:
        return {name: value for measure in self.measures for name, value in measure.settings().items()}


def reference_of(question: Question) -> Image.Image | None:
    """The real picture that answers are compared with, alone or as one of many."""
    place = question.target or question.truth.get("reference")
    return None if place is None else picture_of(place)
