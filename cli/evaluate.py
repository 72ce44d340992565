"""`pixwizard eval`: how well a model does every task, beside copying the input and beside its autoencoder's ceiling."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tqdm import tqdm

from ..comfyui_pixwizard.files.safe_files import write_json
from ..comfyui_pixwizard.limits import check_least
from ..comfyui_pixwizard.patch_grids import check_grids
from ..comfyui_pixwizard.solvers import EVALUATIONS
from ..comfyui_pixwizard.tasks import TASKS
from ..comfyui_pixwizard.tasks.declared import Declared
from ..training.data.rendered.photos import picture_paths
from ..training.evaluate.following import UNSEEN, follow
from ..training.evaluate.measures import MEASURES
from ..training.evaluate.questions import SETS, Questions, set_of
from ..training.evaluate.report import Failure, contact_sheet, save_failures, table, worst
from ..training.evaluate.runner import Answerer, EvaluationSettings, Row, evaluate, evaluations
from ..training.evaluate.samples import OWN, unmeasured_tasks
from ..training.evaluate.scene_samples import ON_SCENES
from ..training.evaluate.sweep import asked_in_all, sweep
from ..training.evaluate.sweep import table as sweep_table

# Sentences that share no pattern with what training draws, and, only if asked for, those of the same kind held out.
LANGUAGE, HELD_OUT = "unseen_paraphrases", "held_out_templates"
# Of each task; a model card shows more kinds of failure that way.
FAILURES_A_TASK = 2
SWEEP_SCENES = 16


@dataclass
class Eval:
    """Measure a model on photographs, rendered scenes and figures that its training never showed.

    Restoration and painting are judged on photographs: by default 19 crops of the 11 everyday photographs inside
    scikit-image's wheel, at native resolution; with --photos the centre crop of every picture of a folder, enlarged
    first (Lanczos) where it is smaller than --size. Everything else is judged on rendered scenes with held-out
    combinations of colour and shape, and again (column "seen") on fresh scenes with the training's combinations, or on
    rendered figures. The last row asks every task with words that share no pattern with the training's. Degradations,
    instructions and noise depend on --seed alone. On the field's own data sets: pixwizard eval benchmark NAME.
    """

    model: Annotated[str, tyro.conf.Positional]
    """The bundled model, nano, or a folder."""
    json: Path | None = None
    """Write all figures to this file."""
    photos: Path | None = None
    """A folder of photographs that take the place of scikit-image's."""
    tasks: tuple[str, ...] = ()
    """Tasks to measure, unseen_paraphrases, held_out_templates; by default all tasks and unseen_paraphrases."""
    n: int = 200
    """Scenes with held-out combinations, figures, and at most this many photographs."""
    seen: int = 20
    """Scenes with the training's combinations; 0 leaves them out."""
    language: int = 8
    """Sentences of each task for unseen_paraphrases and held_out_templates."""
    size: int = 256
    """Side of the crops of photographs, a multiple of 16."""
    scene_size: int = 128
    """Side of the scenes, a multiple of 16."""
    steps: int | None = None
    """Points of the time grid; the model's own for each task by default."""
    solver: str | None = None
    """Solver of the flow; the model's own for each task by default."""
    patch_grids: int | None = None
    """Patch grids that are averaged over: 1, 2 or 4; the model's own for each task by default."""
    batch_size: int = 32
    """Pictures at a time at 128 px; fewer at larger sizes."""
    seed: int = 0
    """Seed of scenes, degradations, instructions and noise."""
    pictures: Path | None = None
    """Write to this folder a contact sheet for each task: input, output, truth."""
    failures: Path | None = None
    """Write the worst answers to this folder, at most two of each task."""
    worst: int = 10
    """How many answers --failures writes."""
    sweep: bool = False
    """Instead, try a few guidance weights and step counts on 16 samples of each task."""

    def run(self) -> int:
        """Measure and print. Raises ValueError for settings or pictures that cannot be used."""
        self.check()
        from ..comfyui_pixwizard.pipeline import PixWizardPipeline  # slow, and not needed for --help

        pipeline = PixWizardPipeline.from_pretrained(self.model)
        report = self.try_settings(pipeline) if self.sweep else self.measure(pipeline)
        if self.json is not None:
            write_json(self.json, report, indent=2, allow_nan=False)
        return 0

    def check(self) -> None:
        """Raise ValueError for the first setting that cannot be used."""
        unknown = [name for name in self.tasks if name not in (*MEASURES, LANGUAGE, HELD_OUT)]
        if unknown:
            every = ", ".join((*MEASURES, LANGUAGE, HELD_OUT))
            raise ValueError(f"eval measures {every}, found {', '.join(unknown)}: leave it out")
        if self.solver is not None and self.solver not in EVALUATIONS:
            raise ValueError(f"--solver must be one of {', '.join(EVALUATIONS)}, found {self.solver}: take euler")
        if self.patch_grids is not None:
            check_grids(self.patch_grids)
        check_least(self, n=1, seen=0, language=1, batch_size=1, steps=2, worst=1)
        for name in ("size", "scene_size"):
            side, option = getattr(self, name), name.replace("_", "-")
            if side < 16 or side % 16:
                raise ValueError(f"--{option} must be a multiple of 16, found {side}: take {max(16, side // 16 * 16)}")
        if self.json is not None and self.json.is_dir():
            raise ValueError(f"--json takes a file, found the folder {self.json}: name a file in it")

    def measure(self, pipeline: Answerer) -> dict[str, Any]:
        """Measure a loaded pipeline and print the table; the report, as --json writes it."""
        started, failures = time.perf_counter(), list[Failure]()
        rows: dict[str, Row] = {}
        asked = self.questions(self.n, declared=pipeline.declared)
        seen = self.questions(self.seen, "train", pipeline.declared) if self.seen else None
        unmeasured = unmeasured_tasks(pipeline.declared)
        with tqdm(total=self._pictures_asked(), unit="picture") as bar:
            for name in self.chosen():
                if name in unmeasured:
                    continue
                clock = time.perf_counter()
                bar.set_description(name)
                samples = asked.samples(name)
                outcome = evaluate(pipeline, samples, self.settings(), bar.update)
                rows[name] = outcome.row
                if seen is not None and name in ON_SCENES:
                    again = evaluate(pipeline, seen.samples(name), self.settings(), bar.update)
                    rows[name]["seen_combinations"] = again.row
                rows[name]["seconds"] = round(time.perf_counter() - clock, 1)
                failures += worst(samples, outcome, FAILURES_A_TASK)
                if self.pictures is not None:
                    self.pictures.mkdir(parents=True, exist_ok=True)
                    contact_sheet(samples, outcome.output).save(self.pictures / f"{name}.png")
            for name in self.wordings():
                bar.set_description(name)
                clock = time.perf_counter()
                rows[name] = self.unseen(pipeline, name, bar.update)
                rows[name]["seconds"] = round(time.perf_counter() - clock, 1)
        if self.failures is not None:
            save_failures(failures, self.failures, self.worst)
        seconds = round(time.perf_counter() - started, 1)
        print(table(rows))
        for name in (name for name in self.chosen() if name in unmeasured):
            print(f"{name} not measured: {unmeasured[name]}")
        print(f"{sum(row['holds'] for row in rows.values())} of {len(rows)} floors hold; {seconds:g} s in all")
        return {"tasks": rows, "not_measured": unmeasured, "settings": self._settings(), "seconds": seconds}

    def chosen(self) -> list[str]:
        """The tasks to measure, in the order of the table."""
        return [name for name in MEASURES if not self.tasks or name in self.tasks]

    def wordings(self) -> list[str]:
        """The rows that are about wordings and not about a task."""
        return [name for name in (LANGUAGE, HELD_OUT) if name in (self.tasks or (LANGUAGE,))]

    def settings(self) -> EvaluationSettings:
        """How the model is asked."""
        return EvaluationSettings(self.seed, self.steps, self.solver, self.batch_size, patch_grids=self.patch_grids)

    def questions(self, n: int, split: str = "test", declared: Declared = OWN) -> Questions:
        """Where samples come from."""
        return Questions(n, self.size, self.scene_size, self.seed, self.photos, split, declared)

    def unseen(self, pipeline: Answerer, name: str, advance: Any) -> Row:
        """The row of the wordings of a name, LANGUAGE or HELD_OUT, that training never showed, over all tasks."""
        sentences = UNSEEN if name == LANGUAGE else {task.name: task.held_out for task in TASKS.values()}
        sides = self.scene_size, self.scene_size
        asked = Questions(self.language, *sides, self.seed + 1, self.photos, declared=pipeline.declared)
        unmeasured = unmeasured_tasks(pipeline.declared)
        groups = [
            (
                {name: asked.samples(name).first(self.language) for name in tasks if name not in unmeasured},
                asked.readings() if kind == "photographs" else {},
            )
            for kind, tasks in SETS.items()
        ]
        return follow(pipeline, groups, sentences, self.settings(), advance)

    def try_settings(self, pipeline: Answerer) -> dict[str, Any]:
        """The sweep over guidance and steps: the report, as --json writes it; prints the table."""
        asked = self.questions(min(self.n, SWEEP_SCENES), declared=pipeline.declared)
        unmeasured = unmeasured_tasks(pipeline.declared)
        asked.size = self.scene_size
        chosen = [name for name in self.chosen() if name not in unmeasured]
        samples = {name: asked.samples(name).first(SWEEP_SCENES) for name in chosen}
        found = {}
        with tqdm(total=asked_in_all(samples.values()), unit="picture") as bar:
            for name, questions in samples.items():
                bar.set_description(name)
                found[name] = sweep(pipeline, questions, self.settings(), bar.update)
        print(sweep_table(found))
        return {"tasks": found, "not_measured": unmeasured, "settings": self._settings()}

    def _pictures_asked(self) -> int:
        """How many pictures the model will be asked for, about: a scene without room for an edit is left out."""
        total, of_photographs = 0, min(self.n, 19 if self.photos is None else len(picture_paths(self.photos)))
        for name in self.chosen():
            photographs = set_of(name) == "photographs"
            again = self.seen if name in ON_SCENES else 0
            total += sum(evaluations(name, n) for n in ((of_photographs if photographs else self.n), again))
        return total + len(MEASURES) * self.language * len(self.wordings())

    def _settings(self) -> dict[str, Any]:
        unsaid = ("json", "pictures", "tasks", "failures", "worst", "sweep")
        fields = {name: value for name, value in vars(self).items() if name not in unsaid}
        return fields | {"photos": "scikit-image" if self.photos is None else str(self.photos)}
