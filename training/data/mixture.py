"""Batches over all tasks: what the model reads, what it should make of it, and the sentence that asks for it.

Shape legend: B batch, n samples of one task, S side in pixels, C latent channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...comfyui_pixwizard.encoders.nano_autoencoder import NanoAutoencoder
from ...comfyui_pixwizard.tasks import TASKS
from ..degradations import DEGRADATIONS
from .scene_pool import DENSE, EDITS, ScenePool

Draw = Callable[[int, int, torch.Generator], Tensor]


@dataclass
class Pairs:
    """n samples of one task: source picture [n,3,S,S] in [0,1]; target latents [n,C,S/8,S/8]; sentences.

    source_latents [n,C,S/8,S/8] are those of the source where they are at hand.
    """

    task: str
    source: Tensor
    target: Tensor
    sentences: list[str]
    source_latents: Tensor | None = None


@dataclass
class Batch:
    """B samples: picture [B,3,S,S] in [-1,1], source and target latents [B,C,S/8,S/8], sentences, task names."""

    tasks: list[str]
    sentences: list[str]
    picture: Tensor
    source: Tensor
    target: Tensor


class Mixture:
    """Draws batches of tasks by weight at one size.

    Args:
        autoencoder: frozen; sources and most targets are encoded as they are drawn.
        scenes: pool at the same size.
        clean: draws clean pictures for the tasks that work on any picture.
        weights: share of each task.
    """

    def __init__(
        self, autoencoder: NanoAutoencoder, scenes: ScenePool, clean: Draw, weights: Mapping[str, float], size: int
    ):
        unknown = sorted(set(weights) - set(TASKS))
        if unknown:
            raise ValueError(f"a mixture needs tasks of the registry, found {unknown}: choose from {sorted(TASKS)}")
        self.autoencoder, self.scenes, self.clean, self.size = autoencoder, scenes, clean, size
        self.weights = dict(weights)

    @torch.no_grad()
    def batch(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Draw a batch; samples of one task lie together."""
        names = list(self.weights)
        shares = torch.tensor([self.weights[name] for name in names])
        chosen = torch.multinomial(shares, batch_size, replacement=True, generator=generator)
        counts = torch.bincount(chosen, minlength=len(names)).tolist()
        parts = [self.pairs(name, n, generator) for name, n in zip(names, counts, strict=True) if n]
        return Batch(
            tasks=[part.task for part in parts for _ in part.sentences],
            sentences=[sentence for part in parts for sentence in part.sentences],
            picture=torch.cat([part.source for part in parts]) * 2 - 1,
            source=torch.cat([self._source(part) for part in parts]),
            target=torch.cat([part.target for part in parts]),
        )

    def pairs(self, task: str, n: int, generator: torch.Generator) -> Pairs:
        """n samples of one task."""
        if task in DEGRADATIONS:
            clean = self.clean(n, self.size, generator)
            source = DEGRADATIONS[task](clean, generator)
            sentences = [TASKS[task].instruction(generator) for _ in range(n)]
            return Pairs(task, source, self.autoencoder.encode(clean * 2 - 1), sentences)
        if task in DENSE:
            index = torch.randint(len(self.scenes), (n,), generator=generator)
            sentences = [TASKS[task].instruction(generator) for _ in range(n)]
            return self._scene_pairs(task, index, self._stored(task, index), sentences)
        if task in EDITS:
            return self._edits(task, n, generator)
        if task == "referring_segmentation":
            return self._referring(n, generator)
        assert task == "text_to_image", task
        return self._generation(n, generator)

    def _source(self, part: Pairs) -> Tensor:
        return self.autoencoder.encode(part.source * 2 - 1) if part.source_latents is None else part.source_latents

    def _stored(self, name: str, index: Tensor) -> Tensor:
        return self.scenes.latents(name, index, self.autoencoder)

    def _edits(self, task: str, n: int, generator: torch.Generator) -> Pairs:
        able = self.scenes.by_edit[task]
        index = [able[i] for i in torch.randint(len(able), (n,), generator=generator).tolist()]
        sentences = [TASKS[task].instruction(generator, **self.scenes.edits[i][1]) for i in index]
        chosen = torch.tensor(index)
        return self._scene_pairs(task, chosen, self._stored("edited", chosen), sentences)

    def _scene_pairs(self, task: str, index: Tensor, target: Tensor, sentences: list[str]) -> Pairs:
        return Pairs(task, self.scenes.picture(index), target, sentences, self._stored("image", index))

    def _referring(self, n: int, generator: torch.Generator) -> Pairs:
        task, able = TASKS["referring_segmentation"], self.scenes.referable
        index = [able[i] for i in torch.randint(len(able), (n,), generator=generator).tolist()]
        chosen = torch.tensor(index)
        pictures, targets, sentences = self.scenes.picture(chosen), [], []
        for row, i in enumerate(index):
            found = self.scenes.referrals[i]
            expression, number = found[int(torch.randint(len(found), (1,), generator=generator))]
            sentences.append(task.instruction(generator, caption=expression))
            targets.append(task.encode(self.scenes.instance[i] == number, pictures[row]))
        return self._scene_pairs(task.name, chosen, self.autoencoder.encode(torch.stack(targets) * 2 - 1), sentences)

    def _generation(self, n: int, generator: torch.Generator) -> Pairs:
        task = TASKS["text_to_image"]
        index = torch.randint(len(self.scenes), (n,), generator=generator)
        # The canvas is black or white at random, as in the released training.
        shade = torch.randint(2, (n, 1, 1, 1), generator=generator).float()
        canvas = shade.expand(n, 3, self.size, self.size).clone()
        sentences = []
        for i in index.tolist():
            captions = self.scenes.captions[i]
            caption = captions[int(torch.randint(len(captions), (1,), generator=generator))]
            sentences.append(task.instruction(generator, caption=caption))
        return Pairs(task.name, canvas, self._stored("image", index), sentences)
