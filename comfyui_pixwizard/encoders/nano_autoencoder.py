"""The bundled autoencoder: f8, 16 channels, a linear code of 8x8 patches plus residual blocks at 1/8 resolution.

The linear path holds the principal components of picture patches, so that the network starts at the best linear
code and only learns what lies beyond it; all convolutions run at 1/8 resolution, which keeps a CPU quick.
Shape legend: B batch, H W pixels, h w = H/8 W/8, C latent channels, D width.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


@dataclass(frozen=True)
class NanoAutoencoderConfig:
    """Sizes of the bundled autoencoder."""

    channels: int = 16
    width: int = 192
    encoder_blocks: int = 2
    decoder_blocks: int = 6
    expansion: int = 3
    kernel: int = 5
    patch: int = 8

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class ConvBlock(nn.Module):
    """Depthwise convolution, channel norm, two pointwise layers, residual with a learned zero-init scale."""

    def __init__(self, width: int, expansion: int, kernel: int):
        super().__init__()
        self.spatial = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.up = nn.Linear(width, expansion * width)
        self.down = nn.Linear(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        # Outside autocast: on a CPU this convolution and its backward take three times as long in bfloat16.
        with torch.autocast(x.device.type, enabled=x.device.type != "cpu" and torch.is_autocast_enabled(x.device.type)):
            y = rearrange(self.spatial(x.to(self.spatial.weight.dtype)), "b d h w -> b h w d")
        y = self.down(F.gelu(self.up(self.norm(y)), approximate="tanh")) * self.scale
        return x + rearrange(y, "b h w d -> b d h w")


class NanoAutoencoder(nn.Module):
    """Picture <-> latents: [B,3,H,W] in [-1,1] <-> [B,16,H/8,W/8] of about unit variance."""

    factor = 8

    def __init__(self, config: NanoAutoencoderConfig | None = None):
        super().__init__()
        self.config = config = config or NanoAutoencoderConfig()
        pixels = 3 * config.patch**2
        self.code = nn.Linear(pixels, config.channels)
        self.picture = nn.Linear(config.channels, pixels)
        blocks = (config.width, config.expansion, config.kernel)
        self.encoder_in = nn.Linear(pixels, config.width)
        self.encoder = nn.Sequential(*(ConvBlock(*blocks) for _ in range(config.encoder_blocks)))
        self.encoder_out = nn.Linear(config.width, config.channels)
        self.decoder_in = nn.Linear(config.channels, config.width)
        self.decoder = nn.Sequential(*(ConvBlock(*blocks) for _ in range(config.decoder_blocks)))
        self.decoder_out = nn.Linear(config.width, pixels)
        for layer in (self.encoder_out, self.decoder_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @property
    def channels(self) -> int:
        return self.config.channels

    @torch.no_grad()
    def start_from_components(self, pictures: Tensor, whitening: float = 0.5) -> None:
        """Set the linear path to the principal components of the patches of pictures [N,3,H,W] in [-1,1].

        Args:
            whitening: 0 keeps the components' own spread, 1 gives all the same; the flow's noise has unit variance,
                so in between neither drowns the fine components nor lets them outweigh the coarse ones.
        """
        patches = rearrange(self._patches(pictures), "b h w p -> (b h w) p").double()
        mean = patches.mean(0)
        values, vectors = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
        basis, spread = vectors[:, -self.channels :].flip(1), values[-self.channels :].flip(0).sqrt()
        target = spread ** (1 - whitening)
        target = target / target.square().mean().sqrt()
        self.code.weight.copy_((basis * (target / spread)).T)
        self.code.bias.copy_(-(mean @ (basis * (target / spread))))
        self.picture.weight.copy_(basis * (spread / target))
        self.picture.bias.copy_(mean)

    @torch.no_grad()
    def normalize_latents(self, pictures: Tensor) -> None:
        """Fold a shift and a scale per channel into the weights, so that latents of pictures have mean 0 and rms 1 over
        all channels, and standard deviations that are half as far apart as before, in logarithms: coarse channels, on
        which more of a picture hangs, stay the larger ones.
        """
        latents = rearrange(torch.cat([self.encode(part) for part in pictures.split(100)]), "b c h w -> (b h w) c")
        mean = latents.mean(0)
        spread = (latents - mean).std(0).clamp_min(1e-3)
        scale = spread.sqrt() * spread.mean().sqrt()
        for layer in (self.picture, self.decoder_in):
            layer.bias.add_(layer.weight @ mean)
            layer.weight.mul_(scale)
        self.code.bias.sub_(mean)
        for parameter in (*self.code.parameters(), *self.encoder_out.parameters()):
            parameter.div_(scale[:, None] if parameter.ndim == 2 else scale)

    @torch.no_grad()
    def pixel_energy(self) -> Tensor:
        """How far each latent channel moves a picture's pixels, squared, by the linear path: [C] of mean 1."""
        energy = self.picture.weight.float().square().sum(0)
        return energy / energy.mean()

    def _patches(self, image: Tensor) -> Tensor:
        p = self.config.patch
        if image.ndim != 4 or image.shape[1] != 3 or image.shape[2] % p or image.shape[3] % p:
            raise ValueError(
                f"the autoencoder needs pictures [B,3,H,W] with sides that {p} divides, found {list(image.shape)}: "
                "resize or crop them first"
            )
        return rearrange(image, "b c (h p) (w q) -> b h w (c p q)", p=p, q=p)

    def encode(self, image: Tensor) -> Tensor:
        """Encode pictures [B,3,H,W] in [-1,1] to latents [B,C,h,w].

        Raises:
            ValueError: sides not divisible by 8.
        """
        patches = self._patches(image)
        features = self.encoder(rearrange(self.encoder_in(patches), "b h w d -> b d h w"))
        residual = self.encoder_out(rearrange(features, "b d h w -> b h w d"))
        return rearrange(self.code(patches) + residual, "b h w c -> b c h w")

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents [B,C,h,w] to pictures [B,3,H,W], about [-1,1], not clamped."""
        z = rearrange(latents, "b c h w -> b h w c")
        features = self.decoder(rearrange(self.decoder_in(z), "b h w d -> b d h w"))
        pixels = self.picture(z) + self.decoder_out(rearrange(features, "b d h w -> b h w d"))
        p = self.config.patch
        return rearrange(pixels, "b h w (c p q) -> b c (h p) (w q)", p=p, q=p)
