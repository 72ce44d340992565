"""AdamW with float32 master weights, and the exponential average of the weights; sharded as the model is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any

import torch
from torch import Tensor, nn

from .parallel import local, whole

# Averaging touches every weight; every fourth step with the decay of four steps is as good and four times cheaper.
AVERAGE_EVERY = 4
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class OptimizerConfig:
    """How weights move.

    Attributes:
        lr: peak learning rate of AdamW, reached after `warmup` steps.
        cooldown: share of the training over which the rate falls linearly to zero (0 keeps it constant).
        weight_decay: of parameters with two axes or more.
        ema: decay of the averaged weights, reached gradually: min(ema, (1 + step) / (10 + step)).
        vector_lr: factor on the rate of parameters with one axis. Gates start at zero and the weights of the query and
            key norms set how sharp attention is; at the rate of matrices a short run leaves both where they were.
        rates: factors for parameters by pattern of their names, as fnmatch reads it; the first that fits counts, in
            place of vector_lr. What has 0 is not trained and costs no gradient.
        clip: largest gradient norm.
    """

    lr: float = 1e-3
    warmup: int = 100
    cooldown: float = 0.25
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    ema: float = 0.999
    vector_lr: float = 1.0
    rates: Mapping[str, float] = field(default_factory=dict)
    clip: float = 1.0


class Optimizing:
    """The optimiser and the average of a module's trainable parameters.

    Raises:
        ValueError: nothing to train, or master weights that are not float32.
    """

    def __init__(self, model: nn.Module, config: OptimizerConfig) -> None:
        self.model, self.config = model, config
        for name, value in model.named_parameters():
            value.requires_grad_(value.requires_grad and self._factor(name, value) > 0)
        self.named = {name: value for name, value in model.named_parameters() if value.requires_grad}
        narrow = [name for name, value in self.named.items() if value.dtype != torch.float32]
        if narrow or not self.named:
            found = f"{narrow[0]} in {self.named[narrow[0]].dtype}" if narrow else "no parameters"
            raise ValueError(f"training moves weights in float32, found {found}: load the model in float32")
        self.parameters = list(self.named.values())
        groups, self.factors = self._groups()
        self.optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)
        self.average = [p.detach().clone() for p in self.parameters]

    def _groups(self) -> tuple[list[dict[str, Any]], list[float]]:
        """Parameters that move alike, matrices first, and each group's factor on the rate."""
        alike: dict[tuple[bool, float], list[nn.Parameter]] = {(False, 1.0): [], (True, self.config.vector_lr): []}
        for name, value in self.named.items():
            alike.setdefault((value.ndim < 2, self._factor(name, value)), []).append(value)
        decay = self.config.weight_decay
        groups = [{"params": found, "weight_decay": 0.0 if vector else decay} for (vector, _), found in alike.items()]
        return groups, [factor for _, factor in alike]

    def _factor(self, name: str, value: Tensor) -> float:
        usual = self.config.vector_lr if value.ndim < 2 else 1.0
        return next((f for pattern, f in self.config.rates.items() if fnmatch(name, pattern)), usual)

    # -- steps -------------------------------------------------------------------------------------------------------

    def rate(self, step: int, progress: float) -> float:
        """Learning rate of matrices in a step; progress is the share of the training that is behind us."""
        config = self.config
        warm = min(1.0, (step + 1) / max(config.warmup, 1))
        return config.lr * warm * max(self.left(progress), 0.01)

    def left(self, progress: float) -> float:
        """The rate as a share of its peak, without the warm-up: 1 until it falls, 0 at the end."""
        cooldown = self.config.cooldown
        return min(1.0, max((1 - progress) / cooldown, 0.0)) if cooldown else 1.0

    def clip(self) -> float:
        """Scale the gradients down to the largest norm; the norm before, over all shards."""
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip, foreach=True)
        return float(whole(norm))

    def step(self, step: int, progress: float) -> None:
        """Move the weights in step number `step` (from 0), then the average."""
        for group, factor in zip(self.optimizer.param_groups, self.factors, strict=True):
            group["lr"] = self.rate(step, progress) * factor
        self.optimizer.step()
        done = step + 1
        if done % AVERAGE_EVERY == 0:
            decay = min(self.config.ema, (1 + done) / (10 + done)) ** AVERAGE_EVERY
            with torch.no_grad():
                here = [local(p.detach()) for p in self.parameters]
                torch._foreach_lerp_([local(mean) for mean in self.average], here, 1 - decay)

    @torch.no_grad()
    def load_average(self) -> None:
        """Put the averaged weights into the model, for export and evaluation."""
        for parameter, mean in zip(self.parameters, self.average, strict=True):
            parameter.copy_(mean)

    def averaged(self) -> dict[str, Tensor]:
        """The average by parameter's name, whole, on the CPU; every process must ask for it."""
        return {name: whole(mean).cpu() for name, mean in zip(self.named, self.average, strict=True)}

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """Everything that resuming needs, by name; filling these in place resumes."""
        self._begin()
        state = self.model.state_dict(keep_vars=True)
        kept = {n: v for n, v in state.items() if v.requires_grad or not isinstance(v, nn.Parameter)}
        found = {f"model.{name}": value.detach() for name, value in kept.items()}
        for (name, parameter), mean in zip(self.named.items(), self.average, strict=True):
            found[f"average.{name}"] = mean
            moments = self.optimizer.state[parameter]
            found |= {f"optimizer.{name}.{key}": moments[key] for key in (*MOMENTS, "step")}
        return found

    def _begin(self) -> None:
        """The state that AdamW makes in its first step: a checkpoint may be wanted, or filled, before."""
        for parameter in self.parameters:
            if not self.optimizer.state[parameter]:
                device = local(parameter).device
                self.optimizer.state[parameter] |= {
                    "step": torch.zeros((), device=device),
                    **{key: torch.zeros_like(parameter) for key in MOMENTS},
                }
