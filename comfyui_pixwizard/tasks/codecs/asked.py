"""What an instruction says about the code of its answer: colours of marks, told from the colours of the things that it
speaks of; and whether depth is wanted in metres or relative.

"Draw a blue box around the red box" asks for blue, "Highlight the man in red" for no colour at all. It goes by the
words around a colour: the name of a mark behind it and no "the" or "every" before it, or the end of a clause.
"""

from __future__ import annotations

import re
from typing import Any

from ..language.paraphrase import slips
from .box import DEFAULT_COLOR as BOX_COLOR
from .depth import GRAY, RELATIVE, WALK
from .keypoint import COLORS as DOT_COLORS
from .marks import MARK_COLORS
from .mask import COLORS as OVERLAY_COLORS
from .mask import DEFAULT_COLOR as OVERLAY_COLOR

# Names of marks by codec.
NAMES = {
    "overlay": "overlay veil layer mask tint film shade color colour highlight",
    "box": "box rectangle frame outline border",
    "keypoint": "dot disc disk circle point marker mark keypoint spot",
}
PALETTES = {"overlay": OVERLAY_COLORS, "box": MARK_COLORS, "keypoint": MARK_COLORS}
# What may stand between a colour and the mark.
_LOOKS = r"(?:(?:bounding|transparent|translucent|see-through|half-transparent|small|thin|tight|filled|round)\s+)*"
# Words that open the name of a thing, and those that open a mark's or that no name goes across.
_OPENINGS = "the this that these those every each all any both many some two three four for find detect locate count"
_BREAKS = "a an in with by as of and use using into to"
_THINGS, _NO_THINGS = frozenset(_OPENINGS.split()), frozenset(_BREAKS.split())
_LOOK_BACK = 3
_END = r"(?=\s*(?:[,.;:!?]|-\s|$|and\b|with\b|for me\b))"
# The word for `{scale}` in sentences of depth, and codecs whose answers it changes.
RELATIVE_SCALE = "relative"
METRIC_CODES = (WALK.name, GRAY.name)
# Distance relative to who looks is the distance itself, and who names metres wants them.
_VIEWER = r"(?:the |my |our )?(?:camera|lens|viewer|observer|photographer|sensor|me|us)"
_RELATIVE = re.compile(rf"\brelative(?:ly)?\b(?!\s+to\s+{_VIEWER}\b)", re.IGNORECASE)
_METRIC = re.compile(r"\bmetric\b|\bin met(?:re|er)s\b", re.IGNORECASE)
# A colour at a clause's end that belongs to a thing: clothes ("the man in red") or a statement ("one that is red").
_PEOPLE = "man|men|woman|women|person|people|guy|lady|boy|girl|kid|child|children|player|one"
_WORN = re.compile(rf"(?:\b(?:{_PEOPLE})\s+(?:dressed\s+|all\s+)?in|\b(?:that|which|who)\s+(?:is|are))\s+$")


def _misspelt(word: str) -> set[str]:
    """A word of five letters or more with two inner letters exchanged, one dropped or one doubled."""
    return {slip for at in range(1, len(word) - 2) for slip in slips(word, at)} if len(word) >= 5 else set()


def _marks(codec: str) -> str:
    """Pattern of the names of a codec's marks, of one or several, also misspelt."""
    names = NAMES[codec].split()
    forms = {form for name in names for form in (name, name + ("es" if name.endswith("x") else "s"))}
    return "|".join(sorted(forms.union(*map(_misspelt, forms))))


MARKS = {codec: _marks(codec) for codec in NAMES}


def asked_options(codec: str, instruction: str) -> dict[str, Any]:
    """Options of a codec's decode that an instruction decides: the colours of its marks; empty for other codecs.

    Where it names none that the codec has, they are the codec's own: magenta overlays, red boxes, red dots.
    """
    if codec == "keypoint":
        return {"colors": asked_colors(codec, instruction) or DOT_COLORS}
    if codec in MARKS:
        default = OVERLAY_COLOR if codec == "overlay" else BOX_COLOR
        return {"color": next(iter(asked_colors(codec, instruction)), default)}
    return {}


def asked_codec(codec: str, instruction: str) -> str:
    """Name of the codec that an answer is read by: the given one, or "relative" where a sentence wants depth so."""
    wanted = codec in METRIC_CODES and _RELATIVE.search(instruction) and not _METRIC.search(instruction)
    return RELATIVE.name if wanted else codec


def asked_colors(codec: str, instruction: str) -> tuple[str, ...]:
    """Names of the colours that are asked for ("overlay", "box" or "keypoint"), each once, in the order of the words.

    Colours before the name of a mark come first; without any, those at the end of a clause count, and for dots, which
    are asked for on parts of people, the first colour of all.
    """
    text = instruction.lower()
    names = "|".join(PALETTES[codec])
    found = [
        at.group(1)
        for at in re.finditer(rf"\b({names})\s+{_LOOKS}(?:{MARKS[codec]})\b", text)
        if codec == "keypoint" or not _of_a_thing(text[: at.start()])
    ]
    if not found:
        ends = re.finditer(rf"\b({names})\b{_END}", text)
        found = [at.group(1) for at in ends if not _WORN.search(text[: at.start()])]
    if not found and codec == "keypoint":
        found = re.findall(rf"\b({names})\b", text)[:1]
    return tuple(dict.fromkeys(found))


def _of_a_thing(before: str) -> bool:
    """Whether a colour that follows these words describes a thing and not a mark."""
    clause = re.split(r"[,.;:!?]", before)[-1]
    for word in reversed(re.findall(r"[a-z-]+", clause)[-_LOOK_BACK:]):
        if word in _THINGS or word in _NO_THINGS:
            return word in _THINGS
    return False
