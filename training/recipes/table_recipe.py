"""A task table for a model that stays as it is: only the rows are trained, which takes minutes for the bundled one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from ...comfyui_pixwizard.files.components import find_folder
from ...comfyui_pixwizard.files.digests import model_fingerprint
from ...comfyui_pixwizard.files.table_file import TABLE_FILE, save_table
from ...comfyui_pixwizard.pipeline import PixWizardPipeline
from ...comfyui_pixwizard.tasks import TASKS
from ..data.feed.mixture import common_count
from ..loop.trainer import Trainer, TrainerConfig
from .balance import Balance
from .mixture_stage import BLIND, Aids
from .nano import NanoRecipe
from .towers import NanoModel


@dataclass
class TableRecipe:
    """Learn a vector and a token for each task; network and encoders stay as they are.

    Stop it with Ctrl-C, run the same command again and it goes on.
    """

    model: str = "nano"
    """The model: nano, or the folder of one of its kind."""
    out: Path | None = None
    """A model's folder, which then has the table, or a .safetensors file; FOLDER/task_table.safetensors by default."""
    folder: Path = Path("runs/table")
    """Where the run keeps its pools and checkpoints."""
    minutes: float = 10.0
    """Minutes of training of the whole run."""
    lr: float = 1e-2
    """Peak learning rate."""
    batch_size: int = 48
    """Samples of a step at 128 px; at 256 px a quarter."""
    large_share: float = 0.25
    """Share of steps at 256 px."""
    scenes: int = 12000
    """Rendered scenes at 128 px; at 256 px a twentieth. Pools that are there already are used."""
    figures: int = 3000
    """Rendered pictures of people at 128 px; at 256 px a tenth."""
    faces: int = 1500
    """Drawn faces at 128 px; at 256 px a tenth."""
    sheets: int = 160
    """Dead-leaves sheets of 768 px."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where training computes; auto takes a GPU if there is one."""
    workers: int | None = None
    """Processes that draw batches ahead; by default none on a CPU, and all cores but one beside a GPU."""
    seed: int = 0
    """Seed of the batches."""

    def run(self) -> bool:
        """Train and write the table; False when a signal ended it early.

        Raises:
            ValueError: a length that is not positive, no such model, a place that cannot be written.
            TrainingError: the loss is not finite.
        """
        if self.minutes <= 0:
            raise ValueError(f"--minutes is positive, found {self.minutes:g}: take 10")
        pipeline = PixWizardPipeline.from_pretrained(self.model)
        recipe = NanoRecipe(
            folder=self.folder, scenes=self.scenes, large_scenes=max(self.scenes // 20, 12), figures=self.figures,
            faces=self.faces, sheets=self.sheets, batch_size=self.batch_size, large_share=self.large_share,
            device=self.device, workers=self.workers, seed=self.seed, aids=Aids((0, 0), (0, 0), lasting=0, pixels=0),
        )  # fmt: skip
        recipe.prepare()
        pipeline.to(recipe.place)
        recipe.autoencoder, recipe.balance = pipeline.autoencoder, Balance([*TASKS, BLIND])
        parts = pipeline.text_encoder, pipeline.task_encoder, pipeline.image_encoder
        model = NanoModel(pipeline.transformer, *parts).requires_grad_(False).with_table(pipeline.task_table)
        model.use_plain_attention()
        config = TrainerConfig(lr=self.lr, weight_decay=0.0, ema=0.998, cooldown=0.5, warmup=20, seed=self.seed)
        trainer = Trainer(recipe.mixture_stage(model, common_count(), common_count()), self.folder / "table", config)
        trainer.resume()
        left = self.minutes - trainer.seconds / 60
        done = trainer.run(minutes=left, plan_minutes=self.minutes) if left > 0.02 else True
        trainer.load_average()
        assert model.table is not None
        told = {
            "recipe": "pixwizard train table",
            "steps": trainer.step,
            "minutes": round(trainer.seconds / 60, 1),
            "model": model_fingerprint(find_folder(self.model)),
        }
        out = self.out or self.folder
        path = out if out.suffix == ".safetensors" else out / TABLE_FILE
        save_table(model.table, path, torch.float16, provenance=told)
        print(f"wrote {path}")
        return done
