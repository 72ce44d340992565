"""The sentences of each task, one a line in sentences/<task>.txt, and which of them training never draws.

A sentence is an order or a statement with its full stop, a question, or a label without a stop ("Rain removal"); after
"; " it may give a reason, which the grammar puts first or last. `{caption}`, `{color}`, `{class}`, `{joints}` and
`{scale}` are placeholders; `{classes}` is the plural of `{class}`. Sentences of the same placeholders are a form of the
task: the first form is the usual one, another is asked for by its words ("Draw a {color} box around {caption}."). The
only `{scale}` is `codecs.asked.RELATIVE_SCALE`, a placeholder so that no paraphrase touches it.
Every fifth line is held out, to measure how a model does on wordings that it was never trained on. So new sentences
go to the end of a file: a line put in between would let held-out ones into the training of models that exist.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "sentences"
HELD_OUT_EVERY = 5
PLACEHOLDER = re.compile(r"(\b[Aa] )?{(\w+)}")
PLURAL_OF = {"classes": "class"}
# Last words of a class that add no s; after others `plural` adds es where it is spoken.
PLURALS = {"person": "people", "man": "men", "woman": "women", "child": "children", "mouse": "mice", "sheep": "sheep"}

# The words that the sentences of a form need, sorted.
Form = tuple[str, ...]


class Templates(NamedTuple):
    """Sentences of a form: those that training draws, and those that it never does."""

    drawn: tuple[str, ...]
    held_out: tuple[str, ...]


def read_forms(task: str) -> dict[Form, Templates]:
    """The sentences of a task by form, the usual form first; the first of its drawn ones is the one to show.

    Raises:
        FileNotFoundError: no file for this task.
    """
    rows: dict[Form, tuple[list[str], list[str]]] = {}
    for number, line in enumerate((FOLDER / f"{task}.txt").read_text(encoding="utf-8").splitlines(), start=1):
        drawn, held_out = rows.setdefault(form_of(line), ([], []))
        (drawn if number % HELD_OUT_EVERY else held_out).append(line)
    return {form: Templates(tuple(drawn), tuple(held_out)) for form, (drawn, held_out) in rows.items()}


def form_of(template: str) -> Form:
    """The words that fill a template, sorted."""
    return tuple(sorted({PLURAL_OF.get(name, name) for _, name in PLACEHOLDER.findall(template)}))


def plural(phrase: str) -> str:
    """Several of what a phrase names by its last word: "red box" gives "red boxes"."""
    rest, space, last = phrase.rpartition(" ")
    if last in PLURALS:
        return rest + space + PLURALS[last]
    if re.search(r"(s|x|z|ch|sh)$", last):
        return f"{phrase}es"
    return f"{phrase[:-1]}ies" if re.search(r"[^aeiou]y$", last) else f"{phrase}s"
