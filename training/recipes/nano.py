"""The recipe of the bundled model: everything it needs is rendered here, so one command trains it from nothing.

Stages, in order: pools of dead leaves and scenes; the autoencoder; the word pieces; the towers alone; the vision tower
once more; the network's first blocks; network and towers. Each keeps its state in the run's folder, so a run that is
stopped, killed or given more minutes goes on where it was.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from tokenizers import Tokenizer

from ...comfyui_pixwizard.config import PixWizardConfig
from ...comfyui_pixwizard.encoders.nano_autoencoder import NanoAutoencoder
from ...comfyui_pixwizard.files.checkpoint import load_transformer
from ...comfyui_pixwizard.files.components import PIPELINE_FILE, find_folder, load_surroundings
from ...comfyui_pixwizard.files.safe_files import replaced
from ...comfyui_pixwizard.files.table_file import TABLE_FILE, load_table
from ...comfyui_pixwizard.pipeline import PixWizardPipeline
from ...comfyui_pixwizard.tasks import TASKS
from ...runtime.evaluators import fast_bfloat16
from ..data.feed.mixture import Mixture, common_count, with_generation
from ..data.rendered.builders import BUILDERS
from ..data.rendered.facts import corpus
from ..data.rendered.figure_pool import FacePool, FigurePool
from ..data.rendered.patch_labels import PATCH
from ..data.rendered.photos import PhotoPool
from ..data.rendered.pools import LeafPool
from ..data.rendered.scene_pool import ScenePool
from ..data.rendered.sources import Draw, RenderedSources, blend
from ..loop.trainer import Trainer, TrainerConfig
from ..loop.velocity import Drawing
from ..render.scenes import CLASS_NAMES, DEPTH_RANGE
from .alone import train_alone
from .autoencoder_stage import AutoencoderStage
from .balance import Balance
from .flow_stage import FlowStage
from .initialization import reopen_gates
from .locality import find_places
from .mixture_stage import BLIND, Aids, MixtureStage
from .predictor_recipe import PredictorRecipe
from .shares import (
    ADAPTED,
    EDITS_OF_A_SCENE,
    GENERATION_SHARE,
    LARGE_GENERATION_SHARE,
    LARGE_WEIGHTS,
    MARKED,
    MARKS,
    RATES,
    VECTOR_LR,
    WEIGHTS,
)
from .sight_stage import SightStage, seeing_pale
from .tower_stage import TowerStage
from .towers import NanoModel, fresh_network, train_bpe
from .trunk_stage import LABELLED, trunk_stage

# Autoencoder and towers that the long training of the next bundled model goes on from (docs/training.md).
BEGUN = Path(__file__).parent / "begun"
SMALL, LARGE = 128, 256  # sides of the pictures


@dataclass
class NanoRecipe:
    """Train the bundled model from nothing, or go on with a run.

    Everything is rendered on the way; no data and no download are needed. Stop it with Ctrl-C, run the same command
    again and it goes on. The result lies in FOLDER/export and is used with `pixwizard run --model FOLDER/export`.
    """

    minutes: float = 180.0
    """Minutes of training of transformer and encoders in this call, at most what is left of the plan; 0 exports what
    the folder holds. A plan can be trained in pieces of any length."""
    plan: float = 180.0
    """Minutes of the whole training: stage 1 shows every task equally often, stage 2 by weight while the rate falls."""
    stage_1: float = 0.1
    """Share of the plan that is stage 1."""
    adaptation: float = 0.0
    """Minutes of the plan, at its beginning, in which the network only draws pictures with masks, boxes and dots on
    them (docs/adaptation.md)."""
    folder: Path = Path("runs/nano")
    """Where the run keeps its pools, checkpoints and result."""
    photos: Path | None = None
    """A folder of photographs that join the rendered pictures (the bundled model has seen none)."""
    start: str | None = None
    """A model, nano or a folder, whose weights a new run begins with, instead of nothing; begun is the autoencoder and
    the towers of the coming version, with a new network."""
    autoencoder_minutes: float = 14.0
    """Minutes of training of the autoencoder, once."""
    towers_minutes: float = 6.0
    """Minutes in which the towers learn what sentences say and to match captions and pictures, once."""
    sight_minutes: float | None = None
    """Minutes in which the vision tower then learns what patches show, once; by default 30, and none with --start."""
    trunk_minutes: float | None = None
    """Minutes in which the network's first blocks learn to see and to find, once; by default 30, and none with
    --start."""
    scenes: int = 12000
    """Rendered scenes at 128 px."""
    large_scenes: int = 600
    """Rendered scenes at 256 px."""
    figures: int = 12000
    """Rendered pictures of people at 128 px; at 256 px a tenth."""
    faces: int = 1500
    """Drawn faces at 128 px; at 256 px a tenth."""
    sheets: int = 160
    """Dead-leaves sheets of 768 px."""
    batch_size: int = 48
    """Samples of a step at 128 px; at 256 px a quarter."""
    large_share: float = 0.25
    """Share of steps at 256 px."""
    lr: float = 1e-3
    """Peak learning rate."""
    cooldown: float = 0.25
    """Share of the plan, at its end, over which the learning rate falls to zero; before, it is constant, and the plan
    can be prolonged."""
    generation: float = GENERATION_SHARE
    """Share of text-to-image in stage 2, at 128 px."""
    times: Literal["uniform", "lognorm", "shift_0.2"] = "shift_0.2"
    """How the flow's t is drawn for tasks whose answer is open; sampling in few steps evaluates early times most."""
    early: Literal["uniform", "lognorm", "shift_0.2", "shift_0.05"] = "shift_0.05"
    """How it is drawn for tasks with one right answer, which is decided at the first times."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where training computes; auto takes a GPU if there is one."""
    workers: int | None = None
    """Processes that draw batches ahead; by default none on a CPU, and all cores but one beside a GPU."""
    task_table: bool = False
    """Also learn a vector and a token for each task (docs/task_vectors.md), from the first call or never; a run whose
    start has them does."""
    predictor: bool = True
    """Train the task predictor when the run has come to its end, which takes a minute; a stopped run exports none."""
    compile: bool = True
    """Compile network and towers: half again as fast, after some minutes once; needs a C++ compiler."""
    seed: int = 0
    """Seed of weights and batches."""
    aids: Annotated[Aids, tyro.conf.Suppress] = field(default_factory=Aids)
    weights: Annotated[dict[str, float], tyro.conf.Suppress] = field(default_factory=lambda: dict(WEIGHTS))
    large_weights: Annotated[dict[str, float], tyro.conf.Suppress] = field(default_factory=lambda: dict(LARGE_WEIGHTS))

    def run(self) -> bool:
        """Train and export to `folder`/export; False when a signal ended it early.

        Raises:
            ValueError: negative lengths, a folder that holds a run of other sizes, or photos that is no folder of
                pictures.
            TrainingError: the loss is not finite.
        """
        if self.minutes < 0 or self.plan <= 0:
            raise ValueError(
                f"--minutes cannot be negative and --plan is positive, found {self.minutes:g} and {self.plan:g}: "
                "give the length of this call and of the whole training"
            )
        if not 0 <= self.adaptation < self.plan:
            raise ValueError(
                f"--adaptation is a part of the plan of {self.plan:g} minutes, found {self.adaptation:g}: take fewer"
            )
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("--device cuda needs a GPU that this PyTorch can use, found none: leave --device out")
        torch.manual_seed(self.seed)
        given = self._given()
        self.prepare()
        if given is not None:
            model = given.to(self.place)
            sight, trunk = self.sight_minutes or 0.0, self.trunk_minutes or 0.0
            # First blocks that are trained next learn what new tokens mean.
            return self._sight(model, sight, keep=not trunk) and self._network(model, trunk)
        if not self._autoencoder():
            return False
        model = NanoModel.build(self.word_pieces(), PixWizardConfig.preset("nano"), self.seed).to(self.place)
        if self.towers(model, self.folder / "towers", self.towers_minutes).stopped:
            return False
        sight = 30.0 if self.sight_minutes is None else self.sight_minutes
        trunk = 30.0 if self.trunk_minutes is None else self.trunk_minutes
        return self._sight(model, sight) and self._network(model, trunk)

    @property
    def place(self) -> torch.device:
        """Where training computes."""
        cuda = self.device == "cuda" or (self.device == "auto" and torch.cuda.is_available())
        return torch.device("cuda" if cuda else "cpu")

    @property
    def bfloat16(self) -> bool:
        """Whether that place multiplies in bfloat16 fast."""
        return fast_bfloat16(self.place)

    @property
    def processes(self) -> int:
        """Processes that draw ahead."""
        if self.workers is not None:
            return self.workers
        return 0 if self.place.type == "cpu" else max((os.cpu_count() or 1) - 1, 1)

    def _given(self) -> NanoModel | None:
        """The model that this run began with, and its autoencoder; a copy in the folder makes later calls independent
        of `start`.
        """
        copy = self.folder / "start"
        if not (copy / PIPELINE_FILE).exists():
            if self.start is None:
                return None
            if (self.folder / "autoencoder").exists():
                raise ValueError(
                    f"--start begins a new run, found one in {self.folder}: leave --start out, or give another --folder"
                )
            folder = BEGUN if self.start == "begun" else find_folder(self.start)
            # The file that says that a folder is whole comes last.
            shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(PIPELINE_FILE), dirs_exist_ok=True)
            shutil.copy(folder / PIPELINE_FILE, copy)
        parts = load_surroundings(copy)
        self.autoencoder = parts["autoencoder"].requires_grad_(False).to(self.place)
        if (copy / "transformer").is_dir():
            transformer = load_transformer(copy / "transformer", torch.float32)
        else:
            transformer = fresh_network(copy, parts["image_encoder"].tokens, self.seed)
        return NanoModel(transformer, parts["text_encoder"], parts["task_encoder"], parts["image_encoder"])

    def prepare(self) -> None:
        """Load the pools, rendering what is not there yet."""
        pools = self.folder / "pools"
        self.leaves = leaves = LeafPool(pools, self.sheets)
        self.pictures: Draw = leaves.draw
        if self.photos is not None:
            self.pictures = blend((0.5, leaves.draw), (0.5, PhotoPool(self.photos).draw))
        self.small = self._material(pools, SMALL, self.scenes, self.figures, self.faces)
        self.large = self._material(pools, LARGE, self.large_scenes, self.figures // 10, self.faces // 10)

    def _material(self, pools: Path, size: int, scenes: int, figures: int, faces: int) -> RenderedSources:
        drawn = ScenePool(pools, scenes, size, edits_per_scene=EDITS_OF_A_SCENE)
        people = FigurePool(pools, max(figures, 1), size, backdrop=self.leaves.draw)
        clean = blend((0.8, self.pictures), (0.15, drawn.draw), (0.05, people.draw))
        wide = self.pictures if 2 * size <= LARGE else None
        return RenderedSources(size, clean, drawn, people, FacePool(pools, max(faces, 1), size), wide)

    def _autoencoder(self) -> bool:
        torch.manual_seed(self.seed)
        self.autoencoder = NanoAutoencoder().to(self.place)
        start = self.pictures(500, 128, torch.Generator().manual_seed(5))
        self.autoencoder.start_from_components(start.to(self.place) * 2 - 1)
        sources: list[tuple[float, Draw]] = [
            (0.4, self.pictures),
            (0.15, self.small.scenes.draw),
            (0.05, self.large.scenes.draw),
            (0.1, self.small.scenes.draw_labels),
            (0.05, self.large.scenes.draw_labels),
            (0.25, self.marked),
        ]
        stage = AutoencoderStage(self.autoencoder, sources, bfloat16=self.bfloat16)
        stage.draw_ahead(self.processes)
        trainer = Trainer(
            stage, self.folder / "autoencoder", TrainerConfig(lr=2e-3, ema=0.998, cooldown=0.6, seed=self.seed)
        )
        trainer.resume()
        left = self.autoencoder_minutes - trainer.seconds / 60
        done = trainer.run(minutes=left) if left > 0.1 else True
        trainer.load_average()
        self.autoencoder.requires_grad_(False).eval()
        # Always by what is rendered: a later call with photographs must find the same latents.
        generator = torch.Generator().manual_seed(6)
        rendered = self.leaves.draw, self.small.scenes.draw, self.small.scenes.draw_labels, self.marked
        pictures = torch.cat([draw(150, 128, generator) for draw in rendered])
        self.autoencoder.normalize_latents(pictures.to(self.place) * 2 - 1)
        return done

    def marked(self, n: int, size: int, generator: torch.Generator) -> torch.Tensor:
        """Pictures [n,3,size,size] that are answers of MARKS: what is thin, and what no picture has."""
        chosen = torch.randint(len(MARKS), (n,), generator=generator)
        counts = torch.bincount(chosen, minlength=len(MARKS)).tolist()
        return torch.cat(
            [BUILDERS[t](self.small, k, generator).target for t, k in zip(MARKS, counts, strict=True) if k]
        )[..., :size, :size]

    def word_pieces(self) -> Tokenizer:
        """The vocabulary of this run; made once, from the sentences of its pools."""
        path = self.folder / "tokenizer.json"
        if not path.exists():
            pieces = train_bpe(corpus(self.small))
            with replaced(path) as file:
                file.write(pieces.to_str().encode())
        return Tokenizer.from_file(str(path))

    def towers(self, model: NanoModel, folder: Path, minutes: float) -> Trainer:
        """Train a model's towers alone until they have had so many minutes, and put their average into it."""
        model.use_plain_attention()
        stage = TowerStage(model, self.small, bfloat16=self.bfloat16)
        config = TrainerConfig(cooldown=0.4, ema=0.998, seed=self.seed)
        return train_alone(stage, folder, minutes, config, self.processes, plan=self.towers_minutes)

    def _sight(self, model: NanoModel, minutes: float, keep: bool = False) -> bool:
        if not minutes:
            return True
        model.use_plain_attention()
        config = TrainerConfig(cooldown=0.6, seed=self.seed)
        with seeing_pale(model.vision):
            stage = SightStage(model.vision, self.small, keep, bfloat16=self.bfloat16)
            return not train_alone(stage, self.folder / "sight", minutes, config, self.processes).stopped

    def _trunk(self, model: NanoModel, minutes: float) -> bool:
        if not minutes:
            return True
        generator = torch.Generator().manual_seed(7)
        seen = [pool.draw(256, self.small.size, generator) for pool in (self.small.scenes, self.small.figures)]
        with torch.no_grad():
            tokens = model.vision.encode(torch.cat(seen).to(self.place) * 2 - 1)
        find_places(model.transformer, tokens, self.small.size // PATCH)
        reopen_gates(model.transformer)
        mixture = Mixture(self.autoencoder, self.small, LABELLED, self.bfloat16)
        drawing = Drawing(times=self.times, early=self.early)
        stage = trunk_stage(model, mixture, self.batch_size, drawing, self.bfloat16)
        config = TrainerConfig(lr=self.lr, vector_lr=VECTOR_LR, rates=RATES, cooldown=0.3, seed=self.seed)
        return not train_alone(stage, self.folder / "trunk", minutes, config, self.processes).stopped

    def _network(self, model: NanoModel, trunk_minutes: float) -> bool:
        model.use_plain_attention()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model.with_teachers()
        begun = self.folder / "start" / TABLE_FILE
        if self.task_table or begun.is_file():
            model.with_table(load_table(begun) if begun.is_file() else None)
        if self.compile:
            model.compile()
        if not self._trunk(model, trunk_minutes):
            return False
        config = TrainerConfig(
            lr=self.lr, vector_lr=VECTOR_LR, rates=RATES, cooldown=self.cooldown, seed=self.seed, warmup=150
        )
        self.balance = Balance([*TASKS, BLIND])
        equal = common_count(), common_count()
        trainer, done = Trainer(self.mixture_stage(model, *equal), self.folder / "transformer", config), True
        trainer.resume()
        first = self.adaptation + (self.plan - self.adaptation) * self.stage_1
        stages = (self.adaptation, ADAPTED, True), (first, equal, False), (self.plan, self._stage_2(), False)
        ends = trainer.seconds / 60 + self.minutes
        for until, weights, marked in stages:
            left = min(until, ends) - trainer.seconds / 60
            if left > 0 and done:
                trainer.stage = self.mixture_stage(model, *weights, marked=marked)
                done = trainer.run(minutes=left, plan_minutes=self.plan)
        trainer.load_average()
        self.export(model, trainer, self.predictor and done)
        return done

    def _stage_2(self) -> tuple[dict[str, float], dict[str, float]]:
        large = with_generation(self.large_weights, LARGE_GENERATION_SHARE)
        return with_generation(self.weights, self.generation), large

    def mixture_stage(
        self, model: NanoModel, small_weights: dict[str, float], large_weights: dict[str, float], marked: bool = False
    ) -> FlowStage:
        """The stage of these weights of tasks at 128 and at 256 px; marked: text-to-image draws marked pictures."""
        others = MARKED if marked else None
        small = Mixture(self.autoencoder, self.small, small_weights, self.bfloat16, others)
        large = Mixture(self.autoencoder, self.large, large_weights, self.bfloat16, others)
        stage = MixtureStage(
            model,
            [
                (1 - self.large_share, self.batch_size, small),
                (self.large_share, max(self.batch_size // 4, 1), large),
            ],
            Drawing(times=self.times, early=self.early),
            self.bfloat16,
            self.aids,
            self.balance,
        )
        stage.draw_ahead(self.processes)
        return stage

    def export(self, model: NanoModel, trainer: Trainer, predictor: bool) -> Path:
        """Write the averaged weights as a pipeline folder; predictor: train the task predictor for it."""
        pipeline = PixWizardPipeline(
            transformer=model.transformer,
            text_encoder=model.text,
            task_encoder=model.task,
            image_encoder=model.vision,
            autoencoder=self.autoencoder,
            task_table=model.table,
            task_predictor=PredictorRecipe(seed=self.seed).trained(model.task) if predictor else None,
            max_size=256,
            class_names=CLASS_NAMES,
            depth_range=DEPTH_RANGE,
            provenance={
                "recipe": "pixwizard train nano",
                "steps": trainer.step,
                "minutes": round(trainer.seconds / 60, 1),
                "photos": self.photos is not None,
            }
            | ({"start": self.start} if self.start else {}),
        )
        out = self.folder / "export"
        pipeline.save_pretrained(out)
        return out
