"""The stage that trains the bundled autoencoder on dead leaves, rendered scenes and label pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...comfyui_pixwizard.encoders.nano_autoencoder import NanoAutoencoder
from ..data.feed.ahead import DrawsAhead
from ..data.rendered.scene_pool import to_bytes
from ..loop.logs import Records

Source = Callable[[int, int, torch.Generator], Tensor]


class AutoencoderStage(DrawsAhead):
    """Reconstruct pictures from 16 numbers per 8x8 patch.

    The loss is the mean log of each picture's squared error, which is what PSNR averages, plus a gradient term that
    keeps edges sharp. A little noise on the latents makes the decoder tolerant of the flow's own errors.

    Args:
        sources: (share, draw) pairs; draw(n, size, generator) gives pictures [n,3,size,size] in [0,1].
    """

    name = "autoencoder"

    def __init__(
        self,
        model: NanoAutoencoder,
        sources: Sequence[tuple[float, Source]],
        batch_size: int = 16,
        size: int = 128,
        latent_noise: float = 0.04,
        bfloat16: bool = False,
    ):
        self.model, self.sources = model, sources
        self.batch_size, self.size, self.latent_noise = batch_size, size, latent_noise
        self.bfloat16 = bfloat16

    def batch(self, generator: torch.Generator) -> Tensor:
        return self.drawn(generator).to(self.model.code.weight.device).float() / 127.5 - 1

    def draw(self, generator: torch.Generator) -> Tensor:
        """Pictures [B,3,S,S] as bytes."""
        shares = torch.tensor([share for share, _ in self.sources])
        counts = torch.bincount(
            torch.multinomial(shares, self.batch_size, replacement=True, generator=generator), minlength=len(shares)
        )
        parts = [
            draw(count, self.size, generator)
            for (_, draw), count in zip(self.sources, counts.tolist(), strict=True)
            if count
        ]
        return to_bytes(torch.cat(parts))

    def loss(self, batch: Tensor, generator: torch.Generator) -> tuple[Tensor, Records]:
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=self.bfloat16):
            latents = self.model.encode(batch).float()
            noise = torch.randn(latents.shape, generator=generator).to(latents.device) * self.latent_noise
            output = self.model.decode(latents + noise).float()
        error = (output - batch).square().mean((1, 2, 3))
        edges = torch.zeros(len(batch), device=batch.device)
        for axis in (2, 3):
            wanted = batch.diff(dim=axis)
            wrong = (output.diff(dim=axis) - wanted).abs().mean((1, 2, 3))
            edges = edges + wrong / (wanted.abs().mean((1, 2, 3)) + 0.02)
        spread = latents.square().mean((0, 2, 3)).clamp_min(1e-4).sum() / latents.shape[1]
        loss = (error + 1e-5).log().mean() + 0.05 * edges.mean() + 0.01 * F.relu(spread - 1.5)
        psnr = -10 * (error.detach() / 4).clamp_min(1e-6).log10()
        return loss, {"psnr": (float(psnr.sum()), len(psnr)), "spread": (spread.item(), 1)}
