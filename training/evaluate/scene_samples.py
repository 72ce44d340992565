"""Questions about rendered scenes: reading, grounding, edges, control, edits and text to image.

Shape legend: N scenes or samples, H, W pixels.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...comfyui_pixwizard.tasks import TASKS, Task
from ...comfyui_pixwizard.tasks.declared import Declared
from ..annotators import ANNOTATORS
from ..data.rendered.grounding import box_of
from ..data.rendered.scene_pool import DENSE
from ..loop.seeding import seeded
from ..render.scenes import (
    EDIT_TASKS,
    SWAPPED,
    NoRoom,
    Render,
    Scenes,
    caption,
    edit,
    referring,
    render,
    sample_scenes,
    side,
    style_edit,
    task_words,
    text_edit,
)
from .object_judge import PAIRS, asked_pairs
from .samples import OWN, Samples, encode, sentences

EDGES = ("canny", "hed", "sketch", "line_art")
CONTROL = {f"{name}_to_image": name for name in (*EDGES, *DENSE)}
GROUNDING = ("referring_segmentation", "referring_mask", "referring_box")
PICTURE_EDITS = {"edit_style": style_edit, "edit_text": text_edit}
ON_SCENES = (*DENSE, *EDGES, *CONTROL, *GROUNDING, *EDIT_TASKS, *PICTURE_EDITS, "text_to_image")


class SceneSet:
    """n rendered scenes of one split, which all tasks on scenes share.

    "test" scenes show at place 0 a (colour, shape) pair that training never shows. "train" scenes are drawn as those
    of the training are, from other seeds. Pictures that stand for labels are made by the codes that a model declares.
    """

    def __init__(self, n: int, size: int, seed: int, split: str, declared: Declared = OWN):
        self.size, self.seed, self.split, self.declared = size, seed, split, declared
        self.scenes: Scenes = Scenes.cat(
            [sample_scenes(1, seeded("eval", seed, "scene", split, i), split=split) for i in range(n)]
        )
        self.rendered: Render = render(self.scenes, size)
        self._edges: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self.scenes)

    def samples(self, task: str) -> Samples:
        """The samples of one task, one for each scene (fewer where some scenes have no room for it)."""
        return replace(self._samples(TASKS[task]), declared=self.declared)

    def _samples(self, task: Task) -> Samples:
        if task.name in CONTROL:
            return self._control(task, CONTROL[task.name])
        if task.name in GROUNDING:
            return self._grounding(task)
        if task.name in EDIT_TASKS:
            return self._edits(task)
        if task.name in PICTURE_EDITS:
            return self._picture_edits(task)
        if task.name == "text_to_image":
            return self._generation(task)
        return self._reading(task)

    def _encode(self, reading: str, label: Tensor, source: Tensor | None = None) -> Tensor:
        return encode(self.declared, reading, label, source)

    def label(self, reading: str) -> Tensor:
        """What a reading task should find in the scenes: [N,...]."""
        if reading in DENSE:
            return getattr(self.rendered, DENSE[reading])
        if reading not in self._edges:
            self._edges[reading] = torch.cat([ANNOTATORS[reading](part) for part in self.rendered.image.split(25)])
        return self._edges[reading]

    def _generator(self, task: Task, i: int) -> torch.Generator:
        return seeded("eval", self.seed, task.name, self.split, i)

    def _whole(
        self, task: Task, words: list[dict[str, str]], source: Tensor, truth: Tensor, label: Tensor,
        generators: list[torch.Generator],
    ) -> Samples:  # fmt: skip
        """Samples with one for each scene."""
        instructions = sentences(task, words, generators)
        return Samples(task, instructions, source, truth, label, words, list(range(len(self))))

    def _reading(self, task: Task) -> Samples:
        generators = [self._generator(task, i) for i in range(len(self))]
        label = self.label(task.name)
        return self._whole(
            task, [{} for _ in generators], self.rendered.image, self._encode(task.name, label), label, generators
        )

    def _control(self, task: Task, reading: str) -> Samples:
        generators = [self._generator(task, i) for i in range(len(self))]
        words = [{"caption": caption(self.scenes, i, generator)} for i, generator in enumerate(generators)]
        label = self.label(reading)
        return self._whole(task, words, self._encode(reading, label), self.rendered.image, label, generators)

    def _generation(self, task: Task) -> Samples:
        """From a canvas, black or white at random; the label is the pairs that the caption names: all of the scene."""
        generators = [self._generator(task, i) for i in range(len(self))]
        words = [{"caption": caption(self.scenes, i, generator)} for i, generator in enumerate(generators)]
        shades = [float(torch.randint(2, (), generator=generator)) for generator in generators]
        canvas = torch.tensor(shades)[:, None, None, None].expand_as(self.rendered.image).clone()
        return self._whole(task, words, canvas, self.rendered.image, asked_pairs(self.scenes), generators)

    def _grounding(self, task: Task) -> Samples:
        """One expression a scene: one for the solid at place 0 (the held-out one) if there is any, else another's."""
        words, generators, rows, masks = [], [], [], []
        for i in range(len(self)):
            generator = self._generator(task, i)
            expressions = referring(self.scenes, self.rendered, i, generator)
            if not expressions:
                continue
            expression, instance = next((one for one in expressions if one[1] == 1), expressions[0])
            words.append({"caption": expression})
            generators.append(generator)
            rows.append(i)
            masks.append(self.rendered.instance[i] == instance)
        assert rows, "a sampled scene shows at least one solid that words single out"
        source, label = self.rendered.image[rows], torch.stack(masks)
        if task.kind == "boxes":
            label = torch.stack([box_of(mask) for mask in label])
            pairs = zip(label, source, strict=True)
            truth = torch.stack([self._encode(task.name, box, picture) for box, picture in pairs])
        else:
            truth = self._encode(task.name, label, source)
        return Samples(task, sentences(task, words, generators), source, truth, label, words, rows)

    def _edits(self, task: Task) -> Samples:
        """One edit a scene, of those scenes that have room for it."""
        kind, words, generators, rows, changed, added = EDIT_TASKS[task.name], [], [], [], [], []
        for i in range(len(self)):
            generator = self._generator(task, i)
            try:
                after, said = edit(self.scenes, i, kind, generator, self.rendered)
            except NoRoom:
                continue
            words.append(task_words(kind, said))
            generators.append(generator)
            rows.append(i)
            changed.append(after)
            if kind == "add":
                added.append([PAIRS.index((said["color"], said["shape"])), *side(said["new"])])
        if not rows:
            raise ValueError(f"{task.name} needs a scene with room for it, found none of {len(self)}: raise --n")
        source, truth = self.rendered.image[rows], render(Scenes.cat(changed), self.size).image
        if kind in SWAPPED:
            source, truth = truth, source
        label = torch.tensor(added) if added else truth
        return Samples(task, sentences(task, words, generators), source, truth, label, words, rows)

    def _picture_edits(self, task: Task) -> Samples:
        """Edits that know nothing of the scene: styles and written words."""
        generators, words, truths = [self._generator(task, i) for i in range(len(self))], [], []
        for image, generator in zip(self.rendered.image.split(1), generators, strict=True):
            truth, said = PICTURE_EDITS[task.name](image, generator)
            truths.append(truth)
            words += said
        truth = torch.cat(truths)
        return self._whole(task, words, self.rendered.image, truth, truth, generators)
