"""How each task is scored, what it must reach, and which way is better: one table.

A score takes the samples and the pictures that answer them, [N,3,H,W] in [0,1], and returns the value and further
figures. It is the same function for the model, for copying the input and for the autoencoder's ceiling.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..scenes import CLASS_NAMES, DEPTH_RANGE
from . import metrics
from .samples import Samples

Figures = dict[str, float]
Score = Callable[[Samples, Tensor], tuple[float, Figures]]
CHUNK = 25
# Restoration aims at the autoencoder's ceiling less this many dB: its target is known only when the ceiling is.
BELOW_CEILING = 2.0
# Less than this is no improvement over copying, only rounding.
ROUNDING = 1e-4
# A pixel belongs to an edit where some channel changes by more than a byte's half step can explain.
CHANGED = 2 / 255


@dataclass(frozen=True)
class Measure:
    """What is measured for a task.

    Attributes:
        metric: name, with its unit.
        score: see the module's docstring.
        floor: what this version must reach.
        target: what a later version aims at; None is the ceiling less BELOW_CEILING.
        lower_is_better: direction of value, floor and target.
        strict: the floor itself does not hold (it is what copying the input scores).
    """

    metric: str
    score: Score
    floor: float
    target: float | None = None
    lower_is_better: bool = False
    strict: bool = False

    def holds(self, value: float) -> bool:
        """Whether a value reaches the floor; NaN never does."""
        margin = self.floor - value if self.lower_is_better else value - self.floor
        return margin > ROUNDING if self.strict else margin >= 0

    def aim(self, ceiling: float) -> float:
        """The target as a number."""
        return ceiling - BELOW_CEILING if self.target is None else self.target


def decode(samples: Samples, pictures: Tensor, **options: Any) -> Tensor:
    """Labels [N,...] that pictures [N,3,H,W] stand for."""
    parts = zip(pictures.split(CHUNK), samples.source.split(CHUNK), strict=True)
    return torch.cat([samples.task.decode(picture, source, **options) for picture, source in parts])


def psnr_gain(samples: Samples, pictures: Tensor) -> tuple[float, Figures]:
    """Mean over the pictures of PSNR(answer) - PSNR(input), in dB, over whole pictures in RGB."""
    before, after = metrics.psnr(samples.source, samples.label), metrics.psnr(pictures, samples.label)
    return float((after - before).mean()), {"input_psnr": float(before.mean()), "output_psnr": float(after.mean())}


def depth_error(samples: Samples, pictures: Tensor) -> tuple[float, Figures]:
    """AbsRel of each map, then the mean over the maps; every depth lies in the range that scenes have."""
    near, far = DEPTH_RANGE
    return float(metrics.abs_rel(decode(samples, pictures, near=near, far=far), samples.label).mean()), {}


def normal_error(samples: Samples, pictures: Tensor) -> tuple[float, Figures]:
    """Mean angle of each map in degrees, then the mean over the maps."""
    return float(metrics.mean_angle(decode(samples, pictures), samples.label).mean()), {}


def segmentation_iou(samples: Samples, pictures: Tensor) -> tuple[float, Figures]:
    """mIoU of one confusion matrix over all pictures; every pixel is given one of the classes that scenes have."""
    matrix = metrics.ConfusionMatrix(len(CLASS_NAMES))
    matrix.add(decode(samples, pictures, classes=range(1, len(CLASS_NAMES))), samples.label)
    named = zip(CLASS_NAMES, matrix.iou().tolist(), strict=True)
    return matrix.miou(), {f"iou_{name}": value for name, value in named if value == value}


def referring_iou(samples: Samples, pictures: Tensor) -> tuple[float, Figures]:
    """cIoU = sum of intersections / sum of unions over all pictures; the mean of the IoUs beside it."""
    masks = decode(samples, pictures)
    return metrics.cumulative_iou(masks, samples.label), {"mean_iou": metrics.mean_iou(masks, samples.label)}


def edit_error(samples: Samples, pictures: Tensor) -> tuple[float, Figures]:
    """L1 to the true result as a share of what copying the input leaves, both summed over all pictures.

    Beside it the same share inside the part that the edit changes, and the mean L1 outside of it (copying leaves 0).
    """
    left = (pictures.clamp(0, 1) - samples.label).abs().double()
    copied = (samples.source - samples.label).abs().double()
    inside = (copied.amax(1, keepdim=True) > CHANGED).expand_as(copied)
    figures = {
        "l1_share_inside": float(left[inside].sum() / copied[inside].sum()),
        "l1_outside": float(left[~inside].mean()),
    }
    return float(left.sum() / copied.sum()), figures


def _restoration(floor: float) -> Measure:
    return Measure("PSNR gain over the input, dB", psnr_gain, floor)


def _edit() -> Measure:
    return Measure("L1 share of copying the input", edit_error, 1.0, 0.3, lower_is_better=True, strict=True)


MEASURES: dict[str, Measure] = {
    "denoise": _restoration(7.0),
    "low_light": _restoration(10.0),
    "inpaint": _restoration(6.0),
    "derain": _restoration(1.5),
    "depth": Measure("AbsRel", depth_error, 0.15, 0.04, lower_is_better=True),
    "normal": Measure("mean angle, degrees", normal_error, 12.0, 5.0, lower_is_better=True),
    "segmentation": Measure("mIoU", segmentation_iou, 0.5, 0.85),
    "referring_segmentation": Measure("cIoU", referring_iou, 0.4, 0.8),
    "edit_remove": _edit(),
    "edit_recolor": _edit(),
}
