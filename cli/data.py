"""`pixwizard data`: build what a model is trained on, and look at it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass
class Preview:
    """Draw training pairs as a picture: for each task what the model sees, what it should make of it, the sentence.

    The pictures are rendered for it in small (about a minute), or taken from the pools of a run.
    """

    task: tuple[str, ...] = ("all",)
    """Tasks to show; all by default."""
    out: Path = Path("preview.jpg")
    """The picture, JPEG or PNG."""
    pairs: int = 2
    """Pairs of each task."""
    size: int = 128
    """Side of the pictures, 128 or 256."""
    scenes: int = 24
    """Scenes to render; the number of people and faces follows."""
    seed: int = 0
    """Seed of the pairs."""

    def run(self) -> int:
        """Write the contact sheet. Raises ValueError for unknown tasks or sizes."""
        from tqdm import tqdm

        from ..comfyui_pixwizard.files.safe_files import replaced
        from ..training.data.rendered.builders import BUILDERS
        from ..training.data.rendered.preview import contact_sheet, small_sources

        names = list(BUILDERS) if self.task == ("all",) else list(self.task)
        unknown = [name for name in names if name not in BUILDERS]
        if unknown:
            raise ValueError(f"--task takes all, or some of {', '.join(BUILDERS)}; found {unknown[0]}: leave it out")
        if self.size not in (128, 256) or self.pairs < 1 or self.scenes < 8:
            found = f"{self.size}, {self.pairs} and {self.scenes}"
            raise ValueError(f"--size is 128 or 256, --pairs at least 1, --scenes at least 8; found {found}: change it")
        if self.out.suffix.lower() not in (".jpg", ".jpeg", ".png"):
            raise ValueError(f"--out is a .jpg or .png file, found {self.out}: name one")
        rendered = small_sources(self.size, self.scenes, self.seed)
        sheet = contact_sheet(rendered, tqdm(names, unit="task"), self.pairs, self.seed)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        with replaced(self.out) as file:
            sheet.save(file, "PNG" if self.out.suffix.lower() == ".png" else "JPEG", quality=90)
        print(f"wrote {self.out}: {len(names)} tasks, {self.pairs} pairs each (left what the model sees)")
        return 0


@dataclass
class Build:
    """Make shards to train from out of folders, annotations, tars and Parquet files.

    Broken and unwanted samples are left out, counted by reason and listed in OUTPUT/report.json. A build that was
    stopped or killed goes on where it was when the same command is run again; so does one whose inputs have grown.
    """

    recipe: Annotated[Path, tyro.conf.Positional]
    """A JSON file that names inputs, annotators, filters and output: see docs/data.md."""
    workers: int = 1
    """Processes, here or on the cluster."""
    ray: str | None = None
    """Work on a Ray cluster: its address, or "local" to start one on this machine."""
    json: Path | None = None
    """Write the report to this file too."""

    def run(self) -> int:
        """Build and print the report. Raises ValueError for a recipe that cannot be followed."""
        from ..comfyui_pixwizard.files.safe_files import write_json
        from ..training.data.build.build import build
        from ..training.data.build.recipe import read_recipe

        if self.workers < 1:
            raise ValueError(f"--workers is at least 1, found {self.workers}: leave it out for one")
        recipe = read_recipe(self.recipe)
        report = build(recipe, self.workers, self.ray)
        if self.json is not None:
            write_json(self.json, report)
        print(f"{report['good']} samples in {recipe.output}: {report['made']} of {report['shards']} shards made now")
        for reason, count in report["rejected"].items():
            print(f"  {count:>8} left out: {reason} (such as {report['examples'][reason][0]})")
        for change, count in report.get("relabelled", {}).items():
            print(f"  {count:>8} counted as another task: {change}")
        return 0


@dataclass
class JudgeFilters:
    """Precision and recall of filters of edit data, on rendered pairs of which some are spoiled in known ways.

    Judged are the filters of a recipe, or those that docs/filters.md has for this project's own models.
    """

    recipe: Path | None = None
    """A recipe of `data build`, whose relabelling and filters are judged; its inputs are not looked at."""
    pairs: int = 1000
    """Rendered pairs."""
    spoiled: int | None = None
    """How many of them are spoiled; by default three in ten."""
    seed: int = 0
    """Seed of the pairs."""
    json: Path | None = None
    """Write all figures, and every pair's scores, to this file."""

    def run(self) -> int:
        """Judge and print a table. Raises ValueError for a recipe that cannot be followed, or too few pairs."""
        from tqdm import tqdm

        from ..comfyui_pixwizard.files.safe_files import write_json
        from ..training.data.build.edit_filters import edit_recipe
        from ..training.data.build.recipe import read_recipe
        from ..training.evaluate.filter_judge import judge_filters, table

        recipe = edit_recipe() if self.recipe is None else read_recipe(self.recipe)
        if not recipe.filters and recipe.relabel is None:
            raise ValueError(f"{self.recipe} needs filters or relabel to judge, found neither: add some")
        spoiled = self.pairs * 3 // 10 if self.spoiled is None else self.spoiled
        with tqdm(total=self.pairs, unit="pair") as bar:
            report = judge_filters(recipe, self.pairs, spoiled, self.seed, bar.update)
        if self.json is not None:
            write_json(self.json, report)
        print(table(report))
        return 0
