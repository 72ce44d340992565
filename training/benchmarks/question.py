"""One picture of a benchmark: what a model is shown and told, and what a right answer is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ...comfyui_pixwizard.pictures.images import SUFFIXES
from ...comfyui_pixwizard.tasks import TASKS, guess_task
from ..data.build.drawing import load_rgb
from ..data.build.places import Ref, Rejected

# Edits in words that resemble no task.
FALLBACK = "edit_replace"
MISSING_PAIR, BROKEN, OTHER_SIZE = "missing pair", "broken picture", "another size"
MISSING_ANSWER, BROKEN_ANSWER, OTHER_ANSWER = "missing answer", "broken answer", "answer of another size"


@dataclass(frozen=True)
class Question:
    """One picture of a benchmark.

    Attributes:
        name: unique in the benchmark, without suffix; folders are kept. The answer is NAME.png.
        source: what the model is shown; None for a blank canvas.
        target: the picture that a perfect answer is, where there is one.
        task: of the registry; "" lets the instruction decide.
        instruction: as the data set words it; "" takes the task's first one.
        words: for the placeholders of that one.
        truth: what the metric compares with, as plain values and places.
        captions: of the target.
        fault: why it cannot be asked, where that shows before anything is opened.
    """

    name: str
    source: Ref | None
    target: Ref | None = None
    task: str = ""
    instruction: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    truth: Mapping[str, Any] = field(default_factory=dict)
    captions: tuple[str, ...] = ()
    fault: str = ""

    def sentence(self) -> str:
        """What the model is told."""
        return self.instruction or TASKS[self.task].instruction(None, **self.words)


class Fault(Exception):
    """A question that cannot be judged, and under which reason it is counted."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


def picture_of(place: Ref) -> Image.Image:
    """A stored or drawn picture as RGB.

    Raises:
        Fault: it is missing or broken.
    """
    try:
        return load_rgb(place, MISSING_PAIR)
    except Rejected as rejected:
        raise Fault(MISSING_PAIR if rejected.reason == MISSING_PAIR else BROKEN) from rejected


def editing_task(sentence: str) -> str:
    """The editing task that free words resemble."""
    found = guess_task(sentence, has_image=True)
    return found if found is not None and found.startswith("edit_") else FALLBACK


def picture_digest(picture: Image.Image | None) -> str:
    """SHA-256 of the pixels of an RGB picture, however they are stored; "" of none."""
    if picture is None:
        return ""
    return hashlib.sha256(f"{picture.size}".encode() + picture.tobytes()).hexdigest()


def pictures_in(folder: Path) -> dict[str, Path]:
    """The pictures under a folder by their relative path without suffix; of two with one name the second keeps it.

    Raises:
        ValueError: no such folder.
    """
    if not folder.is_dir():
        raise ValueError(f"a folder of pictures is needed, found none at {folder}: check the path")
    found: dict[str, Path] = {}
    for path in sorted(path for path in folder.rglob("*") if is_picture(path)):
        place = path.relative_to(folder)
        name = place.with_suffix("").as_posix()
        found[place.as_posix() if name in found else name] = path
    return found


def is_picture(path: Path) -> bool:
    """Whether a file is named like a picture, and not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def named_once(questions: Iterable[Question]) -> Iterator[Question]:
    """The questions; a name that comes again is a fault."""
    seen: set[str] = set()
    for question in questions:
        if question.name in seen:
            yield Question(f"{question.name} (again)", None, fault="a name that comes twice")
            continue
        seen.add(question.name)
        yield question
