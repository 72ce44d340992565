"""Two-dimensional rotary position embedding with linear and NTK scaling, in real arithmetic.

Shapes: B batch, L tokens, h heads, e channels of a head.  Source: docs/mathematics.md section 7 (Lumina-Next).
"""

from functools import lru_cache

import torch
from einops import rearrange, repeat
from torch import Tensor

THETA = 10000.0


def at_least_float32(x: Tensor) -> Tensor:
    """Half-precision tensors as float32, others as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def scale_factors(scale: float, watershed: float, t: float) -> tuple[float, float]:
    """Splits a scale into (linear, NTK) factors: linear while t < watershed, NTK from there on (time-aware scaling)."""
    return (scale, 1.0) if t < watershed else (1.0, scale)


@lru_cache(maxsize=64)
def rope_table(
    height: int,
    width: int,
    head_dim: int,
    linear: float = 1.0,
    ntk: float = 1.0,
    device: torch.device | None = None,
) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines of a row-major grid of tokens.

    Pair 2k of channels (4k, 4k+1) turns by row * f_k, pair 2k+1 by column * f_k, f_k = (theta*ntk)^(-4k/e) / linear.

    Args:
        height, width: the grid, in tokens.
        head_dim: e, a multiple of 4.
        linear, ntk: scaling, see `scale_factors`.

    Returns:
        cos [L, e] and sin [L, e] float32, one value per channel; the sine of a pair's first channel is negated, so
        that a rotation is `x * cos + swapped(x) * sin`. The tensors are cached: do not write to them.
    """
    # Cached tables must not be inference tensors, or a later training step could not save them for backward.
    with torch.inference_mode(False):
        exponents = torch.arange(0, head_dim, 4, device=device).float() / head_dim
        frequencies = 1.0 / ((THETA * ntk) ** exponents) / linear
        rows = torch.outer(torch.arange(height, device=device).float(), frequencies)
        columns = torch.outer(torch.arange(width, device=device).float(), frequencies)
        angles = torch.stack(
            (repeat(rows, "h k -> (h w) k", w=width), repeat(columns, "w k -> (h w) k", h=height)), dim=-1
        )
        angles = repeat(angles, "l k rc -> l (k rc two)", two=2)
        sign = torch.tensor([-1.0, 1.0], device=device).repeat(head_dim // 2)
        return angles.cos(), angles.sin() * sign


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates consecutive channel pairs.

    Args:
        x: [B, L, h, e].
        cos, sin: [L, e] or [B, L, e] from `rope_table`.

    Returns:
        [B, L, h, e] in x's dtype; the arithmetic is float32 or wider.
    """
    pairs = at_least_float32(x)
    swapped = rearrange(
        rearrange(pairs, "b l h (j two) -> b l h j two", two=2).flip(-1), "b l h j two -> b l h (j two)"
    )
    return torch.addcmul(pairs * cos.unsqueeze(-2), swapped, sin.unsqueeze(-2)).to(x.dtype)
