"""Depth, normals and classes: answers are read at their own size, and the reading is brought to the truth's size.

Shape legend: H, W pixels of the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ...comfyui_pixwizard.pictures.images import image_to_unit
from ...comfyui_pixwizard.tasks import TASKS
from ..data.build.drawing import classes_of, depth_of, normals_of
from ..data.build.places import Rejected
from ..evaluate.metrics import ConfusionMatrix
from .judge import Figure, Shown
from .question import BROKEN, MISSING_PAIR, OTHER_SIZE, Fault, Question

Value = TypeVar("Value")
# Metres; a truth outside is no measurement.
VALID = (1e-3, 10.0)
# Rows and columns of 480x640 that are judged, after Eigen et al.; of other sizes the same shares.
CROP, CROP_SIZE = (45, 471, 41, 601), (480, 640)
SHARES = (11.25, 22.5, 30.0)
CLASSES = 150


def label_of(read: Callable[[], Value]) -> Value:
    """A label that a data set stores.

    Raises:
        Fault: it is missing or broken.
    """
    try:
        return read()
    except Rejected as rejected:
        raise Fault(MISSING_PAIR if rejected.reason == "missing" else BROKEN) from rejected


def brought(values: Tensor, size: tuple[int, int], mode: str = "bilinear") -> Tensor:
    """Maps [...,h,w] at a size (height, width)."""
    if tuple(values.shape[-2:]) == size:
        return values
    options = {} if mode == "nearest-exact" else {"align_corners": False}
    flat = values.reshape(1, -1, *values.shape[-2:])
    return F.interpolate(flat, size, mode=mode, **options).reshape(*values.shape[:-2], *size)


def eigen_crop(height: int, width: int) -> tuple[slice, slice]:
    """The rows and columns that are judged."""
    top, bottom, left, right = CROP
    rows = slice(round(top * height / CROP_SIZE[0]), round(bottom * height / CROP_SIZE[0]))
    return rows, slice(round(left * width / CROP_SIZE[1]), round(right * width / CROP_SIZE[1]))


def same_size(shown: Shown, height: int, width: int) -> None:
    """Raise Fault when a label has another size than its picture."""
    if shown.source is not None and shown.source.size != (width, height):
        raise Fault(OTHER_SIZE)


class DepthJudge:
    """RMSE, AbsRel and the share within 1.25 of each picture, then the mean (BTS's and Painter's script)."""

    main, higher = "rmse", False

    def __init__(self, codec: str = "") -> None:
        self.codec = codec or "walk"
        TASKS["depth"].codec(self.codec)
        self.each: list[dict[str, float]] = []

    def add(self, question: Question, shown: Shown, answer: Image.Image) -> Mapping[str, float]:
        truth = label_of(lambda: depth_of(question.truth["depth"], question.truth)).double()
        same_size(shown, *truth.shape)
        found = TASKS["depth"].decode(image_to_unit(answer), codec=self.codec, near=0.0, far=VALID[1]).double()
        found = brought(found, (truth.shape[0], truth.shape[1])).clamp(*VALID)
        part = eigen_crop(*truth.shape)
        found, truth = found[part], truth[part]
        valid = (truth > VALID[0]) & (truth < VALID[1])
        if not bool(valid.any()):
            raise Fault("no valid depth")
        found, truth = found[valid], truth[valid]
        error = found - truth
        self.each.append(
            {
                "rmse": float(error.square().mean().sqrt()),
                "abs_rel": float((error.abs() / truth).mean()),
                "delta_1.25": float((torch.maximum(found / truth, truth / found) < 1.25).double().mean()),
            }
        )
        return self.each[-1]

    def result(self) -> Mapping[str, Figure]:
        return {name: float(np.mean([one[name] for one in self.each])) for name in self.each[0]}

    def settings(self) -> Mapping[str, str]:
        top, bottom, left, right = CROP
        return {
            "rmse": "metres; of each picture, then the mean",
            "crop": f"Eigen's, rows {top}:{bottom}, columns {left}:{right} of 480x640, the same shares of other sizes",
            "valid": f"true depth between {VALID[0]:g} and {VALID[1]:g} m; answers are clamped to it",
            "codec": self.codec,
            "label_kernel": "depth at the answer's size, bilinear to the truth's",
        }


class NormalJudge:
    """Angles between normals over all valid pixels of all pictures in one list (DSINE's evaluation)."""

    main, higher = "mean_angle", False

    def __init__(self, axes: str) -> None:
        self.axes = axes
        self.angles: list[np.ndarray] = []

    def add(self, question: Question, shown: Shown, answer: Image.Image) -> Mapping[str, float]:
        truth, valid = label_of(lambda: normals_of(question.truth["normals"], question.truth))
        same_size(shown, *valid.shape)
        if not bool(valid.any()):
            raise Fault("no valid normal")
        found = TASKS["normal"].decode(image_to_unit(answer))
        if self.axes == "left-up":
            found = found * torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
        found = brought(found, (valid.shape[0], valid.shape[1]))
        a, b = found.double()[:, valid], truth.double()[:, valid]
        sine = torch.linalg.cross(a, b, dim=0).norm(dim=0)
        angle = torch.rad2deg(torch.atan2(sine, (a * b).sum(0)))
        self.angles.append(angle.numpy())
        return _of_angles(angle.numpy())

    def result(self) -> Mapping[str, Figure]:
        # 8 bytes a pixel, 1.6 GB for all of NYUv2: the median needs them together.
        return _of_angles(np.concatenate(self.angles))

    def settings(self) -> Mapping[str, str]:
        return {
            "angles": "degrees, of all valid pixels of all pictures in one list; shares are per cent",
            "valid": "pixels whose normal is not stored as black",
            "axes": f"of the answers: {self.axes}",
            "label_kernel": "normals at the answer's size, bilinear to the truth's",
        }


def _of_angles(angles: np.ndarray) -> dict[str, float]:
    shares = {f"under_{limit:g}": float((angles < limit).mean() * 100) for limit in SHARES}
    return {"mean_angle": float(angles.mean()), "median_angle": float(np.median(angles))} | shares


class ClassJudge:
    """mIoU of one confusion matrix over all pictures; pixels without a class are left out.

    A class that is neither in the truth nor in any answer has no IoU; one that is only in answers has an IoU of 0, as
    in MMSegmentation.
    """

    main, higher = "pixel_accuracy", True

    def __init__(self, codec: str = "") -> None:
        self.codec = codec or "palette"
        TASKS["segmentation"].codec(self.codec)
        self.matrix = ConfusionMatrix(CLASSES + 1)

    def add(self, question: Question, shown: Shown, answer: Image.Image) -> Mapping[str, float]:
        truth = label_of(lambda: classes_of(question.truth["classes"]))
        same_size(shown, *truth.shape)
        if int(truth.max()) > CLASSES:
            raise Fault("unknown class")
        found = TASKS["segmentation"].decode(image_to_unit(answer), codec=self.codec, classes=range(1, CLASSES + 1))
        found = brought(found.double(), (truth.shape[0], truth.shape[1]), "nearest-exact").long()
        known = truth > 0
        if not bool(known.any()):
            raise Fault("no class")
        self.matrix.add(found[known], truth[known])
        return {"pixel_accuracy": float((found[known] == truth[known]).double().mean() * 100)}

    def result(self) -> Mapping[str, Figure]:
        counts = self.matrix.counts[1:, 1:].double()
        both, true, found = counts.diagonal(), self.matrix.counts.sum(1)[1:].double(), counts.sum(0)
        union = true + found - both
        there = union > 0
        return {
            "miou": float((both[there] / union[there]).mean() * 100),
            "pixel_accuracy": float(both.sum() / true.sum() * 100),
            "classes": float(there.sum()),
        }

    def settings(self) -> Mapping[str, str]:
        return {
            "miou": f"per cent, of one confusion matrix of {CLASSES} classes; 0 is ignored",
            "codec": self.codec,
            "label_kernel": "classes at the answer's size, nearest to the truth's",
        }
