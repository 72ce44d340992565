"""A folder of questions, of each twenty answers, and what was chosen among them.

    grid.json        the model, the settings, the questions
    0000/            source.png, truth.png where it is known, 00.png to 19.png
    choices.json     by question: the answers that were picked, and whether the question was done with

Source: InstructDiffusion (Geng et al., 2023), human alignment: twenty guidance settings a picture, of which people keep
none to two.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...comfyui_pixwizard.files.safe_files import read_json, write_json

FORMAT = 1
GRID, CHOICES = "grid.json", "choices.json"
# Guidance by text and by image; the first is what the model declares for the task.
Setting = tuple[float, float] | None
TEXT, IMAGE = (1.0, 2.0, 3.0, 4.5, 6.0), (0.8, 1.0, 1.3, 1.6)
SETTINGS: tuple[Setting, ...] = (None, *[(text, image) for text in TEXT for image in IMAGE][:-1])
MOST = 2


@dataclass(frozen=True)
class Asked:
    """A question: its name, which is its folder, its sentence and its task."""

    name: str
    sentence: str
    task: str


@dataclass(frozen=True)
class Choice:
    """What was picked, by number of the setting, in order; seen: whether the question was done with, so that none is a
    choice too.
    """

    picked: tuple[int, ...] = ()
    seen: bool = False


class GridFolder:
    """A folder that `create` made.

    Attributes:
        model: that answers.   asked: questions, in order.

    Raises:
        ValueError: there is none, or one of another format.
    """

    def __init__(self, folder: Path):
        self.folder, self._writing = folder, threading.Lock()
        if not (folder / GRID).is_file():
            raise ValueError(
                f"a grid is a folder with {GRID}, found none in {folder}: make it with pixwizard align grid"
            )
        told = read_json(folder / GRID)
        settings = [list(setting) if setting else None for setting in SETTINGS]
        if told.get("format") != FORMAT or told.get("settings") != settings:
            raise ValueError(f"{folder / GRID} was made by another version of this program: make another folder")
        self.model: str = told["model"]
        self.asked = [Asked(**one) for one in told["asked"]]

    @classmethod
    def create(cls, folder: Path, model: str, asked: Sequence[Asked]) -> GridFolder:
        """Begin a folder whose pictures are in their places; what is there already must be the same.

        Raises:
            ValueError: it holds other questions, or there are none.
        """
        if not asked:
            raise ValueError("a grid needs questions, found none: give --questions or --scenes")
        if (folder / GRID).is_file():
            found = cls(folder)
            if found.model != model or found.asked != list(asked):
                raise ValueError(
                    f"{folder} holds other questions or another model: go on with those, or name another folder"
                )
            return found
        questions = [asdict(one) for one in asked]
        write_json(folder / GRID, {"format": FORMAT, "model": model, "settings": SETTINGS, "asked": questions})
        return cls(folder)

    def source(self, asked: Asked) -> Path:
        """The picture that a question is about."""
        return self.folder / asked.name / "source.png"

    def truth(self, asked: Asked) -> Path:
        """What a perfect answer is; rendered questions have it."""
        return self.folder / asked.name / "truth.png"

    def answer(self, asked: Asked, number: int) -> Path:
        """The answer by one of SETTINGS."""
        return self.folder / asked.name / f"{number:02d}.png"

    def choices(self) -> dict[str, Choice]:
        """What was chosen so far, by name of the question."""
        path = self.folder / CHOICES
        found: dict[str, Any] = read_json(path) if path.is_file() else {}
        return {name: Choice(tuple(one["picked"]), bool(one["seen"])) for name, one in found.items()}

    def choose(self, name: str, choice: Choice) -> None:
        """Keep a choice, at once and whole.

        Raises:
            ValueError: no such question, more than two, twice the same, or a number that no setting has.
        """
        if name not in {one.name for one in self.asked}:
            raise ValueError(f"a choice names a question of the grid, found {name!r}: read the page again")
        picked = choice.picked
        if len(picked) > MOST or len(set(picked)) < len(picked) or not all(0 <= one < len(SETTINGS) for one in picked):
            found = json.dumps(picked)
            raise ValueError(f"none to {MOST} of {len(SETTINGS)} answers are picked, found {found}: pick fewer")
        with self._writing:
            kept = {other: asdict(one) for other, one in self.choices().items()}
            write_json(self.folder / CHOICES, kept | {name: asdict(choice)})

    def left(self) -> list[Asked]:
        """Questions that are not done with."""
        choices = self.choices()
        return [one for one in self.asked if not choices.get(one.name, Choice()).seen]
