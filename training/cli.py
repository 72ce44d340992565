"""`pixwizard train`: recipes by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from .recipes.nano import NanoRecipe


@dataclass
class Train:
    """Train a model from nothing, or go on with a run."""

    recipe: Annotated[Literal["nano"], tyro.conf.Positional]
    """Which recipe: nano, the bundled model."""
    options: Annotated[NanoRecipe, tyro.conf.arg(name="")] = field(default_factory=NanoRecipe)

    def run(self) -> int:
        import torch

        # Numbers below 1e-38 cost a CPU a hundred cycles each; set before worker threads start, which inherit it.
        torch.set_flush_denormal(True)
        done = self.options.run()
        export = self.options.folder / "export"
        where = f"model in {export}" if export.exists() else "no model yet, run the same command again"
        print(f"{'finished' if done else 'stopped early'}; {where}")
        return 0
