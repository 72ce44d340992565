"""`pixwizard bench quality`: how far from the exact answer of the flow each solver is, by evaluations of the network.

The exact answer is what the model draws from the same noise with very many steps; nothing is said about the truth.
Shapes: N pictures, H, W pixels, C latent channels, h w = H/8 W/8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..comfyui_pixwizard.evaluator import Branch, Eager
from ..comfyui_pixwizard.files.safe_files import replaced, write_json
from ..comfyui_pixwizard.flow import time_grid
from ..comfyui_pixwizard.guidance import ALWAYS, DualGuidance
from ..comfyui_pixwizard.limits import check_least
from ..comfyui_pixwizard.noise import draw_noise, noise_generators
from ..comfyui_pixwizard.solvers import EVALUATIONS, solve
from ..training.evaluate.metrics import psnr
from .chart import figure_class, line_charts

if TYPE_CHECKING:  # slow, and not needed for --help
    from ..comfyui_pixwizard.pipeline import PixWizardPipeline
    from ..comfyui_pixwizard.tasks.declared import Declared

REFERENCE, INTERVAL = "rk4", (0.2, 0.9)
Advance = Callable[[int], Any]


@dataclass(frozen=True)
class Method:
    """A solver, and when there is guidance.

    Attributes:
        interval: of guidance.
    """

    solver: str
    interval: tuple[float, float] = ALWAYS

    def steps(self, evaluations: int) -> int | None:
        """Steps of a budget, None where it is not a whole number of them."""
        steps, left = divmod(evaluations, EVALUATIONS[self.solver])
        return None if left else steps


@dataclass
class PreparedTask:
    """One task's pictures, the same for all methods.

    Attributes:
        guidance: of the task, at all times.
        noise: [N, C, h, w].
    """

    guidance: DualGuidance
    noise: Tensor
    branches: dict[str, Branch]


@dataclass
class Quality:
    """Measure what fewer evaluations cost: PSNR to the answer of very many, for every solver and saving.

    Beside the solvers: euler with guidance between t = 0.2 and 0.9 only (not measured where the weights are 1/1, which
    is no guidance). "work" counts evaluations of all branches; with an interval one evaluation is less than one of it.
    Guidance in an interval means another picture: its curve levels off.
    """

    tasks: tuple[str, ...] = ("depth", "denoise", "line_art_to_image")
    """Tasks on rendered scenes, restoration and painting on dead-leaves pictures; each with the guidance that the model
    declares."""
    n: int = 8
    """Pictures of each task."""
    size: int = 128
    """Side of the pictures, a multiple of 16."""
    budgets: tuple[int, ...] = (2, 4, 6, 8, 12, 16, 24, 32, 48, 64)
    """Numbers of evaluations; methods that take several a step leave out those that do not divide."""
    reference: int = 100
    """Steps of rk4 that the reference takes, four evaluations each."""
    target: float = 40.0
    """PSNR in dB that the summary asks for."""
    seed: int = 0
    """Of pictures, instructions and noise."""
    model: str = "nano"
    """The bundled model, nano, or a folder."""
    json: Path | None = None
    """Also write the figures there."""
    png: Path | None = None
    """Also draw them there, a chart for each task."""

    def run(self) -> int:
        """Measure, print the table and write what was asked for.

        Raises:
            ValueError: settings that cannot be used, no such model, files that cannot be written.
        """
        self.check()
        from ..comfyui_pixwizard.pipeline import PixWizardPipeline

        pipeline = PixWizardPipeline.from_pretrained(self.model)
        if torch.cuda.is_available():
            pipeline.to("cuda")
        found = {}
        with torch.inference_mode(), tqdm(unit="evaluation", total=0, leave=False) as bar:
            for task in self.tasks:
                bar.set_description(task)
                found[task] = self.measure(pipeline, task, bar)
        print("\n\n".join(self.table(task, row) for task, row in found.items()))
        self.write(found)
        return 0

    def check(self) -> None:
        """Raise ValueError for the first setting that cannot be used, or where a chart is wanted without matplotlib."""
        from ..training.evaluate.samples import ON_PHOTOGRAPHS
        from ..training.evaluate.scene_samples import ON_SCENES

        known = (*ON_SCENES, *ON_PHOTOGRAPHS)
        unknown = [name for name in self.tasks if name not in known]
        if unknown or not self.tasks:
            raise ValueError(f"--tasks must be among {', '.join(known)}, found {', '.join(unknown) or 'none'}: drop it")
        if self.size < 16 or self.size % 16:
            raise ValueError(f"--size must be a multiple of 16, found {self.size}: take 128")
        if not self.budgets or min(self.budgets) < 1 or list(self.budgets) != sorted(set(self.budgets)):
            found = " ".join(map(str, self.budgets)) or "none"
            raise ValueError(f"--budgets must be numbers from 1 up that grow, found {found}: take 2 4 8 16 32")
        check_least(self, n=1, reference=1)
        for option, path in (("json", self.json), ("png", self.png)):
            if path is not None and path.is_dir():
                raise ValueError(f"--{option} takes a file, found the folder {path}: name a file in it")
        if self.png is not None:
            figure_class()

    def measure(self, pipeline: PixWizardPipeline, task: str, bar: Any) -> dict[str, Any]:
        """Every method's curve and what it needs for the target; the bar counts evaluations."""
        prepared = prepare(pipeline, task, self.n, self.size, self.seed)
        guided = prepared.guidance.branches() != ["full"]  # where there is no guidance its interval changes nothing
        chosen = {name: method for name, method in methods().items() if guided or method.interval == ALWAYS}
        runs = {
            name: [(budget, steps) for budget in self.budgets if (steps := method.steps(budget))]
            for name, method in chosen.items()
        }
        bar.total += 4 * self.reference + sum(budget for found in runs.values() for budget, _ in found)
        exact, _ = draw(pipeline, prepared, Method(REFERENCE), self.reference, bar.update)
        curves: dict[str, list[dict[str, float]]] = {}
        for name, method in chosen.items():
            curves[name] = []
            for budget, steps in runs[name]:
                pictures, work = draw(pipeline, prepared, method, steps, bar.update)
                decibel = round(float(psnr(pictures, exact).mean()), 2)
                curves[name].append({"evaluations": budget, "work": round(work, 3), "psnr": decibel})
        summary = summed_up(curves, self.target)
        weights = [prepared.guidance.text, prepared.guidance.image]
        rows = {name: {"points": points} | summary[name] for name, points in curves.items()}
        return {"guidance": weights, "methods": rows}

    def table(self, task: str, found: Mapping[str, Any]) -> str:
        """The figures of one task for people."""
        text, image = found["guidance"]
        head = (
            f"{task}, guidance {text:g}/{image:g}: PSNR in dB to {4 * self.reference} evaluations ({REFERENCE}), "
            f"{self.n} pictures of {self.size} px"
        )
        columns = "".join(f"{budget:>7}" for budget in self.budgets)
        lines = [head, f"{'evaluations':16}{columns}{'work each':>11}{f'to {self.target:g} dB':>10}{'saves':>8}"]
        for name, row in found["methods"].items():
            cells = {point["evaluations"]: f"{point['psnr']:.1f}" for point in row["points"]}
            spent = sum(point["work"] for point in row["points"]) / max(1, sum(cells))
            needs = "-" if row["reaches"] is None else f"{row['reaches']['evaluations']}"
            ratio = "-" if row["ratio"] is None else f"{'>' if row['ratio_at_least'] else ''}{row['ratio']:.1f}x"
            values = "".join(f"{cells.get(budget, '-'):>7}" for budget in self.budgets)
            lines.append(f"{name:16}{values}{spent:>11.2f}{needs:>10}{ratio:>8}")
        return "\n".join(lines)

    def write(self, found: Mapping[str, Any]) -> None:
        """The files that were asked for, each whole or not at all."""
        if self.json is not None:
            names = ("n", "size", "reference", "target", "seed", "model")
            settings = {name: getattr(self, name) for name in names} | {"budgets": list(self.budgets)}
            write_json(self.json, {"tasks": found, "settings": settings})
        if self.png is not None:
            with replaced(self.png) as file:
                self.chart(found).savefig(file, format="png")

    def chart(self, found: Mapping[str, Any]) -> Any:
        """A figure with a chart for each task, one below the other."""
        charts = {}
        for task, row in found.items():
            charts[f"{task}: distance to the answer of {4 * self.reference} evaluations"] = {
                name: [(point["work"], point["psnr"]) for point in method["points"]]
                for name, method in row["methods"].items()
                if method["points"]
            }
        ticks = [budget for budget in self.budgets if budget.bit_count() == 1] or self.budgets
        return line_charts(charts, "evaluations of all branches", "PSNR, dB", ticks, self.target)


