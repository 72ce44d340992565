"""Words and forms that may be exchanged in an instruction, from grammar.toml; `paraphrase` has what exchanges them.

What training draws and what it never does (`HELD_OUT_…`) are apart, so that other wordings can be measured.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

Words = dict[str, tuple[str, ...]]
# What stands before and after an order.
Forms = tuple[tuple[str, str], ...]

_TABLES = tomllib.loads(Path(__file__).with_name("grammar.toml").read_text(encoding="utf-8"))


def _tables(found: dict[str, Any]) -> tuple[Words, Forms, Forms, tuple[str, ...]]:
    polite, own = (tuple((before, after) for before, after in found[name]) for name in ("polite", "own"))
    return {word: tuple(others) for word, others in found["synonyms"].items()}, polite, own, tuple(found["prefixes"])


SYNONYMS, POLITE, OWN, PREFIXES = _tables(_TABLES)
HELD_OUT_SYNONYMS, HELD_OUT_POLITE, HELD_OUT_OWN, HELD_OUT_PREFIXES = _tables(_TABLES["held_out"])
FIXED = tuple(_TABLES["fixed"])

JOINS = ("; ", ": ", ", ", ". ", " - ")
QUESTIONS = frozenset(["what", "which", "where", "how", "can", "do", "does", "is", "are"])
# A sentence that opens so is no order, and "please" has no place before it.
_STATEMENTS = """
    a an the this that these there it its everything everybody somebody something i i'd i'm my we no not more less
    less to for from in on with without given based before after under instead too part holes drops raindrops rain snow
    fog blur noise moire fading low poor night objects
"""
NO_ORDERS = QUESTIONS | frozenset(_STATEMENTS.split())
# Articles that hurried people leave out: not before a placeholder, nor where another word needs them.
ARTICLE = r"\b(?:the|a|an) (?!{|few\b|lot\b|little\b|bit\b|same\b|rest\b|most\b)"
