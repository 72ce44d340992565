"""`pixwizard bench tasks`: is the task of a sentence found, and does the model follow it better when it is told?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from ..comfyui_pixwizard.files.components import load_task_reader
from ..comfyui_pixwizard.files.safe_files import write_json
from ..comfyui_pixwizard.limits import check_least, check_side
from ..comfyui_pixwizard.pipeline import PixWizardPipeline
from ..comfyui_pixwizard.task_reader import TaskReader
from ..comfyui_pixwizard.tasks import TASKS
from ..comfyui_pixwizard.tasks.task import fill
from ..training.evaluate.following import UNSEEN, follow, paraphrased
from ..training.evaluate.questions import SETS, Questions
from ..training.evaluate.runner import EvaluationSettings
from ..training.evaluate.samples import unmeasured_tasks
from ..training.recipes.predictor_recipe import Sentences

NO_TASK = Path(__file__).parents[1] / "training" / "evaluate" / "no_task.txt"
UNSEEN_NAME, HELD_OUT_NAME = "sentences that share no pattern with the templates", "held-out templates and grammar"
WAYS = ("none", "predicted", "true")
Asked = list[tuple[str, str]]


@dataclass
class TaskWords:
    """How often the task of a sentence is found by the model's predictor and by the guess, and what it is good for.

    The sentences are none that the predictor was trained on. With --following, unseen sentences are asked without a
    task vector, with that of the predicted task, and with that of the true one; it needs a model with a task table.
    """

    model: str = "nano"
    """The model: nano, or a folder."""
    sentences: Path | None = None
    """Further sentences: a JSON list of [task, sentence]."""
    each: int = 8
    """Held-out templates of each task, in held-out words."""
    following: int = 0
    """Sentences of each task that the model is asked to follow, with and without task vectors; 0 asks none."""
    size: int = 128
    """Side of the pictures of --following."""
    json: Path | None = None
    """Also write everything as JSON to this file."""
    seed: int = 0
    """Of words and noise."""

    def run(self) -> int:
        """Exit code 0.

        Raises:
            ValueError: numbers that are too small, a file of sentences that is none, a model without a table.
        """
        check_least(self, each=1, following=0)
        check_side(self.size, 128)
        sets = self._sets()
        told: dict[str, Any] = {"found": found(load_task_reader(self.model), sets)}
        print(table(told["found"]))
        if self.following:
            told["followed"] = self._followed()
            for way, row in told["followed"].items():
                print(f"task vector {way:<10} task-following {row['value']:.3f} of {row['n']}")
        if self.json is not None:
            write_json(self.json, told)
        return 0

    def _sets(self) -> dict[str, Asked]:
        """Sentences with their tasks, by name; "" is none."""
        drawn = Sentences(self.seed + 99)
        unseen = [(task, fill(text, drawn.words(task))) for task, texts in UNSEEN.items() for text in texts]
        held = [(task, drawn.templated(task, held_out=True)) for task in TASKS for _ in range(self.each)]
        nothing = [("", line) for line in NO_TASK.read_text(encoding="utf-8").splitlines()]
        sets = {HELD_OUT_NAME: held, UNSEEN_NAME: unseen, "sentences about nothing, refused": nothing}
        if self.sentences is not None:
            sets[self.sentences.name] = read_sentences(self.sentences)
        return sets

    def _followed(self) -> dict[str, dict[str, Any]]:
        pipeline = PixWizardPipeline.from_pretrained(self.model)
        if pipeline.task_table is None:
            raise ValueError(
                f"--following needs a model with a task table, found none in {self.model}: train one with pixwizard "
                "train table"
            )
        asked = Questions(self.following, self.size, self.size, self.seed + 1, declared=pipeline.declared)
        left_out = unmeasured_tasks(pipeline.declared)
        groups = [
            (
                {name: asked.samples(name).first(self.following) for name in tasks if name not in left_out},
                asked.readings() if kind == "photographs" else {},
            )
            for kind, tasks in SETS.items()
        ]
        settings = EvaluationSettings(self.seed)
        true = {
            sentence: name
            for questions, _ in groups
            for name, samples in questions.items()
            for sentence in paraphrased(samples, UNSEEN[name], settings.seed).instructions
        }
        rows = {}
        count = sum(len(samples) for questions, _ in groups for samples in questions.values())
        with tqdm(total=len(WAYS) * count, unit="picture") as bar:
            for way in WAYS:
                told: Any = ToldTasks(pipeline, way, true)
                rows[way] = follow(told, groups, UNSEEN, settings, bar.update)
        return rows


class ToldTasks:
    """A pipeline that is told no tasks, those that it predicts, or the true ones."""

    def __init__(self, pipeline: PixWizardPipeline, way: str, true: dict[str, str]) -> None:
        self.pipeline, self.way, self.true = pipeline, way, true

    def __getattr__(self, name: str) -> Any:
        return getattr(self.pipeline, name)

    def generate(self, source: Tensor, instructions: Sequence[str], **options: Any) -> Tensor:
        """As the pipeline's."""
        tasks: list[str | None] | None = [None] * len(instructions)
        if self.way != "none":
            tasks = None if self.way == "predicted" else [self.true[sentence] for sentence in instructions]
        return self.pipeline.generate(source, instructions, tasks=tasks, **options)


def read_sentences(path: Path) -> Asked:
    """Pairs of task and sentence from a JSON file.

    Raises:
        ValueError: it is no list of such pairs.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        asked = [(task, text) for task, text in rows]
    except (ValueError, TypeError) as error:
        raise ValueError(f"--sentences is a JSON list of [task, sentence], found {error} in {path}: mend it") from error
    foreign = [task for task, _ in asked if task not in TASKS]
    if foreign or not asked:
        raise ValueError(f"--sentences name tasks of the registry, found {foreign[:1] or 'none'} in {path}: mend it")
    return asked


def found(read: TaskReader, sets: dict[str, Asked]) -> dict[str, dict[str, Any]]:
    """Shares that are right, by the model's reader and by the guess, and the commonest mistakes."""
    rows: dict[str, dict[str, Any]] = {}
    for name, asked in sets.items():
        texts = [text for _, text in asked]
        ours, guessed = read(texts), TaskReader()(texts)
        right = [(task or None) == one for (task, _), one in zip(asked, ours, strict=True)]
        rows[name] = {
            "n": len(asked),
            "predictor": sum(right) / len(asked) if read.predictor is not None else None,
            "guess": sum((task or None) == one for (task, _), one in zip(asked, guessed, strict=True)) / len(asked),
            "mistakes": [
                {"sentence": text, "task": task, "found": one}
                for (task, text), one, well in zip(asked, ours, right, strict=True)
                if not well
            ],
        }
    return rows


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The shares as text."""
    lines = [f"{'sentences':<52}{'n':>6}{'predictor':>11}{'guess':>8}"]
    for name, row in rows.items():
        ours = "none" if row["predictor"] is None else f"{row['predictor']:.3f}"
        lines.append(f"{name:<52}{row['n']:>6}{ours:>11}{row['guess']:>8.3f}")
    return "\n".join(lines)
