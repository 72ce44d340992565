"""Readings of pictures that are stored beside them, behind one protocol.

What is cheap and needs no weights (edges, degradations) training makes anew from the clean picture each time; stored
is what a network has to look for. The built-in filters are in the table all the same, for those who want files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image

from ....comfyui_pixwizard.pictures.images import to_tensor
from ...annotators import ANNOTATORS as FILTERS
from . import recipe as recipes
from .depth_annotator import depth_annotator, weights_of
from .judged import Judged
from .notes import Annotator, Note
from .places import Rejected


class FilterAnnotator:
    """A built-in filter's strengths as a grey PNG."""

    def __init__(self, name: str):
        self.name = name

    def __call__(self, pictures: Sequence[Image.Image], notes: Sequence[Note]) -> None:
        for picture, note in zip(pictures, notes, strict=True):
            strength = FILTERS[self.name](to_tensor(picture) / 2 + 0.5)[0]
            note.maps[self.name] = Image.fromarray((strength * 255).round().to(torch.uint8).cpu().numpy())


def _network(name: str, kind: str) -> Callable[[recipes.AnnotatorSettings], Annotator]:
    def make(told: recipes.AnnotatorSettings) -> Annotator:
        from . import annotate_networks

        made: Annotator = getattr(annotate_networks, kind)(weights_of(told), **told.options)
        return made

    return make


def _auxiliary(name: str, detector: str) -> Callable[[recipes.AnnotatorSettings], Annotator]:
    def make(told: recipes.AnnotatorSettings) -> Annotator:
        from .annotate_auxiliary import Auxiliary

        return Auxiliary(name, detector, told.model, **told.options)

    return make


# A new annotator is a class with the protocol above and a line here.
ANNOTATORS: dict[str, Callable[[recipes.AnnotatorSettings], Annotator]] = {
    **{name: (lambda told: FilterAnnotator(told.name)) for name in FILTERS},
    "depth": depth_annotator,
    "segmentation": _network("segmentation", "Segmentation"),
    "caption": _network("caption", "Caption"),
    "pose": _auxiliary("pose", "OpenposeDetector"),
    "hed_network": _auxiliary("hed", "HEDdetector"),
}


class Tools:
    """The annotators, the predictor and the scores of a recipe, loaded once in each worker.

    Raises:
        ValueError: an unknown name, weights or a package that are not there, options that are not taken.
    """

    def __init__(self, recipe: recipes.BuildRecipe):
        from .quality_scores import SCORES
        from .relabel import predictor_of

        self.filters, self.relabel = recipe.filters, recipe.relabel
        self.predict = predictor_of(recipe.relabel) if recipe.relabel else None
        self.annotators = [_made(ANNOTATORS, "annotator", told.name, told) for told in recipe.annotators]
        self.scores = [_made(SCORES, "score", told.score, told) for told in recipe.filters]

    def task(self, instructions: Sequence[str], stored: str) -> str:
        """What a pair counts as: the stored task, unless the recipe relabels it by its sentences.

        Raises:
            Rejected: they ask for none.
        """
        from .relabel import asked_task

        if self.predict is None or self.relabel is None or not instructions:
            return stored
        asked = asked_task(self.predict, instructions, stored)
        if asked is None and self.relabel.unknown == "leave out":
            raise Rejected("no task")
        known = asked is not None and (not self.relabel.tasks or asked in self.relabel.tasks)
        return asked if asked is not None and known else stored

    def value(self, number: int, judged: Judged) -> float | None:
        """The score of a filter by its number; None where it does not apply."""
        wanted = self.filters[number].tasks
        found: float | None = self.scores[number](judged) if not wanted or judged.task in wanted else None
        return found

    def score(
        self,
        target: Image.Image,
        source: Image.Image | None,
        captions: Sequence[str],
        instructions: Sequence[str] = (),
        task: str = "",
    ) -> dict[str, float]:
        """All scores of a sample that apply to it.

        Raises:
            Rejected: one is out of its bounds.
        """
        judged, found = Judged(target, source, captions, instructions, task), {}
        for number, bound in enumerate(self.filters):
            value = self.value(number, judged)
            if not bound.passes(value):
                raise Rejected(f"filter {bound.score}")
            if value is not None:
                found[bound.score] = value
        return found

    def annotate(self, pictures: Sequence[Image.Image]) -> list[Note]:
        """A note for each picture."""
        notes = [Note() for _ in pictures]
        for annotator in self.annotators if pictures else ():
            annotator(pictures, notes)
        return notes


def _made(table: dict[str, Callable], what: str, name: str, told: Any) -> Any:
    if name not in table:
        raise ValueError(f"the {what}s are {', '.join(table)}, found {name!r}: choose one of them")
    try:
        return table[name](told)
    except TypeError as error:
        raise ValueError(f"{what} {name} does not take these options: {error}; correct them") from error
