"""Ways to run the network, by name, behind `comfyui_pixwizard.evaluator.Evaluator`.

eager      as PyTorch runs it, in the weights' own type
bfloat16   weights and products in bfloat16, sums in float32
compiled   every block compiled by torch.compile, in bfloat16 where the machine multiplies it fast
onnxruntime  a folder that `pixwizard export onnx` wrote, see `onnx_evaluator`
tensorrt   a folder of engines of `pixwizard export tensorrt`, see `tensorrt_evaluator`

Each says in `reason` what it does here, or what it stands in for.
"""

from __future__ import annotations

import copy
import hashlib
import importlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from ..comfyui_pixwizard.conditions import Conditions
from ..comfyui_pixwizard.evaluator import Branch, Eager, EagerStep, Evaluator, Step
from ..comfyui_pixwizard.files.safe_files import sha256_of
from ..comfyui_pixwizard.scaling import PLAIN, Scaling
from ..comfyui_pixwizard.transformer import PixWizardTransformer
from .engine_cache import SIDECAR
from .exported import MANIFEST_FILE, Manifest
from .identity import OfWeights
from .machine import cache_folder


def default_device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def find_device(name: str) -> torch.device:
    """cpu, cuda or cuda:N; auto is `default_device`.

    Raises:
        ValueError: not such a name, or no such device here.
    """
    if name == "auto":
        return default_device()
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ValueError(f"--device is auto, cpu, cuda or cuda:N, found {name!r}: take auto")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"--device must be there, found {torch.cuda.device_count()} GPUs for {name!r}: take cpu")
    return device


def fast_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies in bfloat16 faster than in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


class Converted:
    """Evaluators that run a converted copy of the network; one copy a network is kept while the network lives and keeps
    its weights and its place.

    Args:
        convert: makes the copy, in place, from a deep copy.
        dtype: of activations that enter it.
    """

    def __init__(
        self, name: str, reason: str, convert: Callable[[PixWizardTransformer], None], dtype: torch.dtype
    ) -> None:
        self.name, self.reason, self.convert, self.dtype = name, reason, convert, dtype
        self.copies: OfWeights[PixWizardTransformer] = OfWeights()

    def start(
        self,
        transformer: PixWizardTransformer,
        branches: Mapping[str, Branch],
        times: Sequence[float],
        scaling: Scaling = PLAIN,
    ) -> Step:
        converted = self.copies.get(transformer, lambda: self._converted(transformer))
        cast = {
            name: Branch(branch.source.to(self.dtype), _cast(branch, self.dtype)) for name, branch in branches.items()
        }
        return EagerStep(converted, cast, times, scaling)

    def _converted(self, transformer: PixWizardTransformer) -> PixWizardTransformer:
        made = copy.deepcopy(transformer).requires_grad_(False).to(self.dtype)
        self.convert(made)
        return made


def _cast(branch: Branch, dtype: torch.dtype) -> Conditions:
    """Conditions whose keys, values and embeddings are of a type; the ranker's scores stay."""
    conditions = branch.conditions
    return replace(conditions.to(dtype=dtype), scores=conditions.scores)


def compile_blocks(transformer: PixWizardTransformer) -> None:
    """Compile the blocks; they share one compiled code for each shape, kept on disk for the next process."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "inductor"))
    on_gpu = transformer.x_embedder.weight.device.type == "cuda"
    options = {"triton.cudagraphs": True} if on_gpu else None
    torch._dynamo.config.cache_size_limit = max(torch._dynamo.config.cache_size_limit, 64)
    for block in transformer.blocks:
        block.compile(dynamic=False, fullgraph=True, options=options)


def bfloat16() -> Evaluator:
    """Weights and products in bfloat16."""
    fast = fast_bfloat16(default_device())
    reason = "products in bfloat16" if fast else "products in bfloat16, which this machine does slowly"
    return Converted("bfloat16", reason, lambda copied: None, torch.bfloat16)


def compiled() -> Evaluator:
    """Compiled blocks, in bfloat16 where that is fast."""
    fast = fast_bfloat16(default_device())
    dtype = torch.bfloat16 if fast else torch.float32
    reason = f"blocks compiled by torch.compile, products in {str(dtype).removeprefix('torch.')}"
    return Converted("compiled", reason, compile_blocks, dtype)


def automatic() -> Evaluator:
    """What is fastest without waiting for a compiler."""
    return bfloat16() if fast_bfloat16(default_device()) else Eager()


EVALUATORS: dict[str, Callable[[], Evaluator]] = {
    "eager": Eager,
    "bfloat16": bfloat16,
    "compiled": compiled,
    "auto": automatic,
}


class EngineKind(NamedTuple):
    """A backend that runs what was exported: the module and class to import when it is asked for, and what makes it."""

    module: str
    kind: str
    made_by: str


ENGINES = {
    "onnxruntime": EngineKind(".onnx_evaluator", "OnnxRuntime", "pixwizard export onnx MODEL DIR"),
    "tensorrt": EngineKind(".tensorrt_evaluator", "TensorRT", "pixwizard export tensorrt MODEL DIR"),
}


def check(name: str, engine: str | Path | None = None, provider: str = "cpu") -> None:
    """Refuse what `choose` would, without loading anything.

    Raises:
        ValueError: no such evaluator, or an engine's folder where none is needed, or none where one is, or nothing in
            it for this evaluator, or a provider for another one than ONNX Runtime.
    """
    names = [*EVALUATORS, *ENGINES]
    if name not in names:
        raise ValueError(f"the backends are {', '.join(names)}, found {name!r}: choose one of them")
    if name in ENGINES and engine is None:
        raise ValueError(
            f"the backend {name} runs an exported folder, found none: name it with --engine DIR "
            f"({ENGINES[name].made_by} makes one)"
        )
    if name not in ENGINES and engine is not None:
        raise ValueError(f"--engine goes with --backend {' or '.join(ENGINES)}, found --backend {name}: leave one out")
    if provider != "cpu" and name != "onnxruntime":
        raise ValueError(
            f"--provider {provider} is one of ONNX Runtime's, found --backend {name}: take --backend onnxruntime, or "
            "--device for where PyTorch computes"
        )
    if engine is None:
        return
    if name == "onnxruntime":
        Manifest.read(Path(engine))
    elif not list(Path(engine).glob(f"*{SIDECAR}")):
        raise ValueError(
            f"the backend {name} runs an engine of a folder, found none in {engine}: {ENGINES[name].made_by} makes one"
        )


def choose(name: str, engine: str | Path | None = None, provider: str = "cpu") -> Evaluator:
    """The evaluator of a name.

    Args:
        engine: an exported folder, or one of TensorRT engines, for those that run one.
        provider: what ONNX Runtime computes on, a key of `onnx_evaluator.PROVIDERS`.

    Raises:
        ValueError: as `check`, and what the evaluator itself refuses.
    """
    check(name, engine, provider)
    if name not in ENGINES:
        return EVALUATORS[name]()
    made = getattr(importlib.import_module(ENGINES[name].module, __package__), ENGINES[name].kind)
    return made(engine, provider) if name == "onnxruntime" else made(Path(str(engine)))


def engine_digest(engine: str | Path) -> str:
    """What tells one exported folder from another: the start of the SHA-256 of its description.

    Engines are named after what they are for, so their names are the description of a folder of them.
    """
    folder = Path(engine)
    if (folder / MANIFEST_FILE).is_file():
        return sha256_of(folder / MANIFEST_FILE)[:16]
    names = sorted(path.name for path in folder.glob(f"*{SIDECAR}"))
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
