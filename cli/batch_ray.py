"""`pixwizard run --ray`: the work of `batch` on every picture, in the workers of a Ray cluster, one model in each.

Only paths and settings travel: the workers read and write the files themselves, so all machines must see the same
folders and have this package installed under its own name.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from ..comfyui_pixwizard.files.components import find_folder
from ..comfyui_pixwizard.files.digests import model_fingerprint
from ..runtime.ray_cluster import PACKAGE, connected, require_ray
from .batch import FAILURES, answer, load, prepare, reason, write
from .jobs import Job, JobOutcome, RunSettings

# Pictures travel in so many parts at most: a worker that dies takes one with it, which another does again.
PARTS = 1000
# Memory of a worker beside the model's parts, which are float32 there and mostly float16 in the files.
WORKER_BYTES, TIMES_FILES = 2**30, 3


class Worker:
    """An actor of Ray Data: holds the model, answers rows {"number", "source", "output"} with {"outcome": JSON}.

    A model that cannot be used is no exception here but the answer to every row: Ray would start the actor again.
    """

    def __init__(self, settings: RunSettings) -> None:
        self.settings, self.unusable = settings, ""
        try:
            found = model_fingerprint(find_folder(settings.folder))
            if found != settings.fingerprint:
                raise ValueError(
                    f"all workers need the model that is here ({settings.fingerprint}), found another under "
                    f"{settings.folder} ({found}): install the same version everywhere"
                )
            self.pipeline = load(settings)
        except (ValueError, OSError) as error:
            self.unusable = reason(error)

    def __call__(self, row: dict[str, Any]) -> dict[str, str]:
        outcome = {"unusable": self.unusable} if self.unusable else self._outcome(row)
        return {"outcome": json.dumps({"number": int(row["number"])} | outcome)}

    def _outcome(self, row: dict[str, Any]) -> dict[str, Any]:
        job = Job(Path(row["source"]) if row["source"] else None, Path(row["output"]))
        try:
            prepared = prepare(job, self.settings)
        except Exception as error:  # a broken file chooses which one
            return {"error": reason(error)}
        try:
            results = answer(self.pipeline, prepared, self.settings)
            done = write(job, self.settings, prepared, results, self.pipeline.class_names)
        except FAILURES as error:
            return {"error": reason(error)}
        labels, chain = ([path.name for path in paths] for paths in (done.labels, done.chain))
        about = {"size": done.size, "seconds": done.seconds, "notes": list(done.notes)}
        return about | {"labels": labels, "chain": chain}


def run_on_ray(jobs: Sequence[Job], settings: RunSettings, address: str) -> Generator[JobOutcome, None, None]:
    """All jobs in a cluster's workers; outcomes as they come.

    Args:
        address: of a running cluster, as ray.init takes it; "local" starts one on this machine and stops it again.

    Raises:
        ValueError: no Ray, no cluster, workers without this package, or a model that they cannot use.
    """
    ray = require_ray()
    with connected(ray, address):
        # Their working directory is another.
        rows = [
            {"number": number, "source": str(job.source.absolute()) if job.source else "",
             "output": str(job.output.absolute())}
            for number, job in enumerate(jobs)
        ]  # fmt: skip
        workers, resources = _workers(ray, find_folder(settings.folder), len(jobs))
        data = ray.data.from_items(rows, override_num_blocks=min(len(rows), PARTS)).map(
            Worker,
            fn_constructor_args=(settings,),
            # A pool that may grow stays at one worker where all cores are the workers' own (seen with Ray 2.60).
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=1,
            **resources,
        )
        try:
            for row in data.iter_rows():
                yield _outcome(jobs, json.loads(row["outcome"]))
        except ray.exceptions.RayError as error:
            last = str(error).strip().splitlines()[-1].strip()[:300]
            raise ValueError(
                f"the workers at {address} stopped, found: {last}; install the same {PACKAGE} on every machine of the "
                "cluster and see its logs"
            ) from error


def _outcome(jobs: Sequence[Job], found: dict[str, Any]) -> JobOutcome:
    if "unusable" in found:
        raise ValueError(found["unusable"])
    job = jobs[found["number"]]
    if "error" in found:
        return JobOutcome(job, error=ValueError(found["error"]))
    width, height = found["size"]
    labels, chain = (tuple(map(job.output.with_name, found[kind])) for kind in ("labels", "chain"))
    return JobOutcome(job, (width, height), found["seconds"], labels, tuple(found["notes"]), chain)


def _workers(ray: Any, folder: Path, jobs: int) -> tuple[int, dict[str, float]]:
    """How many workers there is room for, one on each free core as far as memory goes, and what each reserves.

    Where the model seems too large for every machine, one worker tries it without a reservation that is never granted.
    """
    files = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    memory = WORKER_BYTES + TIMES_FILES * files
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(int(min(found.get("CPU", 0), found.get("memory", 0) // memory)) for found in machines)
    if not room:
        return 1, {}
    # Cores that others hold now would be waited for.
    free = int(ray.available_resources().get("CPU", 0))
    return max(1, min(room, free, jobs)), {"memory": memory}
