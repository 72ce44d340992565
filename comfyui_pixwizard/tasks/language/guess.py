"""Which task a free instruction asks for, by the words that the templates of each task use.

A convenience for the command line, where it chooses the codec and the guidance defaults when none is named; the network
itself never sees the guess. It is no model but counts: naive Bayes over the words of the drawn templates and their
pairs, and the same once more, with all maps as one, for whether a map is the input or the wanted answer. It knows no
meaning: an instruction in words that no template uses gives None.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from functools import cache, lru_cache
from itertools import pairwise
from typing import NamedTuple

from ..registry import TASKS
from .guess_words import CAPTION, COLORS, EXAMPLES, MAP, stem
from .paraphrase import CANONICAL, canonical

# A placeholder or a word that no template uses; a colour; a map of any kind; where a sentence starts and ends.
WILD, COLOR, ANY_MAP, START, STOP = "*", "{color}", "<map>", "<", ">"
IDLE = ("a", "the", "please")
# Counted in templates: the weight of a feature's mean share over all tasks, which smooths its share in each of them;
# and the weight of an example of a placeholder.
DOUBT, EXAMPLE_COUNT = 4.0, 3.0
# Weight of a pair of words beside that of a word; the most nats by which a word counts against a task without it.
PAIR_WEIGHT, STRANGE = 0.45, 0.7
# Weight of the log odds that a map is given and not wanted, and their largest size before.
DIRECTION_WEIGHT, MOST_DIRECTION = 0.7, 4.0
# Nats against a task with placeholders where an instruction has no words of its own to fill them, and against a task
# that starts from a map where it names none.
UNNAMED = 3.0
# Least nats of the best task; with less the guess is None.
LEAST = 0.5
# Shorter words are not taken for misspelt ones.
LEAST_LETTERS = 5

# For each feature a value by task.
Table = dict[str, dict[str, float]]
STEMS = {stem(other): stem(word) for other, word in CANONICAL.items()}


class Counts(NamedTuple):
    """Statistics of the words of the templates.

    Attributes:
        weights: evidence of each feature for each task, in nats.
        words: the stems that templates use.
        typos: words of templates less one letter, or whole, and the words that they may come from.
        direction: log odds of each feature that a map is given, against that one is wanted.
    """

    weights: Table
    words: frozenset[str]
    typos: dict[str, tuple[str, ...]]
    direction: dict[str, float]


def guess_task(instruction: str, *, has_image: bool = True) -> str | None:
    """Name of the task whose templates an instruction resembles most, or None when it resembles none.

    Without a picture, tasks that need none come first: "Draw a red ball" means a ball then, not a box round one.

    How often it is right, on paraphrases of the grammar and on free sentences, is measured in tests/test_guess.py.
    """
    scores = _scores(instruction)
    alone = {} if has_image else {name: score for name, score in scores.items() if not TASKS[name].needs_image}
    return _best(alone) or _best(scores)


def _best(scores: dict[str, float]) -> str | None:
    best = max(scores, key=scores.__getitem__, default=None)
    return best if best is not None and scores[best] >= LEAST else None


def _scores(instruction: str) -> dict[str, float]:
    """Evidence for each task in nats; empty when no template uses any of the words."""
    counts = _counts()
    stems = _stems(map(_corrected, canonical(instruction)))
    if not any(word in counts.weights for word in stems):
        return {}
    scores = dict.fromkeys(TASKS, 0.0)
    for feature in dict.fromkeys(_features(stems, counts.words)):
        for name, weight in counts.weights.get(feature, {}).items():
            scores[name] += weight
    given, wanted = _directions(stems, counts)
    unnamed = 0.0 if any(word == COLOR or word not in counts.words for word in stems) else UNNAMED
    for name, task in TASKS.items():
        scores[name] += {"control": given, "dense": wanted}.get(task.domain, 0.0)
        scores[name] -= unnamed if task.words else 0.0
    return scores


def _directions(stems: list[str], counts: Counts) -> tuple[float, float]:
    """Nats for the tasks that start from a map, and for those whose answer is one.

    An instruction that names no map may still want one ("How far is it?"), but gives none.
    """
    words = _with_one_map(stems)
    if ANY_MAP not in words:
        return -UNNAMED, 0.0
    features = _features(words, counts.words | {ANY_MAP})
    # Not a set, whose order, and with it the last bits of the sum, changes from one process to the next.
    odds = sum(counts.direction.get(feature, 0.0) for feature in dict.fromkeys(features))
    lean = DIRECTION_WEIGHT * max(-MOST_DIRECTION, min(MOST_DIRECTION, odds))
    return lean, -lean


def _stems(words: Iterable[str]) -> list[str]:
    """Stems of words but idle ones; colours as COLOR, placeholders and captions' words as WILD."""
    stems = []
    for word in words:
        if word in COLORS or word == COLOR:
            stems.append(COLOR)
        elif word not in IDLE:
            short = _short(word)
            stems.append(WILD if word[0] == "{" or short in CAPTION else short)
    return stems


def _short(word: str) -> str:
    """The stem of a word, or of the one that it is a synonym of."""
    return STEMS.get(stem(word), stem(word))


