"""Scenes in other hues, so that shapes are not told by colours.

Seven colours never come with one of the shapes in training. Who has seen no yellow box takes a yellow box for a
cylinder, as long as shapes are hard to tell: nano, half trained, told the shape of 78 % of the solids' patches in
scenes like those of training and of 42 % in those with held-out pairs. So where words name no colour, the colours of a
scene are paled or turned, and shapes are taught there only; a pair that is held out does not come about by that.

Shapes: n scenes, S side in pixels, c channels of `patch_labels`, g patches a side, K colours, M shapes.
"""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor

from ...render.scenes import COLOR_NAMES, SHAPES
from ...render.scenes.vocabulary import COLORS, is_held_out
from .patch_labels import PARTS, SOLIDS

# Share of the scenes whose colours are turned, where that is possible; and of these that are pale.
TURNED_SHARE, PALE_SHARE = 0.85, 0.6
# Hues that lie this near to a held-out colour are taken for it, if they are not paler than this share.
NEAR, PALE = math.radians(24), 0.3
# A patch belongs to a solid from this share on.
COVERED = 0.1
TRIES = 6
COLOR_WORD = re.compile(rf"\b({'|'.join(COLOR_NAMES)})\b", re.IGNORECASE)

_GRAY = torch.full((3, 3), 1 / 3)
_ACROSS = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)


def turning(angle: float, strength: float) -> Tensor:
    """The matrix [3,3] on RGB that turns hues by an angle about gray, in radians, and scales what is not gray."""
    return _GRAY + strength * (math.cos(angle) * (torch.eye(3) - _GRAY) + math.sin(angle) * _ACROSS)


def _hue(color: str) -> float:
    r, g, b = COLORS[color]
    return math.atan2((g - b) * math.sqrt(3) / 2, r - (g + b) / 2)


HUES = torch.tensor([_hue(color) for color in COLOR_NAMES])  # [K]
# Whether the pair of a colour and a shape is held out, [K,M].
FORBIDDEN = torch.tensor([[is_held_out(k, m) for m in range(len(SHAPES))] for k in range(len(COLOR_NAMES))])
# White and gray have no hue to turn.
COLORFUL = torch.tensor([max(COLORS[color]) - min(COLORS[color]) > 0.1 for color in COLOR_NAMES])


def pairs_shown(patches: Tensor) -> Tensor:
    """Colours and shapes that solids of a scene may have together, [K,M] bool, of its labels [c,g,g]."""
    color, shape = (patches[part].float().flatten(1) > COVERED for part in (PARTS["colors"], SOLIDS))
    return (color[:, None] & shape[None]).any(-1)


def allowed(shown: Tensor, angle: float) -> bool:
    """Whether turning hues by an angle brings about no held-out pair in a scene that shows these pairs [K,M]."""
    away = HUES[:, None] + angle - HUES[None]  # [K,K], of a solid's hue now from each colour's
    near = torch.atan2(away.sin(), away.cos()).abs() < NEAR
    taken_for = (near & COLORFUL[:, None]).float()
    return not bool(((taken_for.T @ shown.float() > 0) & FORBIDDEN).any())


def names_color(words: str) -> bool:
    """Whether a sentence names a colour."""
    return COLOR_WORD.search(words) is not None


def turned(picture: Tensor, patches: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures [...,3,S,S] in [0,1] of a scene with labels [c,g,g], in other hues, the same for all of them; in gray
    where each try shows a pair that is held out.
    """
    shown, pale = pairs_shown(patches), float(torch.rand((), generator=generator)) < PALE_SHARE
    for angle, strength in torch.rand(TRIES, 2, generator=generator).tolist():
        angle, strength = angle * 2 * math.pi, PALE * strength if pale else PALE + (1.1 - PALE) * strength
        if pale or allowed(shown, angle):
            return torch.einsum("ij,...jhw->...ihw", turning(angle, strength), picture).clamp(0, 1)
    return picture.mean(-3, keepdim=True).expand_as(picture)


def turned_scenes(
    pictures: Tensor, patches: Tensor, generator: torch.Generator, colorless: Tensor | bool = True
) -> tuple[Tensor, Tensor]:
    """Pictures [n,...,3,S,S] of n scenes of which a share is in other hues, and which ones [n].

    Args:
        patches: labels [n,c,g,g].
        colorless: [n], scenes of which no word names a colour; the others stay as they are.
    """
    chosen = (torch.rand(len(pictures), generator=generator) < TURNED_SHARE) & colorless
    pictures = pictures.clone()
    for i in chosen.nonzero()[:, 0].tolist():
        pictures[i] = turned(pictures[i], patches[i], generator)
    return pictures, chosen


def without_hints(labels: Tensor, turned: Tensor) -> Tensor:
    """Labels [n,c,g,g] less what is not to be taught: the colours of turned scenes, which have no names, and classes of
    all others, where colours say too much about shapes.
    """
    labels = labels.clone()
    for part, unknown in (("colors", turned), ("classes", ~turned)):
        labels[unknown, PARTS[part]] = -1.0
    return labels
