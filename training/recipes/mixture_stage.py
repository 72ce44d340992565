"""The bundled model's training: transformer and towers, all tasks together, with aids that fade as the rate falls.

Shapes: B samples, C latent channels, g = patches a side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from einops import reduce
from torch import Tensor

from ...comfyui_pixwizard.flow import flow_loss
from ...comfyui_pixwizard.tasks import TASKS
from ..data.feed.ahead import DrawsAhead
from ..data.feed.mixture import Batch, DrawnSamples
from ..loop.logs import Records
from ..loop.velocity import Drawing, Dropout, FlowDraws
from .balance import Balance
from .flow_stage import FlowStage, records
from .teachers import emphasis, news_of

if TYPE_CHECKING:  # slow, and not needed by the other stages
    from ..data.feed.mixture import Mixture
    from .towers import NanoModel

# A sample without its picture is a task of its own, of which nothing but the look of pictures can be learned.
BLIND = "without picture"
# Their answer remains open when picture and sentence are known. All others have one right answer, which the network
# must know at the first times: later ones show it the answer, and teach it to denoise only.
OPEN = frozenset(name for name in TASKS if name.endswith("_to_image")) | {"outpaint", "edit_add"}
# Marks, and edits of one thing: read by a threshold, which half an answer does not reach.
SMALL_NEWS = frozenset({"keypoint", "referring_box", "pose"} | {n for n in TASKS if n.startswith("edit_")}) - {
    "edit_style", "edit_global", "edit_background"
}  # fmt: skip
# One sample in so many goes without its row of the task table, as sentences do whose task nobody finds.
WITHOUT_ROW = 10


@dataclass(frozen=True)
class Aids:
    """What helps a small model to begin, each (while the rate is at its peak, when it has fallen to zero).

    Attributes:
        teachers: weight of the losses of `Teachers`.
        emphasis: share of a patch's weight that goes by what is new in it; see `teachers.news_of`.
        lasting: what that is at least for `SMALL_NEWS`.
        pixels: share of a latent channel's weight that goes by how far it moves a picture's pixels: one of nano's
            sixteen is the brightness of eight pixels squared and moves them as far as all others together.
        dropout: samples that lose text, picture or both.
        balance: divide losses by what is usual for their task and quarter of t; see `Balance`. Without, a sample's loss
            is divided by its latents' power.
    """

    teachers: tuple[float, float] = (1.5, 0.1)
    emphasis: tuple[float, float] = (0.5, 0.0)
    lasting: float = 0.2
    pixels: float = 0.5
    dropout: tuple[Dropout, Dropout] = (Dropout(0.02, 0.02, 0.01), Dropout())
    balance: bool = True


PLAIN = Aids((0.0, 0.0), (0.0, 0.0), lasting=0.0, pixels=0.0, dropout=(Dropout(), Dropout()), balance=False)


class MixtureStage(DrawsAhead, FlowStage):
    """Transformer and towers on one or more mixtures (one a size).

    Args:
        mixtures: (share, batch size, mixture); each batch comes from one of them.
        balance: running means of the losses, shared by the stages of a run.
    """

    def __init__(
        self,
        model: NanoModel,
        mixtures: Sequence[tuple[float, int, Mixture]],
        drawing: Drawing,
        bfloat16: bool = False,
        aids: Aids | None = None,
        balance: Balance | None = None,
    ) -> None:
        self.aids = aids or Aids()
        super().__init__(model, drawing, tokens=model.vision.tokens, bfloat16=bfloat16, equal_power=True)
        self.mixtures = mixtures
        pixels, self.channels = self.aids.pixels, torch.ones(1)
        if pixels:
            self.channels = pixels * mixtures[0][2].autoencoder.pixel_energy().cpu() + (1 - pixels)
        self.balance = balance or Balance([*dict.fromkeys(name for _, _, m in mixtures for name in m.weights), BLIND])
        self.rate_is(1.0)

    def rate_is(self, left: float) -> None:
        """Told before each step: the learning rate as a share of its peak."""
        falling = left < 1
        self.drawing = replace(self.drawing, dropout=self.aids.dropout[falling])
        self.teaching, self.emphasis = (b + (a - b) * left for a, b in (self.aids.teachers, self.aids.emphasis))

    def draw(self, generator: torch.Generator) -> tuple[int, DrawnSamples]:
        """The number of a mixture, and what a batch of it is made of."""
        shares = torch.tensor([share for share, _, _ in self.mixtures])
        number = int(torch.multinomial(shares, 1, generator=generator))
        _, size, mixture = self.mixtures[number]
        return number, mixture.draw(size, generator)

    def batch(self, generator: torch.Generator) -> Batch:
        number, drawn = self.drawn(generator)
        return self.mixtures[number][2].encode(drawn)

    def inputs(self, batch: Batch, sentences: list[str], no_image: Tensor) -> Sequence[Any]:
        return batch.picture.to(no_image.device), sentences, no_image

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Records]:
        """Mean loss of a batch, and its parts by task, by quarter of t and by teacher."""
        velocity, draws, target = self.answers(batch)
        source = batch.source.to(target.device)
        logged = records(batch, flow_loss(velocity.detach(), draws.noise, target), draws)
        wrong = (velocity - (target - draws.noise)).square() * self.channels.to(target)[:, None, None]
        plain, losses = wrong.detach().mean((1, 2, 3)), self._emphasised(wrong, batch.tasks, draws, source, target)
        if self.aids.balance:
            blind = draws.no_image.tolist()
            tasks = [BLIND if lost else task for task, lost in zip(batch.tasks, blind, strict=True)]
            losses = losses * self.balance.factors(tasks, draws.t, plain)
        else:
            losses = losses / ((1 + target.square().mean((1, 2, 3))) / 2)
        total = losses.mean()
        if self.teaching and self.model.teachers is not None and batch.truth is not None:
            taught, parts = self.taught(batch, draws, target)
            total, logged = total + self.teaching * taught, logged | parts
        return total, logged

    def taught(self, batch: Batch, draws: FlowDraws, target: Tensor) -> tuple[Tensor, Records]:
        """The teachers' loss on what the network has just seen of a batch, and its parts."""
        assert self.model.teachers is not None and batch.truth is not None
        truth = batch.truth.to(target.device)
        # What a sample lost cannot be asked of it.
        seen = {name: getattr(truth, name) & ~draws.no_image for name in ("known", "asked", "posed")}
        source = batch.source.to(target.device)
        return self.model.teachers.loss(source, target, truth._replace(**seen), draws.no_image, self.patch)

    def decided(self, batch: Batch) -> Sequence[bool]:
        return [task not in OPEN for task in batch.tasks]

    def places(self, batch: Batch, no_text: Tensor) -> dict[str, Tensor]:
        left_out = torch.tensor([seed % WITHOUT_ROW == 0 for seed in batch.seeds])
        return super().places(batch, no_text | left_out)

    @property
    def patch(self) -> int:
        """Side of a patch in latents."""
        return self.model.transformer.config.patch_size

    def _emphasised(
        self, wrong: Tensor, tasks: Sequence[str], draws: FlowDraws, source: Tensor, target: Tensor
    ) -> Tensor:
        """Means [B] of squared errors [B,C,h,w], patches with news weighing more."""
        p, lasting = self.patch, max(self.aids.lasting, self.emphasis)
        wrong = reduce(wrong, "b c (g p) (k q) -> b g k", "mean", p=p, q=p)
        share = torch.tensor([lasting if task in SMALL_NEWS else self.emphasis for task in tasks]).to(wrong)
        share = torch.where(draws.no_image, 0.0, share)[:, None, None]
        weight = share * emphasis(news_of(source, target, p)) + (1 - share)
        return (wrong * weight).mean((1, 2))

    def data_state(self) -> dict[str, Any]:
        """The running means."""
        return {"balance": self.balance.state()}

    def load_data_state(self, state: dict[str, Any]) -> None:
        """Continue with them."""
        self.balance.load(state["balance"])
