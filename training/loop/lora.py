"""Low-rank adapters: W + scale * B A on chosen linear layers, trained while the model itself stays as it is.

Source: Hu et al. 2021, "LoRA". In files the names are `diffusion_model.LAYER.lora_A.weight` [r,in], `…lora_B.weight`
[out,r] and `…alpha`, which stock loaders of ComfyUI read for any model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...comfyui_pixwizard.files.safe_files import Spec, TensorFile, write_safetensors
from ...comfyui_pixwizard.transformer import PixWizardTransformer

PREFIX = "diffusion_model."
TARGETS = ("attention.wq", "attention.wk", "attention.wv", "attention.wo", "attention.wk_y", "attention.wv_y",
           "attention.wk_ii", "attention.wv_ii", "feed_forward.w1", "feed_forward.w2", "feed_forward.w3")  # fmt: skip


@dataclass(frozen=True)
class LoraConfig:
    """Attributes: rank r; alpha, the effect is scaled by alpha / r; targets, ends of the layers' names.

    Raises:
        ValueError: a rank or an alpha that is not positive.
    """

    rank: int = 16
    alpha: float = 16.0
    targets: tuple[str, ...] = TARGETS

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0:
            raise ValueError(f"rank and alpha are positive, found {self.rank} and {self.alpha:g}: take 16 and 16")


class LoraLinear(nn.Linear):
    """A linear layer with an adapter; its own parameters keep their names and are frozen. It starts without effect."""

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        with torch.device("meta"):
            super().__init__(linear.in_features, linear.out_features, linear.bias is not None)
        self.weight, self.bias = linear.weight, linear.bias
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        device = linear.weight.device
        self.lora_A = nn.Parameter(torch.empty(rank, linear.in_features, device=device))
        self.lora_B = nn.Parameter(torch.zeros(linear.out_features, rank, device=device))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.scale = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + F.linear(F.linear(x, self.lora_A), self.lora_B) * self.scale


def add_lora(transformer: PixWizardTransformer, config: LoraConfig, seed: int = 0) -> list[str]:
    """Freeze a transformer and put adapters on its targets; their names.

    Raises:
        ValueError: a target that is no linear layer of the model.
    """
    transformer.requires_grad_(False)
    names = [name for name, module in transformer.named_modules() if isinstance(module, nn.Linear)]
    for target in config.targets:
        if not any(name.endswith(f".{target}") for name in names):
            known = sorted({name.split(".", 2)[-1] for name in names if name.startswith("layers.")})
            raise ValueError(f"--targets are linear layers of a block, found {target}: choose from {', '.join(known)}")
    chosen = [name for name in names if name.endswith(tuple(f".{target}" for target in config.targets))]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in chosen:
            parent, _, last = name.rpartition(".")
            module = transformer.get_submodule(parent)
            setattr(module, last, LoraLinear(getattr(module, last), config.rank, config.alpha))
    return chosen


def lora_of(weights: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """Adapters out of a model's weights by name, as they are named in files."""
    found: dict[str, Tensor] = {}
    for name, value in weights.items():
        layer, _, kind = name.rpartition(".")
        if kind in ("lora_A", "lora_B"):
            found[f"{PREFIX}{layer}.{kind}.weight"] = value
            found[f"{PREFIX}{layer}.alpha"] = torch.tensor(alpha)
    return found


def save_lora(
    weights: Mapping[str, Tensor], alpha: float, path: Path, dtype: torch.dtype = torch.bfloat16, **told: object
) -> Path:
    """Write the adapters of a model's weights as one safetensors file."""
    state = lora_of(weights, alpha)
    specs = {
        name: Spec(torch.float32 if value.ndim == 0 else dtype, tuple(value.shape)) for name, value in state.items()
    }
    metadata = {"provenance": json.dumps(told)}
    write_safetensors(path, specs, lambda names: {name: state[name] for name in names}, metadata)
    return path


def merged(state: Mapping[str, Tensor], lora: Mapping[str, Tensor] | Path, strength: float = 1.0) -> dict[str, Tensor]:
    """A model's weights with a file's adapters added to them.

    Raises:
        ValueError: adapters of another model, or an incomplete file.
    """
    if isinstance(lora, Path):
        file = TensorFile(lora)
        lora = file.read(list(file.specs))
    out = dict(state)
    for layer in _layers(lora):
        try:
            a, b = (lora[f"{PREFIX}{layer}.{kind}.weight"].float() for kind in ("lora_A", "lora_B"))
            weight = state[f"{layer}.weight"]
            alpha = float(lora.get(f"{PREFIX}{layer}.alpha", torch.tensor(float(len(a)))))
            out[f"{layer}.weight"] = (weight.float() + strength * alpha / len(a) * (b @ a)).to(weight.dtype)
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"adapters must be this model's, found {layer}: {error}; use another file") from error
    return out


def _layers(names: Iterable[str]) -> list[str]:
    return sorted({name.removeprefix(PREFIX).rpartition(".lora_")[0] for name in names if ".lora_" in name})
