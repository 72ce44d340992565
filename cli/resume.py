"""Which answers an earlier run has made already, and what a killed one left behind.

An answer is known again by the text entries of its PNG: the settings, the bytes of its source and the model. Its
version of this project is no part of that: a long run goes on after an update, unless the update brought another model
or another default.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from tqdm import tqdm

from ..comfyui_pixwizard.files.safe_files import drafts_of, sha256_of
from ..comfyui_pixwizard.pictures.labels import label_files
from .jobs import chain_files

if TYPE_CHECKING:
    from .jobs import Job, RunSettings

THREADS = 4


def made_before(jobs: Sequence[Job], settings: RunSettings) -> list[Job]:
    """The jobs whose answers exist, whole, from the same sources with the same settings, with the label if wanted."""
    there = [job for job in jobs if job.output.is_file()]
    pool = ThreadPoolExecutor(THREADS, "pixwizard-resume")
    try:
        made = pool.map(lambda job: is_made(job, settings), there)
        shown = tqdm(made, "looking for answers", len(there), unit="picture", leave=False, delay=1)
        return [job for job, known in zip(there, shown, strict=True) if known]
    finally:
        pool.shutdown(cancel_futures=True)


def is_made(job: Job, settings: RunSettings) -> bool:
    """Whether this answer need not be made again."""
    chain = chain_files(job.output, len(settings.calls))
    if not all(path.is_file() for path in chain):
        return False
    if settings.label is not None and not all(path.is_file() for path in label_files(job.output, settings.label)):
        return False
    pictures = {job.output: settings} | {path: settings.until(step) for step, path in enumerate(chain[:-1], 1)}
    try:
        if not all(_tells(path, step) for path, step in pictures.items()):
            return False
        digest = job.source and sha256_of(job.source)  # last, because it reads the whole source
        for path in pictures:
            with Image.open(path) as image:
                if image.info.get("source_sha256") != digest:
                    return False
                image.load()  # a copy that broke off is no answer
    except Exception:  # a broken file chooses which one
        return False
    return True


def _tells(path: Path, settings: RunSettings) -> bool:
    """Whether a picture says of itself that it was made with these settings."""
    wanted = settings.entries(None)
    wanted.pop("source_sha256")
    wanted.pop("model")  # the same one may go by another path
    if settings.label is None:
        wanted.pop("decode")  # a label too many does no harm
    with Image.open(path) as image:
        return all(image.info.get(name) == value for name, value in wanted.items())


@contextlib.contextmanager
def leftovers_removed(jobs: Sequence[Job], settings: RunSettings) -> Iterator[None]:
    """Remove what a killed run left of the files of these jobs.

    Only what lies there at the beginning and still does at the end: what another run is writing now is gone by then.
    """
    kind, steps = settings.label or "image", len(settings.calls)
    found = drafts_of(
        path for job in jobs for path in (job.output, *label_files(job.output, kind), *chain_files(job.output, steps))
    )
    try:
        yield
    finally:
        for path in found:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
