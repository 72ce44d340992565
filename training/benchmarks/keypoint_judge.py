"""Keypoints: answers that show skeletons, as COCO's results, scored by pycocotools.

A person's confidence is the share of the 17 joints that is seen: an answer in colours holds no other.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from ...comfyui_pixwizard.optional import pip_install, required
from ...comfyui_pixwizard.pictures.images import image_to_unit
from ...comfyui_pixwizard.tasks import TASKS
from .dense_judges import same_size
from .judge import Figure, Shown
from .layout_keypoints import COCO_JOINTS, from_skeleton
from .question import Question

PERSON = 1
NAMES = ("ap", "ap_50", "ap_75", "ap_medium", "ap_large", "ar")
TOLD = "AP of keypoints is pycocotools'"


class KeypointJudge:
    """See `judge.Judge`."""

    main, higher = "oks", True

    def __init__(self) -> None:
        self.coco: Any = None
        self.results: list[dict[str, Any]] = []
        self.images: list[int] = []
        self.evaluator = required("pycocotools.cocoeval", TOLD, pip_install("pycocotools"))

    def add(self, question: Question, shown: Shown, answer: Image.Image) -> Mapping[str, float]:
        height, width = question.truth["size"]
        same_size(shown, height, width)
        if self.coco is None:
            with contextlib.redirect_stdout(io.StringIO()):
                self.coco = required("pycocotools.coco", TOLD, pip_install("pycocotools")).COCO(
                    question.truth["annotations"]
                )
        people = TASKS["pose"].decode(image_to_unit(answer)).double().numpy()
        scale = (width / answer.width, height / answer.height)
        found = [from_skeleton(person, scale) for person in people]
        number = question.truth["image"]
        self.images.append(number)
        self.results += [
            {
                "image_id": number,
                "category_id": PERSON,
                "keypoints": person,
                "score": float(np.mean(np.array(person[2::3]) > 0)),
            }
            for person in found
            if any(person[2::3])
        ]
        return self._likeness(number, found)

    def _likeness(self, number: int, found: list[list[float]]) -> dict[str, float]:
        """The mean over the people of a picture of the likeness (OKS) of the best answer; nothing without people."""
        sigmas = self.evaluator.Params("keypoints").kpt_oks_sigmas
        true = [one for one in self.coco.loadAnns(self.coco.getAnnIds([number], [PERSON], iscrowd=False))]
        best = []
        for one in true:
            joints = np.array(one["keypoints"], np.float64).reshape(-1, 3)
            seen = joints[:, 2] > 0
            if not seen.any():
                continue
            likeness = [0.0]
            for person in found:
                away = ((np.array(person).reshape(-1, 3)[:, :2] - joints[:, :2]) ** 2).sum(1)
                error = away / (2 * sigmas) ** 2 / (one["area"] + np.spacing(1)) / 2
                likeness.append(float(np.exp(-error[seen]).mean()))
            best.append(max(likeness))
        return {"oks": float(np.mean(best))} if best else {}

    def result(self) -> Mapping[str, Figure]:
        if not self.results:
            return dict.fromkeys(NAMES, 0.0)
        with contextlib.redirect_stdout(io.StringIO()):
            found = self.evaluator.COCOeval(self.coco, self.coco.loadRes(self.results), "keypoints")
            found.params.imgIds = sorted(self.images)
            found.evaluate()
            found.accumulate()
            found.summarize()
        values = dict(zip(NAMES, (found.stats[i] for i in (0, 1, 2, 3, 4, 5)), strict=True))
        # pycocotools writes -1 where no person is of that size.
        return {name: float(value) if value >= 0 else "not measured: no such person" for name, value in values.items()}

    def settings(self) -> Mapping[str, str]:
        return {
            "ap": "COCOeval of pycocotools over the pictures judged, object keypoint similarity 0.50:0.95",
            "joints": f"{len(COCO_JOINTS)} of COCO read from skeletons of OpenPose; one that is not seen lies at 0, 0",
            "confidence": "share of the joints that are seen",
        }
