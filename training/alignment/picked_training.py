"""`pixwizard align train`: adapters on what was picked, through the same shards and the same recipe as `train lora`."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from ...comfyui_pixwizard.files.safe_files import replaced, write_json
from ...comfyui_pixwizard.pictures.buckets import CELL
from ...comfyui_pixwizard.pictures.images import open_picture
from ...comfyui_pixwizard.pipeline import PixWizardPipeline
from ..data.build.build import build
from ..data.build.recipe import read_recipe
from ..loop.exporting import transformer_of
from ..loop.lora import merged
from ..recipes.paper_recipes import Lora
from .grid_folder import GridFolder


@dataclass
class AlignTrain:
    """Learn from the answers that were picked: a LoRA, and the model with it.

    FOLDER/export/lora.safetensors is the LoRA, FOLDER/model the whole model.
    """

    grid: Annotated[Path, tyro.conf.Positional]
    """A folder of `align grid` in which something was picked."""
    folder: Path = Path("runs/align")
    """The run's folder."""
    model: str | None = None
    """The model to align; the one that answered by default."""
    epochs: float = 10.0
    """Passes over what was picked."""
    lr: float = 1e-4
    """Learning rate."""
    rank: int = 16
    """Rank of the adapters."""
    batch_size: int = 8
    """Samples of a step."""
    micro_batch: int = 4
    """Samples of a forward pass."""
    device: str | None = None
    """cpu or cuda; what there is by default."""
    workers: int = 0
    """Processes that read data."""
    seed: int = 0
    """Seed of order and draws."""

    def run(self) -> int:
        """Train. Raises ValueError where nothing was picked, or the settings do not fit."""
        done = self.train()
        print(f"wrote {self.folder / 'model'}" if done else "stopped early: run the same command again to go on")
        return 0

    def train(self) -> bool:
        """Build shards of what was picked, train on them and write the model; False when a signal ended it early."""
        grid = GridFolder(self.grid)
        model, side = self.model or grid.model, _side(grid)
        recipe = Lora(
            folder=self.folder, data=(self._shards(grid),), model=model, sizes=(side,), rank=self.rank,
            alpha=float(self.rank), epochs=self.epochs, samples=0, batch_size=self.batch_size,
            micro_batch=self.micro_batch, lr=self.lr, device=self.device, workers=self.workers, seed=self.seed,
            tasks=tuple(dict.fromkeys(one.task for one in grid.asked if self._picked(grid, one.name))),
        )  # fmt: skip
        if not recipe.run():
            return False
        with_lora(model, self.folder / "export" / "lora.safetensors", self.grid).save_pretrained(self.folder / "model")
        return True

    @staticmethod
    def _picked(grid: GridFolder, name: str) -> tuple[int, ...]:
        choice = grid.choices().get(name)
        return choice.picked if choice else ()

    def _shards(self, grid: GridFolder) -> Path:
        """What was picked as pairs, in shards."""
        items: dict[str, list[dict[str, Any]]] = {}
        for one in grid.asked:
            for number in self._picked(grid, one.name):
                paths = {"input_path": grid.source(one), "target_path": grid.answer(one, number)}
                item = {key: str(path.resolve()) for key, path in paths.items()} | {"prompt": one.sentence}
                items.setdefault(one.task, []).append(item)
        if not items:
            raise ValueError(
                f"a training needs picked answers, found none in {self.grid}: pick some in align grid first"
            )
        place = self.folder / "picked"
        for task, found in items.items():
            with _written(place / f"{task}.jsonl") as file:
                file.write("".join(json.dumps(item) + "\n" for item in found).encode())
        inputs = [{"kind": "annotations", "path": f"{task}.jsonl", "task": task} for task in items]
        write_json(place / "recipe.json", {"output": "shards", "smallest": CELL, "inputs": inputs})
        build(read_recipe(place / "recipe.json"))
        return place / "shards"


def _written(path: Path) -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    return replaced(path)


def _side(grid: GridFolder) -> int:
    """Side of the square of most pictures' area, in whole cells."""
    sizes = [open_picture(grid.source(one)).size for one in grid.asked]
    sides = Counter(max(round((width * height) ** 0.5 / CELL), 1) * CELL for width, height in sizes)
    return sides.most_common(1)[0][0]


def with_lora(model: str, lora: Path, grid: Path) -> PixWizardPipeline:
    """A model with a file's adapters added.

    Raises:
        ValueError: adapters of another model.
    """
    pipeline = PixWizardPipeline.from_pretrained(model)
    own = pipeline.transformer
    aligned = transformer_of(merged(own.state_dict(), lora), own.config)
    told = pipeline.provenance | {"aligned": {"model": model, "grid": grid.name}}
    return PixWizardPipeline(**pipeline.parts | {"transformer": aligned}, declared=pipeline.declared, provenance=told)
