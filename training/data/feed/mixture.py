"""Batches over all tasks: what the model reads, what it should make of it, and the sentence that asks for it.

Shape legend: B batch, n samples of one task, S side in pixels, C latent channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ....comfyui_pixwizard.encoders.nano_autoencoder import NanoAutoencoder
from ....comfyui_pixwizard.tasks import TASKS
from ..rendered.builders import BUILDERS, Builder
from ..rendered.mirrored import MIRRORED, in_a_mirror, mirrored_labels, mirrored_poses
from ..rendered.pale_scenes import without_hints
from ..rendered.patch_labels import PARTS, Truth, class_cells, each_cell, joint_cells
from ..rendered.scene_pool import to_bytes
from ..rendered.sources import Pairs, RenderedSources

GENERATION = "text_to_image"
Stored = tuple[str, Tensor]  # see `Pairs`
# Pixels that are encoded at once on a CPU: what lies between two layers of so few stays in its cache, a third faster.
CACHED_PIXELS = 8 * 128 * 128


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
class DrawnSamples:
    """B samples before anything is encoded, on the CPU.

    source, target: pictures as bytes [n,3,S,S], of the targets only those whose latents no pool keeps.
    stored: for each task's samples their number and, for source and target, where their latents are kept or None.
    """

    tasks: list[str]
    sentences: list[str]
    source: Tensor
    target: Tensor
    stored: list[tuple[int, Stored | None, Stored | None]]
    seeds: list[int]
    truth: Truth

    def __len__(self) -> int:
        return len(self.tasks)


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
        rendered: pools at the size.
        weights: share of each task.
        bfloat16: encode under autocast.
        builders: other pairs of tasks than the usual ones.

    Raises:
        ValueError: weights of unknown tasks.
    """

    def __init__(
        self,
        autoencoder: NanoAutoencoder,
        rendered: RenderedSources,
        weights: Mapping[str, float],
        bfloat16: bool = False,
        builders: Mapping[str, Builder] | None = None,
    ):
        unknown = sorted(set(weights) - set(BUILDERS))
        if unknown:
            raise ValueError(f"a mixture needs tasks of the registry, found {unknown}: choose from {sorted(BUILDERS)}")
        self.autoencoder, self.rendered, self.bfloat16 = autoencoder, rendered, bfloat16
        self.weights, self.builders = dict(weights), BUILDERS | dict(builders or {})

    def batch(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Draw and encode a batch; samples of one task lie together."""
        return self.encode(self.draw(batch_size, generator))

    def draw(self, batch_size: int, generator: torch.Generator) -> DrawnSamples:
        """What a batch is made of; a function of the generator's state alone."""
        names = list(self.weights)
        shares = torch.tensor([self.weights[name] for name in names])
        chosen = torch.multinomial(shares, batch_size, replacement=True, generator=generator)
        counts = torch.bincount(chosen, minlength=len(names)).tolist()
        drawn = [(name, n) for name, n in zip(names, counts, strict=True) if n]
        parts = [self._part(name, n, generator) for name, n in drawn]
        fresh, size = [part.target for part in parts if part.stored[1] is None], self.rendered.size
        return DrawnSamples(
            tasks=[name for name, n in drawn for _ in range(n)],
            sentences=[sentence for part in parts for sentence in part.sentences],
            source=to_bytes(torch.cat([part.source for part in parts])),
            target=to_bytes(torch.cat(fresh)) if fresh else parts[0].source.new_empty(0, 3, size, size).byte(),
            stored=[(len(part.sentences), *part.stored) for part in parts],
            seeds=torch.randint(2**62, (batch_size,), generator=generator).tolist(),
            truth=self._truth(parts),
        )

    def _part(self, task: str, n: int, generator: torch.Generator) -> Pairs:
        pairs = self.builders[task](self.rendered, n, generator)
        turned = task in MIRRORED and float(torch.rand((), generator=generator)) < 0.5
        return in_a_mirror(task, pairs, self.rendered.figures.pose) if turned else pairs

    @torch.no_grad()
    def encode(self, drawn: DrawnSamples) -> Batch:
        """The batch of what was drawn, on the autoencoder's device."""
        place = self.autoencoder.code.weight.device
        counts = [n for n, _, _ in drawn.stored]
        sources = [
            part for part, (_, kept, _) in zip(drawn.source.split(counts), drawn.stored, strict=True) if kept is None
        ]
        sizes = [len(part) for part in sources] + [n for n, _, kept in drawn.stored if kept is None]
        fresh = torch.cat([*sources, drawn.target]).to(place).float() / 255
        encoded = iter(self._encode(fresh).split(sizes) if sizes else ())

        def latents(kept: Stored | None) -> Tensor:
            return next(encoded) if kept is None else self.rendered.scenes.latents(*kept, self._encode)

        return Batch(
            drawn.tasks,
            drawn.sentences,
            drawn.source.to(place).float() / 127.5 - 1,
            torch.cat([latents(kept) for _, kept, _ in drawn.stored]),
            torch.cat([latents(kept) for _, _, kept in drawn.stored]),
            drawn.seeds,
            truth=drawn.truth.to(place),
        )

    def _truth(self, parts: list[Pairs]) -> Truth:
        nothing = [torch.full((len(part.sentences),), -1) for part in parts]

        def rows(name: str) -> Tensor:
            found = [getattr(part, name) for part in parts]
            return torch.cat([n if row is None else row for row, n in zip(found, nothing, strict=True)])

        scene, named, people = rows("scene"), rows("named"), rows("people")
        known, asked, posed, paled = scene >= 0, named > 0, people >= 0, rows("paled") > 0
        labels = self.rendered.scenes.patches[scene.clamp(min=0)].float() * known[:, None, None, None]
        labels = without_hints(labels, paled)
        classes = class_cells(self.rendered.scenes.coded["segmentation"][scene.clamp(min=0)])
        shares = self.rendered.scenes.named(scene.clamp(min=0), named) * asked[:, None, None]
        turned = torch.cat([torch.full((len(part.sentences),), part.mirrored) for part in parts])
        labels[turned], shares[turned] = mirrored_labels(labels[turned]), shares[turned].flip(-1)
        classes[turned] = classes[turned].flip(-1)
        untold = each_cell((labels[:, PARTS["classes"]] < 0).any(1))
        classes = torch.where(untold[:, None], -1.0, classes)
        pointed = torch.cat(
            [shares.new_zeros(len(p.sentences), *shares.shape[1:]) if p.pointed is None else p.pointed for p in parts]
        )
        shares, asked = shares + pointed, asked | pointed.flatten(1).any(1)
        pose = self.rendered.figures.pose[people.clamp(min=0)]
        pose[turned] = mirrored_poses(pose[turned], self.rendered.size)
        joints = joint_cells(pose, self.rendered.size) * posed[:, None, None, None]
        return Truth(labels, known, classes, shares, asked, joints, posed)

    def _encode(self, picture: Tensor) -> Tensor:
        """Latents of pictures in [0,1], on the autoencoder's device."""
        picture = picture.to(self.autoencoder.code.weight.device)
        parts = (
            picture.split(max(CACHED_PIXELS // picture[0, 0].numel(), 1)) if picture.device.type == "cpu" else [picture]
        )
        with torch.autocast(picture.device.type, torch.bfloat16, enabled=self.bfloat16):
            return torch.cat([self.autoencoder.encode(part * 2 - 1).float() for part in parts])
