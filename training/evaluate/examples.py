"""Examples of every task and a model's answers to them.

The questions are those of the evaluation: photographs inside scikit-image's wheel, rendered scenes and people; nothing
is downloaded. Pictures are [N, 3, H, W] in [0, 1] here, as in codecs, scenes and degradations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ...comfyui_pixwizard.pictures.images import unit_to_image
from ...comfyui_pixwizard.pictures.labels import draw_label
from ...comfyui_pixwizard.pipeline import PixWizardPipeline
from ...comfyui_pixwizard.tasks import TASKS, Task
from ...comfyui_pixwizard.tasks.declared import Declared
from .measures import MEASURES
from .questions import Questions, set_of
from .samples import OWN, unmeasured_tasks

EACH = 2
# Enough scenes that each kind of edit finds room in some, and that neighbouring tasks show different ones.
SCENES = 10
PHOTOGRAPHS = 11
# Codes that are no picture for people, by the kind of their label, and lines, which are read out of grey bands.
DRAWN = {"depth", "normal", "classes", "mask", "boxes", "keypoints", "pose", "lines"}


@dataclass
class Example:
    """One question with its answer.

    Attributes:
        source: [3, H, W]; a blank canvas for tasks that need no picture.
        truth: [3, H, W], the picture that a perfect answer is, or one that the words describe.
        label: the true label, for tasks that have one.
        score: says how good an answer [3, H, W] is, in words.
        output, decoded: the answer [3, H, W] and its label.
        figures: the text that `score` gave.
    """

    task: Task
    instruction: str
    source: Tensor
    truth: Tensor
    label: Tensor | None
    score: Callable[[Tensor, Tensor], str]
    output: Tensor = field(default_factory=lambda: torch.empty(0))
    decoded: Tensor | None = None
    figures: str = ""

    def tiles(self) -> list[tuple[str, Image.Image]]:
        """Captioned pictures, in reading order."""
        captioned = [("input", unit_to_image(self.source))] if self.task.needs_image else []
        captioned.append(("output", unit_to_image(self.output)))
        if self.decoded is None or self.label is None:
            return [
                *captioned,
                ("truth" if self.task.domain != "generation" else "one such", unit_to_image(self.truth)),
            ]
        like = self.label if self.task.kind == "depth" else None
        captioned.append(("decoded", draw_label(self.task.kind, self.decoded, like=like, on=self.source)))
        captioned.append(("truth", draw_label(self.task.kind, self.label, on=self.source)))
        return captioned


def examples(size: int, scene_size: int, seed: int, declared: Declared = OWN) -> list[Example]:
    """Two of every task, the same for the same seed; none of tasks that this model cannot be asked on scenes.

    Args:
        size: side of photographs.
        scene_size: side of rendered pictures.
        declared: of the model that will answer; its codes make the pictures that stand for labels.

    Raises:
        ValueError: scikit-image is not installed.
    """
    collected: list[Example] = []
    scenes = Questions(SCENES, size, scene_size, seed, declared=declared)
    photographs = Questions(PHOTOGRAPHS, size, scene_size, seed, declared=declared)
    unmeasured = unmeasured_tasks(declared)
    for place, name in enumerate(name for name in TASKS if name not in unmeasured):
        samples = (photographs if set_of(name) == "photographs" else scenes).samples(name)
        # The first half of what `face` is asked of are faces.
        among = len(samples) // 2 if name == "face" else len(samples)
        chosen = {(EACH * place + k) % among for k in range(EACH)}
        collected += [_example(samples.pick(i)) for i in sorted(chosen)]
    return collected


def _example(sample: Any) -> Example:
    """One of the evaluation's samples."""
    task, measure = sample.task, MEASURES[sample.task.name]

    def score(output: Tensor, reference: Tensor) -> str:
        if measure.reads:
            return ""
        sample.reference = reference[None]
        return f"{measure.metric}: {measure.score(sample, output[None]).value:.2f}"

    label = sample.label[0] if {task.kind, task.codec().name} & DRAWN else None
    return Example(task, sample.instructions[0], sample.source[0], sample.truth[0], label, score)


def answer(pipeline: PixWizardPipeline, example: Example, seed: int) -> None:
    """Fill in output, decoded label and figures."""
    task, source = example.task, example.source[None] * 2 - 1
    row = pipeline.declared[task.name]
    guidance = row.guidance()
    output = pipeline.generate(
        source, [example.instruction], steps=row.points, solver=row.solver, guidance=guidance,
        patch_grids=row.patch_grids, seeds=[seed],
    )  # fmt: skip
    output = pipeline.finish(task.name, source, output)[0]
    example.output = output / 2 + 0.5
    if example.label is not None:
        example.decoded = pipeline.read_label(task, output, source[0], example.instruction)
    example.figures = example.score(example.output, pipeline.round_trip(source)[0] / 2 + 0.5)
