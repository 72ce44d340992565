"""Memory that a sampling needs: measured on a GPU, elsewhere counted from the tensors that a step makes.

The count runs a step on tensors without contents, so that a laptop can tell what the full model takes. It leaves out
what an allocator and a driver take beside (about half a gigabyte with CUDA).
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..comfyui_pixwizard.conditions import Conditions
from ..comfyui_pixwizard.config import PixWizardConfig
from ..comfyui_pixwizard.evaluator import Branch, EagerStep
from ..comfyui_pixwizard.transformer import PixWizardTransformer
from ..training.recipes.estimate import RELEASED_IMAGE_TOKENS

# Tokens of an instruction that is counted with, and of the empty one.
TEXT_TOKENS, EMPTY_TOKENS = 24, 1


class TensorPeak(TorchDispatchMode):
    """Counts bytes of the tensors that live at once; `peak` is their maximum while the mode is on."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self.alive: dict[int, int] = {}

    def add(self, tensor: Tensor) -> None:
        """Count a tensor's storage, once, until it is freed."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.alive:
            self.alive[key] = storage.nbytes()
            self.bytes += self.alive[key]
            self.peak = max(self.peak, self.bytes)
            weakref.finalize(storage, self._freed, key)

    def _freed(self, key: int) -> None:
        self.bytes -= self.alive.pop(key, 0)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        return out


def sampling_peak(
    config: PixWizardConfig, size: int, batch: int, branches: tuple[str, ...], dtype: torch.dtype
) -> tuple[int, int]:
    """Bytes of the weights, and of all tensors at the peak of one step of all branches together.

    Args:
        config: of the model.
        size: side of the picture in pixels.
        batch: pictures at once.
        branches: of guidance, see `guidance.BRANCHES`.
        dtype: of weights and activations.
    """
    with torch.device("meta"):
        model = PixWizardTransformer(config).eval()
    # Its cache must not keep a table without contents.
    model.rope((size // 8, size // 8), torch.device("cpu"))
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), TensorPeak() as counted:
        for module in model.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    made = torch.empty(parameter.shape, dtype=dtype)
                    module._parameters[name] = nn.Parameter(made, requires_grad=False)
        weights = sum(parameter.nbytes for parameter in model.parameters())
        counted.peak = counted.bytes
        latent = torch.empty(batch, config.in_channels, size // 8, size // 8, dtype=dtype)
        parts = {name: Branch(latent.clone(), empty_conditions(config, batch, name, dtype)) for name in branches}
        step = _AsOnGpu(model, parts, [0.0, 0.5])
        step(latent.float(), 0.0, branches)
    return weights, counted.peak


class _AsOnGpu(EagerStep):
    """All branches together, as where memory and not cores decide."""

    def _largest(self, source: Tensor) -> int:
        return len(self.branches)


def empty_conditions(config: PixWizardConfig, batch: int, branch: str, dtype: torch.dtype) -> Conditions:
    """Conditions of a branch without contents."""
    layers, heads, width = config.n_layers, config.kv_heads, config.head_dim
    text, seen = TEXT_TOKENS if branch == "full" else EMPTY_TOKENS, 0 if branch == "none" else config.sample_tokens

    def keys(count: int) -> Tensor:
        return torch.empty(layers, batch, heads, count, width, dtype=dtype)

    return Conditions(
        text_keys=keys(text),
        text_values=keys(text),
        text_mask=None,
        image_keys=keys(seen),
        image_values=keys(seen),
        selected=torch.empty(layers, batch, config.sample_tokens, dtype=torch.int64),
        scores=torch.empty(layers, batch, RELEASED_IMAGE_TOKENS),
        task_embedding=torch.empty(batch, config.conditioning_dim, dtype=dtype),
        global_embedding=torch.empty(batch, config.conditioning_dim, dtype=dtype),
        is_null=torch.empty(batch, dtype=torch.bool),
    )
