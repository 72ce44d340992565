"""Which thing an edit's instruction is about: "Make the red ball blue" is about "the red ball".

The templates of the edits read backwards: the one that says the most of a sentence says where its thing stands. An
instruction in words that no template uses gives None; the thing must then be named.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from ..registry import TASKS
from .grammar import HELD_OUT_SYNONYMS, SYNONYMS
from .paraphrase import EXCHANGED, plain, without_politeness

# Edits of a thing that is there.
OF_THINGS = ("edit_remove", "edit_recolor", "edit_replace", "edit_texture", "edit_local")
# What the other placeholders may stand for: a colour and its shade, one word of a texture or a size, a new thing.
_COLOR, _WORD, _THING = r"(?:(?:light|dark|bright|pale|deep) )?[\w-]+", r"[\w-]+", r".+?"
_ARTICLES = re.compile(r"(^| )(?:an?|the) ")
# What may stand between an order and its reason, and what no name of a thing goes across or is.
_JOIN = r"\s*(?:[;,.:!?]| - | and\b)\s*"
_NO_NAME = re.compile(r"[;:.!?]|, | - |(?:it|i|id|them|this|that)$|(?:i|id) ")
# With what a thing begins where it opens the sentence: otherwise a misspelt verb would be a part of its name.
_NAMED = r"(?:an?|the|this|that|these|those|my|your|his|her|its|our|their|all|both|every|each|two|three|four) "


class _Pattern(NamedTuple):
    """A template as a pattern, and how many letters of a sentence it knows."""

    task: str
    letters: int
    words: re.Pattern[str]


def thing_of(instruction: str, task: str | None = None) -> str | None:
    """The thing that an edit changes, in the words of the instruction, lower case; None where no template finds it.

    Args:
        task: a name of OF_THINGS; None tries all of them.
    """
    text = without_politeness(instruction).strip(" ,.!?")
    found = [
        (pattern.letters, match["caption"].strip(" ,"))
        for pattern in _patterns()
        if task in (None, pattern.task) and (match := pattern.words.fullmatch(text))
    ]
    names = [item for item in found if not _NO_NAME.match(item[1]) and not _NO_NAME.search(item[1][1:])]
    return max(names, key=lambda item: item[0])[1] if names else None


@cache
def _patterns() -> tuple[_Pattern, ...]:
    return tuple(
        _pattern(name, text)
        for name in OF_THINGS
        for form in TASKS[name].forms.values()
        for template in (*form.drawn, *form.held_out)
        for text in _orders(template)
    )


def _orders(template: str) -> list[str]:
    """An order alone, and with its reason behind or before it."""
    order, _, reason = template.rstrip(".?").partition("; ")
    return (
        [f"{order}; {reason}", f"{reason}; {order}", *([order] if "{caption}" in order else [])] if reason else [order]
    )


def _pattern(task: str, text: str) -> _Pattern:
    letters, parts = 0, list[str]()
    for piece in re.split(r"({\w+}|; )", without_politeness(text).strip(" ,.!?")):
        if piece == "{caption}":
            parts.append(rf"(?P<caption>{'' if any(parts) else _NAMED}.+?)")
        elif piece.startswith("{"):
            parts.append(_COLOR if piece == "{color}" else _THING if task == "edit_replace" else _WORD)
        elif piece == "; ":
            parts.append(_JOIN)
        else:
            letters += sum(map(str.isalpha, piece))
            parts.append(_spelled(piece))
    return _Pattern(task, letters, re.compile("".join(parts)))


def _spelled(text: str) -> str:
    """A pattern of a template's words, in whatever words the grammar has for them, with articles or without."""
    parts: list[str] = []
    at = 0
    for match in EXCHANGED.finditer(text):
        others = {plain(word) for word in (*SYNONYMS.get(match[0], ()), *HELD_OUT_SYNONYMS.get(match[0], ()), match[0])}
        parts += [_plain_pattern(text[at : match.start()]), f"(?:{'|'.join(map(re.escape, sorted(others)))})"]
        at = match.end()
    return "".join(parts) + _plain_pattern(text[at:])


def _plain_pattern(text: str) -> str:
    return _ARTICLES.sub(r"\1(?:(?:an?|the) )?", re.escape(text).replace(r"\ ", " "))
