"""Grouped-query attention over three sources: the tokens themselves, the chosen image tokens, the text.

Shapes: B batch, L tokens, S keys, d width, h query heads, g key/value heads, e = d/h channels of a head.
Source: paper section 3.1 (task-aware attention), docs/mathematics.md section 6.
"""

import math
from collections.abc import Callable

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn, zeros

from .config import PixWizardConfig
from .rope import apply_rope

Attend = Callable[..., Tensor]


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax attention with scale 1/sqrt(e); query head i reads key head i // (h/g).

    Args:
        query: [B, h, L, e].
        key, value: [B, g, S, e].
        mask: bool, broadcastable to [B, h, L, S], true where a key may be read.

    Returns:
        [B, h, L, e].
    """
    grouped = query.shape[1] != key.shape[1]
    # On CPU, forward and backward: 14 ms against 18 ms with repeated keys (batch 32, 64 tokens, 8/4 heads of 32).
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=grouped)


def proportional_scale(tokens: int, trained: int) -> float:
    """Proportional attention: the factor on self-attention's 1/sqrt(e) for so many tokens in place of the trained."""
    return math.sqrt(math.log(tokens, trained))


class Attention(nn.Module):
    """Self-attention plus tanh-gated cross-attention to image and text, which share the rotated queries."""

    def __init__(self, config: PixWizardConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads = config.n_heads, config.kv_heads
        width, kv_width, text_width = config.dim, config.kv_heads * config.head_dim, config.cap_feat_dim
        self.wq = nn.Linear(width, width, bias=False)
        self.wk = nn.Linear(width, kv_width, bias=False)
        self.wv = nn.Linear(width, kv_width, bias=False)
        self.wk_ii = nn.Linear(width, kv_width, bias=False)
        self.wv_ii = nn.Linear(width, kv_width, bias=False)
        self.gate_for_ii = nn.Parameter(zeros(config.n_heads))
        self.wk_y = nn.Linear(text_width, kv_width, bias=False)
        self.wv_y = nn.Linear(text_width, kv_width, bias=False)
        self.gate = nn.Parameter(zeros(config.n_heads))
        self.wo = nn.Linear(width, width, bias=False)
        # Over all heads together and with a bias, before heads are split.
        self.q_norm = nn.LayerNorm(width) if config.qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(kv_width) if config.qk_norm else nn.Identity()
        self.kii_norm = nn.LayerNorm(kv_width) if config.qk_norm else nn.Identity()
        self.ky_norm = nn.LayerNorm(kv_width) if config.qk_norm else nn.Identity()
        # Replaced where somebody else provides them (`cpu.kernels`, a host, an exporter); called as these two are.
        self.attend: Attend = attend
        self.rotate: Callable[[Tensor, Tensor, Tensor], Tensor] = apply_rope
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Released initialisation: Xavier linears, closed gates."""
        for module in self.children():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(self.gate_for_ii)
        nn.init.zeros_(self.gate)

    def image_keys_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Normed image tokens [B, S, d] to keys and values, each [B, g, S, e]; no RoPE."""
        return self._split(self.kii_norm(self.wk_ii(tokens))), self._split(self.wv_ii(tokens))

    def text_keys_values(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Normed text features [B, T, F] to keys and values, each [B, g, T, e]; no RoPE."""
        return self._split(self.ky_norm(self.wk_y(features))), self._split(self.wv_y(features))

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        text: tuple[Tensor, Tensor],
        image: tuple[Tensor, Tensor],
        *,
        attention_scale: Tensor | float | None = None,
        key_mask: Tensor | None = None,
        text_mask: Tensor | None = None,
    ) -> Tensor:
        """Attends.

        Args:
            x: [B, L, d], normed and modulated.
            cos, sin: RoPE tables [L, e] or [B, L, e].
            text, image: keys and values [B, g, S, e]; an image of zero keys is skipped.
            attention_scale: factor on self-attention's 1/sqrt(e) (proportional attention), None for 1.
            key_mask, text_mask: bool [B, L] and [B, T], true where valid; None where all are.

        Returns:
            [B, L, d].
        """
        query = rearrange(self.q_norm(self.wq(x)), "b l (h e) -> b l h e", h=self.heads)
        key = rearrange(self.k_norm(self.wk(x)), "b l (g e) -> b l g e", g=self.kv_heads)
        query = rearrange(self.rotate(query, cos, sin), "b l h e -> b h l e")
        key = rearrange(self.rotate(key, cos, sin), "b l g e -> b g l e")
        scaled = query if attention_scale is None else (query * attention_scale).to(query.dtype)
        out = self.attend(scaled, key, self._split(self.wv(x)), _as_key_mask(key_mask))
        if image[0].shape[-2]:
            out = out + self.attend(query, *image) * self._opened(self.gate_for_ii)
        out = out + self.attend(query, *text, mask=_as_key_mask(text_mask)) * self._opened(self.gate)
        return self.wo(rearrange(out, "b h l e -> b l (h e)"))

    def _split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b s (g e) -> b g s e", g=self.kv_heads)

    @staticmethod
    def _opened(gate: Tensor) -> Tensor:
        return rearrange(gate.tanh(), "h -> h 1 1")


def _as_key_mask(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else rearrange(mask, "b s -> b 1 1 s")