def methods() -> dict[str, Method]:
    """What is compared, by name: all solvers as they are, and one saving."""
    return {name: Method(name) for name in EVALUATIONS} | {"euler_interval": Method("euler", interval=INTERVAL)}


def prepare(pipeline: PixWizardPipeline, task: str, n: int, size: int, seed: int) -> PreparedTask:
    """A task's questions, encoded as the pipeline does, and the noise of seeds seed, seed + 1, …"""
    asked = questions(task, n, size, seed, pipeline.declared)
    weight = pipeline.transformer.x_embedder.weight
    source = (asked.source * 2 - 1).to(weight.device, weight.dtype)
    generators = noise_generators(len(asked), None, range(seed, seed + len(asked)))
    shape = (pipeline.autoencoder.channels, source.shape[2] // 8, source.shape[3] // 8)
    noise = draw_noise(shape, generators, source.device)
    row = pipeline.declared[task]
    guidance = row.guidance()
    needed = replace(guidance, interval=INTERVAL).branches()
    rows = pipeline.task_rows(asked.instructions, None)
    branches = pipeline.encode(source, asked.instructions, needed, noise, generators, task_rows=rows)
    return PreparedTask(guidance, noise, branches)


def questions(task: str, n: int, size: int, seed: int, declared: Declared) -> Any:
    """The evaluation's samples of a task: on rendered scenes, or made of dead-leaves pictures."""
    from ..training.evaluate.samples import restoration_samples, seeded
    from ..training.evaluate.scene_samples import ON_SCENES, SceneSet
    from ..training.render.dead_leaves import dead_leaves

    if task in ON_SCENES:
        return SceneSet(n, size, seed, "test", declared).samples(task)
    return restoration_samples(task, dead_leaves(n, size, seeded("bench", seed)), seed)


def draw(
    pipeline: PixWizardPipeline, prepared: PreparedTask, method: Method, steps: int, advance: Advance
) -> tuple[Tensor, float]:
    """Pictures [N, 3, H, W] in [0, 1], and the work: evaluations of all the task's branches."""
    guidance = replace(prepared.guidance, interval=method.interval)
    grid, evaluated = time_grid(steps + 1), 0
    step = Eager().start(pipeline.transformer, prepared.branches, grid[:-1].tolist())

    def velocity(x: Any, t: Tensor) -> Any:
        nonlocal evaluated
        now = guidance.at(float(t))
        names = now.branches()
        evaluated += len(names)
        return now.combine(step(x, float(t), names))

    x: Any = solve(velocity, prepared.noise, grid, method.solver, lambda *_: advance(EVALUATIONS[method.solver]))
    weight = pipeline.transformer.x_embedder.weight
    return pipeline.decode(x.to(weight.dtype)) / 2 + 0.5, evaluated / len(prepared.guidance.branches())


def summed_up(curves: Mapping[str, Sequence[Mapping[str, float]]], target: float) -> dict[str, dict[str, Any]]:
    """By method: the first measured point at the target or above, and euler's work over that point's.

    Where euler stays below, its largest work is taken, and the ratio is at least that.
    """
    reached = {name: next((p for p in points if p["psnr"] >= target), None) for name, points in curves.items()}
    euler = reached["euler"] or (curves["euler"][-1] if curves["euler"] else None)
    found: dict[str, dict[str, Any]] = {}
    for name, point in reached.items():
        ratio = None if point is None or euler is None else round(euler["work"] / point["work"], 2)
        at_least = ratio is not None and reached["euler"] is None
        found[name] = {"reaches": point, "ratio": ratio, "ratio_at_least": at_least}
    return found
