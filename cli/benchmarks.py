"""`pixwizard eval benchmark NAME`, `benchmarks` and `stand-ins`: the field's benchmarks, on the reader's own copy."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from ..comfyui_pixwizard.solvers import DEFAULT_SOLVER

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
    n: int | None = None
    """Only the first so many pictures; a figure that papers print needs all of them."""
    split: str = ""
    """Of the data set, where it has several."""
    size: int | None = None
    """Side of the square of the model's area; the picture's own by default."""
    steps: int | None = None
    """Points of the time grid; the task's own by default."""
    solver: str = DEFAULT_SOLVER
    """Solver of the flow."""
    text_guidance: float | None = None
    """Weight of the instruction."""
    image_guidance: float | None = None
    """Weight of the picture."""
    seed: int = 0
    """Of the noise, with each picture's name."""
    by: Literal["overlay", "hsv", "mask"] = "overlay"
    """How referring masks are read: against the picture, by hue as the paper does, or as white on black."""
    codec: str = ""
    """How depth (walk, gray) or classes (palette, ade20k) are read; gray and ade20k for released weights."""
    axes: Literal["right-up", "left-up"] = "right-up"
    """Of the normals in the answers; left-up for weights that learnt from DSINE."""
    clip: Path | None = None
    """An open_clip checkpoint for CLIP metrics."""
    clip_model: str = "ViT-B-32-quickgelu"
    """Its architecture in open_clip, or a JSON file of one."""
    dino: Path | None = None
    """DINO's weights (dino_vits16)."""
    dino_model: str = "vit_small_patch16_224"
    """Their architecture in timm."""
    inception: Path | None = None
    """Inception's weights of torch-fidelity, for FID and inception score."""
    lpips: Path | None = None
    """torchvision's weights of the backbone of LPIPS."""
    lpips_net: Literal["vgg", "alex"] = "vgg"
    """Which backbone that is."""
    hps: Path | None = None
    """HPSv2's checkpoint."""
    hps_model: str = "ViT-H-14"
    """Its architecture in open_clip, or a JSON file of one."""
    depth_model: Path | None = None
    """A folder of a depth estimator of transformers, for depth-to-image."""
    device: str = "auto"
    """Of the model and the networks: cpu, cuda or cuda:N; auto is the GPU where there is one."""

    def run(self) -> int:
        """Judge and print the row.

        Raises:
            ValueError: settings or files that cannot be used, or more unusable pictures than are allowed.
        """
        self._check()
        from ..comfyui_pixwizard.files.safe_files import replaced
        from ..training.benchmarks.judging import judge
        from ..training.benchmarks.report_table import table

        outcome = judge(self.name, self.data, self._source(), self._options(), watch, allow_missing=self.allow_missing)
        print(table(outcome))
        if self.json is not None:
            with replaced(self.json) as file:
                file.write((json.dumps(outcome.told(), indent=1, allow_nan=False, default=str) + "\n").encode())
        if self.report is not None:
            from .benchmark_page import write_page

            write_page(self.report, outcome)
            print(f"wrote {self.report}")
        return 0

    def _check(self) -> None:
        from ..bench.chart import figure_class
        from ..comfyui_pixwizard.pictures.sizes import check_size
        from ..comfyui_pixwizard.solvers import EVALUATIONS
        from ..training.benchmarks.catalogue import benchmark

        benchmark(self.name)
        if self.report is not None:
            figure_class()  # tells what is missing before anything is made
        if self.solver not in EVALUATIONS:
            raise ValueError(f"--solver must be one of {', '.join(EVALUATIONS)}, found {self.solver}: take euler")
        for name, least in (("n", 1), ("steps", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"--{name} must be at least {least}, found {value}: raise it")
        check_size(self.size)
        for path in (self.data, self.answers):
            if path is not None and not path.is_dir():
                raise ValueError(f"--data and --answers are folders, found none at {path}: check the path")
        for name in ("clip", "dino", "inception", "lpips", "hps"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise ValueError(f"--{name} is a file of weights, found none at {path}: check the path")

    def _options(self) -> Any:
        from ..runtime.evaluators import find_device
        from ..training.benchmarks.options import Options

        chosen = {one.name: getattr(self, one.name) for one in fields(Options)}
        return Options(**chosen | {"device": str(find_device(self.device))})

    def _source(self) -> Any:
        from ..training.benchmarks.judging import Source

        if self.answers is not None:
            return Source(self.answers)
        kept = self.out or KEPT / self.name / Path(self.model).name
        return Source(kept, self.model, self._load)

    def _load(self) -> Any:
        from ..comfyui_pixwizard.pipeline import PixWizardPipeline
        from ..runtime.evaluators import find_device

        return PixWizardPipeline.from_pretrained(self.model).to(find_device(self.device))


@dataclass
class EvalBenchmarks:
    """List the benchmarks: layout, size, terms and the command."""

    json: Path | None = None
    """Write the list to this file too."""

    def run(self) -> int:
        """Print the list."""
        from ..comfyui_pixwizard.files.safe_files import replaced
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
            with replaced(self.json) as file:
                file.write((json.dumps(told, indent=1) + "\n").encode())
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
