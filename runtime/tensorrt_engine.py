"""`engine_run.Engine` over NVIDIA's `tensorrt` package, which is imported when an engine is loaded and never before.

Written against the documented interface of TensorRT 10 and 11. Not run by this project's tests: they have no GPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..comfyui_pixwizard.optional import pip_install
from .engine_profiles import Profile


def require_tensorrt() -> Any:
    """The package.

    Raises:
        ValueError: it is absent or cannot load its libraries.
    """
    try:
        import tensorrt
    except ImportError as error:
        cuda = (torch.version.cuda or "13").split(".")[0]
        raise ValueError(
            f"TensorRT cannot be imported ({' '.join(str(error).split())}): "
            f"{pip_install(f'tensorrt-cu{cuda}', 'polygraphy')}"
        ) from error
    return tensorrt


def tensorrt_version() -> str:
    """The installed version.

    Raises:
        ValueError: there is none.
    """
    return str(require_tensorrt().__version__)


class TensorRTEngine:
    """A plan on the current GPU.

    Args:
        plan: an engine's bytes, from `EngineCache.read` alone: they are code.
        profiles: what it was built for.
        dtype: of the inputs that follow the weights' type.
        streaming: how many bytes of weights may stay on the GPU, of an engine with weight streaming; None
            takes what TensorRT finds right for the memory that is free.

    Raises:
        ValueError: TensorRT is absent, or refuses the plan.
    """

    def __init__(
        self, plan: bytes, profiles: Sequence[Profile], dtype: torch.dtype, streaming: int | None = None
    ) -> None:
        self.trt = require_tensorrt()
        self.profiles, self.dtype = profiles, dtype
        self.device = torch.device("cuda", torch.cuda.current_device())
        self.logger = self.trt.Logger(self.trt.Logger.WARNING)
        self.runtime = self.trt.Runtime(self.logger)
        self.engine = self.runtime.deserialize_cuda_engine(plan)
        if self.engine is None:
            raise ValueError(f"TensorRT {self.trt.__version__} refuses this engine on this GPU: build it again")
        streamable = int(self.engine.streamable_weights_size)
        if streamable:
            # Without a budget TensorRT would keep none of the weights on the GPU.
            budget = self.engine.get_weight_streaming_automatic_budget() if streaming is None else streaming
            self.engine.weight_streaming_budget_v2 = min(int(budget), streamable)
        self.context = self.engine.create_execution_context()
        if self.context is None:
            raise ValueError(
                f"the GPU has no room for the engine's {self.engine.device_memory_size_v2 / 1e9:.1f} GB of working "
                "memory: unload other models, or build for a smaller batch"
            )
        resident = len(plan) - (streamable and streamable - int(self.engine.weight_streaming_budget_v2))
        self.bytes = resident + int(self.engine.device_memory_size_v2)
        self.refitter: Any = None
        self.profile = -1
        self.held: list[Tensor] = []

    def execute(self, profile: int, inputs: Mapping[str, Tensor], out: Tensor) -> None:
        """As `Engine.execute`.

        Raises:
            RuntimeError: TensorRT refused.
        """
        stream = torch.cuda.current_stream(self.device).cuda_stream
        if profile != self.profile:
            self._must(self.context.set_optimization_profile_async(profile, stream), f"profile {profile}")
            self.profile = profile
        # The run is only begun here; its inputs must live until the next one, which the same stream orders after it.
        self.held = [value.contiguous() for value in inputs.values()]
        for name, value in zip(inputs, self.held, strict=True):
            self._must(
                self.context.set_input_shape(name, tuple(value.shape)), f"the shape {list(value.shape)} of {name}"
            )
            self._must(self.context.set_tensor_address(name, value.data_ptr()), name)
        self._must(self.context.set_tensor_address("velocity", out.data_ptr()), "velocity")
        self._must(self.context.execute_async_v3(stream), "the run")

    def names(self) -> set[str]:
        """As `Refittable.names`."""
        return set(self._refitter().get_all_weights()) if self.engine.refittable else set()

    def put(self, name: str, value: Tensor) -> bool:
        """As `Refittable.put`."""
        refitter = self._refitter()
        wanted = refitter.get_weights_prototype(name)
        dtype = {
            self.trt.DataType.FLOAT: torch.float32,
            self.trt.DataType.HALF: torch.float16,
            self.trt.DataType.BF16: torch.bfloat16,
        }[wanted.dtype]
        cast = value.detach().to("cpu", dtype).contiguous()
        if cast.numel() != wanted.size:
            return False
        self.weights_held.append(cast)  # TensorRT reads it at `commit`
        return bool(refitter.set_named_weights(name, self.trt.Weights(wanted.dtype, cast.data_ptr(), cast.numel())))

    def missing(self) -> set[str]:
        """As `Refittable.missing`."""
        return set(self._refitter().get_missing_weights())

    def commit(self) -> bool:
        """As `Refittable.commit`."""
        torch.cuda.current_stream(self.device).synchronize()
        done = bool(self._refitter().refit_cuda_engine())
        self.weights_held.clear()
        return done

    def _refitter(self) -> Any:
        if self.refitter is None:
            self.refitter = self.trt.Refitter(self.engine, self.logger)
            self.weights_held: list[Tensor] = []
        return self.refitter

    @staticmethod
    def _must(done: bool, what: str) -> None:
        if not done:
            raise RuntimeError(f"TensorRT refused {what}: see its log")
