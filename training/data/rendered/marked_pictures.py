"""Pictures with marks drawn on them, and sentences that say so: what a network that will answer with marks first draws.

A model of pictures has never seen a mask laid over a thing, a box round it or a dot on it. InstructDiffusion therefore
trains text-to-image on such pictures before all else (pretraining adaptation): the caption, and after it what is drawn
where. Here the pictures are those of the pools, marked by the codes of the tasks that will use them.
Source: InstructDiffusion (Geng et al., 2023), pretraining adaptation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ....comfyui_pixwizard.tasks import TASKS
from ...render.scenes.scene_words import listed
from .grounding import PAINTS, box_of, joint_words
from .sources import Pairs, RenderedSources, below, pick

# Share of pictures of people, with dots on their joints; and of scenes with two marks instead of one.
PEOPLE_SHARE, TWO_SHARE = 0.15, 0.4


def _mask(picture: Tensor, mask: Tensor, color: str) -> Tensor:
    return TASKS["referring_segmentation"].encode(mask, picture, color=color)


def _box(picture: Tensor, mask: Tensor, color: str) -> Tensor:
    return TASKS["referring_box"].encode(box_of(mask), picture, color=color)


def _dot(picture: Tensor, mask: Tensor, color: str) -> Tensor:
    rows, columns = mask.nonzero().float().unbind(1)
    joint = torch.tensor([[float(columns.mean()), float(rows.mean()), 1.0]])
    return TASKS["keypoint"].encode(joint, picture, colors=(color,))


# What draws a mark, and how a sentence says it.
MARKS: dict[str, Callable[[Tensor, Tensor, str], Tensor]] = {
    "a {color} mask over {thing}": _mask,
    "a {color} box around {thing}": _box,
    "a {color} dot on {thing}": _dot,
}


def marked_pictures(rendered: RenderedSources, n: int, generator: torch.Generator) -> Pairs:
    """Text-to-image pairs, from a canvas that is black or white, to scenes and people with one or several marks."""
    targets, sentences = [], []
    for _ in range(n):
        people = float(torch.rand((), generator=generator)) < PEOPLE_SHARE
        target, caption = (_person if people else _scene)(rendered, generator)
        targets.append(target)
        sentences.append(TASKS["text_to_image"].instruction(generator, caption=caption))
    target = torch.stack(targets)
    shade = torch.randint(2, (n, 1, 1, 1), generator=generator).float()
    return Pairs(shade.expand_as(target).clone(), target, sentences)


def _scene(rendered: RenderedSources, generator: torch.Generator) -> tuple[Tensor, str]:
    scenes = rendered.scenes
    i = pick(scenes.referable, generator)
    picture, said = scenes.picture(torch.tensor([i]))[0], []
    things = scenes.referrals[i]
    first = pick(things, generator)
    chosen = [first]
    others = [thing for thing in things if thing[1] != first[1]]
    if others and float(torch.rand((), generator=generator)) < TWO_SHARE:
        chosen.append(pick(others, generator))
    colors = torch.randperm(len(PAINTS), generator=generator).tolist()
    for (expression, number), color in zip(chosen, colors, strict=False):
        words = list(MARKS)[below(len(MARKS), 1, generator)[0]]
        picture = MARKS[words](picture, scenes.instance[i] == number, PAINTS[color])
        said.append(words.format(color=PAINTS[color], thing=expression))
    return picture, f"{pick(scenes.captions[i], generator)}, with {listed(said)}"


def _person(rendered: RenderedSources, generator: torch.Generator) -> tuple[Tensor, str]:
    figures = rendered.figures
    shown = [i for i, found in enumerate(figures.joints) if found]
    i = pick(shown, generator)
    words, joints, colors = joint_words(figures, i, generator)
    picture = TASKS["keypoint"].encode(joints, figures.picture(torch.tensor([i]))[0], colors=colors)
    said = f"dots on {words['joints']}" if "joints" in words else f"a {words['color']} dot on {words['caption']}"
    return picture, f"{pick(figures.captions[i], generator)}, with {said}"
