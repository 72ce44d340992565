"""What turns answers into figures: one protocol for all benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from .question import Question

# A figure, or the reason why there is none.
Figure = float | str


def not_measured(option: str, what: str) -> str:
    """What stands in place of a figure whose network is not there."""
    return f"not measured: needs FILE ({option}, {what})"


@dataclass(frozen=True)
class Shown:
    """What a model was shown: an RGB picture, None for a blank canvas, and that picture through its autoencoder."""

    source: Image.Image | None
    reference: Image.Image | None = None


class Judge(Protocol):
    """Scores answers one after the other.

    Attributes:
        main: the figure by which answers are the worst or the median; "" where one answer has none.
        higher: whether more of it is better.
    """

    main: str
    higher: bool

    def add(self, question: Question, shown: Shown, answer: Image.Image) -> Mapping[str, float]:
        """Score one answer; its own figures.

        Args:
            answer: RGB, of whatever size it has.

        Raises:
            Fault: the truth or the answer cannot be used.
        """

    def result(self) -> Mapping[str, Figure]:
        """The figures of all answers."""

    def settings(self) -> Mapping[str, str]:
        """How they were computed, for people."""
