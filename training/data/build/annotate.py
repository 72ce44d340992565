"""Readings of pictures that are stored beside them, behind one protocol.

What is cheap and needs no weights (edges, degradations) training makes anew from the clean picture each time; stored
is what a network has to look for. The built-in filters are in the table all the same, for those who want files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from ....comfyui_pixwizard.pictures.images import to_tensor
from ...annotators import ANNOTATORS as FILTERS
from . import recipe as recipes
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

        if not told.model:
            raise ValueError(f"annotator {name} needs a folder of weights, found none: set model")
        made: Annotator = getattr(annotate_networks, kind)(told.model, **told.options)
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
    "depth": _network("depth", "Depth"),
    "segmentation": _network("segmentation", "Segmentation"),
    "caption": _network("caption", "Caption"),
    "pose": _auxiliary("pose", "OpenposeDetector"),
    "hed_network": _auxiliary("hed", "HEDdetector"),
}


class Tools:
    """The annotators and scores of a recipe, loaded once in each worker.

    Raises:
        ValueError: an unknown name, weights or a package that are not there, options that are not taken.
    """

    def __init__(self, recipe: recipes.BuildRecipe):
        from .quality_scores import SCORES

        self.filters = recipe.filters
        self.annotators = [_made(ANNOTATORS, "annotator", told.name, told) for told in recipe.annotators]
        self.scores = [_made(SCORES, "score", told.score, told) for told in recipe.filters]

    def score(self, target: Image.Image, source: Image.Image | None, captions: Sequence[str]) -> dict[str, float]:
        """All scores of a sample that apply to it.

        Raises:
            Rejected: one is out of its bounds.
        """
        found = {}
        for bound, score in zip(self.filters, self.scores, strict=True):
            value = score(target, source, captions)
            if value is None:
                continue
            low = -np.inf if bound.at_least is None else bound.at_least
            high = np.inf if bound.at_most is None else bound.at_most
            if not low <= value <= high:
                raise Rejected(f"filter {bound.score}")
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
