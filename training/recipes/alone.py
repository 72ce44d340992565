"""Stages of parts alone: once, for so many minutes, with a folder of their own."""

from __future__ import annotations

from pathlib import Path

from ..loop.trainer import Trainer, TrainerConfig
from .sight_stage import SightStage
from .tower_stage import TowerStage
from .trunk_stage import TrunkStage


def train_alone(
    stage: TowerStage | SightStage | TrunkStage,
    folder: Path,
    minutes: float,
    config: TrainerConfig,
    workers: int,
    plan: float | None = None,
) -> Trainer:
    """Train a stage until it has had so many minutes, and put the average into its model.

    Args:
        workers: processes that draw ahead.
        plan: minutes over which the rate runs its course, if not these.
    """
    stage.draw_ahead(workers)
    trainer = Trainer(stage, folder, config)
    trainer.resume()
    left = minutes - trainer.seconds / 60
    if left > 0.02:
        trainer.run(minutes=left, plan_minutes=minutes if plan is None else plan)
    trainer.load_average()
    return trainer
