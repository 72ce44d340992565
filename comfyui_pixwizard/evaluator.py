"""Evaluating velocities in a sampling: what stays the same is prepared once, each step does only what changes.

An evaluator answers for any subset of the guidance branches at any time. This one runs the network as it is; `runtime`
has others behind the same interface. All of its savings are exact: conditions once per branch, modulations of all
times in one product, text cut to its true length, RoPE tables cached, branches together in one batch.

Shapes: B samples, n branches, C latent channels, S times, T text tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from .conditions import Conditions
from .patch_grids import SHIFTS, mean_over_grids, shifted
from .scaling import PLAIN, Scaling
from .transformer import PixWizardTransformer

# Tokens of all branches and samples that go through the network at once on a CPU; more is not faster there.
CPU_TOKENS = 8192


@dataclass(frozen=True)
class Branch:
    """One branch of guidance: its source latents [B, C, h, w] and its conditions."""

    source: Tensor
    conditions: Conditions


def joined(parts: Sequence[Branch]) -> Branch:
    """Branches in one batch [n * B]; a single one is itself."""
    if len(parts) == 1:
        return parts[0]
    return Branch(torch.cat([part.source for part in parts]), Conditions.cat([part.conditions for part in parts]))


class Step(Protocol):
    """Velocities of some branches in a sampling that was prepared."""

    def __call__(self, x: Tensor, t: float, branches: Sequence[str]) -> dict[str, Tensor]:
        """x [B, C, h, w] at time t to velocities by branch, float32."""


class Evaluator(Protocol):
    """A way to run the network.

    Attributes:
        name: what to ask for it by.
        reason: why it was taken, or what it is instead of, for people.
    """

    name: str
    reason: str

    def start(
        self,
        transformer: PixWizardTransformer,
        branches: Mapping[str, Branch],
        times: Sequence[float],
        scaling: Scaling = PLAIN,
    ) -> Step:
        """Prepare a sampling over some times; other times are answered too, a little slower.

        scaling is for more tokens than the model was trained on.
        """


class Eager:
    """The network as it is."""

    name, reason = "eager", "the network as PyTorch runs it"

    def start(
        self,
        transformer: PixWizardTransformer,
        branches: Mapping[str, Branch],
        times: Sequence[float],
        scaling: Scaling = PLAIN,
    ) -> Step:
        return EagerStep(transformer, branches, times, scaling)


class EagerStep:
    """A prepared sampling; see `Evaluator.start`."""

    def __init__(
        self,
        transformer: PixWizardTransformer,
        branches: Mapping[str, Branch],
        times: Sequence[float],
        scaling: Scaling = PLAIN,
    ) -> None:
        self.transformer, self.branches = transformer, {name: _trimmed(branch) for name, branch in branches.items()}
        self.joined: dict[tuple[str, ...], Branch] = {}
        self.tables: dict[str, list[Tensor]] = {}
        self.places = {time: i for i, time in enumerate(dict.fromkeys(times))}
        first = next(iter(self.branches.values())).source
        self.side, self.rope_device, self.scaling = tuple(first.shape[-2:]), first.device, scaling
        tokens = first.shape[-2] * first.shape[-1] // transformer.config.patch_size**2
        self.attention_scale = scaling.attention_scale(tokens)
        self.largest = self._largest(first)

    def _largest(self, source: Tensor) -> int:
        """Branches that go through together."""
        tokens = len(source) * source.shape[-2] * source.shape[-1] // self.transformer.config.patch_size**2
        return max(1, CPU_TOKENS // tokens) if source.device.type == "cpu" else len(self.branches)

    def __call__(self, x: Tensor, t: float, branches: Sequence[str]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for first in range(0, len(branches), self.largest):
            names = tuple(branches[first : first + self.largest])
            found |= dict(zip(names, self._together(x, t, names).chunk(len(names)), strict=True))
        return found

    def rope(self, t: float) -> tuple[Tensor, Tensor]:
        """RoPE tables at a time; they are cached."""
        return self.transformer.rope(self.side, self.rope_device, *self.scaling.factors(t))

    def _together(self, x: Tensor, t: float, names: tuple[str, ...]) -> Tensor:
        """Velocities [n * B, C, h, w] of branches in one batch, float32."""
        branch = self._join(names)
        repeated = x.to(branch.source.dtype).repeat(len(names), 1, 1, 1)
        out = self.transformer.denoise(
            repeated,
            branch.source,
            None,
            *self.rope(t),
            branch.conditions,
            attention_scale=self.attention_scale,
            modulations=self.modulations(t, names),
        )
        return out.float()

    def _join(self, names: tuple[str, ...]) -> Branch:
        if names not in self.joined:
            self.joined[names] = joined([self.branches[name] for name in names])
        return self.joined[names]

    def modulations(self, t: float, names: tuple[str, ...]) -> list[Tensor]:
        """Modulations [n * B, …] of every layer at a time."""
        if t not in self.places:
            vector = self._join(names).conditions.vector
            return self.transformer.modulations(self.transformer.t_embedder(self._time([t], vector)) + vector)
        place = self.places[t]
        parts = [[layer[place] for layer in self._table(name)] for name in names]
        return parts[0] if len(parts) == 1 else [torch.cat(layers) for layers in zip(*parts, strict=True)]

    def _table(self, name: str) -> list[Tensor]:
        """Modulations of a branch at all times, each layer's [S, B, …]."""
        if name not in self.tables:
            vector = self.branches[name].conditions.vector
            times = self.transformer.t_embedder(self._time(list(self.places), vector))
            self.tables[name] = self.transformer.modulations(times[:, None] + vector)
        return self.tables[name]

    @staticmethod
    def _time(times: list[float], like: Tensor) -> Tensor:
        return torch.tensor(times, dtype=torch.float32, device=like.device)


class OverGrids:
    """An evaluator that has another one evaluate each patch grid, see `patch_grids`.

    Args:
        evaluator: of the grids.
        count: of grids, a key of SHIFTS.
    """

    def __init__(self, evaluator: Evaluator, count: int) -> None:
        self.evaluator, self.shifts = evaluator, SHIFTS[count]
        self.name, self.reason = evaluator.name, evaluator.reason

    def start(
        self,
        transformer: PixWizardTransformer,
        branches: Mapping[str, Branch],
        times: Sequence[float],
        scaling: Scaling = PLAIN,
    ) -> Step:
        steps = []
        for shift in self.shifts:
            shown = {name: Branch(shifted(item.source, shift), item.conditions) for name, item in branches.items()}
            steps.append(self.evaluator.start(transformer, shown, times, scaling))

        def step(x: Tensor, t: float, branches: Sequence[str]) -> dict[str, Tensor]:
            each = [one(shifted(x, shift), t, branches) for one, shift in zip(steps, self.shifts, strict=True)]
            return {name: mean_over_grids([found[name] for found in each]) for name in branches}

        return step


def _trimmed(branch: Branch) -> Branch:
    """Without the text columns that are padding in every row, and without a mask where nothing else is padding."""
    conditions = branch.conditions
    if conditions.text_mask is None:
        return branch
    length = int(conditions.text_mask.sum(dim=1).max())
    mask = conditions.text_mask[:, :length]
    keys, values = (item[..., :length, :] for item in (conditions.text_keys, conditions.text_values))
    whole = bool(mask.all())
    return Branch(
        branch.source, replace(conditions, text_keys=keys, text_values=values, text_mask=None if whole else mask)
    )
