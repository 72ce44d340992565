"""What pairs are built from at one size, and what a pair is.

Shape legend: n samples of one task, S side in pixels, G cells a side (see `patch_labels`), C latent channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .figure_pool import FacePool, FigurePool
from .scene_pool import ScenePool

Draw = Callable[[int, int, torch.Generator], Tensor]


@dataclass
class RenderedSources:
    """Sources of pictures and labels at one size.

    Attributes:
        size: S.
        clean: draws clean pictures of any kind, for tasks that work on any picture.
        scenes, figures, faces: pools at this size.
        wide: draws clean pictures of any size, to be damaged at twice the side and cut; None for no such samples.
    """

    size: int
    clean: Draw
    scenes: ScenePool
    figures: FigurePool
    faces: FacePool
    wide: Draw | None = None

    def pictures(self, n: int, generator: torch.Generator) -> Tensor:
        """n clean pictures of any kind [n,3,S,S] in [0,1]."""
        return self.clean(n, self.size, generator)


@dataclass
class Pairs:
    """n samples of one task.

    Attributes:
        source, target: [n,3,S,S] in [0,1], what the model sees and what it should make of it; cut together always.
        sentences: n instructions.
        stored: for source and target the pool's name of what they show and its rows [n], where the pool keeps their
            latents; None where they have to be encoded.
        scene: [n] number of the scene that a source shows as it is, -1 for none; None for none at all.
        named: [n] instance id in that scene of the solid that the sentence names, 0 for none.
        people: [n] number of the picture of people that a source shows as it is; None for none at all.
        paled: [n] whether a source shows its scene pale; None for none at all.
        pointed: [n,G,G], the share of cells that the sentence names where that is no single solid: discs round joints,
            several solids; None for none at all.
        mirrored: whether all of it is seen in a mirror, the scenes as well.
    """

    source: Tensor
    target: Tensor
    sentences: list[str]
    stored: tuple[tuple[str, Tensor] | None, tuple[str, Tensor] | None] = (None, None)
    scene: Tensor | None = None
    named: Tensor | None = None
    people: Tensor | None = None
    paled: Tensor | None = None
    pointed: Tensor | None = None
    mirrored: bool = False


def below(high: int, n: int, generator: torch.Generator) -> list[int]:
    """n indices below `high`."""
    return torch.randint(high, (n,), generator=generator, device=generator.device).tolist()


def pick(items: Sequence[Any], generator: torch.Generator) -> Any:
    """One of some items, at random."""
    return items[below(len(items), 1, generator)[0]]


def blend(*draws: tuple[float, Draw]) -> Draw:
    """A source of pictures that takes each one from one of several, by share."""
    shares = torch.tensor([share for share, _ in draws])

    def draw(n: int, size: int, generator: torch.Generator) -> Tensor:
        chosen = torch.multinomial(shares, n, replacement=True, generator=generator)
        counts = torch.bincount(chosen, minlength=len(draws)).tolist()
        return torch.cat([d(count, size, generator) for (_, d), count in zip(draws, counts, strict=True) if count])

    return draw
