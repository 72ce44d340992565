"""The stage that trains a transformer, with or without its towers, with the flow-matching loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...comfyui_pixwizard.flow import flow_loss, interpolate
from ..data.feed.mixture import Batch
from ..loop.logs import Records
from ..loop.velocity import Drawing, FlowDraws
from .balance import t_bins


class FlowStage:
    """Flow matching; a subclass says where batches come from and what the network is told.

    Args:
        model: what is trained.
        drawing: how noise, times and dropout are drawn.
        bfloat16: run the network under autocast; weights, gradients and the loss stay in float32.
        equal_power: divide each sample's loss by its latents' power. Saturated label pictures have six times a
            photograph's in the bundled autoencoder: without this they own the gradient. The released loss does not.
        tokens: N, image tokens of the vision tower.
    """

    name = "transformer"

    def __init__(
        self, model: Any, drawing: Drawing, *, tokens: int, bfloat16: bool = False, equal_power: bool = False
    ) -> None:
        self.model, self.drawing, self.tokens = model, drawing, tokens
        self.bfloat16, self.equal_power = bfloat16, equal_power
        self.network: nn.Module = model

    def batch(self, generator: torch.Generator) -> Batch:
        """Draw a batch."""
        raise NotImplementedError

    def inputs(self, batch: Batch, sentences: list[str], no_image: Tensor) -> Sequence[Any]:
        """What the network takes after x, t and source."""
        raise NotImplementedError

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Records]:
        """Mean loss of a batch, and losses by task and by quarter of t, without samples that lost something."""
        losses, draws = self.losses(batch)
        seen = losses.detach()
        if self.equal_power:
            losses = losses / ((1 + batch.target.to(losses.device).square().mean((1, 2, 3))) / 2)
        return losses.mean(), records(batch, seen, draws)

    def losses(self, batch: Batch) -> tuple[Tensor, FlowDraws]:
        """The loss of each sample [B], and what was drawn for it."""
        velocity, draws, target = self.answers(batch)
        return flow_loss(velocity, draws.noise, target), draws

    def answers(self, batch: Batch) -> tuple[Tensor, FlowDraws, Tensor]:
        """Velocities [B,C,h,w] in float32, what was drawn, and the target, on the network's device."""
        place = self.model.transformer.pad_token.device
        layers = len(self.model.transformer.layers)
        draws = self.drawing.draw(batch.seeds, batch.target.shape[1:], layers, self.tokens, self.decided(batch))
        on = draws.to(place)
        target = batch.target.to(place)
        source = torch.where(on.no_image[:, None, None, None], on.null, batch.source.to(place))
        sentences = ["" if drop else s for drop, s in zip(draws.no_text.tolist(), batch.sentences, strict=True)]
        x = interpolate(on.noise, target, on.t)
        with torch.autocast(place.type, torch.bfloat16, enabled=self.bfloat16):
            given = self.inputs(batch, sentences, on.no_image)
            velocity = self.network(x, on.t, source, *given, on.exponential, **self.places(batch, draws.no_text))
        return velocity.float(), on, target

    def decided(self, batch: Batch) -> Sequence[bool] | None:
        """Of each sample, whether its answer is decided at the first times; None for none."""
        return None

    def places(self, batch: Batch, no_text: Tensor) -> dict[str, Tensor]:
        """What a network with a task table takes beside: rows [B], -1 for samples that lost their text."""
        if getattr(self.model, "table", None) is None:
            return {}
        lost = no_text.tolist()
        tasks = [None if drop else task for drop, task in zip(lost, batch.tasks, strict=True)]
        return {"places": self.model.table.places(tasks)}


def records(batch: Batch, losses: Tensor, draws: FlowDraws) -> Records:
    """Sums and counts of losses [B] by task, by quarter of t and by both."""
    sums: Records = {}
    bins = t_bins(draws.t).tolist()
    dropped = (draws.no_text | draws.no_image).tolist()
    for task, value, part, drop in zip(batch.tasks, losses.tolist(), bins, dropped, strict=True):
        if drop:
            continue
        for name in (f"task/{task}", f"task/{task}/t{part}", f"t/{part}"):
            total, count = sums.get(name, (0.0, 0))
            sums[name] = total + value, count + 1
    return sums
