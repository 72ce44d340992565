"""What the model is asked in the evaluation, and the truth: built once, a function of the seed alone.

Every sample has a generator of its own, so that neither the number of samples nor the batch size changes any of them.
Questions about photographs are here, those about scenes in `scene_samples` and about figures in `figure_samples`.
Shape legend: N samples, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...comfyui_pixwizard.tasks import TASKS, Task
from ..degradations import DEGRADATIONS
from ..loop.seeding import seeded

SIGMA = 50 / 255
COVERAGE = (0.25, 0.4)
# Degradations whose strength is fixed; the others draw it as in training.
OPTIONS: dict[str, dict[str, Any]] = {"denoise": {"sigma": SIGMA}, "inpaint": {"coverage": COVERAGE}}
ON_PHOTOGRAPHS = tuple(name for name, task in TASKS.items() if task.domain in ("restoration", "painting"))


@dataclass
class Samples:
    """N questions of one task with their answers.

    Attributes:
        task: the task that all of them ask for.
        instructions: N sentences.
        source: [N,3,H,W] in [0,1], what the model sees.
        truth: [N,3,H,W] in [0,1], the picture that a perfect answer is (the label's code).
        label: [N,...] what that picture means: clean pictures, metres, normals, class ids, masks, boxes [N,1,4],
            joints [N,1,3], poses [N,P,18,3], edges; of control tasks the map that is given; of text_to_image which
            (colour, shape) pairs the words name [N,44]; of edit_add the number of its pair and the columns, from 0 to
            1, of its side [N,3].
        words: what the placeholders of each instruction were filled with.
        index: which scene, figure or photograph each sample is about.
        reference: [N,3,H,W] in [0,1], what marked answers are compared with, where that is not the source itself.
    """

    task: Task
    instructions: list[str]
    source: Tensor
    truth: Tensor
    label: Tensor
    words: list[dict[str, str]]
    index: list[int]
    reference: Tensor | None = None

    def __len__(self) -> int:
        return len(self.instructions)

    def first(self, n: int) -> Samples:
        """The first n of them."""
        return self._part(slice(n))

    def pick(self, i: int) -> Samples:
        """Sample i alone."""
        return self._part(slice(i, i + 1))

    def _part(self, part: slice) -> Samples:
        pictures = self.source[part], self.truth[part], self.label[part]
        reference = None if self.reference is None else self.reference[part]
        return Samples(self.task, self.instructions[part], *pictures, self.words[part], self.index[part], reference)

    @property
    def compared(self) -> Tensor:
        """The reference, or else the source: [N,3,H,W]."""
        return self.source if self.reference is None else self.reference


def sentences(task: Task, words: Sequence[dict[str, str]], generators: Sequence[torch.Generator]) -> list[str]:
    """One instruction for each sample."""
    return [task.instruction(g, **filled) for g, filled in zip(generators, words, strict=True)]


def restoration_samples(task: str, pictures: Tensor, seed: int, index: list[int] | None = None) -> Samples:
    """Degraded pictures [N,3,H,W]; noise has sigma 50/255 exactly, holes 25 to 40 %, the rest draws its strength.

    index: see Samples; by default the place in `pictures`.
    """
    generators = [seeded("eval", seed, task, i) for i in range(len(pictures))]
    options = OPTIONS.get(task, {})
    parts = zip(pictures, generators, strict=True)
    sources = [DEGRADATIONS[task](picture[None], generator, **options) for picture, generator in parts]
    words: list[dict[str, str]] = [{} for _ in generators]
    instructions = sentences(TASKS[task], words, generators)
    index = list(range(len(pictures))) if index is None else index
    return Samples(TASKS[task], instructions, torch.cat(sources), pictures, pictures, words, index)
