"""`pixwizard bench drift`: what a chain of edits does to the rest of the picture, with and without pasting back.

Shapes: H, W pixels; pictures [1, 3, H, W] in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ..comfyui_pixwizard.files.safe_files import replaced, write_json
from ..comfyui_pixwizard.limits import check_least, check_side
from ..comfyui_pixwizard.pictures.change import CHAIN_THRESHOLD, SOURCE
from ..comfyui_pixwizard.pictures.images import to_tensor, unit_to_image
from ..comfyui_pixwizard.tasks import get_task
from .chart import figure_class, line_charts

if TYPE_CHECKING:
    from ..comfyui_pixwizard.pipeline import PixWizardPipeline

TASK = "edit_recolor"
WAYS: dict[str, dict[str, Any]] = {
    "whole answers": dict(keep_unchanged=False),
    f"threshold {CHAIN_THRESHOLD:g}, source": dict(threshold=CHAIN_THRESHOLD, reference=SOURCE),
    f"threshold {CHAIN_THRESHOLD:g}, round-trip": dict(threshold=CHAIN_THRESHOLD),
    "threshold of the task, round-trip": {},
}


@dataclass(frozen=True)
class EditedScene:
    """A rendered scene of which one thing is recoloured again and again.

    Attributes:
        picture: the scene.
        instructions: one for each step.
        outside: [1, 1, H, W], where no edit should change anything.
    """

    picture: Image.Image
    instructions: tuple[str, ...]
    outside: Tensor


@dataclass
class Drift:
    """Recolour one thing of rendered scenes again and again, each time on the answer before, in several ways.

    The drift after a step is the mean absolute difference from the first picture, of 255, over all pixels that are
    farther from the thing than an eighth of the side.
    """

    n: int = 4
    """Scenes."""
    steps: int = 10
    """Edits of each."""
    size: int = 128
    """Side of the pictures, a multiple of 16."""
    seed: int = 0
    """Of scenes and noise."""
    model: str = "nano"
    """The bundled model, nano, or a folder."""
    json: Path | None = None
    """Also write the figures there."""
    png: Path | None = None
    """Also draw the curves there."""

    def run(self) -> int:
        """Measure and print a table.

        Raises:
            ValueError: settings that cannot be used, no such model, files that cannot be written.
        """
        from ..comfyui_pixwizard.pipeline import PixWizardPipeline

        check_least(self, n=1, steps=1)
        check_side(self.size, take=128)
        if self.png is not None:
            figure_class()
        pipeline = PixWizardPipeline.from_pretrained(self.model)
        scenes = [edited_scene(self.size, self.seed + number, self.steps) for number in range(self.n)]
        curves: dict[str, list[float]] = {}
        with tqdm(total=len(WAYS) * self.n * self.steps, unit="edit", leave=False) as bar:
            for name, options in WAYS.items():
                found = [drift_of(pipeline, scene, self.seed, options, bar) for scene in scenes]
                curves[name] = torch.tensor(found).mean(0).tolist()
        print(f"drift outside the edits, of 255: {self.n} scenes of {self.size} px, {self.steps} edits of each")
        print("\n".join(table(curves)))
        if self.json is not None:
            write_json(self.json, {"drift": curves, "n": self.n, "size": self.size, "seed": self.seed})
        if self.png is not None:
            points = {name: list(enumerate(values, 1)) for name, values in curves.items()}
            title = "Ten edits, one on the other" if self.steps == 10 else f"{self.steps} edits, one on the other"
            ticks = range(1, self.steps + 1)
            figure = line_charts({title: points}, "edits", "drift outside the edits, of 255", ticks, scale="linear")
            with replaced(self.png) as file:
                figure.savefig(file, format="png")
        return 0


def table(curves: Mapping[str, Sequence[float]]) -> list[str]:
    """Lines of a table: a way in each, and how its last figure compares with that of the first way."""
    steps = range(1, len(next(iter(curves.values()))) + 1)
    last = next(iter(curves.values()))[-1]
    lines = [f"| after | {' | '.join(map(str, steps))} | share |", f"|---|{'---|' * (len(steps) + 1)}"]
    for name, values in curves.items():
        share = f"{values[-1] / last:.2f}" if last else "-"
        lines.append(f"| {name} | {' | '.join(f'{value:.2f}' for value in values)} | {share} |")
    return lines


def edited_scene(size: int, seed: int, steps: int) -> EditedScene:
    """A scene with one thing that words single out, to be given the colours in turn."""
    from ..training.render.scenes import COLOR_NAMES, referring, render, sample_scenes

    generator = torch.Generator().manual_seed(seed)
    scenes = sample_scenes(1, generator)
    drawn = render(scenes, size)
    # A sampled scene always shows a solid that words single out. Those that do not name its colour stay true.
    expressions = referring(scenes, drawn, 0, generator)
    plain = [(said, number) for said, number in expressions if not set(said.split()) & set(COLOR_NAMES)]
    expression, instance = (plain or expressions)[0]
    task, first = get_task(TASK), seed % len(COLOR_NAMES)
    colors = [COLOR_NAMES[(first + step) % len(COLOR_NAMES)] for step in range(steps)]
    thing = (drawn.instance == instance).float()[:, None]
    reach = size // 8
    outside = F.max_pool2d(thing, 2 * reach + 1, 1, reach) == 0
    words = tuple(task.instruction(caption=expression, color=color) for color in colors)
    return EditedScene(unit_to_image(drawn.image[0]), words, outside)


def drift_of(
    pipeline: PixWizardPipeline, scene: EditedScene, seed: int, options: Mapping[str, Any], bar: tqdm[Any]
) -> list[float]:
    """The drift after every step."""
    picture, first, drift = scene.picture, to_tensor(scene.picture), []
    for instruction in scene.instructions:
        picture = pipeline(picture, instruction, task=TASK, seed=seed, **options).image
        difference = (to_tensor(picture) - first).abs().mean(1, keepdim=True)
        drift.append(float(difference[scene.outside].mean()) * 127.5)
        bar.update()
    return drift
