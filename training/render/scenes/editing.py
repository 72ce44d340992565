"""Edits of scenes: the same scene with one thing changed, and the words from which an instruction is made.

A kind is one function in EDITS (see `solid_edits` and `scene_edits`); new kinds are added there.
"""

from collections.abc import Callable

import torch

from . import scene_edits, solid_edits
from .parameters import Scenes
from .renderer import Labels, Render, labels, render
from .scene_words import MIN_SHARE, caption, referring
from .solid_edits import CHECK_SIDE
from .vocabulary import BACKGROUND_CLASS, COLOR_NAMES, SHAPES

Words = dict[str, str]
Change = Callable[[Scenes, int, Words, torch.Generator], Scenes | None]

EDITS: dict[str, Change] = {
    "remove": solid_edits.remove,
    "recolor": solid_edits.recolor,
    "replace": solid_edits.replace,
    "add": solid_edits.add,
    "background": scene_edits.background,
    "texture": solid_edits.texture,
    "local": solid_edits.local,
    "global": scene_edits.light,
}
EDIT_TASKS = {f"edit_{kind}": kind for kind in EDITS}
# Kinds that return the scene before the edit; the given scene is the result.
SWAPPED = frozenset({"add"})

_WHOLE = frozenset({"background", "global"})  # kinds that change no single solid
# Which of an edit's words stands for which placeholder of its task.
_PLACEHOLDERS = {
    "remove": {"caption": "expression"},
    "recolor": {"caption": "expression", "color": "new_color"},
    "replace": {"caption": "expression", "class": "new"},
    "add": {"caption": "new"},
    "background": {"caption": "new"},
    "texture": {"caption": "expression", "class": "new"},
    "local": {"caption": "expression", "class": "new"},
    "global": {"caption": "new"},
}
_TRIES = 12  # draws of a change for each solid
_LOOK_SIDE = 64  # pixels of the pictures on which a change must show
_MIN_CHANGE, _MIN_WHOLE_CHANGE = 0.06, 0.08  # of full scale, mean over the changed part of the largest channel's change
_MIN_BACKGROUND = 0.1  # of the picture
_MIN_SEEN = 0.5  # of the outline of the solid that changed
_MIN_KEPT = 0.75  # of the pixels that every other solid showed before


class NoRoom(ValueError):
    """The scene offers no change of this kind that is plain to see; another scene or kind may."""


def task_words(kind: str, words: Words) -> Words:
    """What `Task.instruction` of the task edit_<kind> takes, from the words that `edit` returns."""
    return {name: words[key] for name, key in _PLACEHOLDERS[kind].items()}


def _seen(before: Labels, after: Labels, place: int) -> bool:
    """The solid shows enough in the result to be referred to, and hides no other one that was seen before."""
    was, now = before.visible()[0], after.visible()[0]
    enough = now[place] >= max(MIN_SHARE * after.instance[0].numel(), _MIN_SEEN * int(after.footprint[0, place]))
    kept = now >= _MIN_KEPT * was
    kept[place] = True
    return bool(enough and kept.all())


def _shows(kind: str, before: Render, edited: Scenes, place: int) -> bool:
    """Whether the change is plain to see. Removals always are: the solid could be referred to."""
    if kind in ("remove", "add"):
        return True
    after = render(edited, _LOOK_SIDE)
    change = (before.image - after.image).abs().amax(1)[0]
    if kind in _WHOLE:
        part = after.classes[0] == BACKGROUND_CLASS if kind == "background" else torch.ones_like(change).bool()
        return bool(part.float().mean() >= _MIN_BACKGROUND and change[part].mean() >= _MIN_WHOLE_CHANGE)
    part = (before.instance[0] == place + 1) | (after.instance[0] == place + 1)
    return bool(_seen(before, after, place) and change[part].mean() >= _MIN_CHANGE)


def _subjects(scenes: Scenes, i: int, generator: torch.Generator, view: Labels | None) -> list[tuple[int, Words]]:
    """Place and words of every solid of scene i that can be referred to, in random order."""
    scene = scenes.index(i)
    if view is None:
        expressions = referring(scene, labels(scene, CHECK_SIDE), 0, generator)
    else:
        expressions = referring(scenes, view, i, generator)
    if not expressions:
        raise NoRoom(f"scene {i} shows no solid that words single out; edit another scene")
    subjects: dict[int, Words] = {}
    for expression, instance in expressions:
        words = {
            "expression": expression,
            "color": COLOR_NAMES[int(scene.color[0, instance - 1])],
            "shape": SHAPES[int(scene.shape[0, instance - 1])],
            "instance": str(instance),
        }
        subjects.setdefault(instance - 1, words)
    return list(subjects.items())


def edit(
    scenes: Scenes, i: int, kind: str, generator: torch.Generator, view: Labels | None = None
) -> tuple[Scenes, Words]:
    """Scene i with one change that is plain to see, as a batch of length 1, and the words for its instruction.

    The given scene is the source and the returned one the result; for a kind in SWAPPED ("add") it is the other way
    round. Words: `source_caption`, `caption` (of the returned scene); unless the whole scene changes `expression`
    (means exactly the changed solid in the given scene), `color` and `shape` (of that solid in it) and `instance`
    (its id, as digits); and what the kind adds: "recolor" `new_color`, and `new`: "replace" as in "a blue cone",
    "add" as in "a small red ball on the left", "background" as in "a striped wall", "texture" its name, "local"
    "larger" or "smaller", "global" as in "at night". `task_words` picks what the task's templates need.
    view: labels of all of `scenes` at the size in use, else they are rendered small.
    Errors: ValueError for an unknown kind; NoRoom, a ValueError, where no solid can be referred to (never for a scene
    as sampled) or no change of this kind is plain to see (for 0 to 3 % of scenes, by kind).
    """
    if kind not in EDITS:
        raise ValueError(f"edit kind must be one of {', '.join(EDITS)}, found {kind!r}; choose one of these")
    scene = scenes.index(i)
    subjects = [(0, Words())] if kind in _WHOLE else _subjects(scenes, i, generator, view)
    before = render(scene, _LOOK_SIDE)
    for place, known in subjects:
        for _ in range(_TRIES):
            words = dict(known)
            edited = EDITS[kind](scene, place, words, generator)
            if edited is not None and _shows(kind, before, edited, place):
                words["source_caption"] = caption(scene, 0, generator)
                words["caption"] = caption(edited, 0, generator)
                return edited, words
    raise NoRoom(f"scene {i} has no room for an edit {kind!r} that is plain to see; edit another scene")
