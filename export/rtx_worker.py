"""TensorRT-RTX in a process of its own: builds an engine from an ONNX file, or looks at one. Needs no GPU.

Run as a script with one argument, a job as JSON; answers in lines of JSON on stdout, the compiler's log goes to stderr.
It imports nothing of this project, so that it starts fast and works whatever the project's package is called.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

INSTALL = f'{sys.executable} -m pip install "tensorrt-rtx-cu13-bindings==1.7.*" "tensorrt-rtx-cu13-libs==1.7.*"'


class Failed(Exception):
    """What the compiler would not do, in one line."""


def say(**values: Any) -> None:
    """One line for the process that started this one."""
    print(json.dumps(values), flush=True)


def bindings() -> Any:
    """TensorRT-RTX.

    Raises:
        Failed: it, or its libraries, are absent.
    """
    try:
        import tensorrt_rtx_bindings
    except (ImportError, OSError) as error:
        raise Failed(f"TensorRT-RTX is not installed, or not whole ({error}): {INSTALL}") from error
    return tensorrt_rtx_bindings


def logger(trt: Any) -> Any:
    """What brings the compiler's messages to stderr."""

    class Log(trt.ILogger):
        def log(self, severity: Any, text: str) -> None:
            if severity != trt.ILogger.VERBOSE:
                print(f"[{severity.name.lower().replace('_', ' ')}] {text}", file=sys.stderr, flush=True)

    return Log()


def monitor(trt: Any) -> Any:
    """What tells the compiler's phases to the process that started this one."""

    class Progress(trt.IProgressMonitor):
        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            say(phase=name, parent=parent, steps=steps)

        def step_complete(self, name: str, step: int) -> bool:
            say(phase=name, step=step)
            return True

        def phase_finish(self, name: str) -> None:
            say(phase=name, end=True)

    return Progress()


def build(trt: Any, onnx: str, profiles: Sequence[dict[str, Any]], targets: Sequence[int]) -> Any:
    """The engine of an ONNX file; without targets for every architecture that RTX cards of the time have."""
    log, progress = logger(trt), monitor(trt)
    builder = trt.Builder(log)
    network, config = builder.create_network(0), builder.create_builder_config()
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(onnx):
        errors = [parser.get_error(place) for place in range(parser.num_errors)]
        words = [f"{e.node_name()} ({e.node_operator()}): {e.desc()}" if e.node_name() else e.desc() for e in errors]
        raise Failed(f"{onnx} was not understood: {'; '.join(words) or 'the log says why'}")
    for ranges in profiles:
        profile = builder.create_optimization_profile()
        for name, shapes in ranges.items():
            try:
                profile.set_shape(name, *shapes)
            except (ValueError, RuntimeError) as error:
                raise Failed(f"the compiler refused the shapes {shapes} of {name}: {error}") from error
        if config.add_optimization_profile(profile) < 0:
            raise Failed(f"the compiler refused the profile {ranges}; the log says why")
    if targets:
        config.num_compute_capabilities = len(targets)
    for place, target in enumerate(targets):
        if not config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{target}"), place):
            raise Failed(f"the compiler refused the target architecture sm{target}")
    config.progress_monitor = progress
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise Failed("the compiler could not build the engine; the log says why")
    return engine


def inspect(trt: Any, engine: bytes) -> dict[str, bool]:
    """What the runtime says of an engine: whether it knows the form, and, with a GPU, whether it loads."""
    log = logger(trt)
    runtime = trt.Runtime(log)
    _, diagnostics = runtime.get_engine_validity(engine)
    malformed = diagnostics & int(trt.EngineInvalidityDiagnostics.MALFORMED_ENGINE)
    return {"well_formed": not malformed, "loaded": runtime.deserialize_cuda_engine(engine) is not None}


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Do a job: version, build or inspect."""
    trt = bindings()
    result: dict[str, Any] = {"version": ".".join(trt.__version__.split(".")[:3])}
    if job["do"] == "build":
        engine = build(trt, job["onnx"], job["profiles"], job["targets"])
        Path(job["out"]).write_bytes(engine)
        result["bytes"] = engine.nbytes
    if job["do"] == "inspect":
        result |= inspect(trt, Path(job["engine"]).read_bytes())
    return result


if __name__ == "__main__":
    try:
        say(result=run(json.loads(sys.argv[1])))
    except Failed as error:
        say(error=str(error))
        sys.exit(1)
