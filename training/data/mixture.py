"""Batches over all tasks: what the model reads, what it should make of it, and the sentence that asks for it.

Shape legend: B batch, n samples of one task, S side in pixels, C latent channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...comfyui_pixwizard.encoders.nano_autoencoder import NanoAutoencoder
from ...comfyui_pixwizard.tasks import TASKS
from .builders import BUILDERS
from .material import Material, Pairs
from .patch_labels import Truth

GENERATION = "text_to_image"


def common_count(tasks: Mapping[str, float] | None = None) -> dict[str, float]:
    """Weights of stage 1: every task is brought to the same count (paper, section 3.3)."""
    return dict.fromkeys(tasks or TASKS, 1.0)


def with_generation(weights: Mapping[str, float], share: float) -> dict[str, float]:
    """Weights of stage 2: tasks by their own weights, and a share of all samples for text-to-image (1:1 in the paper).

    Raises:
        ValueError: a share outside [0, 1), a negative weight, or nothing but text-to-image.
    """
    if not 0 <= share < 1:
        raise ValueError(f"the share of {GENERATION} lies in [0, 1), found {share:g}: the paper's is 0.5")
    others = {task: weight for task, weight in weights.items() if task != GENERATION}
    total = sum(others.values())
    if total <= 0 or min(others.values()) < 0:
        raise ValueError(f"task weights are not negative and not all zero, found {others}: raise some")
    return {task: (1 - share) * weight / total for task, weight in others.items()} | {GENERATION: share}


@dataclass
class Batch:
    """B samples: picture [B,3,S,S] in [-1,1], source and target latents [B,C,S/8,S/8], sentences, task names.

    seeds: of what training draws for each sample.   keys: what each picture is known by where it recurs, else "".
    truth: what is known of the sources' patches, where something is.
    """

    tasks: list[str]
    sentences: list[str]
    picture: Tensor
    source: Tensor
    target: Tensor
    seeds: list[int]
    keys: list[str] | None = None
    truth: Truth | None = None

    def __len__(self) -> int:
        return len(self.tasks)


class Mixture:
    """Draws batches of tasks by weight at one size.

    Args:
        autoencoder: frozen; what no pool keeps the latents of is encoded as it is drawn.
        material: pools at the size.
        weights: share of each task.
        bfloat16: encode under autocast.

    Raises:
        ValueError: weights of unknown tasks.
    """

    def __init__(
        self, autoencoder: NanoAutoencoder, material: Material, weights: Mapping[str, float], bfloat16: bool = False
    ):
        unknown = sorted(set(weights) - set(BUILDERS))
        if unknown:
            raise ValueError(f"a mixture needs tasks of the registry, found {unknown}: choose from {sorted(BUILDERS)}")
        self.autoencoder, self.material, self.bfloat16 = autoencoder, material, bfloat16
        self.weights = dict(weights)

    @torch.no_grad()
    def batch(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Draw a batch; samples of one task lie together."""
        names = list(self.weights)
        shares = torch.tensor([self.weights[name] for name in names])
        chosen = torch.multinomial(shares, batch_size, replacement=True, generator=generator)
        counts = torch.bincount(chosen, minlength=len(names)).tolist()
        drawn = [(name, n) for name, n in zip(names, counts, strict=True) if n]
        parts = [BUILDERS[name](self.material, n, generator) for name, n in drawn]
        return Batch(
            tasks=[name for name, n in drawn for _ in range(n)],
            sentences=[sentence for part in parts for sentence in part.sentences],
            picture=torch.cat([part.source for part in parts]) * 2 - 1,
            source=self._latents(parts, 0),
            target=self._latents(parts, 1),
            seeds=torch.randint(2**62, (batch_size,), generator=generator).tolist(),
            truth=self._truth(parts),
        )

    def _truth(self, parts: list[Pairs]) -> Truth:
        nothing = [torch.full((len(part.sentences),), -1) for part in parts]
        scene = torch.cat([n if part.scene is None else part.scene for part, n in zip(parts, nothing, strict=True)])
        named = torch.cat([n if part.named is None else part.named for part, n in zip(parts, nothing, strict=True)])
        known, asked = scene >= 0, named > 0
        labels = self.material.scenes.patches[scene.clamp(min=0)].float() * known[:, None, None, None]
        shares = self.material.scenes.named(scene.clamp(min=0), named) * asked[:, None, None]
        return Truth(labels, known, shares, asked)

    def _latents(self, parts: list[Pairs], side: int) -> Tensor:
        """Latents of all sources (side 0) or targets (side 1): kept ones from the pool, the others encoded at once."""
        pictures = [part.source if side == 0 else part.target for part in parts if part.stored[side] is None]
        fresh = iter(self._encode(torch.cat(pictures)).split([len(p) for p in pictures]) if pictures else ())
        found = []
        for part in parts:
            stored = part.stored[side]
            found.append(next(fresh) if stored is None else self.material.scenes.latents(*stored, self._encode))
        return torch.cat(found)

    def _encode(self, picture: Tensor) -> Tensor:
        """Latents of pictures in [0,1]."""
        with torch.autocast(picture.device.type, torch.bfloat16, enabled=self.bfloat16):
            return self.autoencoder.encode(picture * 2 - 1).float()
