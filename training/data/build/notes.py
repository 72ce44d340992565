"""What annotators say of pictures, and what an annotator is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from PIL import Image


@dataclass
class Note:
    """What annotators say of one picture: maps by task, captions, and facts that reading the maps needs."""

    maps: dict[str, Image.Image] = field(default_factory=dict)
    captions: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


class Annotator(Protocol):
    """Adds to the notes of pictures.

    Attributes:
        name: the task whose map it makes, or "caption".
    """

    name: str

    def __call__(self, pictures: Sequence[Image.Image], notes: Sequence[Note]) -> None:
        """Read RGB pictures of any sizes; the same pictures always give the same notes."""
