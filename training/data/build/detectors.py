"""Detectors: where a picture shows what a phrase names. For scores that ask whether things are there or gone."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple, Protocol

import torch
from PIL import Image
from torch import Tensor

from ....comfyui_pixwizard.pictures.images import image_to_unit
from ....comfyui_pixwizard.tasks.codecs.clean_up import components
from ...render.scenes import COLOR_NAMES, SHAPES
from ...render.scenes.vocabulary import CUBE_WORDS, SHAPE_WORDS

# The project's own detector, which knows the solids of rendered scenes.
SCENES = "scenes"


class Found(NamedTuple):
    """A thing in a picture: its box x0 y0 x1 y1 in shares of the sides, and how surely it is there, 0 to 1."""

    box: tuple[float, float, float, float]
    score: float


class Detector(Protocol):
    """What finds things."""

    def __call__(self, picture: Image.Image, phrase: str) -> list[Found]:
        """All things in an RGB picture that a phrase may mean."""


class SceneDetector:
    """The judge of generated scenes (`evaluate.object_judge`) as a detector: colour and shape of each of its cells.

    A phrase's colour and shape count, as far as it names them; its size, texture and place do not.
    """

    # Of a cell to belong to a thing; and the cells of the smallest one.
    LEAST, CELLS, SUREST = 0.2, 4, 5

    @torch.no_grad()
    def __call__(self, picture: Image.Image, phrase: str) -> list[Found]:
        cells = _cells(picture)[meant(phrase)].sum(0)
        side, found = cells.shape[-1], []
        numbers = components(cells > self.LEAST)
        for number in range(1, int(numbers.max()) + 1):
            rows, columns = (numbers == number).nonzero().unbind(1)
            if len(rows) < self.CELLS:
                continue
            box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            surest = cells[numbers == number].topk(min(self.SUREST, len(rows))).values.mean()
            x0, y0, x1, y1 = (float(edge) / side for edge in box)
            found.append(Found((x0, y0, x1, y1), min(float(surest), 1.0)))
        return found


@lru_cache(maxsize=4)
def _cells_of(data: bytes, size: tuple[int, int]) -> Tensor:
    from ...evaluate.object_judge import judge

    return judge().cells(image_to_unit(Image.frombytes("RGB", size, data))[None])[0]


def _cells(picture: Image.Image) -> Tensor:
    """[P,G,G]: one picture is asked about several phrases."""
    return _cells_of(picture.convert("RGB").tobytes(), picture.size)


def meant(phrase: str) -> list[int]:
    """Numbers of the (colour, shape) pairs, in the order of COLOR_NAMES and SHAPES, that a phrase may mean."""
    words = re.findall(r"[a-z]+", phrase.lower())
    colors = [number for number, name in enumerate(COLOR_NAMES) if name in words]
    names = {shape: {*SHAPE_WORDS[shape], *(CUBE_WORDS if shape == "box" else ())} for shape in SHAPES}
    shapes = [
        number
        for number, shape in enumerate(SHAPES)
        if names[shape] & {form for word in words for form in (word, word.removesuffix("s"), word.removesuffix("es"))}
    ]
    colors, shapes = colors or [*range(len(COLOR_NAMES))], shapes or [*range(len(SHAPES))]
    return [color * len(SHAPES) + shape for color in colors for shape in shapes]


class NetworkDetector:
    """A GroundingDINO of a folder, see `local_edits.detector.WordDetector`.

    Raises:
        ValueError: no such folder, or not the weights of such a model.
    """

    def __init__(self, folder: str):
        from ....comfyui_pixwizard.local_edits.detector import WordDetector

        self.find = WordDetector(folder, "cuda" if torch.cuda.is_available() else "cpu")

    def __call__(self, picture: Image.Image, phrase: str) -> list[Found]:
        boxes, scores = self.find(picture, phrase)
        pairs = zip(boxes.tolist(), scores.tolist(), strict=True)
        return [Found((x0, y0, x1, y1), score) for (x0, y0, x1, y1), score in pairs]


def detector_of(model: str) -> Detector:
    """The detector that a recipe names: SCENES, or a folder.

    Raises:
        ValueError: none is named, or none is there.
    """
    if not model:
        raise ValueError(f"score presence needs a detector, found none: set model to {SCENES!r} or to a folder of one")
    return SceneDetector() if model == SCENES else NetworkDetector(model)
