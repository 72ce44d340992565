"""`pixwizard eval`: how well a model does every task, beside copying the input and beside its autoencoder's ceiling."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tqdm import tqdm

from ...comfyui_pixwizard.solvers import EVALUATIONS
from .measures import MEASURES
from .photographs import bundled_photographs, folder_photographs
from .report import contact_sheet, table, write_json
from .runner import Answerer, Row, Settings, evaluate
from .samples import OPTIONS, Samples, SceneSet, restoration_samples


@dataclass
class Eval:
    """Measure a model on photographs and on rendered scenes that its training never showed.

    Restoration is judged on photographs: by default 19 crops of the 11 everyday photographs inside scikit-image's
    wheel, at native resolution; with --photos the centre crop of every picture of a folder, enlarged first (Lanczos)
    where it is smaller than --size. Reading, grounding and editing are judged on rendered scenes with held-out
    combinations of colour and shape, and again (column "seen") on fresh scenes with the training's combinations.
    Degradations, instructions and noise depend on --seed alone. Text-to-image is not measured: it has no truth to
    compare with.
    """

    model: Annotated[str, tyro.conf.Positional]
    """The bundled model, nano, or a folder."""
    json: Path | None = None
    """Write all figures to this file."""
    photos: Path | None = None
    """A folder of photographs that take the place of scikit-image's."""
    tasks: tuple[str, ...] = ()
    """Tasks to measure; all by default."""
    n: int = 100
    """Scenes with held-out combinations, and at most this many photographs."""
    seen: int = 25
    """Scenes with the training's combinations; 0 leaves them out."""
    size: int = 256
    """Side of the crops of photographs, a multiple of 16."""
    scene_size: int = 128
    """Side of the scenes, a multiple of 16."""
    steps: int | None = None
    """Points of the time grid; each task's own by default."""
    solver: str = "euler"
    """Solver of the flow."""
    batch_size: int = 32
    """Pictures at a time at 128 px; fewer at larger sizes."""
    seed: int = 0
    """Seed of scenes, degradations, instructions and noise."""
    pictures: Path | None = None
    """Write to this folder a contact sheet for each task: input, output, truth."""

    def run(self) -> int:
        """Measure and print. Raises ValueError for settings or pictures that cannot be used."""
        self.check()
        from ...comfyui_pixwizard.pipeline import PixWizardPipeline  # slow, and not needed for --help

        report = self.measure(PixWizardPipeline.from_pretrained(self.model))
        if self.json is not None:
            self.json.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.json, report)
        return 0

    def check(self) -> None:
        """Raise ValueError for the first setting that cannot be used."""
        unknown = [name for name in self.tasks if name not in MEASURES]
        if unknown:
            raise ValueError(f"eval measures {', '.join(MEASURES)}, found {', '.join(unknown)}: leave it out")
        if self.solver not in EVALUATIONS:
            raise ValueError(f"--solver must be one of {', '.join(EVALUATIONS)}, found {self.solver}: take euler")
        for name, least in (("n", 1), ("seen", 0), ("batch_size", 1), ("steps", 2)):
            if getattr(self, name) is not None and getattr(self, name) < least:
                option = name.replace("_", "-")
                raise ValueError(f"--{option} must be at least {least}, found {getattr(self, name)}: raise it")
        for name in ("size", "scene_size"):
            side, option = getattr(self, name), name.replace("_", "-")
            if side < 16 or side % 16:
                raise ValueError(f"--{option} must be a multiple of 16, found {side}: take {max(16, side // 16 * 16)}")
        if self.json is not None and self.json.is_dir():
            raise ValueError(f"--json takes a file, found the folder {self.json}: name a file in it")

    def measure(self, pipeline: Answerer) -> dict[str, Any]:
        """Measure a loaded pipeline and print the table; the report, as --json writes it."""
        started = time.perf_counter()
        settings = Settings(self.seed, self.steps, self.solver, self.batch_size)
        rows: dict[str, Row] = {}
        questions = list(self.questions())
        total = sum(len(samples) + len(seen or ()) for samples, seen in questions)
        with tqdm(total=total, unit="picture") as bar:
            for samples, seen in questions:
                name, clock = samples.task.name, time.perf_counter()
                bar.set_description(name)
                rows[name], output = evaluate(pipeline, samples, settings, bar.update)
                if seen is not None:
                    rows[name]["seen_combinations"], _ = evaluate(pipeline, seen, settings, bar.update)
                rows[name]["seconds"] = round(time.perf_counter() - clock, 1)
                if self.pictures is not None:
                    self.pictures.mkdir(parents=True, exist_ok=True)
                    contact_sheet(samples, output).save(self.pictures / f"{name}.png")
        seconds = round(time.perf_counter() - started, 1)
        print(table(rows))
        print(f"text_to_image is not measured; {seconds:g} s in all")
        return {"tasks": rows, "settings": self._settings(), "seconds": seconds}

    def _settings(self) -> dict[str, Any]:
        fields = {name: value for name, value in vars(self).items() if name not in ("json", "pictures", "tasks")}
        photos = "scikit-image" if self.photos is None else str(self.photos)
        return fields | {"photos": photos, "not_measured": ["text_to_image"]}

    def questions(self) -> Iterator[tuple[Samples, Samples | None]]:
        """The samples of each task, and those with the combinations of the training where a task is on scenes."""
        chosen = [name for name in MEASURES if not self.tasks or name in self.tasks]
        restoration, on_scenes = ([n for n in chosen if (n in OPTIONS) == wanted] for wanted in (True, False))
        if restoration:
            if self.photos is None:
                photographs = bundled_photographs(self.size)[: self.n]
            else:
                photographs = folder_photographs(self.photos, self.size, self.n)
            for name in restoration:
                yield restoration_samples(name, photographs, self.seed), None
        if on_scenes:
            held_out = SceneSet(self.n, self.scene_size, self.seed, "test")
            seen = SceneSet(self.seen, self.scene_size, self.seed, "train") if self.seen else None
            for name in on_scenes:
                yield held_out.samples(name), seen.samples(name) if seen else None
