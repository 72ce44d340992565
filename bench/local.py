"""`pixwizard bench local`: edits of one thing by masks against the plain edit, on rendered scenes whose truth is known.

Shapes: H, W pixels; pictures [1, 3, H, W] in [-1, 1].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ..comfyui_pixwizard.files.safe_files import replaced, write_json
from ..comfyui_pixwizard.limits import check_least, check_side
from ..comfyui_pixwizard.local_edits.edit import BEST, CHOICES, LocalEdit, find_thing
from ..comfyui_pixwizard.local_edits.forms import FORMS
from ..comfyui_pixwizard.pictures.images import to_tensor, unit_to_image
from ..comfyui_pixwizard.tasks import get_task
from ..comfyui_pixwizard.tasks.language.things import OF_THINGS

if TYPE_CHECKING:
    from ..comfyui_pixwizard.pipeline import PixWizardPipeline

PLAIN, WHOLE, OWN, TRUE = "plain", "plain, whole answer", "own mask", "true mask"
# By the truth, which no one has who edits: how good a choice among the forms could be.
IDEAL = "ideal"
# Scenes of the picture of answers, and its columns.
SHOWN, COLUMNS = 10, ("source", "truth", PLAIN, f"{OWN}, {BEST}", f"{TRUE}, {BEST}")


@dataclass(frozen=True)
class EditQuestion:
    """An edit of one thing of a rendered scene.

    Attributes:
        task, instruction, thing: what to do with what.
        source, truth: the scene before and after.
        mask: [H, W] bool, the thing before.
        touched: [H, W] bool, the thing before or after: only there should anything change.
    """

    task: str
    instruction: str
    thing: str
    source: Image.Image
    truth: Image.Image
    mask: Tensor
    touched: Tensor


@dataclass
class Figures:
    """Of one way to edit: L1 of 255 to the source outside of the thing, and to the truth, a value a scene."""

    outside: list[float] = field(default_factory=list)
    truth: list[float] = field(default_factory=list)

    def add(self, question: EditQuestion, answer: Image.Image) -> None:
        """Measure one more answer."""
        found = to_tensor(answer)
        outside = (found - to_tensor(question.source)).abs().mean(1)[0][~question.touched]
        self.outside.append(float(outside.mean()) * 127.5)
        self.truth.append(float((found - to_tensor(question.truth)).abs().mean()) * 127.5)

    def means(self) -> dict[str, float]:
        """Over the scenes."""
        return {name: sum(values) / len(values) for name, values in vars(self).items()}


@dataclass
class Local:
    """Edit one thing of rendered scenes: as it is, and by a mask in each form.

    Things are recoloured, retextured, resized, replaced and removed in turn. The mask is the model's own, and the true
    one beside it; where the model finds nothing, nothing is edited, which counts.
    """

    n: int = 100
    """Scenes."""
    size: int = 128
    """Side of the pictures, a multiple of 16."""
    seed: int = 0
    """Of scenes and noise."""
    model: str = "nano"
    """The bundled model, nano, or a folder."""
    json: Path | None = None
    """Also write the figures there."""
    png: Path | None = None
    """Also draw the answers of the first ten scenes there."""

    def run(self) -> int:
        """Measure and print a table.

        Raises:
            ValueError: settings that cannot be used, no such model, files that cannot be written.
        """
        from ..comfyui_pixwizard.pipeline import PixWizardPipeline

        check_least(self, n=1)
        check_side(self.size, take=128)
        pipeline = PixWizardPipeline.from_pretrained(self.model)
        figures: dict[str, Figures] = {}
        chosen: Counter[str] = Counter()
        missed, overlaps, rows = 0, [], []
        for number in tqdm(range(self.n), unit="scene", leave=False):
            question = edit_question(self.size, self.seed + number, OF_THINGS[number % len(OF_THINGS)])
            mask = own_mask(pipeline, question, self.seed)
            missed += mask is None
            overlaps.append(0.0 if mask is None else overlap(mask, question.mask))
            answers, forms = all_answers(pipeline, question, mask, self.seed)
            chosen.update(forms)
            for name, answer in answers.items():
                figures.setdefault(name, Figures()).add(question, answer)
            rows.append([question.source, question.truth, *(answers[name] for name in COLUMNS[2:])])
        means = {name: found.means() for name, found in figures.items()} | ideal_means(figures)
        union = sum(overlaps) / len(overlaps)
        print(f"{self.n} scenes of {self.size} px, one thing edited in each; L1 of 255")
        print("\n".join(table(means)))
        print(f"own masks: nothing found in {missed}, mean intersection over union {union:.2f}")
        print("best of three: " + ", ".join(f"{form} {chosen[form]}" for form in FORMS))
        if self.json is not None:
            told = dict(n=self.n, size=self.size, seed=self.seed, missed=missed, overlap=union, chosen=dict(chosen))
            write_json(self.json, told | {"figures": means})
        if self.png is not None:
            with replaced(self.png) as file:
                picture_sheet(rows[:SHOWN]).save(file, "png")
        return 0


def edit_question(size: int, seed: int, task: str) -> EditQuestion:
    """A rendered scene with room for an edit, by a seed."""
    from ..training.render.scenes import EDIT_TASKS, NoRoom, edit, render, sample_scenes, task_words

    kind, generator = EDIT_TASKS[task], torch.Generator().manual_seed(seed)
    while True:
        scenes = sample_scenes(1, generator)
        drawn = render(scenes, size)
        try:
            edited, words = edit(scenes, 0, kind, generator, drawn)
        except NoRoom:
            continue  # 3 % of the scenes at most
        after, number = render(edited, size), int(words["instance"])
        mask = drawn.instance[0] == number
        touched = mask | (after.instance[0] == number)
        instruction = get_task(task).instruction(None, **task_words(kind, words))
        source, truth = unit_to_image(drawn.image[0]), unit_to_image(after.image[0])
        return EditQuestion(task, instruction, words["expression"], source, truth, mask, touched)


def own_mask(pipeline: PixWizardPipeline, question: EditQuestion, seed: int) -> Tensor | None:
    """The mask that the model itself finds; None where it finds nothing."""
    try:
        return find_thing(pipeline, question.source, question.thing, seed)
    except ValueError as error:
        if "finds nothing" not in str(error):
            raise
        return None


def overlap(one: Tensor, other: Tensor) -> float:
    """Intersection over union of two masks [H, W], not both empty."""
    return float((one & other).sum() / (one | other).sum())


def all_answers(
    pipeline: PixWizardPipeline, question: EditQuestion, own: Tensor | None, seed: int
) -> tuple[dict[str, Image.Image], list[str]]:
    """Answers by way, and the forms that were chosen where the best was asked for."""

    def answer(**options: Any) -> Any:
        return pipeline(question.source, question.instruction, task=question.task, seed=seed, **options)

    answers = {WHOLE: answer(keep_unchanged=False).image, PLAIN: answer().image}
    chosen = []
    for name, mask in ((OWN, own), (TRUE, question.mask)):
        for form in CHOICES:
            if mask is None:
                answers[f"{name}, {form}"] = question.source
                continue
            found = answer(local=LocalEdit(mask, form))
            answers[f"{name}, {form}"] = found.image
            if form == BEST:
                chosen.append(found.settings["local_form"])
    return answers, chosen


def ideal_means(figures: Mapping[str, Figures]) -> dict[str, dict[str, float]]:
    """Means of the forms that are nearest to the truth, by mask."""
    means = {}
    for name in (OWN, TRUE):
        forms = [figures[f"{name}, {form}"] for form in FORMS]
        best = Figures()
        for number in range(len(forms[0].truth)):
            truths = [found.truth[number] for found in forms]
            one = forms[truths.index(min(truths))]
            best.truth.append(one.truth[number])
            best.outside.append(one.outside[number])
        means[f"{name}, {IDEAL}"] = best.means()
    return means


def table(means: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Lines of a table, and shares of what the plain edit has."""
    plain = means[PLAIN]
    lines = ["| way | outside | of plain | to the truth | of plain |", "|---|---|---|---|---|"]
    for name, values in means.items():
        cells = []
        for key in ("outside", "truth"):
            cells += [f"{values[key]:.3f}", f"{values[key] / plain[key]:.2f}" if plain[key] else "-"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def picture_sheet(rows: list[list[Image.Image]]) -> Image.Image:
    """Pictures of one size in rows, under COLUMNS."""
    width, height, gap = *rows[0][0].size, 4
    sheet = Image.new("RGB", (len(rows[0]) * (width + gap) - gap, len(rows) * (height + gap) - gap), "white")
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            sheet.paste(picture, (column * (width + gap), row * (height + gap)))
    return sheet
