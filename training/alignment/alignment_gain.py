"""Does alignment help? Candidates, a score as picker, training, and the same held-out questions before and after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ...comfyui_pixwizard.files.safe_files import write_json
from ...comfyui_pixwizard.pipeline import PixWizardPipeline
from ..evaluate.runner import EvaluationSettings, evaluate
from ..evaluate.scene_samples import SceneSet
from .candidates import EDITS, answer_all, rendered_questions
from .grid_folder import SETTINGS, GridFolder
from .picked_training import AlignTrain
from .pickers import TRUTH, pick_all, score_picker

HELD_OUT = 977


@dataclass
class AlignExperiment:
    """Align a model with a score in a person's place and measure what it gains on scenes that it never saw.

    Stop it and run the same command again: it goes on. FOLDER/result.json holds the figures.
    """

    folder: Path = Path("runs/align-experiment")
    """Where grid, run and result are kept."""
    model: str = "nano"
    """The model, nano or a folder."""
    tasks: tuple[str, ...] = EDITS
    """Edits that are asked for."""
    pictures: int = 120
    """Rendered questions, of which each has twenty answers."""
    score: str = TRUTH
    """What picks: truth, nearness to the true result; or a score of data build."""
    score_model: str = ""
    """Model of that score."""
    epochs: float = 10.0
    """Passes over what was picked."""
    lr: float = 1e-4
    """Learning rate."""
    batch_size: int = 8
    """Samples of a step."""
    asked: int = 60
    """Held-out questions of each task."""
    steps: int | None = None
    """Points of the time grid of the candidates; the model's own by default."""
    size: int = 128
    """Side of the pictures."""
    seed: int = 0
    """Seed of scenes and training."""

    def run(self) -> int:
        """Align, measure, print and write. Raises ValueError as the parts do."""
        pipeline = PixWizardPipeline.from_pretrained(self.model)
        grid_folder = self.folder / "grid"
        asked = rendered_questions(grid_folder, self.pictures, self.tasks, self.seed, self.size)
        grid = GridFolder.create(grid_folder, self.model, asked)
        with tqdm(total=len(asked) * len(SETTINGS), unit="answer", desc="candidates") as bar:
            answer_all(grid, pipeline, self.steps, bar.update)
        pick_all(grid, score_picker(self.score, self.score_model), lambda n: None)
        training = AlignTrain(
            grid_folder, self.folder / "run", self.model, self.epochs, self.lr, batch_size=self.batch_size,
            micro_batch=min(4, self.batch_size), device="cpu", seed=self.seed,
        )  # fmt: skip
        if not training.train():
            print("stopped early: run the same command again to go on")
            return 0
        aligned = PixWizardPipeline.from_pretrained(self.folder / "run" / "model")
        before, after = (self._figures(one) for one in (pipeline, aligned))
        picked = [len(choice.picked) for choice in grid.choices().values()]
        result = {"questions": len(asked), "picked": sum(picked), "none": picked.count(0)}
        rows = {task: {"before": before[task], "after": after[task]} for task in self.tasks}
        write_json(self.folder / "result.json", result | {"score": self.score, "tasks": rows})
        print(f"{sum(picked)} answers picked of {len(asked)} questions, none of {picked.count(0)}")
        for task, row in rows.items():
            told = f"{row['before']['metric']}: {row['before']['value']:.3f} before, {row['after']['value']:.3f} after"
            print(f"{task:<16}{told}")
        return 0

    def _figures(self, pipeline: PixWizardPipeline) -> dict[str, Any]:
        shown = SceneSet(self.asked, self.size, self.seed + HELD_OUT, "test")
        settings = EvaluationSettings(seed=self.seed)
        with torch.no_grad():
            return {
                task: evaluate(pipeline, shown.samples(task), settings, lambda n: None).row  # type: ignore[arg-type]
                for task in self.tasks
            }
