"""What a training says on its way: lines of JSON, TensorBoard, and Weights & Biases where asked for."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...comfyui_pixwizard.files.safe_files import replaced
from ...comfyui_pixwizard.optional import pip_install
from .parallel import World

# name -> (sum, count)
Records = dict[str, tuple[float, int]]
FILE = "log.jsonl"


def tensorboard(folder: Path, step: int) -> Any:
    """TensorBoard's writer; what it was told of later steps is dropped.

    Raises:
        ValueError: it is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError(
            f"training logs to TensorBoard, which is not installed: {pip_install('tensorboard')}"
        ) from error
    return SummaryWriter(folder, purge_step=step + 1)


def weights_and_biases(project: str, folder: Path) -> Any:
    """A run at Weights & Biases that the same folder continues.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import wandb
    except ImportError as error:
        raise ValueError("--wandb needs the package of that name, found none: pip install wandb") from error
    return wandb.init(project=project, dir=folder, id=folder.resolve().name, resume="allow")


class Logs:
    """Means of what is added between two lines, over all processes; files are written by the main one.

    `log.jsonl` has one object a line: step, seconds, lr, loss, gradient, then "task/NAME", "task/NAME/tN" and "t/N".
    """

    def __init__(self, folder: Path, world: World, wandb: str | None = None) -> None:
        self.folder, self.world, self.project = folder, world, wandb
        self._totals: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._board: Any = None
        self._wandb: Any = None

    def add(self, records: Records) -> None:
        """Count what one step of this process gave."""
        for name, (total, count) in records.items():
            self._totals[name][0] += total
            self._totals[name][1] += count

    def cut(self, step: int) -> None:
        """Forget lines after a step, from which the run goes on."""
        file = self.folder / FILE
        if not self.world.main or not file.exists():
            return
        kept = [line for line in file.read_text().splitlines() if _step(line) <= step]
        with replaced(file) as out:
            out.write("".join(f"{line}\n" for line in kept).encode())

    def write(self, step: int, seconds: float, lr: float) -> dict[str, float]:
        """One line of means; starts counting anew."""
        together: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for part in self.world.gather(dict(self._totals)):
            for name, (total, count) in part.items():
                together[name][0] += total
                together[name][1] += count
        self._totals.clear()
        means = {name: float(f"{total / max(count, 1):.8g}") for name, (total, count) in sorted(together.items())}
        line = {"step": step, "seconds": round(seconds, 1), "lr": lr} | means
        if self.world.main:
            with (self.folder / FILE).open("a") as file:
                file.write(json.dumps(line) + "\n")
            self.show(step, {"train/" + name: value for name, value in line.items() if name != "step"})
        return line

    def show(self, step: int, found: dict[str, Any]) -> None:
        """Numbers, and pictures [3,H,W] in [0,1], to TensorBoard and Weights & Biases; on the main process."""
        if self._board is None:
            self._board = tensorboard(self.folder / "tensorboard", step - 1)
            if self.project is not None:
                self._wandb = weights_and_biases(self.project, self.folder)
        for name, value in found.items():
            if isinstance(value, Tensor):
                self._board.add_image(name, value.clamp(0, 1), step)
            else:
                self._board.add_scalar(name, value, step)
        if self._wandb is not None:
            numbers = {name: value for name, value in found.items() if not isinstance(value, Tensor)}
            pictures = {name: self._picture(value) for name, value in found.items() if isinstance(value, Tensor)}
            self._wandb.log(numbers | pictures, step=step)

    @staticmethod
    def _picture(value: Tensor) -> Any:
        import wandb

        return wandb.Image((value.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())

    def flush(self) -> None:
        """Write what is held back."""
        if self._board is not None:
            self._board.flush()


def _step(line: str) -> int:
    """The step of a line; a line that a kill cut off belongs to no step that is kept."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return 2**62
