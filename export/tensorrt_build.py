"""Engines of TensorRT, built on the GPU that will run them, through polygraphy; both are imported when a build begins.

The graph is strongly typed: its own types are the engine's. Assembling a build's settings needs neither package, so
that it is tested everywhere; the build itself is written against the documented interface of TensorRT 10 and 11.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..comfyui_pixwizard.optional import pip_install, required
from ..comfyui_pixwizard.transformer import PixWizardTransformer
from ..runtime.engine_cache import EngineCache, EngineKey, Entry
from ..runtime.engine_profiles import Profile
from ..runtime.identity import weights_hash
from ..runtime.tensorrt_engine import require_tensorrt
from ..runtime.tensorrt_evaluator import wanted_here
from .build_progress import BuildProgress

PRECISIONS = ("bfloat16", "float32", "fp8")
Tell = Callable[[BuildProgress], None]


class Cancelled(ValueError):
    """A build that was told to stop."""


@dataclass(frozen=True)
class BuildSettings:
    """What the compiler is told beside the shapes; part of an engine's key."""

    refittable: bool = True
    """Let the weights be exchanged later, for LoRA."""
    streaming: bool = False
    """Let weights stay in the host's memory where the GPU's is too small."""
    level: int = 3
    """How hard to look for fast kernels, 0 to 5."""
    workspace_gb: float | None = None
    """The most working memory; by default all of the GPU."""

    def check(self, precision: str) -> None:
        """Refuse what does not go together.

        Raises:
            ValueError: so it is.
        """
        if precision not in PRECISIONS:
            raise ValueError(f"precisions are {', '.join(PRECISIONS)}, found {precision!r}: take bfloat16")
        if not 0 <= self.level <= 5:
            raise ValueError(f"--level lies in 0 to 5, found {self.level}: take 3")
        if self.workspace_gb is not None and not self.workspace_gb > 0:
            raise ValueError(f"--workspace-gb is above 0, found {self.workspace_gb}: leave it out for all of the GPU")
        if precision == "fp8" and self.refittable:
            raise ValueError(
                "the scales of an fp8 engine belong to its weights, which then cannot be exchanged: add "
                "--no-refittable, and merge a LoRA into the model before exporting"
            )


def configuration(settings: BuildSettings, timing_cache: str, monitor: Any, profiles: Sequence[Any]) -> dict[str, Any]:
    """Arguments of polygraphy's `CreateConfig`; the types are the graph's, so none is named."""
    given: dict[str, Any] = {
        "profiles": list(profiles),
        "refittable": settings.refittable,
        "weight_streaming": settings.streaming,
        "builder_optimization_level": settings.level,
        "load_timing_cache": timing_cache,
        "progress_monitor": monitor,
    }
    if settings.workspace_gb is not None:
        # polygraphy asks for TensorRT's own names here, and `build_plan` has them.
        given["memory_pool_limits"] = {"WORKSPACE": int(settings.workspace_gb * 1e9)}
    return given


def timing_cache_file(folder: Path, version: str, architecture: str) -> Path:
    """Where measured times of kernels are kept; they hold for one version on one architecture."""
    return folder / f"timing-{version}-{architecture}.cache"


def tensorrt_key(
    transformer: PixWizardTransformer, precision: str, profiles: Sequence[Profile], settings: BuildSettings
) -> EngineKey:
    """What an engine of a network would be kept under on this machine.

    Raises:
        ValueError: settings that do not go together, no TensorRT, no GPU.
    """
    settings.check(precision)
    here = wanted_here(weights_hash(transformer))
    return EngineKey(**here, precision=precision, profiles=list(profiles), settings=asdict(settings))


def build_tensorrt(
    cache: EngineCache, key: EngineKey, onnx: Path, title: str, tell: Tell, stop: Callable[[], bool] = lambda: False
) -> Entry:
    """The engine of an ONNX file, from the cache or built into it.

    Args:
        stop: asked after every step whether to give up.

    Raises:
        Cancelled: it was.
        ValueError: a package is absent, or the compiler refused.
    """
    times = timing_cache_file(cache.folder, key.builder.removeprefix("TensorRT "), key.architecture)

    def make(draft: Path) -> dict[str, Any]:
        draft.write_bytes(build_plan(onnx, key, times, tell, stop))
        return {}

    return cache.build(key, title, make)


def build_plan(onnx: Path, key: EngineKey, times: Path, tell: Tell, stop: Callable[[], bool]) -> bytes:
    """An engine's bytes.

    Raises:
        Cancelled: `stop` said so.
        ValueError: a package is absent, or the compiler refused.
    """
    trt = require_tensorrt()
    told = "building TensorRT engines needs polygraphy"
    polygraphy = required("polygraphy.backend.trt", told, pip_install("polygraphy"))
    monitor = monitor_class(trt.IProgressMonitor)(tell, stop)
    shapes = []
    for ranges in key.profiles:
        profile = polygraphy.Profile()
        for name, (least, usual, most) in ranges.items():
            profile.add(name, min=tuple(least), opt=tuple(usual), max=tuple(most))
        shapes.append(profile)
    given = configuration(BuildSettings(**key.settings), str(times), monitor, shapes)
    pools = given.pop("memory_pool_limits", {})
    limits = {getattr(trt.MemoryPoolType, name): limit for name, limit in pools.items()}
    network = polygraphy.NetworkFromOnnxPath(str(onnx), strongly_typed=True)
    config = polygraphy.CreateConfig(**given, memory_pool_limits=limits or None)
    build = polygraphy.EngineBytesFromNetwork(network, config=config, save_timing_cache=str(times))
    try:
        return bytes(build())
    except Exception as error:  # polygraphy's own kind, which may not be importable here
        if monitor.stopped:
            raise Cancelled("the build was cancelled; no engine was made") from error
        raise ValueError(
            f"TensorRT {trt.__version__} could not build the engine: {' '.join(str(error).split())[:300]}; "
            "its log above says more"
        ) from error


def monitor_class(base: type) -> type:
    """A progress monitor over TensorRT's interface, which exists only where TensorRT does.

    TensorRT calls it from several threads; each call is short and the interpreter runs one at a time.
    """

    class Monitor(base):  # type: ignore[misc, valid-type]
        def __init__(self, tell: Tell, stop: Callable[[], bool]) -> None:
            super().__init__()
            self.tell, self.stop = tell, stop
            self.progress, self.stopped = BuildProgress(), False

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.progress.start(phase_name, parent_phase, num_steps)
            self.tell(self.progress)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self.progress.step(phase_name, step)
            self.tell(self.progress)
            self.stopped = self.stopped or self.stop()
            return not self.stopped

        def phase_finish(self, phase_name: str) -> None:
            self.progress.end(phase_name)

    return Monitor
