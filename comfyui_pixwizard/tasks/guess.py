"""Which task a free instruction asks for, by comparing it with the templates of all tasks.

A convenience for the command line, where it chooses the codec and the guidance defaults when none is named; the network
itself never sees the guess. It knows no meaning: an instruction in words that no template uses gives None.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import cache, lru_cache
from typing import NamedTuple

from .language import SYNONYMS
from .registry import TASKS

TOKEN = re.compile(r"{\w+}|[a-z]+")
POLITE = re.compile(
    r"^\W*(?:please|thanks|(?:can|could|would|will) you(?: please)?|your task"
    r"|(?:i|we) (?:want|need|would like|d like) you to)\b"
    r"|\b(?:please|thanks|thank you)\W*$"
)
WILD, WILD_COLOR = "{}", "{color}"
COLOR_NAMES = (
    "red orange yellow green cyan blue purple magenta violet pink brown black white gray gold golden silver "
    "turquoise teal beige crimson navy olive lime maroon"
)
COLORS = frozenset(COLOR_NAMES.split())
# What a word of the instruction costs when a placeholder takes it or nothing in the template accounts for it, and what
# a word of the template costs when the instruction lacks it; the last two are shares of the word's weight.
WILD_COST, EXTRA_COST, MISSED_COST = 0.02, 0.35, 0.3
COLOR_WEIGHT, OPENING_WEIGHT = 1.0, 0.5
LEAST = 0.4


class Pattern(NamedTuple):
    """A template as words, with WILD or WILD_COLOR for a placeholder."""

    task: str
    tokens: tuple[str, ...]


def _canonical() -> dict[str, str]:
    table = {
        other: word for word, others in SYNONYMS.items() for other in others if " " not in other and "-" not in other
    }
    return table | {word: word for word in SYNONYMS}


CANONICAL = _canonical()
PHRASES = {other: word for word, others in SYNONYMS.items() for other in others if " " in other or "-" in other}


def _tokens(text: str) -> tuple[str, ...]:
    text = text.lower().replace("'", "")
    for _ in range(2):
        text = POLITE.sub("", text.strip())
    for phrase, word in PHRASES.items():
        text = text.replace(phrase, word)
    return tuple(_token(token) for token in TOKEN.findall(text))


def _token(token: str) -> str:
    if token[0] == "{":
        return WILD_COLOR if token == WILD_COLOR else WILD
    return CANONICAL.get(token, token)


@cache
def _patterns() -> tuple[tuple[Pattern, ...], dict[str, float]]:
    """All templates as patterns (both orders of a clause and its reason), and the weight of each word they use."""
    spelled: list[tuple[str, tuple[str, ...]]] = []
    for task in TASKS.values():
        for template in task.instructions:
            clause, _, reason = template.partition("; ")
            orders = {(clause, reason), (reason, clause)} if reason else {(clause, "")}
            spelled += [(task.name, _tokens(f"{first} {second}")) for first, second in sorted(orders)]
            if reason:
                spelled.append((task.name, _tokens(clause)))
    # A word that many tasks use says little about which one is meant.
    tasks_with = Counter(word for word, _ in {(word, name) for name, tokens in spelled for word in tokens})
    weights = {word: math.log((len(TASKS) + 1) / count) for word, count in tasks_with.items() if word[0] != "{"}
    return tuple(Pattern(name, tokens) for name, tokens in spelled), weights


@lru_cache(1 << 16)
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


def _score(words: tuple[str, ...], pattern: Pattern, weights: dict[str, float]) -> float:
    """Best alignment of the instruction with a template, in order: matched weight less what is left over."""
    row = [0.0]
    for token in pattern.tokens:
        row.append(row[-1] - MISSED_COST * weights.get(token, 0))
    for i, word in enumerate(words):
        extra = EXTRA_COST * weights.get(word, 0.5)
        new = [row[0] - extra]
        for j, token in enumerate(pattern.tokens, start=1):
            if token[0] == "{":
                # A placeholder takes one word or more.
                gain = COLOR_WEIGHT if token == WILD_COLOR and word in COLORS else 0.0
                new.append(max(row[j - 1] + gain, row[j]) - WILD_COST)
                continue
            weight = weights[token]
            best = max(new[j - 1] - MISSED_COST * weight, row[j] - extra)
            if _alike(word, token):
                opening = OPENING_WEIGHT if i == 0 and j == 1 else 0.0
                best = max(best, row[j - 1] + weight + opening)
            new.append(best)
        row = new
    return row[-1]


def guess_task(instruction: str) -> str | None:
    """Name of the task whose templates an instruction resembles most, or None when it resembles none.

    Measured on the grammar's own paraphrases (tests/test_tasks_language.py) it is right in at least 98 of 100.
    """
    words = _tokens(instruction)
    patterns, weights = _patterns()
    if not words:
        return None
    scored = ((_score(words, pattern, weights), pattern) for pattern in patterns)
    score, best = max(scored, key=lambda pair: pair[0])
    return best.task if score >= LEAST else None
