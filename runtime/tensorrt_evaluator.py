"""The evaluator "tensorrt": finds the engine of a network in a cache folder, tests it once, runs it.

Shapes: B samples, n branches, C latent channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..comfyui_pixwizard.evaluator import Branch, EagerStep, Step
from ..comfyui_pixwizard.scaling import PLAIN, Scaling
from ..comfyui_pixwizard.transformer import PixWizardTransformer
from ..comfyui_pixwizard.version import VERSION
from .eager_graph import eager_velocity
from .engine_cache import EngineCache, Entry
from .engine_profiles import Unsupported
from .engine_run import Engine, EngineRun, base_weights
from .graph_inputs import cast, constant_inputs, velocity_example
from .identity import GRAPH_VERSION, OfWeights, weights_hash
from .machine import gpu_architecture, system_name
from .tensorrt_engine import TensorRTEngine, tensorrt_version

KIND = "tensorrt"
INPUT_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "fp8": torch.bfloat16}
Load = Callable[[EngineCache, Entry], Engine]


def load(cache: EngineCache, entry: Entry) -> Engine:
    """An engine from the cache; its bytes are compared with the sidecar first.

    Raises:
        ValueError: as `EngineCache.read` and `TensorRTEngine`.
    """
    return TensorRTEngine(cache.read(entry), entry.key.profiles, INPUT_TYPES[entry.key.precision])


def wanted_here(weights: str) -> dict[str, Any]:
    """What an engine must have been built for to run weights on this machine.

    Raises:
        ValueError: no TensorRT, or no GPU.
    """
    # Without a card the package is of no use, so that is said first.
    architecture = gpu_architecture()
    return {
        "kind": KIND,
        "weights": weights,
        "graph": GRAPH_VERSION,
        "version": VERSION,
        "builder": f"TensorRT {tensorrt_version()}",
        "architecture": architecture,
        "system": system_name(),
    }


def matching(cache: EngineCache, wanted: Mapping[str, object]) -> Entry:
    """The engine that was used last among those that match.

    Raises:
        Unsupported: none does; the line says what the nearest was built for.
    """
    near: tuple[int, str] = (99, "it holds no engines")
    for entry in cache.entries():
        differing = [name for name, value in wanted.items() if getattr(entry.key, name) != value]
        if not differing and entry.state() == "ok":
            return entry
        found = (f"{name} {getattr(entry.key, name)} instead of {wanted[name]}" for name in differing)
        near = min(near, (len(differing), f"the nearest has {', '.join(found) or 'a damaged file'}"))
    raise Unsupported(
        f"no engine in {cache.folder} fits this model on this machine, {near[1]}: "
        f"build one with pixwizard export tensorrt MODEL {cache.folder}"
    )


class TensorRT:
    """Runs the engine of a folder.

    Args:
        folder: a cache folder; by default the cache.
        wanted, load: what an engine must match and how one is loaded; exchanged by tests, which have no GPU.
    """

    name = "tensorrt"

    def __init__(
        self, folder: Path | None = None, wanted: Callable[[str], Mapping[str, object]] = wanted_here, load: Load = load
    ) -> None:
        self.cache = EngineCache(folder)
        self.reason = f"an engine of {self.cache.folder}"
        self.wanted, self.load = wanted, load
        self.runs: OfWeights[EngineRun] = OfWeights()

    def start(
        self,
        transformer: PixWizardTransformer,
        branches: Mapping[str, Branch],
        times: Sequence[float],
        scaling: Scaling = PLAIN,
    ) -> Step:
        """As `Evaluator.start`.

        Raises:
            Unsupported: there is no engine for this network here, or it failed its test.
        """
        run = self.runs.get(transformer, lambda: self._open(transformer))
        return EngineStep(run, transformer, branches, times, scaling)

    def _open(self, transformer: PixWizardTransformer) -> EngineRun:
        entry = matching(self.cache, self.wanted(weights_hash(transformer)))
        run = EngineRun(self.load(self.cache, entry), entry.key.precision, base_weights(transformer))
        if "error" not in entry.notes:
            entry = self.cache.annotate(entry, error=tested(run, transformer))
        self.reason = (
            f"{entry.path.name[:12]}… ({entry.key.precision}) by {entry.key.builder} on {entry.key.architecture}, "
            f"{entry.notes['error']:.1e} from the network"
        )
        return run


def tested(run: EngineRun, transformer: PixWizardTransformer) -> float:
    """The error of an engine at the usual shape of its first profile, against the network in float32.

    Raises:
        Unsupported: it is too large.
    """
    engine, profile = run.engine, run.engine.profiles[0]
    (batch, _, height, width), (_, text) = profile["x"][1], profile["text_mask"][1]
    inputs = velocity_example(transformer.config, batch, height, width, text)
    return run.self_test(eager_velocity(transformer, inputs), cast(inputs, engine.dtype, engine.device))


class EngineStep(EagerStep):
    """A prepared sampling; what stays the same is on the engine's device once for each set of branches."""

    def __init__(
        self,
        run: EngineRun,
        transformer: PixWizardTransformer,
        branches: Mapping[str, Branch],
        times: Sequence[float],
        scaling: Scaling = PLAIN,
    ) -> None:
        super().__init__(transformer, branches, times, scaling)
        self.engine_run = run
        self.held: dict[tuple[str, ...], dict[str, Tensor]] = {}

    def _largest(self, source: Tensor) -> int:
        return len(self.branches)

    def _together(self, x: Tensor, t: float, names: tuple[str, ...]) -> Tensor:
        engine = self.engine_run.engine
        if names not in self.held:
            config, branch = self.transformer.config, self._join(names)
            self.held[names] = constant_inputs(config, branch, engine.dtype, engine.device, self.attention_scale)
        cos, sin = (table.to(engine.device) for table in self.rope(t))
        inputs = self.held[names] | {
            "cos": cos,
            "sin": sin,
            "x": x.repeat(len(names), 1, 1, 1).to(engine.device, engine.dtype),
            "t": torch.full((len(names) * len(x),), t, device=engine.device),
        }
        # The buffer is written again by the next step, and multistep solvers keep earlier velocities.
        return self.engine_run(inputs).to(x.device, copy=True)
