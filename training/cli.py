"""`pixwizard train`: recipes by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass
class Train:
    """Train a model from nothing, or go on with a run.

    Everything is rendered on the way; no data and no download are needed. Stop it with Ctrl-C, run the same command
    again and it goes on. The result lies in FOLDER/export and is used with `pixwizard run --model FOLDER/export`.
    """

    recipe: Annotated[Literal["nano"], tyro.conf.Positional]
    """Which recipe: nano, the bundled model."""
    minutes: float = 60.0
    """Minutes of training of transformer and encoders in this call; 0 exports what the folder holds."""
    folder: Path = Path("runs/nano")
    """Where the run keeps its pools, checkpoints and result."""
    photos: Path | None = None
    """A folder of photographs that join the rendered pictures."""
    start: str | None = None
    """A model, nano or a folder, whose weights a new run begins with, instead of nothing."""
    autoencoder_minutes: float = 14.0
    """Minutes of training of the autoencoder, once."""
    scenes: int = 9000
    """Rendered scenes at 128 px."""
    large_scenes: int = 600
    """Rendered scenes at 256 px."""
    sheets: int = 160
    """Dead-leaves sheets of 768 px."""
    batch_size: int = 24
    """Samples of a step at 128 px."""
    lr: float = 1e-3
    """Peak learning rate."""
    cooldown: float = 0.9
    """Share of this call's minutes over which the learning rate falls to zero."""
    seed: int = 0
    """Seed of weights and batches."""

    def run(self) -> int:
        import torch

        # Numbers below 1e-38 cost a CPU a hundred cycles each; set before worker threads start, which inherit it.
        torch.set_flush_denormal(True)
        from .recipes.nano import NanoRecipe

        if self.minutes < 0:
            raise ValueError(f"--minutes cannot be negative, found {self.minutes:g}: give the length of this call")
        fields = {name: value for name, value in vars(self).items() if name != "recipe"}
        done = NanoRecipe(**fields).run()
        export = self.folder / "export"
        where = f"model in {export}" if export.exists() else "no model yet, run the same command again"
        print(f"{'finished' if done else 'stopped early'}; {where}")
        return 0
