"""A start for attention that looks at neighbours.

A fresh network attends everywhere alike and takes most of a short training to find out that nearby patches matter.
The biases of the query and key norms decide where a head looks whatever the picture holds: with a key bias b and a
query bias R(d) b, where R is the rotary embedding's rotation, logits peak at the offset d. This sets both; no name or
shape changes, and training is free to undo it.
Shapes: h query heads, g key/value heads, e head channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...comfyui_pixwizard.rope import THETA
from ...comfyui_pixwizard.transformer import PixWizardTransformer

# Offsets (rows, columns) in tokens that the first heads look at; the heads after them are left as they are.
OFFSETS = ((0, 0), (0, -2), (0, 2), (-2, 0), (2, 0), (0, 0))


def position_bias(offset: tuple[int, int], head_dim: int, strength: float) -> Tensor:
    """A query bias [e] that peaks at an offset, for a key bias of the offset (0, 0)."""
    frequencies = THETA ** (-torch.arange(0, head_dim, 4) / head_dim)
    # Pairs of channels alternate between rows and columns (docs/mathematics.md section 7).
    angles = torch.stack([frequencies * offset[0], frequencies * offset[1]], dim=1).flatten()
    return strength * torch.stack([angles.cos(), angles.sin()], dim=1).flatten()


@torch.no_grad()
def prefer_neighbours(transformer: PixWizardTransformer, strength: float = 2.4) -> None:
    """Let the first heads of every layer look at OFFSETS, adding to their norms' biases.

    Raises:
        ValueError: a network without query and key norms.
    """
    config = transformer.config
    if not config.qk_norm:
        raise ValueError("prefer_neighbours sets the biases of query and key norms, found qk_norm=False: turn it on")
    e, group = config.head_dim, config.n_heads // config.kv_heads
    for block in transformer.blocks:
        norms = block.attention.q_norm, block.attention.k_norm
        query, key = (norm.get_parameter("bias").view(-1, e) for norm in norms)
        offsets = OFFSETS[: config.n_heads]
        for head, offset in enumerate(offsets):
            query[head] += position_bias(offset, e, strength)
        for head in range(-(-len(offsets) // group)):
            key[head] += position_bias((0, 0), e, strength)
