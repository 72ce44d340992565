"""The released procedure, as a yardstick: three branches always, everything computed again at every step.

What the released sampler does and this repeats: the conditions are encoded inside every evaluation, all three branches
run whatever their weights, samples go through as padded lists, and the RoPE table is built anew each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..comfyui_pixwizard.conditions import Conditions
from ..comfyui_pixwizard.evaluator import Branch
from ..comfyui_pixwizard.guidance import BRANCHES
from ..comfyui_pixwizard.rope import rope_table
from ..comfyui_pixwizard.transformer import PixWizardTransformer


@dataclass(frozen=True)
class Inputs:
    """What one branch is encoded from: features [B, T, F], mask [B, T], vector [B, P], tokens [B, N, W], source."""

    features: Tensor
    mask: Tensor
    vector: Tensor
    tokens: Tensor
    source: Tensor

    def encode(self, transformer: PixWizardTransformer) -> Conditions:
        return transformer.encode_conditions(self.features, self.mask, self.vector, self.tokens)

    def branch(self, transformer: PixWizardTransformer) -> Branch:
        """Encoded once, for evaluators."""
        return Branch(self.source, self.encode(transformer))


class ReferenceStep:
    """Velocities of all branches of an unprepared sampling."""

    def __init__(self, transformer: PixWizardTransformer, inputs: Mapping[str, Inputs]) -> None:
        self.transformer, self.inputs = transformer, inputs

    def __call__(self, x: Tensor, t: float, branches: Sequence[str]) -> dict[str, Tensor]:
        parts = [self.inputs[name] for name in BRANCHES]
        joined = Inputs(*(torch.cat([getattr(p, field) for p in parts]) for field in Inputs.__dataclass_fields__))
        rope_table.cache_clear()
        noisy = list(x.repeat(len(BRANCHES), 1, 1, 1))
        times = torch.full((len(noisy),), t, device=x.device)
        out = self.transformer.velocity(noisy, times, list(joined.source), joined.encode(self.transformer))
        chunks = torch.stack(list(out)).float().chunk(len(BRANCHES))
        return dict(zip(BRANCHES, chunks, strict=True))
