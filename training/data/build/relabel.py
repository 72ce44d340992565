"""Which task a pair counts as: the one that its sentences ask for, whatever it was stored under (Emu Edit)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

from ....comfyui_pixwizard.tasks.language.guess import guess_task
from .recipe import Relabel

WORDS = "words"
# The task of each of some sentences, None where one asks for none.
Predictor = Callable[[Sequence[str]], list[str | None]]


def by_words(sentences: Sequence[str]) -> list[str | None]:
    """The guess by words, which needs no model."""
    return [guess_task(sentence) for sentence in sentences]


def predictor_of(told: Relabel) -> Predictor:
    """The predictor that a recipe names: WORDS, or the one of a model.

    Raises:
        ValueError: there is no such model.
    """
    return by_words if told.predictor == WORDS else _of_model(told.predictor)


@lru_cache(maxsize=1)
def _of_model(model: str) -> Predictor:
    from ....comfyui_pixwizard.pipeline import PixWizardPipeline

    return PixWizardPipeline.from_pretrained(model).predict_task


def asked_task(predict: Predictor, sentences: Sequence[str], stored: str) -> str | None:
    """The task that most sentences of a pair ask for; of equally many the stored one. None where none is asked for."""
    votes = Counter(task for task in predict(sentences) if task is not None)
    if not votes:
        return None
    most = max(votes.values())
    return stored if votes.get(stored) == most else next(task for task, count in votes.items() if count == most)
