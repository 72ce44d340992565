"""Engines of TensorRT-RTX: built ahead of time, also on machines without a GPU, in a process that may crash.

They run on GeForce RTX 30, 40 and 50 cards and their professional kin (compute capability 8.6, 8.9, 12.0, 12.1), on
the operating system that built them. Their weights are fixed: asked for exchangeable ones, TensorRT-RTX 1.7 fails
without a GPU.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..comfyui_pixwizard.transformer import PixWizardTransformer
from ..comfyui_pixwizard.version import VERSION
from ..runtime.engine_cache import EngineCache, EngineKey, Entry
from ..runtime.engine_profiles import Profile
from ..runtime.identity import GRAPH_VERSION, weights_hash
from ..runtime.machine import system_name
from .build_progress import BuildProgress
from .onnx_graph import VELOCITY_INPUTS, VELOCITY_OUTPUTS

KIND = "tensorrt-rtx"
TARGETS = {"sm75": 75, "sm80": 80, "sm86": 86, "sm89": 89, "sm120": 120, "sm121": 121}
PORTABLE = "rtx"
WORKER = Path(__file__).with_name("rtx_worker.py")
MAGIC, LENGTH_AT, VERSION_AT = b"vtrt", 16, 24
Tell = Callable[[BuildProgress], None]


class BuildFailed(ValueError):
    """A build that ended without an engine, in one line with the log's place."""


def rtx_version() -> str:
    """The version of TensorRT-RTX that is installed.

    Raises:
        ValueError: none is, or one that is not supported.
    """
    return str(_work({"do": "version"}, None, None)["version"])


def rtx_key(
    transformer: PixWizardTransformer, precision: str, profiles: Sequence[Profile], targets: Sequence[str]
) -> EngineKey:
    """What an engine of a network would be kept under.

    Raises:
        ValueError: an unknown target, or no TensorRT-RTX.
    """
    unknown = sorted(set(targets) - set(TARGETS))
    if unknown:
        raise ValueError(
            f"targets are {', '.join(TARGETS)}, or none for all RTX cards, found {unknown[0]!r}: leave it out"
        )
    return EngineKey(
        kind=KIND,
        weights=weights_hash(transformer),
        graph=GRAPH_VERSION,
        version=VERSION,
        precision=precision,
        profiles=list(profiles),
        builder=f"TensorRT-RTX {rtx_version()}",
        architecture="+".join(targets) or PORTABLE,
        system=system_name(),
    )


def build_rtx(cache: EngineCache, key: EngineKey, onnx: Path, title: str, tell: Tell | None = None) -> Entry:
    """The engine of an ONNX file, from the cache or built into it, and then looked at.

    Raises:
        BuildFailed: the compiler refused or crashed; its log is kept beside the cache.
        ValueError: the cache cannot be written.
    """
    targets = [TARGETS[name] for name in key.architecture.split("+") if name != PORTABLE]

    def make(draft: Path) -> dict[str, Any]:
        job = {"do": "build", "onnx": str(onnx), "out": str(draft), "profiles": key.profiles, "targets": targets}
        log = cache.folder / f"{key.digest}.log"
        _work(job, log, tell)
        seen = look_at(draft, log)
        log.unlink()
        return {"checked": seen}

    return cache.build(key, title, make)


def look_at(engine: Path, log: Path | None) -> dict[str, Any]:
    """What can be known of an engine file: its header, its tensors' names, what TensorRT-RTX says of it.

    Returns:
        version: that its header names; bytes: that it should have; tensors: how many inputs and outputs of the graph
        it names; well_formed: that TensorRT-RTX knows the header; loaded: that it also made an engine of it, which
        takes a GPU.

    Raises:
        ValueError: no complete engine of the installed TensorRT-RTX.
    """
    data = engine.read_bytes()
    if data[:4] != MAGIC or len(data) < 64:
        raise ValueError(f"{engine} is no TensorRT-RTX engine, its header is {data[:4]!r}: build it again")
    length = int.from_bytes(data[LENGTH_AT : LENGTH_AT + 8], "little")
    if length != len(data):
        raise ValueError(f"{engine} should have {length} bytes, found {len(data)}: build it again")
    names = (*VELOCITY_INPUTS, *VELOCITY_OUTPUTS)
    missing = [name for name in names if name.encode() not in data]
    if missing:
        raise ValueError(f"{engine} knows nothing of {', '.join(missing)}: it was built of another graph, build again")
    said = _work({"do": "inspect", "engine": str(engine)}, log, None)
    if not said["well_formed"]:
        raise ValueError(f"TensorRT-RTX {said['version']} does not know the form of {engine}: build it again")
    return {
        "version": ".".join(str(part) for part in data[VERSION_AT : VERSION_AT + 3]),
        "bytes": length,
        "tensors": len(names),
        "well_formed": True,
        "loaded": bool(said["loaded"]),
    }


def _work(job: dict[str, Any], log: Path | None, tell: Tell | None) -> dict[str, Any]:
    """Have the worker do a job.

    Raises:
        BuildFailed: it said so, or died.
    """
    progress = BuildProgress()
    result: dict[str, Any] | None = None
    error = ""
    with contextlib.ExitStack() as stack:
        if log:
            log.parent.mkdir(parents=True, exist_ok=True)
        sink: Any = stack.enter_context(open(log, "ab")) if log else subprocess.DEVNULL
        command = [sys.executable, str(WORKER), json.dumps(job)]
        worker = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sink, text=True))
        # Whatever ends the reading early, an interrupt or a failure of `tell`, ends the worker too.
        stack.callback(worker.kill)
        assert worker.stdout is not None, "it is a pipe"
        for line in worker.stdout:
            said = json.loads(line)
            result, error = said.get("result", result), said.get("error", error)
            if "phase" in said:
                _follow(progress, said)
                if tell:
                    tell(progress)
        code = worker.wait()
    where = f"{_last_error(log)}; its log is {log}" if log else ""
    if error:
        raise BuildFailed(f"{error}{where}")
    if code < 0:
        name = signal.Signals(-code).name
        raise BuildFailed(f"TensorRT-RTX crashed ({name}) while it was {_doing(job, progress)}{where}")
    if code or result is None:
        raise BuildFailed(f"TensorRT-RTX ended with exit code {code} while it was {_doing(job, progress)}{where}")
    return result


def _last_error(log: Path) -> str:
    """What the compiler said last of what went wrong."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line.removeprefix("[error] ") for line in lines if line.startswith("[error] ")]
    return f" ({said[-1][:200]})" if said else ""


def _doing(job: dict[str, Any], progress: BuildProgress) -> str:
    doing = {"build": "building an engine", "inspect": "reading an engine", "version": "starting"}[job["do"]]
    return f"{doing} ({progress.words})" if progress.words else doing


def _follow(progress: BuildProgress, said: dict[str, Any]) -> None:
    if "steps" in said:
        progress.start(said["phase"], said["parent"], said["steps"])
    elif "step" in said:
        progress.step(said["phase"], said["step"])
    else:
        progress.end(said["phase"])


@contextlib.contextmanager
def shown_progress(title: str) -> Any:
    """A bar, and what to give to builders as `tell`."""
    form = "{desc} {percentage:3.0f}%|{bar}| {elapsed} {postfix}"
    with tqdm(total=1.0, desc=title, bar_format=form, leave=False) as bar:

        def tell(progress: BuildProgress) -> None:
            bar.set_postfix_str(progress.words, refresh=False)
            bar.update(progress.fraction - bar.n)

        yield tell
