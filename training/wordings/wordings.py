"""Sentences that ask for a task, and sentences that ask for none, from wordings in text files.

A file has sections `[task]` with one wording a line; "! " opens an order, which may be asked for politely. In a wording
`(a|b|)` is one of several, or nothing, and `<name>` an entry of the list `[name]` of words.txt, whose entries are
separated by "; " and are wordings themselves. `<name> = …` is a list of its section alone. A section with the name of a
domain ([restoration], [dense], [control]) has wordings for all of its tasks, each with its own lists.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ...comfyui_pixwizard.tasks import TASKS
from ...comfyui_pixwizard.tasks.language.paraphrase import articled, slips

FOLDER = Path(__file__).parent
FILES = ("restoration.txt", "painting_reading.txt", "control.txt", "editing.txt", "nothing.txt")
NOTHING = "nothing"
OPENING_RATE, CLOSING_RATE, CAPITAL_RATE, STOP_RATE, TYPO_RATE = 0.3, 0.15, 0.55, 0.45, 0.06
_OWN = re.compile(r"<(\w+)> = (.+)")
_PART = re.compile(r"[()|]|<\w+>|[^()|<]+")

# A sequence of texts, names of lists in "<>", and choices between sequences.
Sequence_ = tuple["str | Choice", ...]


@dataclass(frozen=True)
class Choice:
    """One of several sequences."""

    of: tuple[Sequence_, ...]


@dataclass(frozen=True)
class Wording:
    """A parsed line."""

    parts: Sequence_
    order: bool


def parsed(text: str) -> Sequence_:
    """A wording as a tree.

    Raises:
        ValueError: a bracket that is not closed, or not opened.
    """
    rows: list[list[list[str | Choice]]] = [[[]]]
    for part in _PART.findall(text):
        if part == "(":
            rows.append([[]])
        elif part == "|" and len(rows) > 1:
            rows[-1].append([])
        elif part == ")" and len(rows) > 1:
            closed = rows.pop()
            rows[-1][-1].append(Choice(tuple(map(tuple, closed))))
        elif part in "()|":
            raise ValueError(f"a wording closes what it opens, found {text!r}: put | between brackets")
        else:
            rows[-1][-1].append(part)
    if len(rows) > 1:
        raise ValueError(f"a wording closes its brackets, found {text!r}: close them")
    return tuple(rows[0][0])


def _sections(name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (FOLDER / name).read_text(encoding="utf-8").splitlines():
        head = re.fullmatch(r"\[(\w+)\]", line)
        if head:
            rows = found.setdefault(head[1], [])
        elif line and not line.startswith("#"):
            rows.append(line)
    return found


Lists = dict[str, tuple[Sequence_, ...]]


def _entries(text: str) -> tuple[Sequence_, ...]:
    return tuple(parsed("" if entry == "()" else entry) for entry in text.split("; "))


@cache
def word_lists() -> Lists:
    """The lists of words.txt."""
    return {name: _entries("; ".join(lines)) for name, lines in _sections("words.txt").items()}


@cache
def wordings(shared: bool = True) -> Mapping[str, tuple[tuple[Wording, ...], Lists]]:
    """The wordings of every task and of "nothing", with those that its domain shares, and the lists of their own."""
    sections: dict[str, list[str]] = {}
    for name in FILES:
        sections |= _sections(name)
    common = {name: sections.pop(name) for name in {task.domain for task in TASKS.values()} & set(sections)}
    found = {}
    for task, lines in sections.items():
        own = {match[1]: _entries(match[2]) for match in map(_OWN.fullmatch, lines) if match}
        lines = [line for line in lines if not _OWN.fullmatch(line)]
        lines += common.get(TASKS[task].domain, []) if task in TASKS and shared else []
        rows = tuple(Wording(parsed(line.removeprefix("! ")), line.startswith("! ")) for line in lines)
        found[task] = rows, own
    return found


class Writer:
    """Draws sentences; the same seed gives the same ones."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)

    def phrase(self, name: str) -> str:
        """An entry of a list of words.txt."""
        return tidy(self._said((f"<{name}>",), {}))

    def ask(self, task: str, shared: bool = True) -> str:
        """A sentence that asks for a task, or for NOTHING; also in a wording of its domain, where these are shared."""
        rows, lists = wordings(shared)[task]
        wording = self.random.choice(rows)
        text = tidy(self._said(wording.parts, lists))
        if wording.order and self.random.random() < OPENING_RATE:
            text = f"{self.phrase('openings')} {text}"
        if wording.order and self.random.random() < CLOSING_RATE:
            text = tidy(f"{text} {self.phrase('closings')}")
        return self._manner(text)

    def _said(self, parts: Sequence_, lists: Lists) -> str:
        said = []
        for part in parts:
            if isinstance(part, Choice):
                said.append(self._said(self.random.choice(part.of), lists))
            elif part.startswith("<"):
                name = part[1:-1]
                said.append(self._said(self.random.choice(lists.get(name) or word_lists()[name]), lists))
            else:
                said.append(part)
        return "".join(said)

    def _manner(self, text: str) -> str:
        """Capital, stop and typo, as they come."""
        if self.random.random() < TYPO_RATE:
            text = self._misspelt(text)
        if self.random.random() < CAPITAL_RATE:
            text = text[:1].upper() + text[1:]
        if text[-1:].isalnum() and self.random.random() < STOP_RATE:
            asks = re.match(r"(what|how|where|which|who|can|could|is|are|do|would|why)\b", text, re.IGNORECASE)
            text += "?" if asks else self.random.choice("...!")
        return text

    def _misspelt(self, text: str) -> str:
        """One word of five letters or more with a letter left out, doubled or swapped with the next."""
        words = [match for match in re.finditer(r"[a-z]{5,}", text)]
        if not words:
            return text
        match = self.random.choice(words)
        word, at = match[0], self.random.randrange(1, len(match[0]) - 1)
        swapped, dropped, doubled = slips(word, at)
        return text[: match.start()] + self.random.choice((dropped, doubled, swapped)) + text[match.end() :]


def tidy(text: str) -> str:
    """Single spaces, none before a stop; `a` or `an` as the letter after it asks."""
    return articled(re.sub(r" +([,.;:!?])", r"\1", re.sub(r"\s+", " ", text)).strip(" ,;"))


def missing(tasks: Sequence[str] = tuple(TASKS)) -> list[str]:
    """Tasks that have no wordings."""
    return [task for task in (*tasks, NOTHING) if task not in wordings()]
