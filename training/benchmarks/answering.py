"""Answers that a model makes to a benchmark: kept as PNG files that say how they were made, so that a run goes on.

An answer is known again by its text entry: the settings, the pixels that were shown and the model. What a killed run
left half-written is removed.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PIL import Image, PngImagePlugin

from ...comfyui_pixwizard.files.components import find_folder
from ...comfyui_pixwizard.files.digests import model_fingerprint
from ...comfyui_pixwizard.files.safe_files import drafts_of, replaced
from ...comfyui_pixwizard.pictures.images import SUFFIXES, open_picture
from ..loop.seeding import seed_of
from .options import Options
from .question import BROKEN_ANSWER, MISSING_ANSWER, Fault, Question, editing_task, picture_digest, picture_of

ENTRY = "pixwizard_benchmark"
# What is shown to read marks against: the picture through the model's own autoencoder.
REFERENCE = ".reference"


class Pipeline(Protocol):
    """What this asks of a pipeline: `PixWizardPipeline.__call__` and, for marks, `round_trip`."""

    def __call__(self, image: Any, instruction: str, *others: Any, **settings: Any) -> Any: ...


@dataclass(frozen=True)
class Answers:
    """Where the answers to a benchmark lie."""

    folder: Path

    def path(self, question: Question) -> Path:
        """Where this harness writes an answer."""
        return self.folder / f"{question.name}.png"

    def open(self, question: Question) -> Image.Image:
        """An answer as RGB, of any suffix that pictures have.

        Raises:
            Fault: it is missing or broken.
        """
        found = next((path for path in self._candidates(question.name) if path.is_file()), None)
        if found is None:
            raise Fault(MISSING_ANSWER)
        try:
            return open_picture(found)
        except (ValueError, OSError) as error:
            raise Fault(BROKEN_ANSWER) from error

    def reference(self, question: Question) -> Image.Image | None:
        """The picture that marks are read against, where the model's own was kept."""
        path = self.folder / f"{question.name}{REFERENCE}.png"
        with contextlib.suppress(ValueError, OSError):
            return open_picture(path)
        return None

    def _candidates(self, name: str) -> Iterable[Path]:
        return (self.folder / f"{name}{suffix}" for suffix in (*SUFFIXES, *map(str.upper, SUFFIXES)))


def source_of(question: Question) -> Image.Image | None:
    """What the model is shown, as RGB; None for a blank canvas.

    Raises:
        Fault: the question has one, or its source is missing or broken.
    """
    if question.fault:
        raise Fault(question.fault)
    return None if question.source is None else picture_of(question.source)


@dataclass(frozen=True)
class Asking:
    """How a model is asked: everything that an answer depends on but the question itself.

    Attributes:
        fingerprint: of the model.
        size: see `Options`.
        keep_size: bring answers back to the picture's size (Lanczos); otherwise they stay at the model's, where codes
            are read best.
        references: keep what marks are read against.
    """

    fingerprint: str
    options: Options
    keep_size: bool
    references: bool = False

    def call(self, question: Question) -> dict[str, Any]:
        """Arguments of the pipeline, but for the picture."""
        sentence = question.sentence()
        return {
            "instruction": sentence,
            "task": question.task or editing_task(sentence),
            "steps": self.options.steps,
            "solver": self.options.solver,
            "text_guidance": self.options.text_guidance,
            "image_guidance": self.options.image_guidance,
            "seed": seed_of("benchmark", self.options.seed, question.name) % 2**31,
            "size": self.options.size,
            "keep_size": self.keep_size,
        }

    def entry(self, question: Question, source: Image.Image | None) -> str:
        """What an answer says of how it was made."""
        told = self.call(question) | {"model": self.fingerprint, "source": picture_digest(source)}
        return json.dumps(told, sort_keys=True)


def fingerprint_of(model: str) -> str:
    """What tells a model from others, found without loading it.

    Raises:
        ValueError: no such model.
    """
    return model_fingerprint(find_folder(model))


def is_made(path: Path, entry: str) -> bool:
    """Whether an answer lies there whole, made as the entry says."""
    try:
        with Image.open(path) as image:
            if image.info.get(ENTRY) != entry:
                return False
            image.load()
    except Exception:  # a broken file chooses which one
        return False
    return True


def make_answers(
    questions: Sequence[Question],
    answers: Answers,
    asking: Asking,
    load: Callable[[], Pipeline],
    advance: Callable[[int], Any],
) -> int:
    """Make what is missing; answers how many were made now.

    Questions whose picture cannot be used are passed over: judging names them.

    Args:
        load: brings the model; not called when nothing is missing.
        advance: called with 1 after each question.

    Raises:
        ValueError: the place cannot be written, or settings that the pipeline refuses.
    """
    left = drafts_of(answers.path(question) for question in questions)
    pipeline, made = None, 0
    for question in questions:
        with contextlib.suppress(Fault):
            source = source_of(question)
            entry = asking.entry(question, source)
            if not is_made(answers.path(question), entry):
                pipeline = pipeline or load()
                result = pipeline(source, **asking.call(question))
                if asking.references and source is not None:
                    _keep_reference(pipeline, source, result.image, answers, question)
                _save(result.image, answers.path(question), entry)
                made += 1
        advance(1)
    for path in left:
        path.unlink(missing_ok=True)
    return made


def _keep_reference(
    pipeline: Any, source: Image.Image, answer: Image.Image, answers: Answers, question: Question
) -> None:
    from ...comfyui_pixwizard.pictures.images import resized, to_image, to_tensor

    shown = to_tensor(resized(source, answer.size))
    path = answers.folder / f"{question.name}{REFERENCE}.png"
    _save(to_image(pipeline.round_trip(shown)[0]), path, "")


def _save(image: Image.Image, path: Path, entry: str) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text(ENTRY, entry)
    out = io.BytesIO()
    image.save(out, "PNG", pnginfo=info)
    with replaced(path) as file:
        file.write(out.getvalue())
