"""Running an engine over torch tensors: the profile that fits, kept outputs, first answers checked, weights exchanged.

`Engine` is what a particular one must be able to do; TensorRT's is in `tensorrt_engine`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..comfyui_pixwizard.transformer import PixWizardTransformer
from .engine_profiles import Profile, Unsupported, choose
from .exactness import velocity_error
from .refit import Exchange, Refittable

# Largest error against eager that an engine may show, relative, by type of its products.
TOLERANCES = {"float32": 1e-3, "bfloat16": 2e-2, "fp8": 1e-1}


class Engine(Refittable, Protocol):
    """An engine for the velocity graph.

    Attributes:
        profiles: what it was built for.
        dtype: of inputs that follow the weights' type.
        device: where inputs lie.
        bytes: memory that it takes on the device.
    """

    profiles: Sequence[Profile]
    dtype: torch.dtype
    device: torch.device
    bytes: int

    def execute(self, profile: int, inputs: Mapping[str, Tensor], out: Tensor) -> None:
        """Begin a run that writes the velocity, float32 [B, C, h, w], on the current stream."""


class EngineRun:
    """An engine in use.

    Args:
        engine: loaded.
        precision: of its products, a key of TOLERANCES.
        base: gives the base weight of a name, for exchanging.
    """

    def __init__(self, engine: Engine, precision: str, base: Callable[[str], Tensor]) -> None:
        self.engine, self.precision = engine, precision
        self.exchange = Exchange(engine, base)
        self.outputs: dict[tuple[int, ...], Tensor] = {}
        self.checked: set[int] = set()

    def __call__(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The velocity; the tensor is written again by the next run of the same shape.

        Raises:
            Unsupported: no profile takes these shapes, or the first answer of a profile is not finite.
        """
        place = choose(self.engine.profiles, {name: tuple(value.shape) for name, value in inputs.items()})
        shape = tuple(inputs["x"].shape)
        if shape not in self.outputs:
            # One at a time: a host that changes sizes would otherwise keep a buffer for each.
            self.outputs = {shape: torch.empty(shape, device=self.engine.device)}
        out = self.outputs[shape]
        self.engine.execute(place, inputs, out)
        if place not in self.checked:
            if not bool(out.isfinite().all()):
                raise Unsupported("the engine answers with numbers that are not finite: build it in another precision")
            self.checked.add(place)
        return out

    def weights(self, changes: Mapping[str, Tensor], state: Hashable) -> set[str]:
        """See `Exchange.apply`."""
        return self.exchange.apply(changes, state)

    def self_test(self, expected: Tensor, inputs: Mapping[str, Tensor]) -> float:
        """The error against the network's own velocity of the same inputs.

        TensorRT 11.3 documents that a refittable engine may lose the bias of a product without a word, so an engine
        is compared once with the network before it is trusted.

        Raises:
            Unsupported: it is larger than the precision explains.
        """
        error = velocity_error(self(inputs).cpu(), expected.cpu())
        limit = TOLERANCES[self.precision]
        if not error <= limit:
            raise Unsupported(
                f"the engine's velocity differs from the network's by {error:.2g}, more than {self.precision} explains "
                f"({limit:g}): build it again, with another version of the compiler if that does not help"
            )
        return error


def base_weights(transformer: PixWizardTransformer) -> Callable[[str], Tensor]:
    """Weights of a network by name."""
    state = transformer.state_dict()
    return lambda name: state[name]
