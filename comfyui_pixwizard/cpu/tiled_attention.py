"""Attention in bfloat16 on a CPU, one tile of scores at a time.

PyTorch's fused kernel computes in float32 there. Products of a tile in bfloat16, with the tile in the cache, took 46 ms
where it took 110 ms (2 branches of 1024 tokens, 32/8 heads of 72, two cores with AVX-512 BF16).

Shapes: B batch, L queries, S keys, h query heads, g key/value heads, e channels of a head.
"""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

# Below so many scores of a head the fused kernel is as fast.
SMALLEST = 256 * 256
# Scores of a tile.
TILE = 2**21


def fits(query: Tensor, key: Tensor, mask: Tensor | None) -> bool:
    """Whether tiles are faster: bfloat16 on a CPU, without gradients and mask, large enough."""
    return (
        mask is None
        and query.device.type == "cpu"
        and query.dtype == torch.bfloat16
        and not torch.is_grad_enabled()
        and query.shape[2] * key.shape[2] >= SMALLEST
    )


def _tiled_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention [B, h, L, e] of query [B, h, L, e] over key and value [B, g, S, e], scale 1/sqrt(e)."""
    groups, length = key.shape[1], query.shape[2]
    rows = rearrange(query * query.shape[-1] ** -0.5, "b (g n) l e -> (b g) (n l) e", g=groups).contiguous()
    # Contiguous weights: for a strided one oneDNN takes its plain loops, a hundred times slower.
    keys = rearrange(key, "b g s e -> (b g) s e").contiguous()
    values = rearrange(value, "b g s e -> (b g) e s").contiguous()
    out = torch.empty_like(rows)
    step = max(1, TILE // key.shape[2])
    for group in range(len(rows)):
        for first in range(0, rows.shape[1], step):
            scores = F.linear(rows[group, first : first + step], keys[group])
            torch.softmax(scores, dim=-1, out=scores)
            out[group, first : first + step] = F.linear(scores, values[group])
    return rearrange(out, "(b g) (n l) e -> b (g n) l e", g=groups, l=length)


# One opaque operation, so that a compiler keeps the loop as it is; named after the package, which has two names.
tiled_attention = torch.library.custom_op(
    f"{re.sub(r'[^a-z0-9]', '_', (__package__ or '').lower())}::tiled_attention", _tiled_attention, mutates_args=()
)


@tiled_attention.register_fake
def _(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return torch.empty_like(query, memory_format=torch.contiguous_format)
