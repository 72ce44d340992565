"""`pixwizard bench inversion`: tasks that the model has never seen, learned from 1, 10 and 100 pairs.

Shapes: N pairs, S side; pictures [N, 3, S, S].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..comfyui_pixwizard.files.components import find_folder
from ..comfyui_pixwizard.files.learned_task import LearnedTask
from ..comfyui_pixwizard.files.safe_files import replaced, write_json
from ..comfyui_pixwizard.limits import check_least, check_side
from ..comfyui_pixwizard.pipeline import PixWizardPipeline
from ..runtime.evaluators import default_device
from ..training.data.rendered.new_tasks import NEW_TASKS
from ..training.loop.lora import LoraConfig
from ..training.recipes.inversion import ROW_LR, encoded, learn
from .chart import figure_class, line_charts

VECTOR, LORA = "vector and token", "LoRA"
AT_ONCE = 8


@dataclass
class Inversion:
    """Learn tasks that the model has never seen from a few pairs, by a vector and a token or by a LoRA of these pairs.

    The error is the mean absolute difference from the true answer, of 255, on held-out pairs; beside it that of the
    model that is only told in words, of the picture itself and of the true answer after the autoencoder.
    """

    model: str = "nano"
    """The model: nano, or a folder."""
    tasks: tuple[str, ...] = tuple(NEW_TASKS)
    """What to learn."""
    pairs: tuple[int, ...] = (1, 10, 100)
    """How many pairs to learn from."""
    steps: int = 500
    """Steps of training of each."""
    lr: float = ROW_LR
    """Peak learning rate of vector and token."""
    lora_lr: float = 1e-3
    """Peak learning rate of the LoRA."""
    rank: int = 8
    """Rank of the LoRA."""
    batch_size: int = 8
    """Pairs of a step."""
    held_out: int = 32
    """Held-out pairs of each task."""
    size: int = 128
    """Side of the pictures."""
    points: int = 5
    """Points of the time grid."""
    folder: Path = Path("runs/inversion")
    """Where the runs keep their checkpoints; the command goes on with them."""
    json: Path | None = None
    """Also write everything as JSON to this file."""
    chart: Path | None = None
    """Also draw the errors to this .svg or .png file; needs matplotlib."""
    seed: int = 0
    """Of pairs, batches and noise."""

    def run(self) -> int:
        """Exit code 0.

        Raises:
            ValueError: tasks that are not there, or numbers that are too small.
        """
        unknown = [name for name in self.tasks if name not in NEW_TASKS]
        if unknown or not self.tasks:
            found = unknown[0] if unknown else "none"
            raise ValueError(f"--tasks are some of {', '.join(NEW_TASKS)}, found {found}: leave it out")
        check_least(self, steps=1, held_out=1, batch_size=1, points=2, rank=1)
        check_side(self.size, 128)
        if not self.pairs or min(self.pairs) < 1:
            raise ValueError(f"--pairs are numbers from 1 up, found {self.pairs or 'none'}: take 1 10 100")
        if self.chart is not None:
            figure_class()
        rows = {name: self.measured(name) for name in self.tasks}
        print(table(rows, self.pairs))
        if self.json is not None:
            settings = {name: value for name, value in vars(self).items() if isinstance(value, int | float | str)}
            write_json(self.json, {"settings": settings | {"pairs": list(self.pairs)}, "tasks": rows})
        if self.chart is not None:
            self._draw(rows)
        return 0

    def measured(self, name: str) -> dict[str, Any]:
        """Errors of one task: of what it is compared with, and by way and number of pairs."""
        instruction, draw = NEW_TASKS[name]
        generator = torch.Generator().manual_seed(self.seed)
        source, target = draw(max(self.pairs), self.size, generator)
        asked, truth = draw(self.held_out, self.size, torch.Generator().manual_seed(self.seed + 10_000))
        plain = self._model()
        found: dict[str, Any] = {
            "told in words": self._error(plain, asked, truth, instruction),
            "the picture itself": error(asked, truth),
            "the true answer after the autoencoder": error(plain.round_trip(truth * 2 - 1) / 2 + 0.5, truth),
        }
        for way in (VECTOR, LORA):
            found[way] = {}
            for count in self.pairs:
                pipeline = self._model()
                pairs = [encoded(pipeline, source[:count] * 2 - 1, target[:count] * 2 - 1)]
                folder = self.folder / name / f"{way.replace(' ', '-')}-{count}"
                lora = LoraConfig(self.rank, float(self.rank)) if way == LORA else None
                model, done = learn(
                    pipeline, pairs, name, instruction, folder, steps=self.steps, batch_size=self.batch_size,
                    lr=self.lr if lora is None else self.lora_lr, lora=lora, seed=self.seed,
                )  # fmt: skip
                if not done:
                    raise KeyboardInterrupt
                learned = None if model.table is None else LearnedTask(model.table, instruction, self.points)
                found[way][count] = self._error(pipeline, asked, truth, instruction, learned)
                if learned is not None:
                    path = self.folder / name / f"{name}-{count}.safetensors"
                    learned.save(path)
                    found["bytes"] = path.stat().st_size
        return found

    def _model(self) -> PixWizardPipeline:
        pipeline = PixWizardPipeline.from_pretrained(find_folder(self.model))
        return pipeline.to(default_device())

    def _error(
        self, pipeline: PixWizardPipeline, asked: Tensor, truth: Tensor, words: str, task: LearnedTask | None = None
    ) -> float:
        """Of a model's answers to pictures in [0, 1]."""
        answers = []
        for part in asked.split(AT_ONCE):
            given = dict(steps=self.points, guidance=(1.0, 1.0), seeds=list(range(len(part))))
            answers.append(pipeline.generate(part * 2 - 1, [words] * len(part), tasks=[task] * len(part), **given))  # type: ignore[arg-type]
        return error(torch.cat(answers).cpu() / 2 + 0.5, truth)

    def _draw(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        curves = {
            name: {way: list(row[way].items()) for way in (VECTOR, LORA)}
            | {told: [(count, row[told]) for count in self.pairs] for told in list(row)[:3]}
            for name, row in rows.items()
        }
        figure = line_charts(curves, "pairs", "error of 255", self.pairs)
        assert self.chart is not None
        with replaced(self.chart) as file:
            figure.savefig(file, format=self.chart.suffix[1:])


def error(answer: Tensor, truth: Tensor) -> float:
    """Mean absolute difference of pictures in [0, 1], of 255."""
    return float((answer.cpu().clamp(0, 1) - truth).abs().mean()) * 255


def table(rows: Mapping[str, Mapping[str, Any]], pairs: tuple[int, ...]) -> str:
    """The errors as text."""
    lines = []
    for name, row in rows.items():
        lines.append(f"{name}: mean absolute error of 255, a file of {row['bytes']} bytes")
        lines += [f"  {told:<40}{row[told]:>8.2f}" for told in list(row)[:3]]
        lines.append(f"  {'pairs':<40}" + "".join(f"{count:>8}" for count in pairs))
        lines += [f"  {way:<40}" + "".join(f"{row[way][count]:>8.2f}" for count in pairs) for way in (VECTOR, LORA)]
    return "\n".join(lines)
