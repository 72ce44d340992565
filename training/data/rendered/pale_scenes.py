"""Pale scenes, so that shapes are not told by colours.

Seven colours never come with one of the shapes in training. Who has seen no yellow box takes a yellow box for a
cylinder, as long as shapes are hard to tell: nano, half trained, told the shape of 78 % of the solids' patches in
scenes like those of training and of 42 % in those with held-out pairs. Turning the hues of a scene while no held-out
pair comes about does not help: that a hue near to yellow never comes with a box is then taught all the more (the vision
tower told 64 % of the shapes of held-out solids in gray, 38 % in colours). So where words name no colour, scenes are
paled until a hue is hardly one, and shapes are taught there, and of solids whose colours come with every shape.

Shapes: n scenes, S side in pixels, c channels of `patch_labels`, g patches a side, K colours.
"""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor

from ...render.scenes import COLOR_NAMES, SHAPES
from ...render.scenes.vocabulary import is_held_out
from .patch_labels import PARTS, SOLIDS

# Share of the scenes that are paled, where that is possible, and how much of their colour is left at most.
PALED_SHARE, PALE = 0.85, 0.3
# A patch shows a solid of a colour from this share on, and is about solids from that.
SHOWN, COVERED = 0.02, 0.5
COLOR_WORD = re.compile(rf"\b({'|'.join(COLOR_NAMES)})\b", re.IGNORECASE)

_GRAY = torch.full((3, 3), 1 / 3)
_ACROSS = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
# Colours that say something about shapes, because they do not come with all, [K].
TELLING = torch.tensor([any(is_held_out(k, m) for m in range(len(SHAPES))) for k in range(len(COLOR_NAMES))])


def turning(angle: float, strength: float) -> Tensor:
    """The matrix [3,3] on RGB that turns hues by an angle about gray, in radians, and scales what is not gray."""
    return _GRAY + strength * (math.cos(angle) * (torch.eye(3) - _GRAY) + math.sin(angle) * _ACROSS)


def names_color(words: str) -> bool:
    """Whether a sentence names a colour."""
    return COLOR_WORD.search(words) is not None


def paled_scenes(
    pictures: Tensor, generator: torch.Generator, colorless: Tensor | bool = True, share: float | None = None
) -> tuple[Tensor, Tensor]:
    """Pictures [n,...,3,S,S] in [0,1] of n scenes of which a share is pale and in other hues, and which ones [n].

    Args:
        colorless: [n], scenes of which no word names a colour; the others stay as they are.
        share: of those that are paled; None for PALED_SHARE.
    """
    chosen, angle, strength = torch.rand(3, len(pictures), generator=generator)
    paled = (chosen < (PALED_SHARE if share is None else share)) & colorless
    pictures = pictures.clone()
    for i in paled.nonzero()[:, 0].tolist():
        matrix = turning(float(angle[i]) * 2 * math.pi, PALE * float(strength[i]))
        pictures[i] = torch.einsum("ij,...jhw->...ihw", matrix, pictures[i]).clamp(0, 1)
    return pictures, paled


def without_hints(labels: Tensor, paled: Tensor) -> Tensor:
    """Labels [n,c,g,g] less what is not to be taught, which becomes -1: the colours of pale scenes; elsewhere the
    classes of patches with solids of a telling colour, and of a whole scene in which no patch of a solid is left.
    """
    labels = labels.clone()
    labels[paled, PARTS["colors"]] = -1.0
    shown = labels[:, PARTS["colors"]] > SHOWN
    hidden, solid = shown[:, TELLING].any(1), labels[:, SOLIDS].sum(1) > COVERED
    hidden = (hidden | ~(solid & ~hidden).flatten(1).any(1)[:, None, None]) & ~paled[:, None, None]
    labels[:, PARTS["classes"]] = torch.where(hidden[:, None], -1.0, labels[:, PARTS["classes"]])
    return labels
