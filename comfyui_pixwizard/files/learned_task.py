"""A task of the user's own: one vector and one token that were learned from pairs, in a file that says what they do.

The file is a task table of one row (`table_file`) with the sentence and the points that it was learned with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..config import PixWizardConfig
from ..task_table import TaskRows, TaskTable
from .safe_files import TensorFile, json_object
from .table_file import read_table, save_table

SUFFIX = ".safetensors"
# It is learned without guidance, and asked so.
GUIDANCE = 1.0
# Entry of the metadata: sentence and points, as JSON.
LEARNED = "learned"


@dataclass(frozen=True)
class LearnedTask:
    """What a task file holds.

    Attributes:
        table: of one row, the task's.
        instruction: the sentence that it was learned with.
        points: of the time grid, by which it is asked where nothing else is.
        provenance: how it came to be, plain values.
    """

    table: TaskTable
    instruction: str
    points: int = 5
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What its user calls it."""
        return self.table.names[0]

    def rows(self, count: int = 1) -> TaskRows:
        """Its row for so many samples."""
        return self.table.rows(torch.zeros(count, dtype=torch.long, device=self.table.vectors.device))

    def check(self, config: PixWizardConfig) -> None:
        """Refuse a network of other widths.

        Raises:
            ValueError: it was learned on another kind of network.
        """
        if not self.table.fits(config):
            raise ValueError(
                f"the task {self.name} must have widths {config.conditioning_dim} and {config.cap_feat_dim} for this "
                f"model, found {self.table.vectors.shape[1]} and {self.table.tokens.shape[1]}: learn it on this model "
                "with pixwizard train task"
            )

    def save(self, path: str | Path) -> None:
        """Write the file, whole or not at all; raises ValueError where it cannot be written."""
        more = {LEARNED: {"instruction": self.instruction, "points": self.points}}
        save_table(self.table, path, provenance=self.provenance, more=more)

    @classmethod
    def load(cls, path: str | Path) -> LearnedTask:
        """Read a file.

        Raises:
            ValueError: no such file, or none of a learned task.
        """
        file = TensorFile(Path(path).expanduser())
        told = json_object(file.metadata.get(LEARNED, "{}"), file.path)
        instruction, points = told.get("instruction"), told.get("points")
        fix = "use a file that pixwizard train task wrote"
        if not isinstance(instruction, str) or not isinstance(points, int) or points < 2:
            raise ValueError(f"{file.path} should hold a learned task, found none in its metadata: {fix}")
        table = read_table(file)
        values = torch.cat((table.vectors.flatten(), table.tokens.flatten()))
        if len(table.names) != 1 or not math.isfinite(float(values.sum())):
            raise ValueError(f"{file.path} should hold one task of finite numbers, found {len(table.names)}: {fix}")
        return cls(table, instruction, points, json_object(file.metadata.get("provenance", "{}"), file.path))


def read_task(task: str | Path | LearnedTask | None) -> str | LearnedTask | None:
    """What names a task, the file of a learned one read; errors as `LearnedTask.load`."""
    if isinstance(task, Path) or (isinstance(task, str) and task.endswith(SUFFIX)):
        return LearnedTask.load(task)
    return task
