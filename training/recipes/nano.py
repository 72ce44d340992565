"""The recipe of the bundled model: everything it needs is rendered here, so one command trains it from nothing.

Stages, in order: pools of dead leaves and scenes; the autoencoder; the word pieces; transformer and towers. Each keeps
its state in the run's folder, so a run that is stopped, killed or given more minutes goes on where it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from tokenizers import Tokenizer

from ...comfyui_pixwizard.components import PIPELINE_FILE
from ...comfyui_pixwizard.config import PixWizardConfig
from ...comfyui_pixwizard.encoders.nano_autoencoder import NanoAutoencoder
from ...comfyui_pixwizard.pipeline import PixWizardPipeline
from ...comfyui_pixwizard.safe_files import replaced
from ...comfyui_pixwizard.tasks import TASKS
from ..data.mixture import Draw, Mixture
from ..data.photos import PhotoPool
from ..data.pools import LeafPool
from ..data.scene_pool import ScenePool
from ..scenes import CLASS_NAMES, DEPTH_RANGE
from ..trainer import Trainer, TrainerConfig
from .autoencoder import AutoencoderStage
from .towers import NanoModel, train_bpe
from .transformer import FlowStage

WEIGHTS = {
    "denoise": 0.6,
    "low_light": 0.3,
    "derain": 0.4,
    "inpaint": 1.5,
    "depth": 1.3,
    "normal": 1.2,
    "segmentation": 1.8,
    "referring_segmentation": 3.0,
    "edit_remove": 0.3,
    "edit_recolor": 0.4,
    "text_to_image": 0.5,
}


def blend(*draws: tuple[float, Draw]) -> Draw:
    """A source of pictures that takes each one from one of several, by share."""
    shares = torch.tensor([share for share, _ in draws])

    def draw(n: int, size: int, generator: torch.Generator) -> torch.Tensor:
        chosen = torch.multinomial(shares, n, replacement=True, generator=generator)
        counts = torch.bincount(chosen, minlength=len(draws)).tolist()
        return torch.cat([d(count, size, generator) for (_, d), count in zip(draws, counts, strict=True) if count])

    return draw


def corpus(scenes: ScenePool, seed: int = 0, sentences: int = 20_000) -> list[str]:
    """Instructions of all tasks, to learn word pieces from."""
    generator = torch.Generator().manual_seed(seed)
    texts = []
    for k in range(sentences):
        task, i = list(TASKS.values())[k % len(TASKS)], k % len(scenes)
        words = {"caption": scenes.captions[i][k % 4]} | scenes.edits[i][1]
        texts.append(task.instruction(generator, **{w: words.get(w, scenes.captions[i][0]) for w in task.words}))
    return texts


@dataclass
class NanoRecipe:
    """Sizes and lengths of a run of the bundled model.

    Attributes:
        folder: where pools, checkpoints and the exported model lie.
        minutes: how long transformer and towers train in this call; the stages before run to their own lengths once.
        photos: a folder of photographs that join the dead leaves (the bundled model has none).
        start: a model ("nano" or a folder) whose weights a new run begins with, instead of nothing.
        autoencoder_minutes: length of the autoencoder's training in all.
        batch_size: samples at 128 px; at 256 px a quarter of it.
        large_share: share of batches at 256 px.
        times: how the flow's t is drawn; few-step sampling evaluates early times most, so they are drawn more often.
    """

    folder: Path = Path("runs/nano")
    minutes: float = 60.0
    photos: Path | None = None
    start: str | None = None
    autoencoder_minutes: float = 14.0
    sheets: int = 160
    scenes: int = 9000
    large_scenes: int = 600
    batch_size: int = 24
    large_share: float = 0.2
    lr: float = 1e-3
    cooldown: float = 0.9
    times: str = "shift_0.2"
    seed: int = 0
    weights: dict[str, float] = field(default_factory=lambda: dict(WEIGHTS))

    def run(self) -> bool:
        """Train and export to `folder`/export; False when a signal ended it early.

        Raises:
            ValueError: the folder holds a run of other sizes, or photos is not a folder of pictures.
            TrainingError: the loss is not finite.
        """
        torch.manual_seed(self.seed)
        given = self._given()
        self._pools()
        if given is not None:
            self.autoencoder = given.autoencoder.requires_grad_(False)
            parts = given.transformer, given.text_encoder, given.task_encoder, given.image_encoder
            return self._transformer(NanoModel(*parts))
        if not self._autoencoder():
            return False
        return self._transformer(NanoModel.build(self._word_pieces(), PixWizardConfig.preset("nano"), self.seed))

    def _given(self) -> PixWizardPipeline | None:
        """The model that this run began with; a copy in the folder makes later calls independent of `start`."""
        copy = self.folder / "start"
        if not (copy / PIPELINE_FILE).exists():
            if self.start is None:
                return None
            if (self.folder / "autoencoder").exists():
                raise ValueError(
                    f"--start begins a new run, found one in {self.folder}: leave --start out, or give another --folder"
                )
            PixWizardPipeline.from_pretrained(self.start).save_pretrained(copy, torch.float32)
        return PixWizardPipeline.from_pretrained(copy)

    def _pools(self) -> None:
        pools = self.folder / "pools"
        self.leaves = leaves = LeafPool(pools, self.sheets)
        self.scenes_128 = ScenePool(pools, self.scenes, 128)
        self.scenes_256 = ScenePool(pools, self.large_scenes, 256)
        self.pictures: Draw = leaves.draw
        if self.photos is not None:
            self.pictures = blend((0.5, leaves.draw), (0.5, PhotoPool(self.photos).draw))

    def _autoencoder(self) -> bool:
        torch.manual_seed(self.seed)
        self.autoencoder = NanoAutoencoder()
        start = self.pictures(500, 128, torch.Generator().manual_seed(5))
        self.autoencoder.start_from_components(start * 2 - 1)
        sources: list[tuple[float, Draw]] = [
            (0.75, self.pictures),
            (0.1, self.scenes_256.draw),
            (0.15, self.scenes_256.draw_labels),
        ]
        stage = AutoencoderStage(self.autoencoder, sources)
        trainer = Trainer(
            stage, self.folder / "autoencoder", TrainerConfig(lr=2e-3, ema=0.998, cooldown=0.6, seed=self.seed)
        )
        trainer.resume()
        left = self.autoencoder_minutes - trainer.seconds / 60
        done = trainer.run(minutes=left) if left > 0.1 else True
        trainer.load_average()
        self.autoencoder.requires_grad_(False).eval()
        # Always by dead leaves: a later call with photographs must find the same latents.
        self.autoencoder.normalize_latents(self.leaves.draw(500, 128, torch.Generator().manual_seed(6)) * 2 - 1)
        return done

    def _word_pieces(self) -> Tokenizer:
        path = self.folder / "tokenizer.json"
        if not path.exists():
            pieces = train_bpe(corpus(self.scenes_128))
            with replaced(path) as file:
                file.write(pieces.to_str().encode())
        return Tokenizer.from_file(str(path))

    def _transformer(self, model: NanoModel) -> bool:
        def mixture(scenes: ScenePool, size: int) -> Mixture:
            clean = blend((0.85, self.pictures), (0.15, scenes.draw))
            return Mixture(self.autoencoder, scenes, clean, self.weights, size)

        stage = FlowStage(
            model,
            [
                (1 - self.large_share, self.batch_size, mixture(self.scenes_128, 128)),
                (self.large_share, self.batch_size // 4, mixture(self.scenes_256, 256)),
            ],
            times=self.times,
        )
        config = TrainerConfig(lr=self.lr, vector_lr=6.0, cooldown=self.cooldown, seed=self.seed, warmup=150)
        trainer = Trainer(stage, self.folder / "transformer", config)
        trainer.resume()
        done = trainer.run(minutes=self.minutes) if self.minutes else True
        trainer.load_average()
        self.export(model, trainer)
        return done

    def export(self, model: NanoModel, trainer: Trainer) -> Path:
        """Write the averaged weights as a pipeline folder."""
        pipeline = PixWizardPipeline(
            transformer=model.transformer,
            text_encoder=model.text,
            task_encoder=model.task,
            image_encoder=model.vision,
            autoencoder=self.autoencoder,
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
