"""The samples that each task is evaluated on: photographs, rendered scenes or figures, each built at its first use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ...comfyui_pixwizard.tasks.declared import Declared
from ..annotators import ANNOTATORS
from ..loop.seeding import seeded
from .figure_samples import ON_FIGURES, FigureSet
from .photographs import bundled_photographs, folder_photographs
from .samples import ON_PHOTOGRAPHS, OWN, Samples, encode, restoration_samples
from .scene_samples import EDGES, ON_SCENES, SceneSet

SETS = {"photographs": ON_PHOTOGRAPHS, "scenes": ON_SCENES, "figures": ON_FIGURES}


def set_of(task: str) -> str:
    """The key of SETS that a task's samples come from."""
    return next(name for name, tasks in SETS.items() if task in tasks)


@dataclass
class Questions:
    """Samples by task.

    Attributes:
        n: scenes, figures and at most so many photographs.
        size, scene_size: sides of photographs and of rendered pictures.
        photos: a folder of photographs; None takes scikit-image's.
        split: of the scenes, "test" or "train".
        declared: of the model that is asked; its codes make the pictures that stand for labels.
    """

    n: int
    size: int
    scene_size: int
    seed: int
    photos: Path | None = None
    split: str = "test"
    declared: Declared = OWN

    def samples(self, task: str) -> Samples:
        """The samples of one task.

        Raises:
            ValueError: no photographs to be had, or broken ones.
        """
        kind = set_of(task)
        if kind == "figures":
            return self.figures.samples(task)
        if kind == "scenes":
            return self.scenes.samples(task)
        pictures, index = self.photographs, None
        if task == "face":
            # A face is not all of a picture: half of these are drawn faces, half are photographs.
            n, pictures = len(pictures), torch.cat((self.faces, pictures))
            index = [*range(n, 2 * n), *range(n)]
        return replace(restoration_samples(task, pictures, self.seed, index), declared=self.declared)

    @cached_property
    def photographs(self) -> Tensor:
        """[N,3,size,size] in [0,1]."""
        if self.photos is None:
            return bundled_photographs(self.size)[: self.n]
        return folder_photographs(self.photos, self.size, self.n)

    @cached_property
    def faces(self) -> Tensor:
        """As many drawn faces as photographs: [N,3,size,size] in [0,1]."""
        from ..render.faces import draw_faces

        drawn = [draw_faces(1, self.size, seeded("eval", self.seed, "face", i)) for i in range(len(self.photographs))]
        return torch.cat(drawn)

    def readings(self) -> dict[int, list[Tensor]]:
        """True answers of the edge tasks to each photograph: pictures [3,size,size]."""
        by_photograph: dict[int, list[Tensor]] = {}
        for i, picture in enumerate(self.photographs):
            by_photograph[i] = [encode(self.declared, name, ANNOTATORS[name](picture[None])[0]) for name in EDGES]
        return by_photograph

    @cached_property
    def scenes(self) -> SceneSet:
        return SceneSet(self.n, self.scene_size, self.seed, self.split, self.declared)

    @cached_property
    def figures(self) -> FigureSet:
        return FigureSet(self.n, self.scene_size, self.seed, self.declared)
