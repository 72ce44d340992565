"""The stage that trains transformer and towers on the mixture with the flow-matching loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...comfyui_pixwizard.flow import flow_loss, interpolate, sample_times
from ..data.mixture import Batch, Mixture
from ..trainer import Records
from .towers import NanoModel

T_BINS = 4


@dataclass(frozen=True)
class Dropout:
    """Shares of samples that lose the text, the image, or both (paper, appendix C.2): exclusive events."""

    text: float = 0.05
    image: float = 0.05
    both: float = 0.05

    def draw(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(no text, no image), each [B] bool."""
        u = torch.rand(batch, generator=generator)
        both = u < self.both
        return both | ((u >= self.both) & (u < self.both + self.text)), both | (u > 1 - self.image)


class FlowStage:
    """Flow matching over one or more mixtures (one a size); each batch comes from one of them.

    Args:
        mixtures: (share, batch size, mixture).
        times: how t is drawn, see `flow.sample_times`.
        bfloat16: run the network under autocast; weights, gradients and the loss stay in float32.
    """

    name = "transformer"

    def __init__(
        self,
        model: NanoModel,
        mixtures: Sequence[tuple[float, int, Mixture]],
        dropout: Dropout | None = None,
        times: str = "uniform",
        bfloat16: bool = False,
    ):
        self.model, self.mixtures, self.dropout, self.times = model, mixtures, dropout or Dropout(), times
        self.bfloat16 = bfloat16

    def batch(self, generator: torch.Generator) -> Batch:
        shares = torch.tensor([share for share, _, _ in self.mixtures])
        _, size, mixture = self.mixtures[int(torch.multinomial(shares, 1, generator=generator))]
        return mixture.batch(size, generator)

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Records]:
        target = batch.target
        noise = torch.randn(target.shape, generator=generator)
        t = sample_times(len(target), self.times, generator)
        no_text, no_image = self.dropout.draw(len(target), generator)
        # The null source is noise, as in the released training, but fresh and independent of the flow's own.
        null = torch.randn(target.shape, generator=generator)
        source = torch.where(no_image[:, None, None, None], null, batch.source)
        sentences = ["" if drop else s for drop, s in zip(no_text.tolist(), batch.sentences, strict=True)]
        x = interpolate(noise, target, t)
        assert isinstance(x, Tensor), "tensors go in"
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            velocity = self.model.velocity(x, t, source, batch.picture, sentences, no_image)
        losses = flow_loss(velocity.float(), noise, target)
        # Saturated label pictures have latents of six times a photograph's power: without this they own the gradient.
        power = (1 + target.square().mean((1, 2, 3))) / 2
        return (losses / power).mean(), self._records(batch, losses.detach(), t, no_text | no_image)

    @staticmethod
    def _records(batch: Batch, losses: Tensor, t: Tensor, dropped: Tensor) -> Records:
        sums: dict[str, tuple[float, int]] = {}

        def add(name: str, value: float) -> None:
            total, count = sums.get(name, (0.0, 0))
            sums[name] = (total + value, count + 1)

        bins = (t * T_BINS).long().clamp(max=T_BINS - 1).tolist()
        for task, value, part, drop in zip(batch.tasks, losses.tolist(), bins, dropped.tolist(), strict=True):
            if not drop:
                add(f"task/{task}", value)
                add(f"task/{task}/t{part}", value)
                add(f"t/{part}", value)
        return sums
