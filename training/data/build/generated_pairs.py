"""Pairs of pictures that a text-to-image model draws from two captions, as a source of the data engine.

A file of JSON lines {"before": caption, "after": caption, "instruction": sentence}; of each line several candidates,
each with its own noise and its own share of shared attention, as InstructPix2Pix makes its pairs (Brooks et al., arXiv
2211.09800, section 3.1.2). All of them are samples: the recipe's filters keep the good ones.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from tqdm import tqdm

from ....comfyui_pixwizard.files.components import find_folder
from ....comfyui_pixwizard.files.digests import model_fingerprint
from ....comfyui_pixwizard.files.safe_files import replaced, sha256_of
from ....comfyui_pixwizard.limits import check_side
from ....comfyui_pixwizard.pictures.images import to_image
from ....comfyui_pixwizard.pipeline import PixWizardPipeline
from ....comfyui_pixwizard.tasks import TASKS
from ...loop.seeding import seed_of
from .recipe import STRICT
from .shared_attention import Alignment, PairEvaluator, Sharing

PAIRS, SIDES = "generated", ("before", "after")


@dataclass(frozen=True)
class DrawnPairs:
    """How pairs are drawn: the options of an input of this kind.

    Attributes:
        candidates: of each pair of captions.
        size: side of the pictures in pixels.
        steps: points of the time grid; None takes what the model declares.
        least_own, most_own: between which shares of the time attention of the picture to itself is shared.
        words, blend: see `shared_attention.Sharing`.
        seed: of the noise.
    """

    __pydantic_config__: ClassVar = STRICT
    candidates: int = 10
    size: int = 128
    steps: int | None = None
    least_own: float = 0.1
    most_own: float = 0.9
    words: float = 0.8
    blend: float = 0.3
    seed: int = 0

    def check(self) -> None:
        """Refuse what cannot be drawn.

        Raises:
            ValueError: fewer than one candidate, a size that no picture has, shares that are none.
        """
        if self.candidates < 1 or self.least_own > self.most_own:
            raise ValueError(
                f"candidates are at least 1 and least_own is at most most_own, found {self.candidates}, "
                f"{self.least_own} and {self.most_own}: change them"
            )
        check_side(self.size, take=128)
        for own in (self.least_own, self.most_own):
            Sharing(own, self.words, self.blend)

    def sharing(self, candidate: int) -> Sharing:
        """That of a candidate: their shares are spread evenly."""
        place = candidate / max(1, self.candidates - 1)
        return Sharing(self.least_own + place * (self.most_own - self.least_own), self.words, self.blend)


@dataclass(frozen=True)
class Captions:
    """One line."""

    before: str
    after: str
    instruction: str


def read_captions(path: Path) -> list[Captions]:
    """The lines of a file.

    Raises:
        ValueError: a line that is none.
        FileNotFoundError: no such file.
    """
    wanted, found = [field.name for field in fields(Captions)], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path.name}:{number} is no JSON, found: {error}; correct it") from error
        if not isinstance(values, dict) or sorted(values) != sorted(wanted) or not all(
            isinstance(text, str) and text.strip() for text in values.values()
        ):  # fmt: skip
            raise ValueError(
                f"{path.name}:{number} holds {', '.join(wanted)}, each a text, found {line[:80]}: correct it"
            )
        found.append(Captions(**values))
    if not found:
        raise ValueError(f"{path} should hold pairs of captions, found none: add a line")
    return found


def draw_pair(pipeline: PixWizardPipeline, captions: Captions, how: DrawnPairs, number: int, candidate: int) -> Tensor:
    """A candidate [2, 3, H, W] in [-1, 1] of two captions, before and after.

    Args:
        number: of the captions in their file, for the noise.
    """
    sentences = [TASKS["text_to_image"].instruction(caption=getattr(captions, side)) for side in SIDES]
    before, after = (pipeline.text_encoder.tokenizer(text)["input_ids"] for text in sentences)
    row, usual = pipeline.declared["text_to_image"], pipeline.evaluator
    pipeline.evaluator = PairEvaluator(Alignment([before], [after]), how.sharing(candidate))
    try:
        made = pipeline.generate(
            torch.ones(2, 3, how.size, how.size), sentences, steps=how.steps or row.points, solver=row.solver,
            guidance=row.guidance(),
            seeds=[seed_of("pairs", how.seed, number, candidate)] * 2,
        )  # fmt: skip
    finally:
        pipeline.evaluator = usual
    return made.cpu()


def made_pairs(file: Path, model: str, how: DrawnPairs, output: Path, name: str) -> Path:
    """The folder of an input's pictures, those drawn that are not there.

    Args:
        file: of captions.   model: "nano" or a folder.   output: of the build.   name: of the input.

    Raises:
        ValueError: options that cannot be used, a line that is none, no such model.
    """
    how.check()
    captions, found = read_captions(file), find_folder(model)
    told = json.dumps([sha256_of(file), model_fingerprint(found), asdict(how)])
    folder = output / PAIRS / f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"
    left = [
        (number, candidate)
        for number in range(len(captions))
        for candidate in range(how.candidates)
        if not all(path.is_file() for path in picture_paths(folder, number, candidate))
    ]
    if left:
        pipeline = PixWizardPipeline.from_pretrained(found)
        for number, candidate in tqdm(left, "pairs", unit="pair", leave=False):
            pair = draw_pair(pipeline, captions[number], how, number, candidate)
            for path, picture in zip(picture_paths(folder, number, candidate), pair, strict=True):
                with replaced(path) as out:
                    to_image(picture).save(out, "png")
    return folder


def picture_paths(folder: Path, number: int, candidate: int) -> list[Path]:
    """Files of a candidate, before and after."""
    return [folder / f"{number:06}_{candidate:03}_{side}.png" for side in SIDES]
