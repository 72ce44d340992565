"""Where a model takes the kernels of a CPU: linear layers by oneDNN, attention by tiles or written out."""

from __future__ import annotations

from typing import TypeVar

import torch
from einops import rearrange
from torch import Tensor, nn

from ..attention import Attention, attend
from .linear import through_onednn
from .tiled_attention import fits, tiled_attention

Module = TypeVar("Module", bound=nn.Module)


def use_cpu_kernels(module: Module) -> Module:
    """Let a module's linear layers and attention take what is fastest on a CPU; elsewhere they compute as before.

    Returns the module, in which layers have been replaced; weights and their names stay.
    """
    use_cpu_attention(module)
    return through_onednn(module)


def use_cpu_attention(module: nn.Module) -> None:
    """The attention alone, for training, where oneDNN's linear layers have no backward."""
    for layer in module.modules():
        if isinstance(layer, Attention) and layer.attend is attend:
            layer.attend = attend_on_cpu


def attend_on_cpu(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """`attention.attend` by the fastest way of a CPU; on other devices as it is."""
    if fits(query, key, mask):
        return tiled_attention(query, key, value)
    if query.device.type == "cpu" and query.dtype == torch.bfloat16 and torch.is_grad_enabled():
        return written_out(query, key, value, mask)
    return attend(query, key, value, mask)


def written_out(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """`attend` written out, for training in bfloat16 on a CPU.

    There SDPA's backward is slow: batch 48, 64 tokens, 8/4 heads of 32, forward and backward took 51 ms, this 10 ms.
    """
    groups = key.shape[1]
    rows = rearrange(query, "b (g n) l e -> b g (n l) e", g=groups)
    scores = rows @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if mask is not None:
        # Added, and broadcast over queries where all read the same keys, which spares a mask of the scores' size.
        bias = torch.zeros(mask.shape, dtype=scores.dtype, device=mask.device).masked_fill(~mask, float("-inf"))
        scores = scores + (bias if mask.shape[-2] == 1 else bias.repeat(1, 1, query.shape[1] // groups, 1))
    out = scores.softmax(dim=-1).to(value.dtype) @ value
    return rearrange(out, "b g (n l) e -> b (g n) l e", l=query.shape[2])
