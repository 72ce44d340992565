"""Questions for a grid, from a file or rendered, and their twenty answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ...comfyui_pixwizard.files.safe_files import replaced
from ...comfyui_pixwizard.pictures.images import open_picture, unit_to_image
from ...comfyui_pixwizard.pipeline import PixWizardPipeline
from ...comfyui_pixwizard.tasks import TASKS
from ..data.build.inputs import json_items
from ..evaluate.scene_samples import SceneSet
from ..loop.seeding import seed_of
from .grid_folder import SETTINGS, Asked, GridFolder

EDITS = ("edit_recolor", "edit_replace", "edit_remove", "edit_add")


def rendered_questions(folder: Path, n: int, tasks: Sequence[str], seed: int, size: int = 128) -> list[Asked]:
    """Write sources and true results of n rendered edits, the tasks in turn, and answer the questions.

    Raises:
        ValueError: fewer questions than tasks, or tasks that scenes do not have.
    """
    if n < len(tasks) or not tasks:
        raise ValueError(
            f"rendered questions are at least as many as their tasks, found {n} and {len(tasks)}: raise it"
        )
    scenes = SceneSet(-(-n // len(tasks)), size, seed, "train")
    parts = [scenes.samples(task) for task in tasks]
    rows = [(part, at) for at in range(len(scenes)) for part in parts if at < len(part)][:n]
    asked = []
    for number, (part, at) in enumerate(rows):
        asked.append(Asked(f"{number:04d}", part.instructions[at], part.task.name))
        place = folder / asked[-1].name
        place.mkdir(parents=True, exist_ok=True)
        for name, picture in (("source", part.source[at]), ("truth", part.truth[at])):
            save(unit_to_image(picture), place / f"{name}.png")
    return asked


def read_questions(folder: Path, path: Path, pipeline: PixWizardPipeline) -> list[Asked]:
    """Questions of a JSON list, or JSON lines, of {input_path, prompt} and, where it is known, task; paths start at the
    file's folder.

    Raises:
        ValueError: an item without picture or sentence, or of no task that is known.
    """
    asked = []
    for number, item in enumerate(json_items(path)):
        where = f"{path.name} item {number + 1}"
        if not isinstance(item, dict) or not all(isinstance(item.get(key), str) for key in ("input_path", "prompt")):
            raise ValueError(f"a question has input_path and prompt, found none or others in {where}: correct it")
        task = item.get("task") or pipeline.predict_task([item["prompt"]])[0]
        if task not in TASKS:
            raise ValueError(f"a question has a task, found {task!r} in {where}: name one of pixwizard tasks")
        asked.append(Asked(f"{number:04d}", item["prompt"], task))
        place = folder / asked[-1].name
        place.mkdir(parents=True, exist_ok=True)
        save(open_picture(path.parent / item["input_path"]), place / "source.png")
    return asked


def answer_all(grid: GridFolder, pipeline: PixWizardPipeline, steps: int | None, advance: Callable[[int], Any]) -> None:
    """Write the answers that are not there yet; all of a question begin with the same noise."""
    for one in grid.asked:
        source = None
        for number, setting in enumerate(SETTINGS):
            path = grid.answer(one, number)
            if not path.is_file():
                source = source or open_picture(grid.source(one))
                text, image = setting or (None, None)
                save(_answer(pipeline, source, one, steps, text, image), path)
            advance(1)


def _answer(
    pipeline: PixWizardPipeline,
    source: Image.Image,
    asked: Asked,
    steps: int | None,
    text: float | None,
    image: float | None,
) -> Image.Image:
    seed = seed_of("align", asked.name, asked.sentence) % 2**31
    return pipeline(
        source, asked.sentence, task=asked.task, steps=steps, text_guidance=text, image_guidance=image, seed=seed
    ).image


def save(picture: Image.Image, path: Path) -> None:
    """A PNG, whole or not at all."""
    with replaced(path) as file:
        picture.save(file, "PNG")
