"""`pixwizard train RECIPE`: recipes by name, each with options of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from ..training.loop.exporting import RunExport
from ..training.loop.packing import Pack, Unpack
from ..training.recipes.arms import NanoArms
from ..training.recipes.average import AverageRecipe
from ..training.recipes.carried import CarryRecipe
from ..training.recipes.direction_fit import DirectionRecipe
from ..training.recipes.inversion import TaskRecipe
from ..training.recipes.nano import NanoRecipe
from ..training.recipes.paper_recipes import Lora, Stage1, Stage2
from ..training.recipes.predictor_recipe import PredictorRecipe
from ..training.recipes.table_recipe import TableRecipe
from ..training.recipes.two_stage import TwoStageRecipe

Recipe = (
    Annotated[NanoRecipe, tyro.conf.subcommand("nano")]
    | Annotated[NanoArms, tyro.conf.subcommand("nano-arms")]
    | Annotated[Stage1, tyro.conf.subcommand("stage1")]
    | Annotated[Stage2, tyro.conf.subcommand("stage2")]
    | Annotated[Lora, tyro.conf.subcommand("lora")]
    | Annotated[TwoStageRecipe, tyro.conf.subcommand("two-stage")]
    | Annotated[TableRecipe, tyro.conf.subcommand("table")]
    | Annotated[CarryRecipe, tyro.conf.subcommand("carry")]
    | Annotated[AverageRecipe, tyro.conf.subcommand("average")]
    | Annotated[DirectionRecipe, tyro.conf.subcommand("direction")]
    | Annotated[PredictorRecipe, tyro.conf.subcommand("predictor")]
    | Annotated[TaskRecipe, tyro.conf.subcommand("task")]
    | Annotated[RunExport, tyro.conf.subcommand("export")]
    | Annotated[Pack, tyro.conf.subcommand("pack")]
    | Annotated[Unpack, tyro.conf.subcommand("unpack")]
)


@dataclass
class Train:
    """Train a model, go on with a run, export one, or carry it to another machine."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")] = field(default_factory=NanoRecipe)

    def run(self) -> int:
        import torch

        # Numbers below 1e-38 cost a CPU a hundred cycles each; set before worker threads start, which inherit it.
        torch.set_flush_denormal(True)
        done = self.recipe.run()
        at_once = AverageRecipe, CarryRecipe, RunExport, Pack, Unpack
        if os.environ.get("RANK", "0") == "0" and not isinstance(self.recipe, at_once):
            print("finished" if done else "stopped early: run the same command again to go on")
        return 0
