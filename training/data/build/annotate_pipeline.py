"""Depth by a model of this project as an annotator, for those who have no other, and for rendered scenes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from ....comfyui_pixwizard.pictures.images import resized, to_tensor
from ....comfyui_pixwizard.pictures.sizes import model_size
from ....comfyui_pixwizard.pipeline import PixWizardPipeline
from ....comfyui_pixwizard.tasks import TASKS
from .notes import Note


@lru_cache(maxsize=1)
def _pipeline(model: str) -> PixWizardPipeline:
    return PixWizardPipeline.from_pretrained(model)


class PipelineDepth:
    """Depth of each pixel as `annotate_networks.Depth` stores it, in metres; pictures of one size go together.

    Args:
        model: a folder of a pipeline, or "nano".

    Raises:
        ValueError: no model there, or one whose depth is not in metres.
    """

    name = "depth"

    def __init__(self, model: str):
        self.pipeline, self.sentence = _pipeline(model), TASKS["depth"].instruction()
        kind = self.pipeline.declared.label_kind(TASKS["depth"], self.sentence)
        if kind != "depth":
            raise ValueError(
                f"annotator depth needs a model whose depth is in metres, {model} declares {kind}: take another"
            )

    def __call__(self, pictures: Sequence[Image.Image], notes: Sequence[Note]) -> None:
        sizes: dict[tuple[int, int], list[int]] = {}
        for number, picture in enumerate(pictures):
            sizes.setdefault(model_size(picture.size, None, self.pipeline.max_size), []).append(number)
        row = self.pipeline.declared["depth"]
        for size, numbers in sizes.items():
            source = torch.cat([to_tensor(resized(pictures[number], size)) for number in numbers])
            answers = self.pipeline.generate(
                source,
                [self.sentence] * len(numbers),
                steps=row.points,
                solver=row.solver,
                guidance=(row.text_guidance, row.image_guidance),
                patch_grids=row.patch_grids,
                seeds=[0] * len(numbers),
            )
            for number, answer, given in zip(numbers, answers, source, strict=True):
                depth = self.pipeline.read_label(TASKS["depth"], answer, given, self.sentence)
                picture, note = pictures[number], notes[number]
                shape = (picture.height, picture.width)
                depth = F.interpolate(depth[None, None], shape, mode="bilinear", align_corners=False)[0, 0]
                low, high = float(depth.min()), float(depth.max())
                unit = (depth - low) / max(high - low, 1e-12)
                note.maps[self.name] = Image.fromarray((unit * 65535).round().numpy().astype(np.uint16))
                note.facts[self.name] = {"kind": "metric", "low": low, "high": high}
