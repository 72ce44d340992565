"""The transformer's small parts: norm, time embedding, feed-forward, output projection.

Shapes: B batch, L tokens, d width, D conditioning width, p patch size.  Source: docs/mathematics.md sections 3 and 5.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import PixWizardConfig
from .rope import at_least_float32

FREQUENCY_CHANNELS = 256


class RMSNorm(nn.Module):
    """Root-mean-square norm, computed in float32 or wider, cast back, then weighted."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def normalize(self, x: Tensor) -> Tensor:
        """Without the weight, so that a caller can fold it into a factor per sample."""
        return F.rms_norm(at_least_float32(x), x.shape[-1:], eps=self.eps).to(x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.normalize(x) * self.weight


class TimestepEmbedder(nn.Module):
    """t in [0, 1] -> 128 cosines then 128 sines -> MLP -> [B, D] (docs/mathematics.md section 3)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        linears = nn.Linear(FREQUENCY_CHANNELS, width), nn.Linear(width, width)
        for linear in linears:
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
        self.mlp = nn.Sequential(linears[0], nn.SiLU(), linears[1])

    @staticmethod
    def sinusoid(t: Tensor) -> Tensor:
        """[B] -> [B, 256] float32."""
        half = FREQUENCY_CHANNELS // 2
        frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
        angles = torch.outer(t.float(), frequencies)
        return torch.cat((angles.cos(), angles.sin()), dim=-1)

    def forward(self, t: Tensor) -> Tensor:
        return self.mlp(self.sinusoid(t).to(next(self.parameters()).dtype))


class FeedForward(nn.Module):
    """SwiGLU without biases."""

    def __init__(self, config: PixWizardConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.dim, config.ffn_dim, bias=False)
        self.w2 = nn.Linear(config.ffn_dim, config.dim, bias=False)
        self.w3 = nn.Linear(config.dim, config.ffn_dim, bias=False)
        for linear in (self.w1, self.w2, self.w3):
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class FinalLayer(nn.Module):
    """Modulated LayerNorm and projection to patches, [B, L, d] -> [B, L, p*p*C_out]."""

    def __init__(self, config: PixWizardConfig) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(config.dim, elementwise_affine=False, eps=1e-6)
        self.linear = zero_linear(config.dim, config.patch_size**2 * config.out_channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), zero_linear(config.conditioning_dim, config.dim))

    def forward(self, x: Tensor, c: Tensor | None, modulation: Tensor | None = None) -> Tensor:
        if modulation is None:
            modulation = self.adaLN_modulation(c)
        return self.linear(self.norm_final(x) * (1 + modulation.unsqueeze(1)))


def zero_linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer that starts at zero, weight and bias."""
    linear = nn.Linear(inputs, outputs)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
