"""The network without a part of its conditioning, with the parameters and the shapes that it has: for comparisons.

What is held stays at zero all through training and evaluation, so that an arm without it is saved, loaded and asked
like any other model. Source of the parts: paper sections 3.1 and 3.2 (its ablations are the model for these).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from ...comfyui_pixwizard.transformer import PixWizardTransformer
from .towers import NanoModel

Part = Literal["semantic tokens", "structure", "task-aware choice"]


def _close_image(transformer: PixWizardTransformer) -> list[Tensor]:
    """No attention to image tokens, and no mean of them in the conditioning vector."""
    gates = [block.attention.gate_for_ii for block in transformer.blocks]
    return [*gates, *transformer.global_semantic_embedder[-1].parameters()]


def _close_task(transformer: PixWizardTransformer) -> list[Tensor]:
    """Tokens are ranked by what they show alone."""
    return [block.y_pool_proj.weight for block in transformer.blocks]


_HELD: dict[str, Callable[[PixWizardTransformer], list[Tensor]]] = {
    "semantic tokens": _close_image,
    "task-aware choice": _close_task,
}


def hold(model: NanoModel, parts: Sequence[Part]) -> None:
    """Take parts of the conditioning away, before the optimiser is made and after the model was compiled."""
    for part in parts:
        if part == "structure":
            _without_source(model)
            continue
        for parameter in _HELD[part](model.transformer):
            parameter.requires_grad_(False).zero_()


def _without_source(model: NanoModel) -> None:
    """Training shows zeros for the latents of the source, which moves none of their weights; those are zero too."""
    config = model.transformer.config
    with torch.no_grad():
        # Patches are flattened channels first, those of the noisy latents before those of the source.
        model.transformer.x_embedder.weight[:, config.patch_size**2 * config.in_channels :] = 0
    model.predict = partial(_blind, model.predict)


def _blind(
    predict: Callable[..., Tensor], network: PixWizardTransformer, x: Tensor, t: Tensor, source: Tensor, *rest: Any
) -> Tensor:
    return predict(network, x, t, torch.zeros_like(source), *rest)