def _features(stems: Iterable[str], known: frozenset[str]) -> list[str]:
    """Words, and pairs of neighbours, for which all words that no template uses are one."""
    features, row = [], [START]
    for word in stems:
        if word not in (WILD, COLOR):
            features.append(word)
            word = word if word in known else WILD
        # A colour before such words belongs to a caption.
        while word == WILD and row[-1] in (WILD, COLOR):
            row.pop()
        row.append(word)
    row.append(STOP)
    return features + [f"{a} {b}" for a, b in pairwise(row)]


def _with_one_map(stems: Iterable[str]) -> list[str]:
    """The words with each run of names of maps as ANY_MAP."""
    row: list[str] = []
    for word in stems:
        if word not in MAP:
            row.append(word)
        elif not row or row[-1] != ANY_MAP:
            row.append(ANY_MAP)
    return row


@lru_cache(1 << 12)
def _corrected(word: str) -> str:
    """The word of the templates that a misspelt one stands for, or itself."""
    counts = _counts()
    if len(word) < LEAST_LETTERS or word in COLORS or _short(word) in counts.weights:
        return word
    near = {other for part in (word, *_less_one(word)) for other in counts.typos.get(part, ())}
    return min((other for other in near if _misspelt(word, other)), default=word)


def _misspelt(word: str, other: str) -> bool:
    """Whether a letter is left out, doubled or swapped with its neighbour; another letter makes another word."""
    return word[0] == other[0] and (len(word) != len(other) or sorted(word) == sorted(other))


def _less_one(word: str) -> list[str]:
    return [word[:i] + word[i + 1 :] for i in range(len(word))]


@cache
def _counts() -> Counts:
    spelled = {name: _spelled(name) for name in TASKS}
    examples = {name: [_stems(canonical(text)) for text in texts] for name, texts in EXAMPLES.items()}
    # An example of one word stays a caption's word in pairs ("make *"), for it is one of many.
    phrases = [row for rows in examples.values() for row in rows if len(row) > 1]
    sentences = [row for rows in spelled.values() for row in rows]
    words = frozenset(word for row in (*sentences, *phrases) for word in row) - {WILD, COLOR}
    shares = {name: _shares([_features(row, words) for row in rows]) for name, rows in spelled.items()}
    for name, rows in examples.items():
        for row in rows:
            for feature in set(row) | {f"{a} {b}" for a, b in pairwise(row)}:
                more = EXAMPLE_COUNT / len(spelled[name])
                shares[name][feature] = shares[name].get(feature, 0) + more
    typos: dict[str, list[str]] = {}
    for word in sorted(CANONICAL.keys() | {word for name in TASKS for word in canonical(" ".join(_drawn(name)))}):
        for part in (word, *_less_one(word)) if len(word) >= LEAST_LETTERS else ():
            typos.setdefault(part, []).append(word)
    lengths = {name: len(rows) for name, rows in spelled.items()}
    sources = {part: tuple(whole) for part, whole in typos.items()}
    return Counts(_weights(shares, lengths), words, sources, _direction(spelled, words))


def _spelled(task: str) -> list[list[str]]:
    """Stems of the drawn templates of a task, with a reason in both places."""
    spelled = []
    for template in _drawn(task):
        clause, _, reason = template.partition("; ")
        texts = (f"{clause} {reason}", f"{reason} {clause}") if reason else (clause,)
        spelled += [_stems(canonical(text)) for text in texts]
    return spelled


def _drawn(task: str) -> list[str]:
    """The drawn templates of all forms of a task."""
    return [template for form in TASKS[task].forms.values() for template in form.drawn]


def _shares(rows: list[list[str]]) -> dict[str, float]:
    """The share of sentences that have each feature."""
    times = Counter(feature for row in rows for feature in set(row))
    return {feature: count / len(rows) for feature, count in times.items()}


def _weights(shares: dict[str, dict[str, float]], lengths: dict[str, int]) -> Table:
    """Log of a feature's share in a task against its mean share; less where its use is spread over many tasks."""
    weights: Table = {}
    for feature in {feature for by_feature in shares.values() for feature in by_feature} - {WILD, COLOR}:
        used = {name: by_feature[feature] for name, by_feature in shares.items() if feature in by_feature}
        total = sum(used.values())
        mean = total / len(TASKS)
        entropy = -sum(share / total * math.log(share / total) for share in used.values())
        size = (PAIR_WEIGHT if " " in feature else 1.0) * (1 - entropy / math.log(len(TASKS)))
        weights[feature] = {
            name: size * max(math.log((used.get(name, 0) * n + DOUBT * mean) / ((n + DOUBT) * mean)), -STRANGE)
            for name, n in lengths.items()
        }
    return weights


def _direction(spelled: dict[str, list[list[str]]], words: frozenset[str]) -> dict[str, float]:
    """Log odds of each feature in sentences that give a map, against those that want one."""
    rows: dict[str, list[list[str]]] = {"control": [], "dense": []}
    for name, sentences in spelled.items():
        if TASKS[name].domain in rows:
            rows[TASKS[name].domain] += [_features(_with_one_map(row), words | {ANY_MAP}) for row in sentences]
    given, wanted = (_shares(features) for features in rows.values())
    least = DOUBT / len(rows["dense"])
    return {
        feature: math.log((given.get(feature, 0) + least) / (wanted.get(feature, 0) + least))
        for feature in {*given, *wanted}
    }
