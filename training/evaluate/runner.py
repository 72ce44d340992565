"""Ask the model, score its answers, and score copying the input and the autoencoder's round trip in the same way."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from .measures import MEASURES
from .samples import Samples, seeded

Row = dict[str, Any]
Advance = Callable[[int], Any]


class Autoencoder(Protocol):
    """What the ceiling needs: pictures [B,3,H,W] in [-1,1] to latents and back."""

    def encode(self, image: Tensor) -> Tensor: ...

    def decode(self, latents: Tensor) -> Tensor: ...


class Answerer(Protocol):
    """What the evaluation needs of a pipeline."""

    @property
    def autoencoder(self) -> Any: ...

    def generate(
        self,
        source: Tensor,
        instructions: list[str],
        *,
        steps: int = ...,
        solver: str = ...,
        guidance: tuple[float, float] = ...,
        generator: list[torch.Generator] | None = ...,
    ) -> Tensor: ...


@dataclass
class Settings:
    """How the model is asked.

    Attributes:
        steps: points of the time grid; None takes each task's own.
        batch_size: pictures at a time at 128 px; larger pictures go in smaller batches of about as many pixels.
    """

    seed: int = 0
    steps: int | None = None
    solver: str = "euler"
    batch_size: int = 32

    def batch(self, samples: Samples) -> int:
        """Pictures at a time for these samples."""
        height, width = samples.source.shape[-2:]
        return max(1, min(self.batch_size, self.batch_size * 128**2 // (height * width)))


@torch.no_grad()
def answers(pipeline: Answerer, samples: Samples, settings: Settings, advance: Advance) -> Tensor:
    """The model's pictures [N,3,H,W] in [0,1]; advance is called with the size of every batch that is done."""
    task, size, parts = samples.task, settings.batch(samples), []
    for start in range(0, len(samples), size):
        source, sentences = samples.source[start : start + size], samples.instructions[start : start + size]
        picture = pipeline.generate(
            source * 2 - 1,
            sentences,
            steps=settings.steps or task.steps,
            solver=settings.solver,
            guidance=task.guidance,
            generator=[seeded("eval", settings.seed, "noise", task.name, start + i) for i in range(len(source))],
        )
        parts.append(picture.float().cpu() / 2 + 0.5)
        advance(len(sentences))
    return torch.cat(parts)


@torch.no_grad()
def round_trip(autoencoder: Autoencoder, pictures: Tensor, batch_size: int) -> Tensor:
    """Pictures [N,3,H,W] in [0,1] after the autoencoder: the best that a model which answers in latents can do."""
    parts = [autoencoder.decode(autoencoder.encode(part * 2 - 1)) for part in pictures.split(batch_size)]
    return torch.cat(parts).float().cpu() / 2 + 0.5


def row(samples: Samples, output: Tensor, coded: Tensor) -> Row:
    """One line of the result.

    Args:
        output: [N,3,H,W] in [0,1], the model's answers.
        coded: [N,3,H,W] in [0,1], the true pictures after the autoencoder.

    Returns:
        metric, value, baseline (the input copied as the answer), ceiling, n, floor, target, holds, lower_is_better, and
        further figures of the model's answers; of restorations also the ceiling's PSNR. A figure that is not finite
        is None.
    """
    measure = MEASURES[samples.task.name]
    value, figures = measure.score(samples, output)
    baseline, _ = measure.score(samples, samples.source)
    ceiling, best = measure.score(samples, coded)
    if "output_psnr" in best:
        figures["ceiling_psnr"] = best["output_psnr"]
    figures = {"value": value, "baseline": baseline, "ceiling": ceiling, "target": measure.aim(ceiling)} | figures
    finite = {name: figure if math.isfinite(figure) else None for name, figure in figures.items()}
    fixed = {"metric": measure.metric, "n": len(samples), "floor": measure.floor, "holds": measure.holds(value)}
    order = ("metric", "value", "baseline", "ceiling", "n", "floor", "target", "holds")
    every = fixed | finite
    return {name: every.pop(name) for name in order} | {"lower_is_better": measure.lower_is_better} | every


def evaluate(pipeline: Answerer, samples: Samples, settings: Settings, advance: Advance) -> tuple[Row, Tensor]:
    """The line of one task, and the answers [N,3,H,W] in [0,1]."""
    output = answers(pipeline, samples, settings, advance)
    coded = round_trip(pipeline.autoencoder, samples.truth, settings.batch(samples))
    return row(samples, output, coded), output
