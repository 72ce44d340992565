"""What the model is asked in the evaluation, and the truth: built once, a function of the seed alone.

Every sample has a generator of its own, so that neither the number of samples nor the batch size changes any of them.
Shape legend: N samples, H, W pixels.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...comfyui_pixwizard.tasks import TASKS, Task
from ..degradations import DEGRADATIONS
from ..scenes import Render, Scenes, edit, referring, render, sample_scenes

SIGMA = 50 / 255
COVERAGE = (0.25, 0.4)
OPTIONS: dict[str, dict[str, Any]] = {
    "denoise": {"sigma": SIGMA},
    "low_light": {},
    "derain": {},
    "inpaint": {"coverage": COVERAGE},
}
DENSE = {"depth": "depth", "normal": "normal", "segmentation": "classes"}
EDITS = {"edit_remove": "remove", "edit_recolor": "recolor"}


@dataclass
class Samples:
    """N questions of one task with their answers.

    Attributes:
        task: what is asked.
        instructions: N sentences.
        source: [N,3,H,W] in [0,1], what the model sees.
        truth: [N,3,H,W] in [0,1], the picture that a perfect answer is (the label's code).
        label: [N,...] what that picture means: clean pictures, metres, normals, class ids or masks.
    """

    task: Task
    instructions: list[str]
    source: Tensor
    truth: Tensor
    label: Tensor

    def __len__(self) -> int:
        return len(self.instructions)


def seeded(*key: int | str) -> torch.Generator:
    """A CPU generator that depends on all parts of the key, and on no other."""
    text = "/".join(map(str, key)).encode()
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text).digest()[:7], "big"))


def restoration_samples(task: str, photographs: Tensor, seed: int) -> Samples:
    """Degraded photographs [N,3,H,W]; noise has sigma 50/255 exactly, holes 25 to 40 %, the rest draws its strength."""
    sources, sentences = [], []
    for i, picture in enumerate(photographs):
        generator = seeded("eval", seed, task, i)
        sources.append(DEGRADATIONS[task](picture[None], generator, **OPTIONS[task]))
        sentences.append(TASKS[task].instruction(generator))
    return Samples(TASKS[task], sentences, torch.cat(sources), photographs, photographs)


class SceneSet:
    """n rendered scenes of one split, which all tasks on scenes share.

    "test" scenes show at place 0 a (colour, shape) pair that training never shows. "train" scenes are drawn as those
    of the training are, from other seeds.
    """

    def __init__(self, n: int, size: int, seed: int, split: str):
        self.size, self.seed, self.split = size, seed, split
        self.scenes: Scenes = Scenes.cat(
            [sample_scenes(1, seeded("eval", seed, "scene", split, i), split=split) for i in range(n)]
        )
        self.rendered: Render = render(self.scenes, size)

    def __len__(self) -> int:
        return len(self.scenes)

    def samples(self, task: str) -> Samples:
        """The samples of one task, one for each scene (fewer where a scene has no true expression)."""
        if task in DENSE:
            return self._dense(TASKS[task], getattr(self.rendered, DENSE[task]))
        return self._edits(TASKS[task]) if task in EDITS else self._referring(TASKS[task])

    def _generator(self, task: Task, i: int) -> torch.Generator:
        return seeded("eval", self.seed, task.name, self.split, i)

    def _dense(self, task: Task, label: Tensor) -> Samples:
        sentences = [task.instruction(self._generator(task, i)) for i in range(len(self))]
        return Samples(task, sentences, self.rendered.image, task.encode(label), label)

    def _referring(self, task: Task) -> Samples:
        """One expression a scene: one for the solid at place 0 (the held-out one) if there is any, else another's."""
        sentences, rows, masks = [], [], []
        for i in range(len(self)):
            generator = self._generator(task, i)
            found = referring(self.scenes, self.rendered, i, generator)
            if not found:
                continue
            expression, instance = next((one for one in found if one[1] == 1), found[0])
            sentences.append(task.instruction(generator, caption=expression))
            rows.append(i)
            masks.append(self.rendered.instance[i] == instance)
        assert rows, "a sampled scene shows at least one solid that words single out"
        source, label = self.rendered.image[rows], torch.stack(masks)
        return Samples(task, sentences, source, task.encode(label, source), label)

    def _edits(self, task: Task) -> Samples:
        sentences, changed = [], []
        for i in range(len(self)):
            generator = self._generator(task, i)
            after, words = edit(self.scenes, i, EDITS[task.name], generator, self.rendered)
            asked = {"caption": words["expression"], "color": words.get("new_color", "")}
            sentences.append(task.instruction(generator, **{name: asked[name] for name in task.words}))
            changed.append(after)
        truth = render(Scenes.cat(changed), self.size).image
        return Samples(task, sentences, self.rendered.image, truth, truth)
