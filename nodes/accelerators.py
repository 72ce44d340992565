"""Other ways to compute the velocity graph for the host's MODEL; each holds a copy of the network of its own.

Shapes: B samples, C latent channels.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ..comfyui_pixwizard.transformer import PixWizardTransformer
from ..runtime.eager_graph import eager_velocity
from ..runtime.engine_cache import EngineCache
from ..runtime.engine_profiles import Unsupported
from ..runtime.engine_run import EngineRun
from ..runtime.evaluators import compile_blocks, default_device, fast_bfloat16
from ..runtime.exported import MANIFEST_FILE, VELOCITY_FILE, Manifest
from ..runtime.graph_inputs import cast
from ..runtime.identity import weights_hash
from ..runtime.onnx_evaluator import open_session, require_onnxruntime, session_options
from ..runtime.refit import Exchange, inside
from ..runtime.tensorrt_evaluator import load, matching, tested, wanted_here

# A stage of how many, in words.
Tell = Callable[[str, int, int], None]
Base = Callable[[str], Tensor]
COMPILED, BFLOAT16, ONNX, TENSORRT = "compiled", "bfloat16", "onnxruntime", "tensorrt"
# In the order in which the page offers them.
PRECISIONS = {
    COMPILED: ("bfloat16", "float32"),
    BFLOAT16: ("bfloat16",),
    ONNX: ("float32", "int8"),
    TENSORRT: ("bfloat16", "float32", "fp8"),
}


class Accelerator(Protocol):
    """A way to compute the velocity.

    Attributes:
        words: what it is, for people.
        bytes: memory that it takes.
    """

    words: str
    bytes: int

    def weights(self, changes: Mapping[str, Tensor], state: Hashable) -> None:
        """Hold the base weights with some changed; see `refit.Exchange.apply`. Not called for the same state again."""

    def run(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The velocity [B, C, h, w] of the velocity graph's inputs."""


