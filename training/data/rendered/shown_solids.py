"""Which solids a stored scene shows, and what a class of them can be called.

Shape legend: K solids, S side in pixels, g = S/16 patches a side.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...render.scenes import COLOR_NAMES, HELD_OUT, SHAPES
from ...render.scenes.scene_words import MIN_SHARE
from ...render.scenes.vocabulary import SHAPE_WORDS
from .patch_labels import COLORS, PARTS, pooled
from .scene_pool import ScenePool

# Rounding of a patch's mean; shares of its 256 pixels are exact in half precision.
ROUNDING = 1e-3
ANY = "object"


class Shown(NamedTuple):
    """A solid that a scene shows: its number in the instance map, its kind, and its share of the pixels."""

    instance: int
    shape: str
    color: str
    share: float

    @property
    def clear(self) -> bool:
        """Whether it is large enough to be referred to."""
        return self.share >= MIN_SHARE


def shown_solids(scenes: ScenePool, i: int) -> list[Shown] | None:
    """The solids of scene i of which a pixel shows, by their numbers; None where the labels leave a kind open.

    In every patch a solid's shape and colour cover at least what it covers itself. Another kind does too only where
    another solid covers more of each of its patches.
    """
    instance = scenes.instance[i]
    numbers = [number for number in instance.unique().tolist() if number]
    if not numbers:
        return []
    masks = torch.stack([instance == number for number in numbers]).float()
    covered, labels = pooled(masks[None])[0], scenes.patches[i].float()
    shapes = labels[PARTS["classes"]][-len(SHAPES) :]
    fits = [_covering(covered, kinds) for kinds in (shapes, labels[PARTS["colors"]][:COLORS])]
    if any(bool((fit.sum(1) != 1).any()) for fit in fits):
        return None
    shape, color = (fit.int().argmax(1).tolist() for fit in fits)
    shares = masks.mean((1, 2)).tolist()
    return [Shown(numbers[k], SHAPES[shape[k]], COLOR_NAMES[color[k]], shares[k]) for k in range(len(numbers))]


def _covering(covered: Tensor, kinds: Tensor) -> Tensor:
    """Whether a kind [c,g,g] covers at least what a solid [K,g,g] does, in every patch: [K,c] bool."""
    return (kinds[None] >= covered[:, None] - ROUNDING).all(-1).all(-1)


def classes_shown(solids: list[Shown]) -> list[tuple[str, list[int]]]:
    """What one of a class is called, as in "red ball", and the numbers of all that belong to it.

    Left out are classes with a member that is too small to be referred to.
    """
    members: dict[str, list[Shown]] = {}
    for solid in solids:
        nouns = [noun for word in SHAPE_WORDS[solid.shape] for noun in (word, f"{solid.color} {word}")]
        for noun in (*nouns, f"{solid.color} {ANY}"):
            members.setdefault(noun, []).append(solid)
    return [(noun, [one.instance for one in all_]) for noun, all_ in members.items() if all(one.clear for one in all_)]


def classes_absent(solids: list[Shown]) -> list[str]:
    """What a solid of a colour and a shape is called that a scene does not show, of pairs that training shows."""
    present = {(solid.color, solid.shape) for solid in solids} | HELD_OUT
    pairs = [(color, shape) for color in COLOR_NAMES for shape in SHAPES]
    return [f"{c} {word}" for c, shape in pairs if (c, shape) not in present for word in SHAPE_WORDS[shape]]
