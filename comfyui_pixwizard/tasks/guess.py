"""Which task a free instruction asks for, by comparing it with the templates of all tasks.

A convenience for the command line, where it chooses the codec and the guidance defaults when none is named; the network
itself never sees the guess. It knows no meaning: an instruction in words that no template uses gives None.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

from .language import canonical
from .registry import TASKS

WILD, WILD_COLOR = "{}", "{color}"
COLOR_NAMES = (
    "red orange yellow green cyan blue purple magenta violet pink brown black white gray gold golden silver "
    "turquoise teal beige crimson navy olive lime maroon"
)
COLORS = frozenset(COLOR_NAMES.split())
# What a word of the instruction costs when a placeholder takes it or nothing in the template accounts for it, and what
# a word of the template costs when the instruction lacks it; the last two are shares of the word's weight.
WILD_COST, EXTRA_COST, MISSED_COST = 0.02, 0.5, 0.5
# A colour placeholder wants the name of a colour; the first word tells orders apart.
COLOR_WEIGHT, NO_COLOR_COST, OPENING_WEIGHT = 1.0, 0.6, 0.5
LEAST = 0.4


class Pattern(NamedTuple):
    """A template as words, with WILD or WILD_COLOR for a placeholder, and the cost of missing all its words."""

    task: str
    tokens: tuple[str, ...]
    missed: float


def _tokens(text: str) -> tuple[str, ...]:
    words = canonical(text)
    return tuple(word if word[0] != "{" or word == WILD_COLOR else WILD for word in words)


class Patterns(NamedTuple):
    """All templates: patterns; the weight of each word; where a word occurs, as (pattern, times); words by length."""

    patterns: list[Pattern]
    weights: dict[str, float]
    places: dict[str, list[tuple[int, int]]]
    by_length: dict[int, list[str]]


def _spelled() -> list[tuple[str, tuple[str, ...]]]:
    """Tasks and the words of their templates: a clause and its reason in both orders, and the clause alone."""
    spelled = []
    for task in TASKS.values():
        for template in task.instructions:
            clause, _, reason = template.partition("; ")
            texts = (clause, f"{clause} {reason}", f"{reason} {clause}") if reason else (clause,)
            spelled += [(task.name, _tokens(text)) for text in texts]
    return spelled


@cache
def _patterns() -> Patterns:
    spelled = _spelled()
    # A word that many tasks use says little about which one is meant.
    tasks_with = Counter(word for word, _ in {(word, name) for name, tokens in spelled for word in tokens})
    weights = {word: math.log((len(TASKS) + 1) / count) for word, count in tasks_with.items() if word[0] != "{"}
    patterns = []
    places: dict[str, list[tuple[int, int]]] = {word: [] for word in weights}
    for index, (name, tokens) in enumerate(spelled):
        times = Counter(token for token in tokens if token in weights)
        patterns.append(Pattern(name, tokens, MISSED_COST * sum(weights[word] * n for word, n in times.items())))
        for word, n in times.items():
            places[word].append((index, n))
    by_length: dict[int, list[str]] = {}
    for word in weights:
        by_length.setdefault(len(word), []).append(word)
    return Patterns(patterns, weights, places, by_length)


@lru_cache(1 << 12)
def _similar(word: str) -> frozenset[str]:
    """Words of the templates that a word of an instruction may stand for."""
    by_length = _patterns().by_length
    near = (other for length in range(len(word) - 1, len(word) + 2) for other in by_length.get(length, ()))
    return frozenset(other for other in near if _alike(word, other))


def _alike(word: str, other: str) -> bool:
    """Equal, or one typo apart for words of five letters or more."""
    if word == other:
        return True
    if min(len(word), len(other)) < 4 or max(len(word), len(other)) < 5 or abs(len(word) - len(other)) > 1:
        return False
    start = next((i for i, (a, b) in enumerate(zip(word, other, strict=False)) if a != b), min(len(word), len(other)))
    if len(word) == len(other):
        swapped = word[:start] + word[start : start + 2][::-1] + word[start + 2 :]
        return swapped == other or word[start + 1 :] == other[start + 1 :]
    longer, shorter = (word, other) if len(word) > len(other) else (other, word)
    return longer[start + 1 :] == shorter[start:]


def _score(words: tuple[str, ...], similar: list[frozenset[str]], pattern: Pattern, weights: dict[str, float]) -> float:
    """Best alignment of the instruction with a template, in order: matched weight less what is left over."""
    row = [0.0]
    for token in pattern.tokens:
        row.append(row[-1] - MISSED_COST * weights.get(token, 0))
    for i, (word, alike) in enumerate(zip(words, similar, strict=True)):
        extra = EXTRA_COST * weights.get(word, 0.5)
        new = [row[0] - extra]
        for j, token in enumerate(pattern.tokens, start=1):
            if token[0] == "{":
                # A placeholder takes one word or more.
                gain, cost = 0.0, WILD_COST
                if token == WILD_COLOR:
                    gain, cost = (COLOR_WEIGHT, WILD_COST) if word in COLORS else (0.0, NO_COLOR_COST)
                new.append(max(row[j - 1] + gain, row[j]) - cost)
                continue
            weight = weights[token]
            best = max(new[j - 1] - MISSED_COST * weight, row[j] - extra)
            if token in alike:
                opening = OPENING_WEIGHT if i == 0 and j == 1 else 0.0
                best = max(best, row[j - 1] + weight + opening)
            new.append(best)
        row = new
    return row[-1]


def _bounds(words: tuple[str, ...], similar: list[frozenset[str]]) -> list[float]:
    """What each pattern would score at most, were the order of the words of no account."""
    patterns, weights, places, _ = _patterns()
    bonus = OPENING_WEIGHT + COLOR_WEIGHT * any(word in COLORS for word in words)
    bounds = [bonus - pattern.missed for pattern in patterns]
    for token in {token for tokens in similar for token in tokens}:
        for index, times in places[token]:
            bounds[index] += (1 + MISSED_COST) * weights[token] * times
    return bounds


def guess_task(instruction: str, *, has_image: bool = True) -> str | None:
    """Name of the task whose templates an instruction resembles most, or None when it resembles none.

    Without a picture, tasks that need none come first: "Draw a red ball" means a ball then, not a box round one.

    Measured on the grammar's own paraphrases (tests/test_tasks_language.py) it is right in at least 98 of 100.
    """
    words = _tokens(instruction)
    if not words:
        return None
    patterns, _weights, *_ = _patterns()
    similar = [_similar(word) for word in words]
    bounds = _bounds(words, similar)
    if not has_image:
        alone = [i for i, pattern in enumerate(patterns) if not TASKS[pattern.task].needs_image]
        found = _best(alone, words, similar, bounds)
        if found is not None:
            return found
    return _best(range(len(patterns)), words, similar, bounds)


def _best(
    among: Sequence[int], words: tuple[str, ...], similar: list[frozenset[str]], bounds: list[float]
) -> str | None:
    """The task of the best pattern among those of the given indices."""
    patterns, weights, *_ = _patterns()
    best, score = None, -math.inf
    # The most promising first, so that the alignment, which is slow, is made for few of them.
    for index in sorted(among, key=bounds.__getitem__, reverse=True):
        if bounds[index] <= max(score, LEAST):
            break
        found = _score(words, similar, patterns[index], weights)
        if found > score:
            best, score = patterns[index].task, found
    return best if score >= LEAST else None
