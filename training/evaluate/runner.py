"""Ask the model, score its answers, and score copying the input and the autoencoder's round trip in the same way."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from ...comfyui_pixwizard.guidance import DualGuidance
from ...comfyui_pixwizard.tasks import TASKS
from ...comfyui_pixwizard.tasks.declared import Declared, TaskSettings
from ..loop.seeding import seeded
from .measures import MEASURES
from .samples import Samples
from .scores import Score

Row = dict[str, Any]
Advance = Callable[[int], Any]
# Where the model reads its own answers, copying and the ceiling are read for this many samples only.
READ_AT_MOST = 50


class Autoencoder(Protocol):
    """What the ceiling needs: pictures [B,3,H,W] in [-1,1] to latents and back."""

    def encode(self, image: Tensor) -> Tensor: ...

    def decode(self, latents: Tensor) -> Tensor: ...


class Answerer(Protocol):
    """What the evaluation needs of a pipeline."""

    @property
    def autoencoder(self) -> Any: ...

    @property
    def declared(self) -> Declared: ...

    def generate(
        self,
        source: Tensor,
        instructions: list[str],
        *,
        steps: int = ...,
        solver: str = ...,
        guidance: DualGuidance = ...,
        patch_grids: int = ...,
        generator: list[torch.Generator] | None = ...,
    ) -> Tensor: ...


@dataclass
class EvaluationSettings:
    """How the model answers the questions of the evaluation.

    Attributes:
        steps: points of the time grid; None takes what the model declares of each task, as for solver, guidance and
            patch_grids.
        guidance: weights (text, image).
        batch_size: pictures at a time at 128 px; larger pictures go in smaller batches of about as many pixels.
    """

    seed: int = 0
    steps: int | None = None
    solver: str | None = None
    batch_size: int = 32
    guidance: tuple[float, float] | None = None
    patch_grids: int | None = None

    def row(self, declared: TaskSettings) -> TaskSettings:
        """A task's settings: what a model declares, and what is asked for here instead."""
        text, image = self.guidance or (None, None)
        return declared.asked(
            points=self.steps,
            solver=self.solver,
            text_guidance=text,
            image_guidance=image,
            patch_grids=self.patch_grids,
        )

    def batch(self, samples: Samples) -> int:
        """Pictures at a time for these samples."""
        height, width = samples.source.shape[-2:]
        return max(1, min(self.batch_size, self.batch_size * 128**2 // (height * width)))


@dataclass
class EvaluationOutcome:
    """The result of one task.

    Attributes:
        row: the line of the table.
        output: [N,3,H,W] in [0,1], the model's answers.
        each: [N] how far each answer goes from copying (0) to the ceiling (1); below 0 where it does harm.
    """

    row: Row
    output: Tensor
    each: Tensor


@torch.no_grad()
def answers(pipeline: Answerer, samples: Samples, settings: EvaluationSettings, advance: Advance) -> Tensor:
    """The model's pictures [N,3,H,W] in [0,1]; advance is called with the size of every batch that is done."""
    task, size, parts = samples.task, settings.batch(samples), []
    row = settings.row(pipeline.declared[task.name])
    for start in range(0, len(samples), size):
        source, sentences = samples.source[start : start + size], samples.instructions[start : start + size]
        picture = pipeline.generate(
            source * 2 - 1,
            sentences,
            steps=row.points,
            solver=row.solver,
            guidance=row.guidance(),
            patch_grids=row.patch_grids,
            generator=[seeded("eval", settings.seed, "noise", task.name, start + i) for i in range(len(source))],
        )
        parts.append(finished(pipeline, samples, picture.float().cpu() / 2 + 0.5, start))
        advance(len(sentences))
    return torch.cat(parts)


def finished(pipeline: Answerer, samples: Samples, pictures: Tensor, start: int = 0) -> Tensor:
    """Pictures in [0,1] as the pipeline hands them out: its `finish` restores what a task must not change.

    pictures belong to the samples from `start` on. The same is done to the model's answers and to the ceiling.
    """
    finish = getattr(pipeline, "finish", None)
    if finish is None:
        return pictures
    source = samples.source[start : start + len(pictures)]
    return finish(samples.task.name, source * 2 - 1, pictures * 2 - 1).float().cpu() / 2 + 0.5


@torch.no_grad()
def referenced(pipeline: Answerer, samples: Samples, settings: EvaluationSettings) -> Samples:
    """The samples with the reference that the pipeline's own `read_label` compares marks with."""
    from ...comfyui_pixwizard.pipeline import COMPARED  # slow, and not needed for --help

    round_trip = getattr(pipeline, "round_trip", None)
    if samples.task.kind not in COMPARED or round_trip is None:
        return samples
    parts = [round_trip(part * 2 - 1).float().cpu() / 2 + 0.5 for part in samples.source.split(settings.batch(samples))]
    return replace(samples, reference=torch.cat(parts))


@torch.no_grad()
def ceiling(pipeline: Answerer, samples: Samples, settings: EvaluationSettings) -> Tensor:
    """The true pictures after the autoencoder [N,3,H,W] in [0,1]: the best that answers in latents can be."""
    autoencoder, size, parts = pipeline.autoencoder, settings.batch(samples), []
    for start in range(0, len(samples), size):
        coded = autoencoder.decode(autoencoder.encode(samples.truth[start : start + size] * 2 - 1))
        parts.append(finished(pipeline, samples, coded.float().cpu() / 2 + 0.5, start))
    return torch.cat(parts)


def reading(
    pipeline: Answerer, samples: Samples, pictures: Tensor, settings: EvaluationSettings, advance: Advance
) -> tuple[Samples, Tensor]:
    """Pictures as they are scored: as they are, or as the model reads them; and the samples they belong to."""
    name = MEASURES[samples.task.name].reads
    samples = samples.first(len(pictures))
    if not name:
        return samples, pictures
    task = TASKS[name]
    instructions = [task.instruction(seeded("eval", settings.seed, "reading", name, i)) for i in range(len(pictures))]
    own = replace(settings, steps=None, guidance=None, patch_grids=None)
    source = pictures.clamp(0, 1)
    question = replace(samples, task=task, instructions=instructions, source=source, truth=pictures, reference=None)
    return samples, answers(pipeline, question, own, advance)


def evaluations(task: str, n: int) -> int:
    """How many pictures `evaluate` asks the model for, given n samples of a task."""
    return n + (n + 2 * min(n, READ_AT_MOST) if MEASURES[task].reads else 0)


def row(samples: Samples, value: Score, baseline: Score, best: Score) -> Row:
    """One line of the result: metric, value, baseline (the input copied as the answer), ceiling, n, floor, target,
    holds, lower_is_better, and further figures of the model's answers; of restorations also the ceiling's PSNR. A
    figure that is not finite is None.
    """
    measure, figures = MEASURES[samples.task.name], dict(value.figures)
    if "output_psnr" in best.figures:
        figures["ceiling_psnr"] = best.figures["output_psnr"]
    if len(best.each) < len(samples):
        figures["baseline_and_ceiling_n"] = len(best.each)
    main = {"value": value.value, "baseline": baseline.value, "ceiling": best.value, "target": measure.aim(best.value)}
    finite = {name: figure if math.isfinite(figure) else None for name, figure in (main | figures).items()}
    fixed = {"metric": measure.metric, "n": len(samples), "floor": measure.floor, "holds": measure.holds(value.value)}
    order = ("metric", "value", "baseline", "ceiling", "n", "floor", "target", "holds")
    every = fixed | finite
    return {name: every.pop(name) for name in order} | {"lower_is_better": measure.lower_is_better} | every


def evaluate(pipeline: Answerer, samples: Samples, settings: EvaluationSettings, advance: Advance) -> EvaluationOutcome:
    """Ask, score and compare with copying and with the ceiling."""
    samples = referenced(pipeline, samples, settings)
    measure, few = MEASURES[samples.task.name], samples
    if measure.reads:
        few = samples.first(READ_AT_MOST)
    output = answers(pipeline, samples, settings, advance)
    pictures = (samples, output), (few, few.source), (few, ceiling(pipeline, few, settings))
    value, baseline, best = (measure.score(*reading(pipeline, *pair, settings, advance)) for pair in pictures)
    span = best.value - baseline.value
    each = (value.each.double() - baseline.value) / (span if abs(span) > 1e-9 else 1e-9)
    return EvaluationOutcome(row(samples, value, baseline, best), output, each)
