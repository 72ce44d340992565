"""Edits of scenes: the same scene with one thing changed, and the words from which an instruction is made.

A kind is one function in EDITS that gets a batch of length 1 and the words so far; new kinds are added there.
"""

from collections.abc import Callable

import torch

from .parameters import Scenes
from .renderer import Labels, labels
from .sample import jitter_color
from .vocabulary import COLOR_NAMES, COLORS, SHAPES, is_held_out
from .words import Chooser, caption, referring

Words = dict[str, str]
_CHECK_SIDE = 96  # pixels of the labels that expressions are checked on when the caller brings none


def _remove(scene: Scenes, place: int, words: Words, generator: torch.Generator) -> Scenes:
    present = scene.present.clone()
    present[0, place] = False
    return scene.replace(present=present)


def _recolor(scene: Scenes, place: int, words: Words, generator: torch.Generator) -> Scenes:
    """Another named colour; the texture's second colour keeps its ratio to the first. Adds `new_color`."""
    shape, old = int(scene.shape[0, place]), int(scene.color[0, place])
    may_hold_out = bool(scene.held_out[0])
    choices = [c for c in range(len(COLOR_NAMES)) if c != old and (may_hold_out or not is_held_out(c, shape))]
    new = Chooser(generator).pick(choices)
    color, rgb, second = scene.color.clone(), scene.rgb.clone(), scene.texture_rgb.clone()
    ratio = second[0, place].sum() / rgb[0, place].sum()
    named = torch.tensor(COLORS[COLOR_NAMES[new]], device=rgb.device)
    color[0, place] = new
    rgb[0, place] = jitter_color(named, generator)
    second[0, place] = rgb[0, place] * ratio
    words["new_color"] = COLOR_NAMES[new]
    return scene.replace(color=color, rgb=rgb, texture_rgb=second)


EDITS: dict[str, Callable[[Scenes, int, Words, torch.Generator], Scenes]] = {"remove": _remove, "recolor": _recolor}


def edit(
    scenes: Scenes, i: int, kind: str, generator: torch.Generator, view: Labels | None = None
) -> tuple[Scenes, Words]:
    """Scene i with one change, as a batch of length 1, and the words for its instruction.

    Words: `expression` (means exactly the changed solid in the unchanged picture), `color` and `shape` (of that solid
    before), `source_caption`, `caption` (of the result), `instance` (its id, as digits), and what the kind adds:
    "recolor" `new_color`. view: labels of all of `scenes` at the size in use, else they are rendered small.
    Errors: ValueError for an unknown kind, or where no solid can be referred to (never for a scene as sampled).
    """
    if kind not in EDITS:
        raise ValueError(f"edit kind must be one of {', '.join(EDITS)}, found {kind!r}; choose one of these")
    scene = scenes.index(i)
    found, row = (labels(scene, _CHECK_SIDE), 0) if view is None else (view, i)
    expressions = referring(scene if view is None else scenes, found, row, generator)
    if not expressions:
        raise ValueError(f"scene {i} shows no solid that words single out; edit another scene")
    expression, instance = expressions[0]
    place = instance - 1
    words = {
        "expression": expression,
        "color": COLOR_NAMES[int(scene.color[0, place])],
        "shape": SHAPES[int(scene.shape[0, place])],
        "instance": str(instance),
        "source_caption": caption(scene, 0, generator),
    }
    edited = EDITS[kind](scene, place, words, generator)
    words["caption"] = caption(edited, 0, generator)
    return edited, words
