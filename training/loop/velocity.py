"""One training evaluation of the velocity: what is drawn for it, and the modules that compute it.

Everything random about a sample comes from its own seed, so that it does not depend on the batch, the process or the
number of processes that it meets it in.
Shapes: B batch, C latent channels, R layers, N image tokens, T text tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...comfyui_pixwizard.flow import sample_times
from ...comfyui_pixwizard.task_table import TaskRows, TaskTable
from ...comfyui_pixwizard.transformer import PixWizardTransformer


@dataclass(frozen=True)
class Dropout:
    """Shares of samples that lose the text, the image, or both (paper, appendix C.2): exclusive events.

    Raises:
        ValueError: shares that are negative or more than all samples together.
    """

    text: float = 0.05
    image: float = 0.05
    both: float = 0.05

    def __post_init__(self) -> None:
        if min(self.text, self.image, self.both) < 0 or self.text + self.image + self.both > 1:
            found = f"{self.text:g}, {self.image:g} and {self.both:g}"
            raise ValueError(f"dropouts are shares, not negative and at most 1 together, found {found}: take 0.05 each")

    def of(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """(no text, no image), each [B] bool, of uniform draws u [B]."""
        both = u < self.both
        return both | ((u >= self.both) & (u < self.both + self.text)), both | (u >= 1 - self.image)


class FlowDraws(NamedTuple):
    """Everything random about B samples.

    noise [B,C,h,w], t [B], no_text and no_image [B] bool; null [B,C,h,w], the source latent of a sample without image;
    exponential [R,B,N] behind the token sampler's Gumbel noise, or None for the deterministic choice.
    """

    noise: Tensor
    t: Tensor
    no_text: Tensor
    no_image: Tensor
    null: Tensor
    exponential: Tensor | None

    def to(self, place: torch.device) -> FlowDraws:
        """On a device."""
        noise, t, no_text, no_image, null = (part.to(place) for part in self[:5])
        exponential = None if self.exponential is None else self.exponential.to(place)
        return FlowDraws(noise, t, no_text, no_image, null, exponential)


@dataclass(frozen=True)
class Drawing:
    """How training draws.

    Attributes:
        times: how t is drawn, see `flow.sample_times`.
        early: how it is drawn instead for samples whose answer is decided at the first times; None as for all.
        dropout: see there.
        null: what stands for the source latent of a sample without image: "noise" as in the released training, fresh
            and independent of the flow's own, or "zeros".
        gumbel: choose image tokens with Gumbel noise, as the paper does; evaluation never does.
    """

    times: str = "uniform"
    dropout: Dropout = Dropout()
    null: str = "noise"
    gumbel: bool = False
    early: str | None = None

    def __post_init__(self) -> None:
        if self.null not in ("noise", "zeros"):
            raise ValueError(f"the null image is noise or zeros, found {self.null!r}: take noise")

    def draw(
        self,
        seeds: Sequence[int],
        shape: Sequence[int],
        layers: int,
        tokens: int,
        decided: Sequence[bool] | None = None,
    ) -> FlowDraws:
        """Draws for samples with these seeds and latents [C,h,w], on the CPU; layers and tokens are R and N.

        Args:
            decided: of each sample, whether its answer is decided at the first times; None for none.
        """
        first = self.early or self.times
        kinds = [first if early else self.times for early in decided or [False] * len(seeds)]
        rows = [self._one(seed, kind, shape, layers, tokens) for seed, kind in zip(seeds, kinds, strict=True)]
        noise, t, u, null = (torch.stack([row[i] for row in rows]) for i in range(4))
        exponential = torch.stack([row[4] for row in rows], dim=1) if self.gumbel else None
        return FlowDraws(noise, t, *self.dropout.of(u), null, exponential)

    def _one(self, seed: int, times: str, shape: Sequence[int], layers: int, tokens: int) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(*shape, generator=generator)
        t = sample_times(1, times, generator)[0]
        u = torch.rand((), generator=generator)
        null = torch.randn(*shape, generator=generator) if self.null == "noise" else torch.zeros(*shape)
        if not self.gumbel:
            return noise, t, u, null
        return noise, t, u, null, torch.empty(layers, tokens).exponential_(generator=generator)


def predict(
    transformer: PixWizardTransformer,
    x: Tensor,
    t: Tensor,
    source: Tensor,
    text: tuple[Tensor, Tensor],
    task: Tensor,
    tokens: Tensor,
    exponential: Tensor | None = None,
    rows: TaskRows | None = None,
) -> Tensor:
    """Velocity [B,C,h,w] with gradients everywhere, and the same operations whatever the samples are.

    Args:
        text: features [B,T,F] and mask [B,T].   task: [B,P].   tokens: [B,N,W], zeros for samples without image.
        rows: of a task table.
    """
    # Weights that FSDP gathers are in bfloat16, and a LayerNorm takes no other input than its weights' on a CPU.
    dtype = transformer.pad_token.dtype
    text, task, tokens = (text[0].to(dtype), text[1]), task.to(dtype), tokens.to(dtype)
    rows = None if rows is None else rows.to(dtype=dtype)
    conditions = transformer.encode_conditions(*text, task, tokens, gumbel=exponential, task_rows=rows)
    return transformer.velocity(x, t, source, conditions)


class FeatureModel(nn.Module):
    """The transformer, and a task table where one is trained, on what frozen encoders say: `forward` is `predict`."""

    def __init__(self, transformer: PixWizardTransformer, table: TaskTable | None = None) -> None:
        super().__init__()
        self.transformer, self.table = transformer, table

    def forward(self, *inputs: Any, places: Tensor | None = None) -> Tensor:
        """Of what `predict` takes beside the transformer and the rows.

        Args:
            places: rows [B] of the table, -1 for none.
        """
        rows = None if self.table is None or places is None else self.table.rows(places)
        run: Callable[..., Tensor] = predict
        return run(self.transformer, *inputs, rows=rows)
