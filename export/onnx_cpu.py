"""Blocks in the operators that ONNX Runtime has for CPUs: attention by tiles, rotation, fused norms.

They are ONNX Runtime's own (domain com.microsoft), so a graph with them is for ONNX Runtime only.
Shapes: B batch, L tokens, S keys, h query heads, g key/value heads, e head channels.
"""

from __future__ import annotations

from types import MethodType

import torch
from einops import rearrange, repeat
from torch import Tensor

from ..comfyui_pixwizard.block import TransformerBlock
from ..comfyui_pixwizard.layers import RMSNorm
from .onnx_graph import attend_plainly


def for_onnxruntime(block: TransformerBlock) -> None:
    """Adapt a block, see `onnx_graph.exportable`.

    Raises:
        ValueError: a PyTorch that cannot export operators of other domains.
    """
    if not hasattr(torch.onnx, "ops"):
        raise ValueError(
            f"int8 exports need torch 2.8 or newer, found {torch.__version__}: take a newer PyTorch, or export fp32"
        )
    block.attention.attend = attend
    block.attention.rotate = rotate
    for norm in (block.attention_norm1, block.attention_norm2, block.ffn_norm1, block.ffn_norm2):
        norm.register_buffer("unit", torch.ones_like(norm.weight), persistent=False)
        norm.normalize = MethodType(normalize, norm)  # type: ignore[method-assign]


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Self-attention in one operator, which never makes all scores at once; the few keys of text and image plainly.

    That operator wants as many key heads as query heads.
    """
    if mask is not None or isinstance(key.shape[2], int):
        return attend_plainly(query, key, value, mask)
    heads = query.shape[1]
    many = heads // key.shape[1]
    rows = rearrange(query, "b h l e -> b l (h e)")
    keys, values = (repeat(x, "b g s e -> b s (g n e)", n=many) for x in (key, value))
    out = torch.onnx.ops.symbolic(
        "com.microsoft::MultiHeadAttention",
        [rows, keys, values],
        {"num_heads": heads, "scale": float(query.shape[-1] ** -0.5)},
        dtype=query.dtype,
        shape=rows.shape,
        version=1,
    )
    return rearrange(out, "b l (h e) -> b h l e", h=heads)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`comfyui_pixwizard.rope.apply_rope` in one operator; x [B, L, h, e], cos and sin [L, e]."""
    flat = rearrange(x, "b l h e -> b l (h e)")
    start = torch.zeros(1, dtype=torch.int64)
    # One value a pair; the tables hold two equal cosines, and the sine with both signs.
    out = torch.onnx.ops.symbolic(
        "com.microsoft::RotaryEmbedding",
        [flat, start, cos[:, ::2], sin[:, 1::2]],
        {"interleaved": 1, "num_heads": x.shape[2], "rotary_embedding_dim": 0},
        dtype=x.dtype,
        shape=flat.shape,
        version=1,
    )
    return rearrange(out, "b l (h e) -> b l h e", h=x.shape[2])


def normalize(norm: RMSNorm, x: Tensor) -> Tensor:
    """`RMSNorm.normalize` in the form that ONNX Runtime makes one operator of, which wants a weight."""
    unit = norm.get_buffer("unit")
    return x / torch.sqrt(x.square().mean(dim=-1, keepdim=True) + norm.eps) * unit
