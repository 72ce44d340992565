"""`pixwizard export tensorrt`, `tensorrt-rtx`, `list` and `prune`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ..comfyui_pixwizard.files.safe_files import write_json
from ..export.engine_options import Shapes, exported_graph, load_model
from ..export.rtx_build import build_rtx, look_at, rtx_key, shown_progress
from ..export.tensorrt_build import BuildSettings, build_tensorrt, tensorrt_key
from ..runtime.engine_cache import EngineCache, Entry
from ..runtime.engine_profiles import described
from ..runtime.engine_run import EngineRun, base_weights
from ..runtime.tensorrt_evaluator import load, tested
from .task_list import aligned

Place = Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="[DIR]")]


@dataclass
class BuildTensorRTRTX:
    """Build an engine for GeForce RTX cards with TensorRT-RTX; needs no GPU, Linux only."""

    model: tyro.conf.Positional[str]
    """"nano", or a model's folder."""
    folder: Place = None
    """Where engines are kept; by default the cache."""
    shapes: Annotated[Shapes, tyro.conf.arg(name="")] = field(default_factory=Shapes)
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of weights and products."""
    targets: tuple[str, ...] = ()
    """Only for these architectures, such as sm89 or sm120: builds faster, and the file is smaller. By default all."""

    def run(self) -> int:
        """Build, look at the result, print what is known of it.

        Raises:
            ValueError: no such model, TensorRT-RTX is absent, or it failed.
        """
        transformer = load_model(self.model)
        cache = EngineCache(self.folder)
        profiles = self.shapes.profiles(transformer.config)
        key = rtx_key(transformer, self.precision, profiles, self.targets)
        entry = cache.find(key)
        if entry is None:
            with exported_graph(transformer, self.precision, cache.folder) as graph, shown_progress("build") as tell:
                entry = build_rtx(cache, key, graph, self.model, tell)
        cache.read(entry)
        seen = look_at(entry.path, None)
        print(report(entry))
        print(f"checked: SHA-256, header ({seen['bytes']:,} bytes, TensorRT-RTX {seen['version']}), {seen['tensors']} "
              f"tensors by name; {LOADED[seen['loaded']]}")  # fmt: skip
        return 0


@dataclass
class BuildTensorRT:
    """Build an engine with TensorRT on the NVIDIA GPU that will run it."""

    model: tyro.conf.Positional[str]
    """"nano", or a model's folder."""
    folder: Place = None
    """Where engines are kept; by default the cache."""
    shapes: Annotated[Shapes, tyro.conf.arg(name="")] = field(default_factory=Shapes)
    precision: Literal["bfloat16", "float32", "fp8"] = "bfloat16"
    """Type of weights and products; fp8 takes ModelOpt and a GPU of the Ada or Hopper generation or later."""
    settings: Annotated[BuildSettings, tyro.conf.arg(name="")] = field(default_factory=BuildSettings)

    def run(self) -> int:
        """Build, compare with the network, print what is known of it.

        Raises:
            ValueError: no such model, settings that do not go together, no TensorRT, no GPU, or it failed.
        """
        self.settings.check(self.precision)
        transformer = load_model(self.model)
        cache = EngineCache(self.folder)
        key = tensorrt_key(transformer, self.precision, self.shapes.profiles(transformer.config), self.settings)
        entry = cache.find(key)
        if entry is None:
            with exported_graph(transformer, self.precision, cache.folder) as graph, shown_progress("build") as tell:
                entry = build_tensorrt(cache, key, graph, self.model, tell)
        run = EngineRun(load(cache, entry), self.precision, base_weights(transformer))
        entry = cache.annotate(entry, error=tested(run, transformer))
        print(report(entry))
        print(f"checked: SHA-256, and its velocity against the network's: error {entry.notes['error']:.2g}")
        return 0


LOADED = {
    True: "TensorRT-RTX made an engine of it on this machine's GPU",
    False: "TensorRT-RTX knows its form; loading it takes an RTX card, which this machine lacks",
}


@dataclass
class ListEngines:
    """List the engines of a folder."""

    folder: Place = None
    """Where engines are kept; by default the cache."""
    verify: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also compare every engine's bytes with its sidecar, which reads them all."""
    json: Path | None = None
    """Also write the same as JSON."""

    def run(self) -> int:
        """Print the table; exit code 1 where an engine is missing or damaged."""
        cache = EngineCache(self.folder)
        states = [(entry, entry.state(self.verify)) for entry in cache.entries()]
        print(table(states) if states else f"no engines in {cache.folder}")
        if self.json is not None:
            rows = [entry.plain() | {"state": state} for entry, state in states]
            write_json(self.json, {"engines": rows})
        return int(any(state != "ok" for _, state in states))


@dataclass
class PruneEngines:
    """Remove damaged engines and leftovers, and then those that were not used for longest, until the rest fits."""

    folder: Place = None
    """Where engines are kept; by default the cache."""
    max_gb: float | None = None
    """How much may stay; by default $PIXWIZARD_ENGINES_GB or 32."""

    def run(self) -> int:
        """Remove, and say what went.

        Raises:
            ValueError: a negative size.
        """
        if self.max_gb is not None and self.max_gb < 0:
            raise ValueError(f"--max-gb is at least 0, found {self.max_gb}: take 0 to remove all")
        cache = EngineCache(self.folder)
        gone = cache.prune(None if self.max_gb is None else int(self.max_gb * 1e9))
        for path in gone:
            print(f"removed {path}")
        left = sum(entry.bytes for entry in cache.entries())
        print(f"{len(gone)} removed, {left / 1e9:.2f} GB left in {cache.folder}")
        return 0


def table(states: list[tuple[Entry, str]]) -> str:
    """Engines for people."""
    rows = [("model", "kind", "precision", "for", "MB", "last used", "state", "file")]
    for entry, state in states:
        key = entry.key
        about = (entry.title, key.kind, key.precision, f"{key.architecture} {key.system}", f"{entry.bytes / 1e6:.1f}")
        rows.append((*about, entry.used[:16], state, entry.path.name[:16] + "…"))
    return aligned(rows)


def report(entry: Entry) -> str:
    """One engine for people."""
    lines = [
        f"{entry.path} ({entry.bytes / 1e6:.1f} MB, {entry.seconds:.1f} s to build)",
        f"{entry.title}, {entry.key.precision}, for {entry.key.architecture} on {entry.key.system}, "
        f"by {entry.key.builder}",
    ]
    return "\n".join([*lines, *(f"profile: {described(profile)}" for profile in entry.key.profiles)])
