"""What an instruction names: the words that stand for the placeholders of its task's sentences.

The sentences of a task, held-out ones too, are patterns; instruction and sentence are compared by their canonical words
(see `paraphrase`), so politeness, synonyms and the place of a reason do not matter. What is found is in these words.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from ..registry import TASKS
from .paraphrase import canonical
from .templates import PLURAL_OF

PLACEHOLDER = re.compile(r"{(\w+)}")
ARTICLES = ("a", "the")
# Placeholders that are one word wherever they stand.
ONE_WORD = frozenset(["color"])
ONE, MANY, BEHIND = "[^ ]+", ".+?", "(?:a|the) .+?|[^ ]+"


class Pattern(NamedTuple):
    """A sentence as an expression, as it is written and with articles left out, and how many words it fixes."""

    strict: re.Pattern[str]
    loose: re.Pattern[str]
    fixed: int


def said(task: str, instruction: str) -> dict[str, str] | None:
    """The words of an instruction by placeholder, from the sentence that fixes most of its words; None where no
    sentence of the task has its form.

    Raises:
        KeyError: no task of this name.
    """
    text = " ".join(canonical(instruction))
    for loose in (False, True):
        for pattern in _patterns(task):
            match = (pattern.loose if loose else pattern.strict).fullmatch(text)
            if match:
                return {PLURAL_OF.get(name, name): words for name, words in match.groupdict().items()}
    return None


@cache
def _patterns(task: str) -> tuple[Pattern, ...]:
    sentences = [text for form in TASKS[task].forms.values() for text in (*form.drawn, *form.held_out)]
    found = []
    for sentence in sentences:
        clause, _, reason = sentence.partition("; ")
        for text in (f"{clause} {reason}", f"{reason} {clause}") if reason else (clause,):
            tokens = canonical(text)
            names = [name for token in tokens for name in PLACEHOLDER.findall(token)]
            if len(set(names)) < len(names):
                continue  # a thing that is named twice
            strict, loose = (_expression(tokens, optional) for optional in (False, True))
            found.append(Pattern(strict, loose, len(tokens) - len(names)))
    return tuple(sorted(found, key=lambda pattern: -pattern.fixed))


def _expression(tokens: tuple[str, ...], optional: bool) -> re.Pattern[str]:
    """Tokens with a space between. Of two placeholders side by side the second is one word, or opens with an article,
    where the first may be many.
    """
    text, many = "", False
    for number, token in enumerate(tokens):
        space = " " if number < len(tokens) - 1 else ""
        named = PLACEHOLDER.fullmatch(token)
        if named:
            words = ONE if named[1] in ONE_WORD else (BEHIND if many else MANY)
            text += f"(?P<{named[1]}>{words}){space}"
            many = named[1] not in ONE_WORD
        elif optional and space and token in ARTICLES:
            text += f"(?:{token} )?"
        else:
            text += re.escape(token) + space
            many = many and token in ARTICLES
    return re.compile(text)