class Copied:
    """A network in another type, perhaps compiled; its weights are exchanged in place."""

    def __init__(self, network: PixWizardTransformer, base: Base, precision: str, compiled: bool) -> None:
        device, dtype = default_device(), getattr(torch, precision)
        self.network = network.requires_grad_(False).to(device, dtype).eval()
        if compiled:
            compile_blocks(self.network)
        self.words = f"{'compiled blocks' if compiled else 'a copy'} in {precision} on {device.type}"
        self.bytes = sum(value.nbytes for value in self.network.state_dict().values())
        self.exchange = Exchange(self, base)
        self.state = self.network.state_dict()

    def weights(self, changes: Mapping[str, Tensor], state: Hashable) -> None:
        self.exchange.apply(changes, state)

    def run(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return eager_velocity(self.network, inputs)

    def names(self) -> set[str]:
        """As `Refittable.names`."""
        return set(self.state)

    def put(self, name: str, value: Tensor) -> bool:
        """As `Refittable.put`."""
        if value.shape != self.state[name].shape:
            return False
        with torch.inference_mode():
            self.state[name].copy_(value)
        return True

    def missing(self) -> set[str]:
        """As `Refittable.missing`."""
        return set()

    def commit(self) -> bool:
        """As `Refittable.commit`."""
        return True


class InOnnxRuntime:
    """An exported graph; other weights take another session, which opens with them."""

    def __init__(self, folder: Path, precision: str, provider: str) -> None:
        manifest = Manifest.read(folder)
        manifest.check_files(folder)
        self.path, self.provider, self.precision = folder / VELOCITY_FILE, provider, precision
        self.held: list[Any] = []
        self.session = open_session(self.path, provider)
        self.computes_on = self.session.get_providers()[0]
        self.words = f"ONNX Runtime in {precision} on {self.computes_on}"
        self.bytes = sum(size for _, size in manifest.files.values())

    def weights(self, changes: Mapping[str, Tensor], state: Hashable) -> None:
        if changes and self.precision != "float32":
            raise Unsupported("an int8 graph holds its weights rounded and cannot take a LoRA: take float32")
        self.session, self.held = self._opened(changes)

    def _opened(self, changes: Mapping[str, Tensor]) -> tuple[Any, list[Any]]:
        names = sorted(inside(changes))
        if not names:
            return open_session(self.path, self.provider), []
        ort = require_onnxruntime()
        options = session_options(ort)
        held = [ort.OrtValue.ortvalue_from_numpy(changes[name].float().cpu().contiguous().numpy()) for name in names]
        # Not add_initializer: of weights that lie in a file of their own ONNX Runtime 1.31 takes no notice of that.
        options.add_external_initializers(names, held)
        try:
            return ort.InferenceSession(str(self.path), options, providers=[self.computes_on]), held
        except Exception as error:  # small weights lie in the graph itself and cannot be exchanged
            raise Unsupported(f"the exported graph cannot take the LoRA: {' '.join(str(error).split())}") from error

    def run(self, inputs: Mapping[str, Tensor]) -> Tensor:
        exact = {name: value if value.dtype == torch.bool else value.float() for name, value in inputs.items()}
        (out,) = self.session.run(None, {name: value.cpu().contiguous().numpy() for name, value in exact.items()})
        return torch.from_numpy(out)


class InTensorRT:
    """A TensorRT engine."""

    def __init__(self, run: EngineRun, words: str) -> None:
        self.engine, self.words, self.bytes = run, words, run.engine.bytes

    def weights(self, changes: Mapping[str, Tensor], state: Hashable) -> None:
        self.engine.weights(changes, state)

    def run(self, inputs: Mapping[str, Tensor]) -> Tensor:
        engine = self.engine.engine
        return self.engine(cast(inputs, engine.dtype, engine.device))


def precision_of(backend: str, wanted: str) -> str:
    """The precision of a backend, its first where none is asked for.

    Raises:
        Unsupported: it does not have it.
    """
    if backend == COMPILED and wanted == "auto":
        return "bfloat16" if fast_bfloat16(default_device()) else "float32"
    known = PRECISIONS[backend]
    if wanted not in ("auto", *known):
        raise Unsupported(f"{backend} computes in {' or '.join(known)}, not in {wanted}")
    return known[0] if wanted == "auto" else wanted


def make(
    backend: str, precision: str, network: PixWizardTransformer, base: Base, cache: EngineCache, build: bool, tell: Tell
) -> Accelerator:
    """An accelerator of a network's base weights.

    Args:
        network: with its base weights, float32 on the CPU; becomes the accelerator's own.
        base: gives a base weight again, later.
        build: whether what is missing may be built, which takes seconds to minutes.

    Raises:
        ValueError: something is absent, does not fit this machine, or failed.
    """
    precision = precision_of(backend, precision)
    if backend in (COMPILED, BFLOAT16):
        return Copied(network, base, precision, backend == COMPILED)
    if backend == ONNX:
        return InOnnxRuntime(_exported(precision, network, cache, build, tell), precision, _provider())
    return _tensorrt(precision, network, base, cache, build, tell)


def _provider() -> str:
    """CUDA where ONNX Runtime and the machine have it."""
    present = require_onnxruntime().get_available_providers()
    return "cuda" if torch.cuda.is_available() and "CUDAExecutionProvider" in present else "cpu"


def _exported(precision: str, network: PixWizardTransformer, cache: EngineCache, build: bool, tell: Tell) -> Path:
    name = f"onnx-{weights_hash(network)[:16]}-{precision}"
    if found := _exported_before(name, network, cache):
        return found
    if not build:
        require_onnxruntime()
        raise Unsupported(f"no exported graph of this model in {cache.folder}: set on_missing to build")
    from ..export.onnx_folder import STAGES, export_onnx

    done: list[str] = []

    def stage(words: str) -> None:
        done.append(words)
        tell(words, min(len(done), STAGES), STAGES + 1)

    # Hosts that share a models folder would replace each other's export while it is being read.
    with cache.locked(name, lambda words: tell(words, 0, STAGES + 1)):
        if found := _exported_before(name, network, cache):
            return found
        export_onnx(network, cache.folder / name, "int8" if precision == "int8" else "fp32", stage)
    return cache.folder / name


def _exported_before(name: str, network: PixWizardTransformer, cache: EngineCache) -> Path | None:
    for folder in cache.folders:
        if (folder / name / MANIFEST_FILE).is_file():
            Manifest.read(folder / name).check_model(network, folder / name)
            return folder / name
    return None


def _tensorrt(
    precision: str, network: PixWizardTransformer, base: Base, cache: EngineCache, build: bool, tell: Tell
) -> InTensorRT:
    wanted = wanted_here(weights_hash(network)) | {"precision": precision}
    try:
        entry = matching(cache, wanted)
    except Unsupported:
        if not build:
            raise
        from ..export.engine_options import Shapes, exported_graph
        from ..export.tensorrt_build import BuildSettings, build_tensorrt, tensorrt_key

        key = tensorrt_key(network, precision, Shapes().profiles(network.config), BuildSettings(precision != "fp8"))
        with exported_graph(network, precision, cache.folder) as graph:
            entry = build_tensorrt(
                cache, key, graph, "host", lambda progress: tell(progress.words, round(progress.fraction * 100), 100)
            )
    run = EngineRun(load(cache, entry), precision, base)
    if "error" not in entry.notes:
        entry = cache.annotate(entry, error=tested(run, network))
    return InTensorRT(run, f"TensorRT in {precision}, {entry.notes['error']:.1e} from the network")
