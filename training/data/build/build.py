"""A build: which shards there should be, those that are not there made by some workers, and all of it in one manifest.

Nothing is remembered but files: a build that was killed is begun again and finds the shards that are done.
"""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.process
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ....comfyui_pixwizard.files.components import BUNDLED
from ....comfyui_pixwizard.files.digests import model_fingerprint
from ....comfyui_pixwizard.files.safe_files import DRAFT, sha256_of
from ..feed.workers import KILLED, start_worker
from .annotate import Tools
from .inputs import Candidate, candidates, expanded
from .manifest import merge
from .recipe import REPORT, BuildRecipe, Input
from .shards import FOLDER, Work, build_shard, told_of, works


def build(recipe: BuildRecipe, workers: int = 1, ray: str | None = None) -> dict[str, Any]:
    """Make a recipe's shards and manifest; answers the report.

    Args:
        workers: processes; 1 works in this one.
        ray: address of a cluster, or "local", instead.

    Raises:
        ValueError: inputs, annotators or the output cannot be used, or there is no good sample.
    """
    inputs = expanded(recipe)
    output = Path(recipe.output)
    folders = {told.model for told in recipe.annotators} | {told.model for told in recipe.filters}
    folders |= {recipe.relabel.predictor} if recipe.relabel else set()
    models = {folder: _fingerprint(folder) for folder in sorted(folders) if folder}
    tools = Tools(recipe)  # tells what is missing before anything is written
    left = _drafts(output)
    names: list[str] = []
    missing = _missing(output, works(recipe, _all(inputs), models), names)
    if ray is not None:
        from .build_ray import build_on_ray

        done = build_on_ray(missing, recipe, workers, ray)
    elif workers == 1:
        done = _here(missing, recipe, tools)
    else:
        done = _pool(missing, recipe, workers)
    made = sum(1 for _ in tqdm(done, "shards", unit="shard"))
    for path in left:
        path.unlink(missing_ok=True)
    told = [told_of(output, name) for name in names]
    if None in told:
        raise ValueError(f"{told.count(None)} shards in {output} vanished while they were built: run it again")
    report = {"made": made, "found": len(names) - made}
    return merge(recipe, [asdict(i) for i in inputs], names, told) | report  # type: ignore[arg-type]


def _all(inputs: Iterable[Input]) -> Iterator[Candidate]:
    for given in inputs:
        yield from candidates(given)


def _missing(output: Path, wanted: Iterable[Work], names: list[str]) -> Iterator[Work]:
    """What is to be done; all names are added to `names`."""
    for work in wanted:
        names.append(work.name)
        if told_of(output, work.name) is None:
            yield work


def _fingerprint(folder: str) -> str:
    place = Path(BUNDLED.get(folder, folder))
    if place.is_file():
        return sha256_of(place)
    return model_fingerprint(place) if place.is_dir() else ""


def _drafts(output: Path) -> list[Path]:
    """What a killed build left half-written."""
    folder = output / FOLDER
    return [path for path in folder.iterdir() if DRAFT.fullmatch(path.name)] if folder.is_dir() else []


def _here(missing: Iterable[Work], recipe: BuildRecipe, tools: Tools) -> Iterator[str]:
    for work in missing:
        build_shard(work, recipe, tools)
        yield work.name


# -- processes -----------------------------------------------------------------------------------------------------

_tools: Tools | None = None
_recipe: BuildRecipe | None = None


def _pool(missing: Iterator[Work], recipe: BuildRecipe, workers: int) -> Generator[str, None, None]:
    """In processes of this machine, a few shards ahead of them."""
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    waiting: deque[Future[str]] = deque()
    with ProcessPoolExecutor(workers, context, _start, (recipe,)) as pool:
        try:
            for work in missing:
                waiting.append(pool.submit(_work, work))
                while len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise ValueError(KILLED) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _start(recipe: BuildRecipe) -> None:
    """In a new worker: load what it needs, and end with the process that it works for, even one that is killed."""
    global _tools, _recipe
    start_worker()
    _tools, _recipe = Tools(recipe), recipe


def _work(work: Work) -> str:
    assert _tools is not None and _recipe is not None
    build_shard(work, _recipe, _tools)
    return work.name


def read_report(folder: Path) -> dict[str, Any]:
    """The report of a finished build.

    Raises:
        ValueError: there is none.
    """
    try:
        report: dict[str, Any] = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{folder} is no finished build (no {REPORT}): run pixwizard data build with its recipe"
        ) from error
    return report
