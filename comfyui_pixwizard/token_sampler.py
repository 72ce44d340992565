"""Task-aware dynamic token sampler: rank image tokens for the task, keep the best k (multi-hot Gumbel top-k).

Shapes: B batch, N image tokens, k kept tokens, d width, D conditioning width.
Source: paper section 3.2, docs/mathematics.md section 8.
"""

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from .rope import at_least_float32

TEMPERATURE = 5.0


def rank_tokens(
    tokens: Tensor, task_embedding: Tensor, task_proj: nn.Module, in_conv: nn.Module, out_conv: nn.Module
) -> Tensor:
    """Scores tokens by their own features and the mean of the others'.

    Args:
        tokens: projected image tokens [B, N, d].
        task_embedding: [B, D].
        task_proj, in_conv, out_conv: the layer's `y_pool_proj` (D -> d), `in_conv` (d -> d), `out_conv` (d -> 1).

    Returns:
        [B, N], before noise and temperature.
    """
    features = in_conv(tokens + task_proj(task_embedding).unsqueeze(1))
    local, shared = features.tensor_split((features.shape[-1] // 2,), dim=-1)
    shared = repeat(shared.mean(dim=1), "b c -> b n c", n=tokens.shape[1])
    return rearrange(out_conv(torch.cat((local, shared), dim=-1)), "b n 1 -> b n")


def exponential_draws(gumbel: torch.Generator | Tensor, layers: int, drawn: Tensor, tokens: int) -> Tensor:
    """The exponential draws E behind the Gumbel noise -log E, in the released order.

    Args:
        gumbel: a generator (layer by layer, then sample by sample; null rows draw nothing), or recorded draws
            [layers, B, N], which are returned as they are.
        layers: number of layers.
        drawn: bool [B], false for null rows.
        tokens: N.

    Returns:
        [layers, B, N] float32 on `drawn`'s device; ones (no noise) in null rows of generated draws.

    Raises:
        ValueError: recorded draws of another shape or not positive, or something that is neither.
    """
    shape = (layers, len(drawn), tokens)
    if isinstance(gumbel, Tensor):
        if tuple(gumbel.shape) != shape or not bool((gumbel > 0).all()):
            raise ValueError(
                f"recorded draws must be positive and [layers, batch, tokens] = {list(shape)}, found "
                f"{list(gumbel.shape)} with minimum {gumbel.min().item():g}: record one exponential draw per token"
            )
        return gumbel.to(drawn.device, torch.float32)
    if not isinstance(gumbel, torch.Generator):
        raise ValueError(
            f"gumbel must be None, a torch.Generator or recorded draws, found {type(gumbel).__name__}: "
            "pass torch.Generator().manual_seed(seed)"
        )
    rows = drawn.nonzero().flatten().tolist()
    draws = torch.ones(shape, device=gumbel.device)
    for layer in range(layers):
        for row in rows:
            draws[layer, row] = torch.empty(tokens, device=gumbel.device).exponential_(generator=gumbel)
    return draws.to(drawn.device)


def choose_tokens(scores: Tensor, draws: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """Picks the best tokens.

    Args:
        scores: [..., N].
        draws: exponential draws [..., N], None for a deterministic choice.
        count: k.

    Returns:
        indices [..., k] ascending (the released order: cross-attention does not see it, only rounding does), and
        straight-through values [..., k]: exactly one, with the gradient of softmax((scores + Gumbel)/5).
    """
    perturbed = at_least_float32(scores)
    if draws is not None:
        perturbed = perturbed - draws.to(perturbed.dtype).log()
    indices = perturbed.detach().topk(count, dim=-1).indices.sort(dim=-1).values
    chosen = (perturbed / TEMPERATURE).softmax(dim=-1).gather(-1, indices)
    return indices, 1.0 + (chosen - chosen.detach())


def gather_tokens(tokens: Tensor, indices: Tensor) -> Tensor:
    """Rows of [..., N, c] at [..., k], giving [..., k, c]."""
    return tokens.gather(-2, indices.unsqueeze(-1).expand(*indices.shape, tokens.shape[-1]))
