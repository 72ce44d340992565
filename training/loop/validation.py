"""A fixed grid of questions that is asked on the way: decoded metrics, and the answers as pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...comfyui_pixwizard.pipeline import PixWizardPipeline
from ..evaluate.measures import MEASURES
from ..evaluate.questions import Questions
from ..evaluate.report import contact_sheet
from ..evaluate.runner import EvaluationSettings, evaluate
from ..evaluate.samples import Samples


class Grid:
    """Asks the same questions as `pixwizard eval` does, fewer of them.

    Args:
        pipeline: whose parts beside the transformer answer.
        build: parts of a pipeline, by its names for them, of averaged weights by theirs.
        tasks: what is asked.
        n: questions of each task.
        size: side of the pictures.
        steps: points of the time grid.

    Raises:
        ValueError: a task that is not measured.
    """

    def __init__(
        self,
        pipeline: PixWizardPipeline,
        build: Callable[[dict[str, Tensor]], dict[str, nn.Module]],
        tasks: Sequence[str],
        n: int = 8,
        size: int = 128,
        steps: int = 12,
        seed: int = 0,
    ) -> None:
        unknown = [task for task in tasks if task not in MEASURES]
        if unknown:
            raise ValueError(f"a validation asks tasks of the registry, found {unknown[0]}: leave it out")
        self.pipeline, self.build, self.tasks = pipeline, build, list(tasks)
        self.questions, self.settings = Questions(n, size, size, seed), EvaluationSettings(seed, steps)
        self._samples: dict[str, Samples] = {}

    @torch.no_grad()
    def __call__(self, step: int, weights: dict[str, Tensor]) -> dict[str, Any]:
        """Values and pictures [3,H,W] in [0,1] by name, for the log."""
        place = next(self.pipeline.autoencoder.parameters()).device
        for name, part in self.build(weights).items():
            setattr(self.pipeline, name, part.to(place).eval())
        found: dict[str, Any] = {}
        for task in self.tasks:
            if task not in self._samples:
                self._samples[task] = self.questions.samples(task)
            outcome = evaluate(self.pipeline, self._samples[task], self.settings, lambda n: None)
            found[f"validation/{task}"] = float(outcome.row["value"] or 0.0)
            sheet = np.asarray(contact_sheet(self._samples[task], outcome.output).convert("RGB"))
            found[f"answers/{task}"] = torch.from_numpy(sheet.copy()).permute(2, 0, 1).float() / 255
        return found
