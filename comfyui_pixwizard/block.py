"""One block of the velocity network: attention and feed-forward between norms, and its own choice of image tokens.

Shapes: B batch, L tokens, T text tokens, N image tokens, k kept image tokens, d width, D conditioning width, F text and
W image features, g key/value heads, e head channels.  Source: paper section 3.1, docs/mathematics.md sections 5 to 8.
"""

import torch
from torch import Tensor, nn

from .attention import Attention
from .config import PixWizardConfig
from .layers import FeedForward, RMSNorm, zero_linear
from .task_table import TokenPlace
from .token_sampler import choose_tokens, gather_tokens, rank_tokens


class TransformerBlock(nn.Module):
    """Sandwich-normed attention and feed-forward, modulated by the conditioning vector, with its own token sampler."""

    def __init__(self, config: PixWizardConfig) -> None:
        super().__init__()
        width, conditioning = config.dim, config.conditioning_dim
        self.mask_before_norm = config.sampler_mask == "before_norm"
        self.attention = Attention(config)
        self.feed_forward = FeedForward(config)
        self.attention_norm1 = RMSNorm(width, config.norm_eps)
        self.ffn_norm1 = RMSNorm(width, config.norm_eps)
        self.attention_norm2 = RMSNorm(width, config.norm_eps)
        self.ffn_norm2 = RMSNorm(width, config.norm_eps)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), zero_linear(conditioning, 4 * width))
        self.attention_y_norm = RMSNorm(config.cap_feat_dim, config.norm_eps)
        self.y_pool_proj = nn.Linear(conditioning, width, bias=False)
        self.input_image_proj = nn.Linear(config.clip_image_dim, width, bias=False)
        self.attention_input_norm = RMSNorm(width, config.norm_eps)
        self.in_conv = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.out_conv = nn.Sequential(
            nn.Linear(width, width // 2),
            nn.GELU(),
            nn.Linear(width // 2, width // 4),
            nn.GELU(),
            nn.Linear(width // 4, 1),
        )
        nn.init.xavier_uniform_(self.y_pool_proj.weight)
        nn.init.xavier_uniform_(self.input_image_proj.weight)

    def encode_text(self, features: Tensor, token: TokenPlace | None = None) -> tuple[Tensor, Tensor]:
        """Text features [B, T, F], and a task's token in its place, to keys and values [B, g, T, e]."""
        normed = self.attention_y_norm.normalize(features)
        normed = normed if token is None else token.put(normed)
        return self.attention.text_keys_values(normed * self.attention_y_norm.weight)

    def encode_image(
        self, image_tokens: Tensor, task_embedding: Tensor, draws: Tensor | None, count: int, keep_all: bool
    ) -> dict[str, Tensor]:
        """Ranks image tokens, keeps `count` of them and computes their keys and values.

        Args:
            image_tokens: [B, N, W].
            task_embedding: [B, D].
            draws: exponential draws [B, N] or None.
            count: k.
            keep_all: also return keys and values of all tokens.

        Returns:
            The members of `Conditions` that belong to the image, without the layer axis.
        """
        tokens = self.input_image_proj(image_tokens)
        scores = rank_tokens(tokens, task_embedding, self.y_pool_proj, self.in_conv, self.out_conv)
        indices, straight = choose_tokens(scores, draws, count)
        chosen = gather_tokens(tokens, indices)
        straight = straight.unsqueeze(-1).to(chosen.dtype)
        if not torch.is_grad_enabled():
            normed = self.attention_input_norm(chosen)
        elif self.mask_before_norm:
            normed = self.attention_input_norm(chosen * straight)
        else:
            normed = self.attention_input_norm(chosen) * straight
        keys, values = self.attention.image_keys_values(normed)
        members = dict(image_keys=keys, image_values=values, selected=indices, scores=scores.detach())
        if keep_all:
            everything = self.attention.image_keys_values(self.attention_input_norm(tokens))
            members |= dict(all_keys=everything[0], all_values=everything[1])
        return members

    def forward(
        self,
        x: Tensor,
        c: Tensor | None,
        cos: Tensor,
        sin: Tensor,
        text: tuple[Tensor, Tensor],
        image: tuple[Tensor, Tensor],
        *,
        modulation: Tensor | None = None,
        **masks: Tensor | float | None,
    ) -> Tensor:
        """Tokens [B, L, d] to tokens, by the conditioning vector c [B, D] or the modulation [B, 4d] that it gives.

        The rest as in `Attention.forward`.
        """
        if modulation is None:
            modulation = self.adaLN_modulation(c)
        scale_a, gate_a, scale_m, gate_m = modulation.unsqueeze(1).chunk(4, dim=-1)
        # Weights of the norms are folded into the factors per sample, which spares four passes over the tokens.
        y = self.attention_norm1.normalize(x) * (self.attention_norm1.weight * (1 + scale_a))
        y = self.attention_norm2.normalize(self.attention(y, cos, sin, text, image, **masks))
        x = torch.addcmul(x, y, self.attention_norm2.weight * gate_a.tanh())
        y = self.ffn_norm1.normalize(x) * (self.ffn_norm1.weight * (1 + scale_m))
        y = self.ffn_norm2.normalize(self.feed_forward(y))
        return torch.addcmul(x, y, self.ffn_norm2.weight * gate_m.tanh())
