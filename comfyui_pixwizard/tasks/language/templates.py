"""The sentences of each task, one a line in sentences/<task>.txt, and which of them training never draws.

A sentence is an order or a statement with its full stop, a question, or a label without a stop ("Rain removal"); after
"; " it may give a reason, which the grammar puts first or last. `{caption}`, `{color}` and `{class}` are placeholders.
Every fifth sentence is held out, to measure how a model does on wordings that it was never trained on. So new sentences
go to the end of a file: a line put in between would let held-out ones into the training of models that exist.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "sentences"
HELD_OUT_EVERY = 5


class Templates(NamedTuple):
    """Sentences of a task: those that training draws, and those that it never does."""

    drawn: tuple[str, ...]
    held_out: tuple[str, ...]


def read_templates(task: str) -> Templates:
    """The sentences of a task; the first of the drawn ones is the one to show.

    Raises:
        FileNotFoundError: no file for this task.
    """
    lines = (FOLDER / f"{task}.txt").read_text(encoding="utf-8").splitlines()
    held_out = lines[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]
    return Templates(tuple(line for i, line in enumerate(lines, start=1) if i % HELD_OUT_EVERY), tuple(held_out))
