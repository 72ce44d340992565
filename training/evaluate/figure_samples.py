"""Questions about rendered people: pose, single joints, and pictures from poses.

Shape legend: N figures or samples, P persons, H, W pixels.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...comfyui_pixwizard.tasks import TASKS, Task
from ...comfyui_pixwizard.tasks.declared import Declared
from ..loop.seeding import seeded
from ..render.figures import joint_expressions, render_figures
from .samples import OWN, Samples, encode, sentences

ON_FIGURES = ("pose", "keypoint", "pose_to_image")
# Colours that an instruction may name for the disc.
COLORS = ("red", "green", "blue", "yellow", "cyan", "magenta")


class FigureSet:
    """n rendered pictures of one or two people, in clothes that training never shows together."""

    def __init__(self, n: int, size: int, seed: int, declared: Declared = OWN):
        self.size, self.seed, self.declared = size, seed, declared
        self.image, self.pose, self.captions = [], [], []
        for i in range(n):
            drawn = render_figures(1, size, seeded("eval", seed, "figure", i), split="test")
            self.image.append(drawn.image[0])
            self.pose.append(drawn.pose[0])
            self.captions.append(drawn.captions[0])

    def __len__(self) -> int:
        return len(self.image)

    def samples(self, task: str) -> Samples:
        """The samples of one task, one for each picture (fewer where no joint shows)."""
        make = {"pose": self._pose, "keypoint": self._keypoint, "pose_to_image": self._control}[task]
        return replace(make(TASKS[task]), declared=self.declared)

    def _generator(self, task: Task, i: int) -> torch.Generator:
        return seeded("eval", self.seed, task.name, "figure", i)

    def _pose(self, task: Task) -> Samples:
        generators = [self._generator(task, i) for i in range(len(self))]
        image, pose, words = torch.stack(self.image), torch.stack(self.pose), [dict[str, str]() for _ in generators]
        truth = self._maps(pose, image)
        return Samples(task, sentences(task, words, generators), image, truth, pose, words, list(range(len(self))))

    def _maps(self, poses: Tensor, images: Tensor) -> Tensor:
        pairs = zip(poses, images, strict=True)
        return torch.stack([encode(self.declared, "pose", pose, image) for pose, image in pairs])

    def _control(self, task: Task) -> Samples:
        generators, words = [self._generator(task, i) for i in range(len(self))], []
        for captions, generator in zip(self.captions, generators, strict=True):
            words.append({"caption": captions[int(torch.randint(len(captions), (), generator=generator))]})
        image, pose = torch.stack(self.image), torch.stack(self.pose)
        maps = self._maps(pose, image)
        return Samples(task, sentences(task, words, generators), maps, image, pose, words, list(range(len(self))))

    def _keypoint(self, task: Task) -> Samples:
        """One visible joint of one person, in one colour, for each picture."""
        generators, words, rows, labels, truths = [], [], [], [], []
        for i, (image, pose) in enumerate(zip(self.image, self.pose, strict=True)):
            generator, expressions = self._generator(task, i), joint_expressions(pose)
            if not expressions:
                continue
            expression, person, joint = expressions[int(torch.randint(len(expressions), (), generator=generator))]
            color = COLORS[int(torch.randint(len(COLORS), (), generator=generator))]
            words.append({"caption": expression, "color": color})
            labels.append(pose[person, joint][None])
            truths.append(encode(self.declared, task.name, labels[-1], image, colors=(color,)))
            generators.append(generator)
            rows.append(i)
        if not rows:
            raise ValueError(
                f"keypoint needs a picture of a person with a visible joint, found none of {len(self)}: raise --n"
            )
        source = torch.stack([self.image[i] for i in rows])
        instructions = sentences(task, words, generators)
        return Samples(task, instructions, source, torch.stack(truths), torch.stack(labels), words, rows)
