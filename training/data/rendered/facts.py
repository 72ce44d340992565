"""What a sentence says, as numbers: the lesson of the text towers before all else is trained.

A fact is one word of a fixed list, found in what stands for a placeholder; each phrase names its own thing first, so
the first word of a list counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch

from ....comfyui_pixwizard.tasks import TASKS
from ....comfyui_pixwizard.tasks.codecs.asked import RELATIVE_SCALE
from ...render import scenes as S
from ...render.scenes.lettering import WORDS
from ...render.scenes.picture_edits import STYLE_WORDS, STYLES
from ...render.scenes.vocabulary import CUBE_WORDS, SHAPE_WORDS, SIZE_WORDS, TEXTURES
from .builders import DESCRIBED_SHARE, RELATIVE_SHARE
from .grounding import DISC_COLORS, hidden_thing, joint_words, referring_words
from .scene_pool import EDITS
from .sources import RenderedSources, below, pick

# Words of each fact's values; a phrase that has none of a fact's words has the value 0.
SHAPES = tuple((*words, *(CUBE_WORDS if name == "box" else ())) for name, words in SHAPE_WORDS.items())
PHRASE: dict[str, tuple[tuple[str, ...], ...]] = {
    "color": tuple((name,) for name in S.COLOR_NAMES),
    "shape": SHAPES,
    "size": tuple(SIZE_WORDS.values()),
    "texture": tuple((name,) for name in TEXTURES if name != "plain"),
    "place": (
        ("left", "leftmost"),
        ("right", "rightmost"),
        ("middle",),
        ("nearest", "closest", "front"),
        ("farthest", "back"),
        ("largest", "biggest"),
        ("smallest",),
    ),
}
# What an edit turns a thing into, from {color} and {class}; the colour of a mark too.
CHANGE: dict[str, tuple[tuple[str, ...], ...]] = {
    "new_color": tuple((name,) for name in dict.fromkeys((*S.COLOR_NAMES, *DISC_COLORS))),
    "new_shape": SHAPES,
    "new_texture": tuple((name,) for name in TEXTURES),
    "new_size": (("larger",), ("smaller",)),
}
FACTS: dict[str, int] = {
    "task": len(TASKS),
    **{name: len(values) + 1 for name, values in (PHRASE | CHANGE).items()},
}
UNKNOWN = -100  # as cross_entropy leaves it out
# Tasks whose {caption} is one thing; captions of whole pictures are matched with the pictures instead.
ONE_THING = {"referring_segmentation", "referring_mask", "referring_box", *EDITS} - {"edit_background", "edit_global"}

Words = Mapping[str, str]
Writer = Callable[[RenderedSources, torch.Generator], Words]


def _value(text: str, values: tuple[tuple[str, ...], ...]) -> int:
    found = [
        (at.start(), number)
        for number, words in enumerate(values, start=1)
        for word in words
        for at in re.finditer(rf"\b{word}e?s?\b", text)
    ]
    return min(found)[1] if found else 0


def facts(task: str, words: Words) -> list[int]:
    """Values of FACTS, in its order, for an instruction made of these words; UNKNOWN where a fact is of no account."""
    known: dict[str, int] = {"task": list(TASKS).index(task)}
    if task in ONE_THING:
        # A class without a caption is what is named, not what it becomes.
        named, becomes = (words["caption"], words.get("class", "")) if "caption" in words else (words["class"], "")
        known |= {name: _value(named, values) for name, values in PHRASE.items()}
        new = f"{words.get('color', '')} {becomes}"
        known |= {name: _value(new, values) for name, values in CHANGE.items()}
    return [known.get(name, UNKNOWN) for name in FACTS]


# -- sentences -----------------------------------------------------------------------------------------------------


def _referral(task: str) -> Writer:
    def written(rendered: RenderedSources, generator: torch.Generator) -> Words:
        return referring_words(task, rendered, pick(rendered.scenes.referable, generator), generator)[0]

    return written


def _joint(rendered: RenderedSources, generator: torch.Generator) -> Words:
    shown = [i for i, found in enumerate(rendered.figures.joints) if found]
    return joint_words(rendered.figures, pick(shown, generator), generator)[0]


def _hole(rendered: RenderedSources, generator: torch.Generator) -> Words:
    described = below(1000, 1, generator)[0] < 1000 * DESCRIBED_SHARE
    return {"caption": hidden_thing(rendered, generator)[2]} if described else {}


def _depth(rendered: RenderedSources, generator: torch.Generator) -> Words:
    relative = below(1000, 1, generator)[0] < 1000 * RELATIVE_SHARE
    return {"scale": RELATIVE_SCALE} if relative else {}


def _person(rendered: RenderedSources, generator: torch.Generator) -> Words:
    return {"caption": pick(pick(rendered.figures.captions, generator), generator)}


def _scene(rendered: RenderedSources, generator: torch.Generator) -> Words:
    return {"caption": pick(pick(rendered.scenes.captions, generator), generator)}


def _edit(task: str) -> Writer:
    return lambda rendered, generator: pick(rendered.scenes.by_edit[task], generator).words


def _style(rendered: RenderedSources, generator: torch.Generator) -> Words:
    name = pick(list(STYLES), generator)
    return {"caption": pick((name, *STYLE_WORDS[name]), generator)}


def _letters(rendered: RenderedSources, generator: torch.Generator) -> Words:
    return {"caption": pick(WORDS, generator)}


WRITERS: dict[str, Writer] = {
    **{task: _referral(task) for task in ("referring_segmentation", "referring_mask", "referring_box")},
    "keypoint": _joint,
    "inpaint": _hole,
    "depth": _depth,
    "pose_to_image": _person,
    **{task: _scene for task in TASKS if task.endswith("to_image") and task != "pose_to_image"},
    **{task: _edit(task) for task in EDITS},
    "edit_style": _style,
    "edit_text": _letters,
}


def sentences(
    tasks: list[str], rendered: RenderedSources, generator: torch.Generator
) -> tuple[list[str], torch.Tensor]:
    """An instruction of each of B tasks, as training draws them, and their facts [B, len(FACTS)]."""
    said, known = [], []
    for task in tasks:
        words = WRITERS[task](rendered, generator) if task in WRITERS else {}
        said.append(TASKS[task].instruction(generator, **words))
        known.append(facts(task, words))
    return said, torch.tensor(known)


def corpus(rendered: RenderedSources, seed: int = 0, each: int = 400) -> list[str]:
    """Instructions of all tasks as training has them, to learn word pieces from."""
    generator = torch.Generator().manual_seed(seed)
    return sentences([task for task in TASKS for _ in range(each)], rendered, generator)[0]
