"""Training on shards that `pixwizard data build` made, from a laptop to a cluster; `stages` has the recipes.

Source: paper, sections 3.3 and C; what the released code does instead is in docs/training.md.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from ...comfyui_pixwizard.config import PixWizardConfig
from ...comfyui_pixwizard.encoders.autoencoder import SdxlAutoencoder
from ...comfyui_pixwizard.encoders.clip import ClipTextEncoder, ClipVisionEncoder
from ...comfyui_pixwizard.encoders.gemma import GemmaTextEncoder
from ...comfyui_pixwizard.files.checkpoint import ModelFiles, meta_specs
from ...comfyui_pixwizard.files.components import find_folder
from ...comfyui_pixwizard.pipeline import PixWizardPipeline
from ...comfyui_pixwizard.task_table import TaskTable
from ...comfyui_pixwizard.tasks import TASKS
from ...comfyui_pixwizard.transformer import PixWizardTransformer
from ...runtime.evaluators import default_device, fast_bfloat16
from ..data.feed.collection import Collection
from ..data.feed.loader import Items, Loader
from ..data.feed.mixture import GENERATION
from ..data.feed.pairs_from_stored import serves
from ..data.feed.plan import Plan
from ..loop.exporting import INSIDE, TABLE, RunExport, RunModel, table_of, transformer_of
from ..loop.parallel import Mode, ParallelConfig, World
from ..loop.trainer import Trainer, TrainerConfig
from ..loop.validation import Grid
from ..loop.velocity import Drawing, Dropout, FeatureModel
from . import estimate
from .initial_weights import load_start
from .shard_stage import Encoders, StreamedStage


@dataclass
class FullRecipe:
    """What all trainings on shards have in common.

    Under torchrun every process takes a share; the batch stays the same whatever their number. A run that was stopped
    or killed goes on when the same command is run again, on any number of processes.
    """

    data: tuple[Path, ...]
    """Folders that `pixwizard data build` made."""
    folder: Path
    """The run's folder: checkpoints, logs, result."""
    model: str | None = None
    """A model of this project, nano or a folder: its encoders, and its transformer unless --start names another."""
    gemma: Path | None = None
    """Gemma-2B's folder, for a model that has none yet; with --clip, --vae and --start."""
    clip: Path | None = None
    """Folder of CLIP-L/14-336, both towers."""
    vae: Path | None = None
    """SDXL's autoencoder, file or folder."""
    start: Path | None = None
    """Weights to begin with: this project's, a released folder, or Lumina-Next-T2I."""
    tasks: tuple[str, ...] = ()
    """Tasks to train; all that the data can serve by default."""
    lr: float = 1e-4
    """Learning rate of AdamW."""
    warmup: int = 0
    """Steps over which the rate rises."""
    sizes: tuple[int, ...] = (512, 768)
    """Sides of the squares round which the size buckets lie."""
    per_task: int = 0
    """Bring every task to so many samples an epoch; 0 draws by the data's own sizes."""
    epochs: float = 1.0
    """Passes over the plan."""
    samples: int = 0
    """Samples of the whole training, instead of epochs."""
    generation: float = 0.0
    """Share of text-to-image; 0 leaves it to the data."""
    batch_size: int = 1024
    """Samples of a step over all processes."""
    micro_batch: int = 8
    """Samples of a forward pass of one process; gradients are accumulated to reach the batch."""
    ema: float = 0.9999
    """Decay of the averaged weights."""
    clip_norm: float = 2.0
    """Largest norm of the gradient."""
    drop_text: float = 0.05
    """Share of samples without text, for guidance."""
    drop_image: float = 0.05
    """Share of samples without image."""
    drop_both: float = 0.05
    """Share of samples without either; the three exclude each other."""
    null_image: Literal["noise", "zeros"] = "noise"
    """What stands for the source of a sample without image; noise as in the released weights."""
    task_table: bool = False
    """Also learn a vector and a token for each task (docs/task_vectors.md); a run has one from its start or none."""
    gumbel: bool = True
    """Choose image tokens with Gumbel noise while training, as the paper does; evaluation never does."""
    times: str = "uniform"
    """How the flow's t is drawn: uniform, uniform_a_b, lognorm or shift_s."""
    parallel: Mode = "auto"
    """One device (single), whole copies (ddp), or shards (fsdp); auto is fsdp for several processes."""
    shard: int = 0
    """With fsdp, devices that share one copy; 0 for all."""
    reshard: bool = False
    """With fsdp, give gathered weights back after each block: less memory, more communication."""
    bfloat16: bool = field(default_factory=lambda: fast_bfloat16(default_device()))
    """Compute in bfloat16; master weights and sums stay in float32. By default where this machine's GPU, or its CPU
    where there is none, multiplies faster in it; elsewhere it is several times slower."""
    recompute: bool = False
    """Compute activations again in the backward pass (activation checkpointing): less memory, a third more time."""
    compile: bool = False
    """Compile each block."""
    workers: int = 4
    """Processes that read data, for each training process."""
    cache: Path | None = None
    """Keep latents of pictures that recur in this folder."""
    save_minutes: float = 20.0
    """Minutes between checkpoints."""
    keep: int = 3
    """Checkpoints to keep."""
    log_every: int = 20
    """Steps between lines of the log."""
    validate_every: int = 0
    """Steps between validations; 0 for none."""
    validate_tasks: tuple[str, ...] = ("depth", "segmentation", "canny", "edit_remove")
    """What a validation asks."""
    validate_size: int = 256
    """Side of its pictures."""
    wandb: str | None = None
    """Log to this project at Weights & Biases, beside TensorBoard."""
    device: str | None = None
    """cpu or cuda; what there is by default."""
    steps: int | None = None
    """Stop after so many steps in all, before the plan's end."""
    seed: int = 0
    """Seed of order, draws and fresh weights."""
    dry_run: bool = False
    """Only say what the training would take."""
    devices: int = 8
    """Of the estimate."""
    tflops: float = 300.0
    """Of the estimate: useful TFLOP/s of one device; an H100 reaches 300 to 400 in bfloat16."""

    def run(self) -> bool:
        """Train, and export to FOLDER/export at the end; False when a signal ended it early.

        Raises:
            ValueError: data, models or settings that do not fit each other.
            TrainingError: the loss is not finite, or data cannot be read.
        """
        items = self.items()
        plan = self.plan(items)
        if self.dry_run:
            print(self.estimated(plan))
            return True
        config = ParallelConfig(self.parallel, self.shard, self.reshard, self.bfloat16, self.recompute, self.compile)
        world = World(config, self.device)
        try:
            return self._train(world, plan, items)
        finally:
            world.close()

    # -- data ---------------------------------------------------------------------------------------------------------

    def items(self) -> list[Items]:
        """Every task's samples of every folder, at the rate of this recipe."""
        if not self.data:
            raise ValueError("--data names folders that pixwizard data build made, found none: give at least one")
        found: list[Items] = []
        for folder in self.data:
            collection = Collection(folder)
            tasks = self.tasks or [task for task in TASKS if serves(collection.table, task).any()]
            found += [collection.items(task, self.sizes) for task in tasks]
        return found

    def plan(self, items: Sequence[Items]) -> Plan:
        """The order: every task as often (per_task), or by size with a share of text-to-image."""
        sources = [item.source for item in items]
        shares = {}
        if self.per_task:
            have = Counter[str]()
            for source in sources:
                have[source.task] += len(source)
            for item, source in zip(items, sources, strict=True):
                item.source = replace(source, repeats=self.per_task / have[source.task], fraction=1.0)  # type: ignore[misc]
            sources = [item.source for item in items]
        elif self.generation:
            shares = {GENERATION: self.generation}
        return Plan(sources, self.seed, self.batch_size, shares)

    def total_steps(self, plan: Plan) -> int:
        """Of the whole training."""
        samples = self.samples or self.epochs * plan.epoch_size()
        return max(1, math.ceil(samples / self.batch_size))

    # -- model --------------------------------------------------------------------------------------------------------

    def pipeline(self, world: World) -> PixWizardPipeline:
        """All parts; the transformer as the training begins with it, the encoders as they stay."""
        given = (self.gemma, self.clip, self.vae)
        if self.model is not None and not any(given):
            pipeline = PixWizardPipeline.from_pretrained(self.model)
            if self.start is not None:
                pipeline = PixWizardPipeline(**pipeline.parts | {"transformer": self._start(world)})
            return pipeline
        if self.model is not None or None in given or self.start is None:
            raise ValueError(
                "a training needs --model, or all of --gemma, --clip, --vae and --start; found "
                f"{', '.join(n for n in ('model', 'gemma', 'clip', 'vae', 'start') if getattr(self, n)) or 'none'}: "
                "give the others"
            )
        dtype = torch.bfloat16 if self.bfloat16 else torch.float32
        assert self.gemma and self.clip and self.vae
        return PixWizardPipeline(
            self._start(world),
            GemmaTextEncoder.from_pretrained(self.gemma, dtype),
            ClipTextEncoder.from_pretrained(self.clip, dtype),
            ClipVisionEncoder.from_pretrained(self.clip, dtype),
            # In half precision SDXL's autoencoder overflows.
            SdxlAutoencoder.from_pretrained(self.vae, dtype=torch.float32),
            max_size=max(self.sizes),
        )

    def _start(self, world: World) -> PixWizardTransformer:
        assert self.start is not None
        return load_start(self.start, self.folder, world, self.seed)

    def prepare(self, transformer: PixWizardTransformer) -> None:
        """Choose what is trained: all of it."""
        transformer.requires_grad_(True)

    def run_model(self, transformer: PixWizardTransformer) -> RunModel:
        """What FOLDER/model.json says."""
        told = {"recipe": f"pixwizard train {type(self).__name__.lower()}"}
        return RunModel(transformer.config, None, told, tuple(TASKS) if self.task_table else ())

    def rebuilder(self, base: PixWizardTransformer) -> Callable[[dict[str, Tensor]], PixWizardTransformer]:
        """What makes a transformer of averaged weights, named as in the run; asked for before `base` is cut up."""
        return lambda weights: transformer_of(unprefixed(weights), base.config)

    # -- training -----------------------------------------------------------------------------------------------------

    def _train(self, world: World, plan: Plan, items: Sequence[Items]) -> bool:
        accumulate, rest = divmod(self.batch_size, world.size * self.micro_batch)
        if rest or not accumulate:
            raise ValueError(
                f"--batch-size is a multiple of processes times --micro-batch, found {self.batch_size}, {world.size} "
                f"and {self.micro_batch}: change one of them"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        pipeline = self.pipeline(world)
        base = pipeline.transformer
        self.prepare(base)
        if world.main:
            self.run_model(base).save(self.folder)
        parts = pipeline.text_encoder, pipeline.task_encoder, pipeline.image_encoder, pipeline.autoencoder
        encoders = Encoders(*parts, cache=self.cache).to(world.device)
        loader = Loader(plan, items, world.rank, world.size, batch_size=self.micro_batch, workers=self.workers)
        drawing = Drawing(
            self.times, Dropout(self.drop_text, self.drop_image, self.drop_both), self.null_image, self.gumbel
        )
        # A model that is used with rows is trained with them, whether they move or not.
        table = pipeline.task_table and pipeline.task_table.requires_grad_(False)
        if self.task_table:
            table = TaskTable.of(base.config, list(TASKS), table)
        stage = StreamedStage(FeatureModel(base, table), loader, encoders, drawing, bfloat16=self.bfloat16)
        trainer = Trainer(stage, self.folder, self.trainer_config(accumulate), world, self._grid(pipeline, base))
        if trainer.resume() and world.main:
            print(f"going on after step {trainer.step}")
        whole = self.total_steps(plan)
        done = trainer.run(steps=min(self.steps or whole, whole), plan_steps=whole)
        if world.main:
            self.export(base)
        world.wait()
        return done

    def trainer_config(self, accumulate: int) -> TrainerConfig:
        """The paper's optimiser: AdamW without decay, a constant rate."""
        return TrainerConfig(
            lr=self.lr, warmup=self.warmup, cooldown=0.0, betas=(0.9, 0.999), weight_decay=0.0, ema=self.ema,
            clip=self.clip_norm, save_minutes=self.save_minutes, keep=self.keep, log_every=self.log_every,
            accumulate=accumulate, validate_every=self.validate_every, wandb=self.wandb, seed=self.seed,
        )  # fmt: skip

    def _grid(self, pipeline: PixWizardPipeline, base: PixWizardTransformer) -> Grid | None:
        if not self.validate_every:
            return None
        transformer_of_average, config = self.rebuilder(base), base.config

        def build(weights: dict[str, Tensor]) -> dict[str, nn.Module]:
            parts: dict[str, nn.Module] = {"transformer": transformer_of_average(weights)}
            if self.task_table:
                parts["task_table"] = table_of(unprefixed(weights, TABLE), list(TASKS), config)
            return parts

        asking = PixWizardPipeline(**pipeline.parts)
        return Grid(asking, build, self.validate_tasks, size=self.validate_size)

    def export(self, base: PixWizardTransformer) -> None:
        """Write the averaged weights to FOLDER/export."""
        RunExport(self.folder, self.folder / "export").run()

    # -- estimate -----------------------------------------------------------------------------------------------------

    def estimated(self, plan: Plan) -> str:
        """What the training would take on `devices`: counts, tokens of a step, memory of a device, time."""
        config = (
            PixWizardConfig.preset("2b")
            if self.model is None
            else ModelFiles(find_folder(self.model) / "transformer").config
        )
        return estimate.report(
            plan, config, trained=self.trained(config), steps=self.total_steps(plan), batch_size=self.batch_size,
            micro_batch=self.micro_batch, devices=self.devices, tflops=self.tflops, recompute=self.recompute,
            sharded=self.parallel != "ddp" and self.devices > 1, released_encoders=self.model is None,
        )  # fmt: skip

    def trained(self, config: PixWizardConfig) -> int:
        """Numbers that are trained."""
        return sum(spec.bytes // spec.dtype.itemsize for spec in meta_specs(config).values())


def unprefixed(weights: dict[str, Tensor], part: str = INSIDE) -> dict[str, Tensor]:
    """A part's parameters, by default the transformer's, by their names in it alone."""
    return {name.removeprefix(part): value for name, value in weights.items() if name.startswith(part)}
