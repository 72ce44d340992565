"""The paper's Table 6 in small: does it help small tasks to train in two stages?

Tasks of very unequal size; one arm trains on everything by its own size from the beginning to the end, the other first
brings every task to the same count (stage 1) and then goes on as the first one does (stage 2). Both start from the same
weights, take the same number of steps at the same learning rates, and are judged on the same held-out pairs.
The encoders and the autoencoder are the bundled model's, frozen, so latents and text features are computed once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from tqdm import tqdm

from ...comfyui_pixwizard.config import PixWizardConfig
from ...comfyui_pixwizard.files.safe_files import write_json
from ...comfyui_pixwizard.pipeline import PixWizardPipeline
from ...comfyui_pixwizard.transformer import PixWizardTransformer
from ...runtime.evaluators import fast_bfloat16
from ..data.feed.loader import Loader
from ..data.feed.mixture import GENERATION
from ..data.feed.plan import Plan
from ..data.rendered.figure_pool import FacePool, FigurePool
from ..data.rendered.fixed_pairs import RenderedPairs
from ..data.rendered.pools import LeafPool
from ..data.rendered.scene_pool import ScenePool
from ..data.rendered.sources import RenderedSources
from ..evaluate.questions import Questions
from ..evaluate.runner import EvaluationSettings, Row, evaluate
from ..loop.parallel import ParallelConfig, World
from ..loop.trainer import Trainer, TrainerConfig
from ..loop.velocity import Drawing, Dropout, FeatureModel
from .initialization import open_gates, spread_times
from .locality import prefer_neighbours
from .shard_stage import Encoders, StreamedStage

# Pairs of each task: two orders of magnitude apart, as in the paper's collection.
COUNTS = {
    "denoise": 4000, GENERATION: 2000, "depth": 2000, "canny": 1000,
    "segmentation": 120, "normal": 80, "referring_mask": 40,
}  # fmt: skip
ARMS = ("one-stage", "two-stage")
TEST_SEED = 1_000


@dataclass
class TwoStageRecipe:
    """Train the same small model in one stage and in two, equally long, and compare them on held-out data.

    Stop it and run the same command again: it goes on. FOLDER/result.json holds the comparison.
    """

    folder: Path = Path("runs/two-stage")
    """Where data, both runs and the result are kept."""
    steps: int = 2400
    """Steps of each arm."""
    stage_1: float = 0.5
    """Share of the steps of the second arm that are stage 1."""
    generation: float = 0.5
    """Share of text-to-image where tasks are drawn by their size; the paper's is 0.5."""
    batch_size: int = 32
    """Samples of a step."""
    size: int = 64
    """Side of the pictures."""
    lr: float = 1e-3
    """Peak learning rate."""
    scenes: int = 1200
    """Rendered scenes that the pairs are drawn from."""
    sheets: int = 8
    """Dead-leaves sheets that clean pictures are cut from."""
    held_out: int = 64
    """Held-out pairs of each task for the losses."""
    asked: int = 48
    """Held-out scenes for the metrics."""
    smallest: int = 3
    """How many of the smallest tasks the comparison is about."""
    seed: int = 0
    """Seed of weights, order and draws; the data are the same for every seed."""
    counts: Annotated[dict[str, int], tyro.conf.Suppress] = field(default_factory=lambda: dict(COUNTS))

    def run(self) -> bool:
        """Train both arms, compare; False when a signal ended it early.

        Raises:
            ValueError: lengths that make no sense, or a folder that holds another comparison.
        """
        if self.steps < 2 or not 0 < self.stage_1 < 1:
            found = f"{self.steps} and {self.stage_1:g}"
            raise ValueError(f"--steps is at least 2 and --stage-1 between 0 and 1, found {found}: take 2400 and 0.5")
        self._prepare()
        for arm in ARMS:
            if not self._train(arm):
                return False
        return self._compare()

    def _prepare(self) -> None:
        self.given = PixWizardPipeline.from_pretrained("nano")
        parts = self.given.text_encoder, self.given.task_encoder, self.given.image_encoder, self.given.autoencoder
        self.encoders = Encoders(*parts, keep_pictures=2 * sum(self.counts.values()) + 10_000)
        pools = self.folder / "pools"
        leaves = LeafPool(pools, self.sheets)
        scenes = ScenePool(pools, self.scenes, self.size, edits_per_scene=1)
        people, faces = FigurePool(pools, 20, self.size), FacePool(pools, 20, self.size)
        self.rendered = RenderedSources(self.size, leaves.draw, scenes, people, faces)
        self.items = [RenderedPairs(pools, task, n, self.rendered) for task, n in self.counts.items()]
        self.bfloat16 = fast_bfloat16(torch.device("cpu"))

    def plan(self, name: str) -> tuple[Plan, Sequence[RenderedPairs]]:
        """The order of "stage 1", where every task is drawn equally often, or of "stage 2", by size."""
        if name == "stage 1":
            most = max(self.counts.values())
            items: Sequence[RenderedPairs] = [item.drawn(most / len(item.source)) for item in self.items]
            return Plan([item.source for item in items], self.seed, self.batch_size), items
        shares = {GENERATION: self.generation} if GENERATION in self.counts else {}
        return Plan([item.source for item in self.items], self.seed, self.batch_size, shares), self.items

    def _stage(self, model: FeatureModel, name: str) -> StreamedStage:
        plan, items = self.plan(name)
        loader = Loader(plan, items, batch_size=self.batch_size)
        options: dict[str, Any] = dict(name=name, bfloat16=self.bfloat16, equal_power=True)
        return StreamedStage(model, loader, self.encoders, Drawing(times="shift_0.2"), **options)

    def start(self) -> PixWizardTransformer:
        """The weights that both arms begin with: a fresh network of the bundled model's shape."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            transformer = PixWizardTransformer(PixWizardConfig.preset("nano"))
            spread_times(transformer.t_embedder)
        prefer_neighbours(transformer)
        open_gates(transformer)
        return transformer

    def _trainer(self, arm: str) -> tuple[Trainer, list[tuple[int, StreamedStage]]]:
        model = FeatureModel(self.start())
        first = round(self.steps * self.stage_1)
        names = [(self.steps, "stage 2")] if arm == "one-stage" else [(first, "stage 1"), (self.steps, "stage 2")]
        stages = [(until, self._stage(model, name)) for until, name in names]
        config = TrainerConfig(
            lr=self.lr, vector_lr=6.0, warmup=min(150, self.steps // 10), cooldown=0.4, ema=0.998, seed=self.seed
        )
        world = World(ParallelConfig(mode="single"), "cpu")
        return Trainer(stages[0][1], self.folder / arm, config, world), stages

    def _train(self, arm: str) -> bool:
        trainer, stages = self._trainer(arm)
        trainer.resume()
        print(f"{arm}: {trainer.step} of {self.steps} steps done")
        for until, stage in stages:
            if trainer.step < until:
                trainer.use(stage)
                if not trainer.run(steps=until, plan_steps=self.steps):
                    return False
        return True

    # -- judging -------------------------------------------------------------------------------------------------------

    def _compare(self) -> bool:
        found: dict[str, dict[str, Any]] = {}
        for arm in ARMS:
            trainer, stages = self._trainer(arm)
            trainer.resume()
            trainer.load_average()
            model = stages[0][1].model.eval()
            found[arm] = {"losses": self._losses(model), "metrics": self._metrics(model)}
        report = self.report(found)
        write_json(self.folder / "result.json", report)
        print(table(report))
        print(f"wrote {self.folder / 'result.json'}")
        return True

    @torch.no_grad()
    def _losses(self, model: FeatureModel) -> dict[str, float]:
        """Mean loss of each task on pairs and with draws that training had not; nothing is dropped."""
        pools, losses = self.folder / "pools", {}
        test = RenderedSources(
            self.size,
            self.rendered.clean,
            ScenePool(pools, 4 * self.held_out, self.size, seed=TEST_SEED, edits_per_scene=1),
            self.rendered.figures,
            self.rendered.faces,
        )
        for task in tqdm(self.counts, desc="held-out losses", unit="task"):
            items = RenderedPairs(pools, task, self.held_out, test, seed=TEST_SEED)
            plan = Plan([items.source], TEST_SEED, self.held_out)
            loader = Loader(plan, [items], batch_size=self.held_out)
            stage = StreamedStage(model, loader, self.encoders, Drawing("uniform", Dropout(0.0, 0.0, 0.0)))
            values = [stage.losses(stage.batch(torch.Generator()))[0].mean() for _ in range(4)]
            losses[task] = float(torch.stack(values).mean())
        return losses

    def _metrics(self, model: FeatureModel) -> dict[str, Row]:
        """What `pixwizard eval` measures, on its held-out scenes (photographs' tasks are left to the losses)."""
        parts = self.given.parts | {"transformer": model.transformer, "task_table": None}
        pipeline = PixWizardPipeline(**parts)
        asked = Questions(self.asked, self.size, self.size, self.seed)
        rows = {}
        for task in tqdm(self.counts, desc="metrics", unit="task"):
            if task not in ("denoise", GENERATION):
                rows[task] = evaluate(
                    pipeline, asked.samples(task), EvaluationSettings(self.seed, steps=8), lambda n: None
                ).row
        return rows

    def report(self, found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Both arms side by side, tasks from small to large; whether two stages beat one on the smallest."""
        tasks = sorted(self.counts, key=lambda task: self.counts[task])
        rows = []
        for task in tasks:
            row: dict[str, Any] = {"task": task, "pairs": self.counts[task]}
            row["losses"] = {arm: found[arm]["losses"][task] for arm in ARMS}
            if task in found[ARMS[0]]["metrics"]:
                lines = {arm: found[arm]["metrics"][task] for arm in ARMS}
                row["metric"] = lines[ARMS[0]]["metric"]
                row["lower_is_better"] = lines[ARMS[0]]["lower_is_better"]
                row["values"] = {arm: line["value"] for arm, line in lines.items()}
            rows.append(row)
        one, two = (sum(row["losses"][arm] for row in rows[: self.smallest]) / self.smallest for arm in ARMS)
        settings = {name: value for name, value in vars(self).items() if isinstance(value, int | float)}
        return {
            "settings": settings,
            "rows": rows,
            "smallest": tasks[: self.smallest],
            "mean_loss_on_smallest": {ARMS[0]: one, ARMS[1]: two},
            "two_stages_win": two < one,
        }


def table(report: Mapping[str, Any]) -> str:
    """The comparison as text."""
    lines = [f"{'task':<16}{'pairs':>6}{'loss: one':>11}{'two':>9}   metric: one, two"]
    for row in report["rows"]:
        losses = "".join(f"{row['losses'][arm]:>{width}.4f}" for arm, width in zip(ARMS, (11, 9), strict=True))
        values = "  ".join(f"{row['values'][arm]:.3f}" for arm in ARMS) if "values" in row else ""
        arrow = ("lower" if row["lower_is_better"] else "higher") if values else ""
        told = f"   {values}  {row['metric']} ({arrow} is better)" if values else ""
        lines.append(f"{row['task']:<16}{row['pairs']:>6}{losses}{told}")
    one, two = (report["mean_loss_on_smallest"][arm] for arm in ARMS)
    lines.append(f"mean loss on {', '.join(report['smallest'])}: one stage {one:.4f}, two stages {two:.4f}")
    return "\n".join(lines)
