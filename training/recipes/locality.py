"""A start for attention that looks at neighbours.

A fresh network attends everywhere alike and takes most of a short training to find out that nearby patches matter.
The biases of the query and key norms decide where a head looks whatever the picture holds: with a key bias b and a
query bias R(d) b, where R is the rotary embedding's rotation, logits peak at the offset d. This sets both; no name or
shape changes, and training is free to undo it.
Shapes: h query heads, g key/value heads, e head channels.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from ...comfyui_pixwizard.config import PixWizardConfig
from ...comfyui_pixwizard.rope import THETA
from ...comfyui_pixwizard.transformer import PixWizardTransformer

# Offsets (rows, columns) in tokens that the first heads look at; the heads after them are left as they are.
OFFSETS = ((0, 0), (0, -2), (0, 2), (-2, 0), (2, 0), (0, 0))
# Frequencies in which the picture's keys say where they are: the slow ones tell places too little apart.
FAST = 3


def position_bias(offset: tuple[float, float], head_dim: int, strength: float) -> Tensor:
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
    e = config.head_dim
    for block in transformer.blocks:
        norms = block.attention.q_norm, block.attention.k_norm
        query, key = (norm.get_parameter("bias").view(-1, e) for norm in norms)
        offsets = OFFSETS[: config.n_heads]
        for head, offset in enumerate(offsets):
            query[head] += position_bias(offset, e, strength)
        for head in range(_key_heads(config)):
            key[head] += position_bias((0, 0), e, strength)


@torch.no_grad()
def find_places(transformer: PixWizardTransformer, tokens: Tensor, side: int, ridge: float = 1e-3) -> None:
    """Let the heads that `prefer_neighbours` sets look at the same offsets among the picture's tokens.

    Their keys are not rotated (docs/mathematics.md section 6), so a patch finds the token that lies where it does only
    when keys are as the rotation at their places; one block of six had learned that in six hours. What a token shows
    says where it lies, too: a least-squares fit of the key's matrix to many tokens does it at once.

    Args:
        tokens: of square pictures, as the vision tower gives them [B,N,W].
        side: patches a side of a picture; others than that have their tokens elsewhere.
        ridge: of the fit, as a share of the mean square of the tokens.

    Raises:
        ValueError: tokens of a picture that is not square.
    """
    config, grid = transformer.config, round(tokens.shape[1] ** 0.5)
    if grid * grid != tokens.shape[1]:
        raise ValueError(
            f"find_places needs the tokens of square pictures, found {tokens.shape[1]} of each: resize them"
        )
    e = config.head_dim
    at = ((torch.arange(grid) + 0.5) * side / grid - 0.5).tolist()
    places = torch.stack([position_bias((row, column), e, 1.0) for row in at for column in at])
    places[:, 4 * FAST :] = 0
    places *= (e / places.square().sum(1, keepdim=True)).sqrt()
    heads = _key_heads(config)
    wanted = places.repeat(len(tokens), heads).double()
    for block in transformer.blocks:
        seen = block.attention_input_norm(block.input_image_proj(tokens.to(block.input_image_proj.weight)))
        seen = rearrange(seen, "b n d -> (b n) d").double()
        square = seen.T @ seen
        square += ridge * square.diagonal().mean() * torch.eye(len(square)).to(square)
        fit = torch.linalg.solve(square, seen.T @ wanted.to(seen))
        block.attention.wk_ii.weight[: heads * e] = fit.T.to(block.attention.wk_ii.weight)


def _key_heads(config: PixWizardConfig) -> int:
    """How many key heads the heads with an offset read."""
    return -(-min(len(OFFSETS), config.n_heads) // (config.n_heads // config.kv_heads))
