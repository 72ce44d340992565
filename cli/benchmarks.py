"""`pixwizard eval benchmark NAME`, `benchmarks` and `stand-ins`: the field's benchmarks, on the reader's own copy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ..training.benchmarks.options import Options

if TYPE_CHECKING:  # slow, and not needed for --help
    import torch

    from ..training.benchmarks.judging import Source

KEPT = Path("runs") / "benchmarks"


@dataclass
class EvalBenchmark:
    """Judge a model, or pictures made elsewhere, on a data set that lies here in its own layout.

    `pixwizard eval benchmarks` lists the names, their layouts and sizes; docs/benchmarks.md says how each is computed.
    Without --answers the model is asked first: its answers are kept, and a run that ended early goes on where it was.
    Networks that some metrics need come from files that are named here; nothing is downloaded.
    """

    name: Annotated[str, tyro.conf.Positional]
    """Of the benchmark; pairs takes DIR/input and DIR/target with equal names."""
    data: Path
    """The data set's folder."""
    model: str = "nano"
    """The bundled model, nano, or a folder."""
    answers: Path | None = None
    """Judge the pictures of this folder, named as the answers would be, and no model."""
    out: Path | None = None
    """Where the model's answers are kept; by default runs/benchmarks/NAME/MODEL."""
    json: Path | None = None
    """Write figures, settings and counts to this file."""
    report: Path | None = None
    """Write a page to this HTML file, with all pictures inside: table, distribution, the worst and median answers."""
    allow_missing: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Judge the rest when more than 1 % of the pictures are missing, broken or of another size."""
    options: Annotated[Options, tyro.conf.arg(name="")] = field(default_factory=lambda: Options(device="auto"))

    def run(self) -> int:
        """Judge and print the row.

        Raises:
            ValueError: settings or files that cannot be used, or more unusable pictures than are allowed.
        """
        self._check()
        from ..comfyui_pixwizard.files.safe_files import write_json
        from ..runtime.evaluators import find_device
        from ..training.benchmarks.judging import judge
        from ..training.benchmarks.report_table import table

        device = find_device(self.options.device)
        options, source = replace(self.options, device=str(device)), self._source(device)
        outcome = judge(self.name, self.data, source, options, watch, allow_missing=self.allow_missing)
        print(table(outcome))
        if self.json is not None:
            write_json(self.json, outcome.told(), allow_nan=False, default=str)
        if self.report is not None:
            from .benchmark_page import write_page

            write_page(self.report, outcome)
            print(f"wrote {self.report}")
        return 0

    def _check(self) -> None:
        from ..bench.chart import figure_class
        from ..comfyui_pixwizard.limits import check_least
        from ..comfyui_pixwizard.pictures.sizes import check_size
        from ..comfyui_pixwizard.solvers import EVALUATIONS
        from ..training.benchmarks.catalogue import benchmark

        benchmark(self.name)
        if self.report is not None:
            figure_class()  # tells what is missing before anything is made
        options = self.options
        if options.solver is not None and options.solver not in EVALUATIONS:
            raise ValueError(f"--solver must be one of {', '.join(EVALUATIONS)}, found {options.solver}: take euler")
        check_least(options, n=1, steps=2)
        check_size(options.size)
        for path in (self.data, self.answers):
            if path is not None and not path.is_dir():
                raise ValueError(f"--data and --answers are folders, found none at {path}: check the path")
        for name in ("clip", "dino", "inception", "lpips", "hps"):
            path = getattr(options, name)
            if path is not None and not path.is_file():
                raise ValueError(f"--{name} is a file of weights, found none at {path}: check the path")

    def _source(self, device: torch.device) -> Source:
        from ..training.benchmarks.judging import Source

        if self.answers is not None:
            return Source(self.answers)
        from ..comfyui_pixwizard.pipeline import PixWizardPipeline

        def load() -> Any:
            return PixWizardPipeline.from_pretrained(self.model).to(device)

        return Source(self.out or KEPT / self.name / Path(self.model).name, self.model, load)


@dataclass
class EvalBenchmarks:
    """List the benchmarks: layout, size, terms and the command."""

    json: Path | None = None
    """Write the list to this file too."""

    def run(self) -> int:
        """Print the list."""
        from ..comfyui_pixwizard.files.safe_files import write_json
        from ..training.benchmarks.catalogue import BENCHMARKS

        told = {}
        for name, one in BENCHMARKS.items():
            command = f"pixwizard eval benchmark {name} --data DIR"
            if any(one.splits):
                command += f" --split {'|'.join(one.splits)}"
            told[name] = {
                "title": one.title,
                "layout": one.layout,
                "size": one.size,
                "licence": one.terms,
                "command": command,
            }
            print(f"{name}: {one.title}")
            for key in ("layout", "size", "licence", "command"):
                print(f"  {key:<8} {told[name][key]}")
        if self.json is not None:
            write_json(self.json, told)
        return 0


@dataclass
class StandIns:
    """Write small rendered sets in the layouts of rain100l, nyuv2-depth and refcoco, to try `eval benchmark` on.

    They are no benchmarks: the same renderer made what the bundled model learnt from, though not these combinations of
    colour and shape.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """New or empty; each set gets a folder in it."""
    n: int = 16
    """Pictures of each set."""
    size: int = 128
    """Side of the pictures, a multiple of 16."""
    seed: int = 0
    """Of scenes, rain and expressions."""

    def run(self) -> int:
        """Write the sets and print the commands that judge them."""
        from ..comfyui_pixwizard.pictures.sizes import check_size
        from ..training.benchmarks.stand_ins import write_stand_ins

        check_size(self.size)
        if self.n < 1:
            raise ValueError(f"--n is at least 1, found {self.n}: raise it")
        for name, place in write_stand_ins(self.folder, self.n, self.size, self.seed).items():
            print(f"pixwizard eval benchmark {name} --data {place}")
        return 0


def watch(what: str, total: int) -> Callable[[int], Any]:
    """A bar for what begins."""
    from tqdm import tqdm

    return tqdm(total=total, desc=what, unit="picture", leave=False).update
