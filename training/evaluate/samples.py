"""What the model is asked in the evaluation, and the truth: built once, a function of the seed alone.

Every sample has a generator of its own, so that neither the number of samples nor the batch size changes any of them.
Questions about photographs are here, those about scenes in `scene_samples` and about figures in `figure_samples`.
Shape legend: N samples, H, W pixels.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...comfyui_pixwizard.tasks import TASKS, Task
from ...comfyui_pixwizard.tasks.declared import Declared
from ..degradations import DEGRADATIONS
from ..loop.seeding import seeded
from ..render.scenes import CLASS_NAMES, DEPTH_RANGE

# What a model declares that was trained on rendered scenes.
OWN = Declared.own(CLASS_NAMES, DEPTH_RANGE)
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
        declared: of the model that is asked: its codes made the pictures that stand for labels, and read its answers.
    """

    task: Task
    instructions: list[str]
    source: Tensor
    truth: Tensor
    label: Tensor
    words: list[dict[str, str]]
    index: list[int]
    reference: Tensor | None = None
    declared: Declared = OWN

    def __len__(self) -> int:
        return len(self.instructions)

    def first(self, n: int) -> Samples:
        """The first n of them."""
        return self._part(slice(n))

    def pick(self, i: int) -> Samples:
        """Sample i alone."""
        return self._part(slice(i, i + 1))

    def _part(self, part: slice) -> Samples:
        names = ("instructions", "source", "truth", "label", "words", "index", "reference")
        parts = {name: getattr(self, name)[part] for name in names if getattr(self, name) is not None}
        return replace(self, **parts)

    def decode(self, reading: str, pictures: Tensor, **options: Any) -> list[Any]:
        """N labels that pictures [N,3,H,W] stand for as answers of a task, by the model's code.

        Sentences decide of the code only where they ask for that task.
        """
        task, row = TASKS[reading], self.declared[reading]
        said = self.instructions if task is self.task else [""] * len(self)
        rows = zip(pictures, self.compared, said, strict=True)
        return [task.decode(image, source, **row.reading(text) | options) for image, source, text in rows]

    @property
    def compared(self) -> Tensor:
        """The reference, or else the source: [N,3,H,W]."""
        return self.source if self.reference is None else self.reference


def encode(declared: Declared, task: str, label: Tensor, source: Tensor | None = None, **options: Any) -> Tensor:
    """Pictures [...,3,H,W] that stand for labels of a task in a model's code; class ids are those of scenes."""
    read = declared[task].reading() | options
    codec = TASKS[task].codec(read.pop("codec"))
    known = inspect.signature(codec.encode).parameters
    if task == "segmentation":
        label = torch.tensor([0, *class_ids(declared)])[label]
    return codec.encode(label, source, **{name: value for name, value in read.items() if name in known})


def class_ids(declared: Declared) -> list[int]:
    """A model's ids of the classes that scenes have, in their order, without the first, which is none.

    Raises:
        ValueError: a class without a name in that model.
    """
    missing = [name for name in CLASS_NAMES[1:] if name not in declared.class_names]
    if missing:
        raise ValueError(
            f"classes of scenes are {', '.join(CLASS_NAMES[1:])}; the model declares none of the name {missing[0]}: "
            "leave segmentation and segmentation_to_image out, and use eval benchmark ade20k"
        )
    return [declared.class_names.index(name) for name in CLASS_NAMES[1:]]


def unmeasured_tasks(declared: Declared) -> dict[str, str]:
    """Why tasks on scenes cannot be asked of a model with these codes, by task."""
    try:
        class_ids(declared)
    except ValueError as problem:
        return dict.fromkeys(("segmentation", "segmentation_to_image"), str(problem))
    return {}


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
