"""Referring segmentation: cIoU and gIoU, with the rules of gRefCOCO for expressions that mean nothing in the picture.

Shape legend: H, W pixels of the truth.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image
from torch import Tensor

from ...comfyui_pixwizard.pictures.images import image_to_unit, resized
from ...comfyui_pixwizard.tasks import TASKS
from ..data.build.drawing import segments_mask
from .dense_judges import brought, label_of, same_size
from .judge import Figure, Shown
from .layout_refer import COLOR
from .question import Question

READINGS = {
    "overlay": "opacity of the colour against the picture, above a quarter",
    "hsv": "saturation raised, hue near the colour's, without the picture (the paper's w/ HSV)",
    "mask": "white on black, above one half",
}


class ReferJudge:
    """cIoU is the sum of intersections over the sum of unions, gIoU the mean of each expression's IoU, in per cent.

    Args:
        by: a key of READINGS.
        empty_below: masks of fewer pixels count as none.
        no_target: whether expressions may mean nothing: a rightly empty mask then adds 1 to gIoU and nothing to cIoU, a
            mask where there is no target adds its pixels to the unions.
    """

    main, higher = "iou", True

    def __init__(self, by: str, empty_below: int = 0, no_target: bool = False) -> None:
        self.by, self.empty_below, self.no_target = by, empty_below, no_target
        self.rows: list[tuple[int, int, float, bool, bool]] = []

    def add(self, question: Question, shown: Shown, answer: Image.Image) -> Mapping[str, float]:
        height, width = question.truth["size"]
        truth = label_of(lambda: segments_mask(question.truth["segments"], height, width))
        same_size(shown, height, width)
        found = brought(self._read(answer, shown).double(), (height, width), "nearest-exact") > 0.5
        if int(found.sum()) < self.empty_below:
            found = found & False
        both, either = int((found & truth).sum()), int((found | truth).sum())
        nothing, said_nothing = bool(question.truth["empty"]), not bool(found.any())
        iou = 1.0 if nothing and said_nothing else both / either if either else 0.0
        self.rows.append((both, either, iou, nothing, said_nothing))
        return {"iou": iou * 100}

    def _read(self, answer: Image.Image, shown: Shown) -> Tensor:
        picture, base = image_to_unit(answer), shown.reference or shown.source
        if self.by == "mask":
            return TASKS["referring_mask"].decode(picture)
        against = image_to_unit(resized(base, answer.size)) if self.by == "overlay" and base is not None else None
        return TASKS["referring_segmentation"].decode(picture, against, color=COLOR)

    def result(self) -> Mapping[str, Figure]:
        both, either, iou, nothing, said = (np.array(column) for column in zip(*self.rows, strict=True))
        found: dict[str, Figure] = {
            "ciou": float(both.sum() / either.sum() * 100) if either.sum() else 100.0,
            "giou": float(iou.mean() * 100),
        }
        if self.no_target:
            for name, chosen, right in (("n_acc", nothing, said), ("t_acc", ~nothing, ~said)):
                found[name] = float(right[chosen].mean() * 100) if chosen.any() else "not measured: no such expression"
        return found

    def settings(self) -> Mapping[str, str]:
        return {
            "by": f"{self.by}: {READINGS[self.by]}",
            "empty_below": f"{self.empty_below} pixels count as no target",
            "label_kernel": "masks at the answer's size, nearest to the truth's",
        }
