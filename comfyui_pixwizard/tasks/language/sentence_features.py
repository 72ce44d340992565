"""What the task predictor reads in a sentence: words, pairs, triples and pieces of words, as numbers of buckets.

Words are brought to one form for synonyms and without endings; colours are one word to all but single words, and so
are words that the predictor does not know, so that "remove the zebra" looks like "remove the dog".
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Iterable
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from .guess_words import COLORS, stem
from .paraphrase import CANONICAL, canonical

UNKNOWN, COLOR, START, STOP = "<?>", "<color>", "<", ">"
# Pairs reach so many words ahead.
REACH = 5
PIECES = (3, 4, 5)
_STEMS = {stem(other): stem(word) for other, word in CANONICAL.items()}
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


class Features(NamedTuple):
    """Buckets of a sentence's features, and the weight of each: those of one kind have together the length 1."""

    buckets: list[int]
    weights: list[float]


def stems(sentence: str) -> list[str]:
    """Words of a sentence without politeness and endings, a word for its synonyms."""
    return [_short(word) for word in canonical(sentence)]


@lru_cache(1 << 14)
def _short(word: str) -> str:
    return _STEMS.get(stem(word), stem(word))


def features(sentence: str, known: Collection[str], buckets: int, hidden: Collection[int] = ()) -> Features:
    """The features of a sentence.

    Args:
        known: stems that the predictor knows.
        buckets: how many there are.
        hidden: places of words that are taken for unknown ones, in training.
    """
    words = [UNKNOWN if place in hidden else word for place, word in enumerate(stems(sentence))]
    classes = [COLOR if word in COLORS else word if word in known else UNKNOWN for word in words]
    row = [START, *classes, STOP]
    kinds = [
        [f"w {word}" for word in dict.fromkeys(words) if word in known],
        [f"n {a} {b}" for a, b in pairwise(row)],
        [f"t {a} {b} {c}" for a, b, c in zip(row, row[1:], row[2:], strict=False)],
        [f"s {a} {b}" for i, a in enumerate(classes) for b in classes[i + 1 : i + 1 + REACH]],
        [] if hidden else list(_pieces(sentence)),
        [f"o {row[1]}", f"c {row[-2]}", f"l {min(len(classes), 12)}"],
    ]
    found = Features([], [])
    for kind in filter(None, kinds):
        found.buckets.extend(zlib.crc32(name.encode()) % buckets for name in kind)
        found.weights.extend([len(kind) ** -0.5] * len(kind))
    return found


def _pieces(sentence: str) -> Iterable[str]:
    """Runs of letters of each word, its ends marked: a misspelt or compound word shares most of them with its own."""
    for word in dict.fromkeys(_WORD.findall(sentence.lower())):
        marked = f"<{word}>"
        for length in PIECES:
            yield from (f"p {marked[at : at + length]}" for at in range(len(marked) - length + 1))
