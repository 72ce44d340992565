"""Many pictures through one model, which works while threads read the next pictures and write the finished ones.

One picture is `prepare`, then `answer` (to every instruction of a chain), then `write`, here as in the workers of
`batch_ray`. A picture that fails does so alone: its error is its outcome.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..comfyui_pixwizard.answer import Result
from ..comfyui_pixwizard.files.safe_files import replaced, sha256_of
from ..comfyui_pixwizard.pictures.buckets import Size
from ..comfyui_pixwizard.pictures.images import open_noted, resized
from ..comfyui_pixwizard.pictures.labels import save_label
from ..comfyui_pixwizard.pictures.sizes import model_size
from ..comfyui_pixwizard.pipeline import PixWizardPipeline, Progress
from ..comfyui_pixwizard.version import VERSION
from ..runtime.evaluators import choose, find_device
from .jobs import Job, JobOutcome, RunSettings, chain_files

# Pillow gives Python's lock back while it decodes and encodes, so threads are enough; a 12 megapixel PNG takes seconds.
THREADS = min(4, os.cpu_count() or 1)
# Bounds of both queues, in pictures: what is read waits at the model's size, what is made until the disk has taken it.
AHEAD = BEHIND = 2 * THREADS
# What the model or the disk may do to one picture and not to the next: out of memory is a RuntimeError in torch.
FAILURES = (ValueError, OSError, RuntimeError, MemoryError)


@dataclass(frozen=True)
class PreparedPicture:
    """A picture that is ready for the model.

    Attributes:
        picture: at the model's size; None for a blank canvas.
        size: the model's.
        own: the size of the file's picture.
        digest: of the file's bytes.
        notes: what the picture lost when it was read, in words.
    """

    picture: Image.Image | None
    size: Size
    own: Size | None = None
    digest: str | None = None
    notes: tuple[str, ...] = ()


def reason(error: Exception) -> str:
    """An error in words; those that are no messages to users keep their name."""
    return str(error) if isinstance(error, ValueError | OSError) and str(error) else f"{type(error).__name__}: {error}"


def in_words(error: Exception) -> ValueError | OSError:
    """An error as one that is a message to users."""
    return error if isinstance(error, ValueError | OSError) else ValueError(reason(error))


def load(settings: RunSettings) -> PixWizardPipeline:
    """The model, on its device, with what evaluates it.

    Raises:
        ValueError: no such model, backend, engine or device.
    """
    device = find_device(settings.device)
    evaluator = choose(settings.backend, settings.engine, settings.provider)
    pipeline = PixWizardPipeline.from_pretrained(settings.folder).to(device)
    pipeline.evaluator = evaluator
    return pipeline


def prepare(job: Job, settings: RunSettings) -> PreparedPicture:
    """Read a picture and bring it to the model's size.

    Raises:
        ValueError: an unreadable file.
        FileNotFoundError: no such file.
    """
    if job.source is None:
        return PreparedPicture(None, model_size(None, settings.size, settings.max_size))
    # Taken first: should the file change before it is read, the next run finds another digest and makes it again.
    digest = ""
    with contextlib.suppress(OSError):  # what cannot be read fails below, in words
        digest = sha256_of(job.source)
    given, notes = open_noted(job.source)
    size = model_size(given.size, settings.size, settings.max_size, settings.call.get("windows", False))
    picture = resized(given, size)
    picture.info.clear()  # the file's orientation and transparency are applied: the pipeline must not see them again
    return PreparedPicture(picture, size, given.size, digest, notes)


def answer(
    pipeline: PixWizardPipeline, prepared: PreparedPicture, settings: RunSettings, progress: Progress | None = None
) -> list[Result]:
    """What the model makes of a picture in every step, at the model's size; each works on the answer of the one before.

    Raises:
        ValueError: settings that the pipeline refuses.
    """
    results: list[Result] = []
    for step, asked in enumerate(settings.calls):
        call = dict(asked)
        if call.get("local") is not None:
            call["local"] = replace(call["local"], shape=prepared.own)
        results.append(
            pipeline(
                results[-1].image if results else prepared.picture,
                **call,
                size=prepared.size,
                keep_size=False,
                decode=settings.label is not None and step == len(settings.earlier),
                progress=progress,
            )
        )
    return results


def write(
    job: Job, settings: RunSettings, prepared: PreparedPicture, results: Sequence[Result], class_names: Sequence[str]
) -> JobOutcome:
    """Write an answer at the wanted size; its label, the steps before it and their page before it.

    The PNG comes last because it vouches for the others: where it is, with its entries, everything is.

    Args:
        results: of every step.

    Raises:
        ValueError: the place cannot be written.
    """
    labels: list[Path] = []
    if settings.label is not None:
        labels = save_label(job.output, settings.label, results[-1].label, class_names, prepared.size)
    chain = chain_files(job.output, len(results))
    paths = [*chain[:-1], job.output]
    for step, image in enumerate(_pictures(job, settings, prepared, results), 1):
        if step > 1 and step == len(results):
            from .chain_page import write_chain_page

            write_chain_page(chain[-1], prepared.picture, results, paths)
        entries = results[step - 1].settings | settings.until(step).entries(prepared.digest)
        save_png(image, entries, paths[step - 1])
        size = image.size
    seconds = sum(value for result in results for name, value in result.seconds.items() if name != "load")
    notes = dict.fromkeys((*prepared.notes, *(note for result in results for note in result.notes)))
    return JobOutcome(job, size, seconds, tuple(labels), tuple(notes), chain)


def _pictures(
    job: Job, settings: RunSettings, prepared: PreparedPicture, results: Sequence[Result]
) -> Iterator[Image.Image]:
    """The answers at the wanted size: there, every change is carried to the answer of the step before."""
    before: Image.Image | None = None
    for result in results:
        image = result.image
        if settings.keep_size and prepared.own is not None and prepared.own != image.size:
            if result.change is None:
                image = resized(image, prepared.own)
            else:
                image = result.at_size_of(before or _source_again(job, prepared))
        before = image
        yield image


def _source_again(job: Job, prepared: PreparedPicture) -> Image.Image:
    """A picture at its own size; many of them do not wait in memory for the model.

    Raises:
        ValueError: it is another one by now.
    """
    assert job.source is not None, "a blank canvas has no size of its own"
    if sha256_of(job.source) != prepared.digest:
        raise ValueError(f"a picture stays the same during a run, found {job.source} changed: run it again")
    return open_noted(job.source)[0]


def save_png(image: Image.Image, entries: Mapping[str, Any], path: Path) -> None:
    """Write a picture with its settings as text entries, whole or not at all."""
    info = PngInfo()
    for name, value in (dict(entries) | {"version": f"pixwizard {VERSION}"}).items():
        if value is not None:
            info.add_text(name, str(value))
    with replaced(path) as file:
        image.save(file, "png", pnginfo=info)


def run_here(
    jobs: Sequence[Job], settings: RunSettings, pipeline: PixWizardPipeline, begin: Callable[[Job], Progress | None]
) -> Generator[JobOutcome, None, None]:
    """All jobs in this process, the model in this thread; outcomes nearly in the order of the jobs.

    When it is closed or interrupted, nothing more is read and what the model has made is still written.

    Args:
        begin: called before the model takes up a job; returns what is to be told its steps.
    """
    waiting = iter(jobs)
    reading: deque[tuple[Job, Future[PreparedPicture]]] = deque()
    writing: deque[tuple[Job, Future[JobOutcome]]] = deque()
    readers = ThreadPoolExecutor(THREADS, "pixwizard-read")
    writers = ThreadPoolExecutor(THREADS, "pixwizard-write")
    try:
        while True:
            for job in islice(waiting, AHEAD - len(reading)):
                reading.append((job, readers.submit(prepare, job, settings)))
            if not reading:
                break
            job, ready = reading.popleft()
            try:
                prepared = ready.result()
            except Exception as error:  # a broken file chooses which one
                yield JobOutcome(job, error=error)
                continue
            try:
                results = answer(pipeline, prepared, settings, begin(job))
            except FAILURES as error:
                yield JobOutcome(job, error=error)
                continue
            writing.append((job, writers.submit(write, job, settings, prepared, results, pipeline.class_names)))
            while writing and (len(writing) > BEHIND or writing[0][1].done()):
                yield _written(*writing.popleft())
        while writing:
            yield _written(*writing.popleft())
    finally:
        readers.shutdown(cancel_futures=True)
        writers.shutdown()


def _written(job: Job, result: Future[JobOutcome]) -> JobOutcome:
    try:
        return result.result()
    except FAILURES as error:
        return JobOutcome(job, error=error)
