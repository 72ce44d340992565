"""Task inversion: everything frozen, one new row of a task table learned from pairs of pictures.

Source: Emu Edit (Sheynin et al. 2023), section 4.3; there one example helps and a hundred come near an expert.
Shapes: N pairs, n pairs of a batch, C latent channels, T text tokens, F text width, P task width, W image width.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from PIL import Image
from torch import Tensor

from ...comfyui_pixwizard.files.components import find_folder
from ...comfyui_pixwizard.files.digests import model_fingerprint
from ...comfyui_pixwizard.files.learned_task import LearnedTask
from ...comfyui_pixwizard.pictures.images import open_picture, picture_files, resized, to_tensor
from ...comfyui_pixwizard.pictures.sizes import check_size, model_size
from ...comfyui_pixwizard.pipeline import PixWizardPipeline
from ...comfyui_pixwizard.task_table import TaskTable
from ...runtime.evaluators import fast_bfloat16
from ..data.feed.mixture import Batch
from ..loop.lora import LoraConfig, add_lora
from ..loop.trainer import Trainer, TrainerConfig
from ..loop.velocity import Drawing, Dropout, FeatureModel
from .flow_stage import FlowStage

SOURCES, TARGETS = "source", "target"
MOST_PAIRS = 100
# Peak learning rate of a row: at a tenth of it one that is learned alone stays too small (docs/task_vectors.md).
ROW_LR = 0.1


@dataclass
class EncodedPairs:
    """Pairs of one size as the network takes them: latents [N,C,h,w] of both, and image tokens [N,N_tokens,W]."""

    source: Tensor
    target: Tensor
    tokens: Tensor

    def __len__(self) -> int:
        return len(self.source)


@torch.no_grad()
def encoded(pipeline: PixWizardPipeline, source: Tensor, target: Tensor) -> EncodedPairs:
    """Pairs [N,3,H,W] in [-1,1] through a model's frozen parts."""
    place = pipeline.transformer.pad_token.device
    parts = []
    for shown, wanted in zip(source.split(8), target.split(8), strict=True):
        shown, wanted = shown.to(place), wanted.to(place)
        code = pipeline.autoencoder.encode
        parts.append((code(shown).float(), code(wanted).float(), pipeline.image_encoder.encode(shown).float()))
    return EncodedPairs(*(torch.cat(column) for column in zip(*parts, strict=True)))


class PairStage(FlowStage):
    """Flow matching on a few pairs that are encoded once, all with one sentence.

    Args:
        model: `FeatureModel` whose table has the task alone, or with adapters and no table.
        task: its name.
        pairs: by size.
    """

    name = "pairs"

    def __init__(
        self,
        model: FeatureModel,
        pipeline: PixWizardPipeline,
        task: str,
        instruction: str,
        pairs: Sequence[EncodedPairs],
        batch_size: int = 8,
    ) -> None:
        place = pipeline.transformer.pad_token.device
        drawing = Drawing("uniform", Dropout(0.0, 0.0, 0.0))
        super().__init__(model, drawing, tokens=pairs[0].tokens.shape[1], bfloat16=fast_bfloat16(place))
        self.task, self.instruction, self.pairs, self.batch_size = task, instruction, list(pairs), batch_size
        with torch.no_grad():
            features, mask = pipeline.text_encoder.encode([instruction])
            self.words = features.float(), mask, pipeline.task_encoder.encode([instruction]).float()

    def batch(self, generator: torch.Generator) -> Batch:
        """Pairs of one size, drawn with replacement."""
        sizes = torch.tensor([float(len(found)) for found in self.pairs])
        self.chosen = self.pairs[int(torch.multinomial(sizes, 1, generator=generator))]
        self.rows = torch.randint(len(self.chosen), (self.batch_size,), generator=generator)
        source, target = self.chosen.source[self.rows], self.chosen.target[self.rows]
        seeds = torch.randint(2**62, (self.batch_size,), generator=generator).tolist()
        n = self.batch_size
        return Batch([self.task] * n, [self.instruction] * n, source, source, target, seeds)

    def inputs(self, batch: Batch, sentences: list[str], no_image: Tensor) -> Sequence[Any]:
        features, mask, vector = (part.expand(len(batch), *part.shape[1:]) for part in self.words)
        return (features, mask), vector, self.chosen.tokens[self.rows]


def learn(
    pipeline: PixWizardPipeline,
    pairs: Sequence[EncodedPairs],
    task: str,
    instruction: str,
    folder: Path,
    *,
    steps: int = 500,
    lr: float = ROW_LR,
    batch_size: int = 8,
    lora: LoraConfig | None = None,
    seed: int = 0,
) -> tuple[FeatureModel, bool]:
    """Learn a row of a table, or adapters, on a pipeline's frozen network; the model with the averaged weights.

    Args:
        folder: where the run keeps its checkpoints; it goes on with one that is there.
        lora: train adapters in the pipeline's own network instead, which stay in it.

    Returns:
        What was trained, and whether it came to its end.
    """
    transformer = pipeline.transformer.requires_grad_(False)
    table = None
    if lora is None:
        table = TaskTable.of(transformer.config, [task]).to(transformer.pad_token.device)
    else:
        add_lora(transformer, lora, seed)
    model = FeatureModel(transformer, table)
    stage = PairStage(model, pipeline, task, instruction, pairs, batch_size)
    config = TrainerConfig(
        lr=lr, weight_decay=0.0, ema=0.98, cooldown=0.5, warmup=min(20, steps // 5), seed=seed, save_minutes=5.0
    )
    trainer = Trainer(stage, folder, config)
    trainer.resume()
    done = trainer.run(steps=steps) if trainer.step < steps else True
    trainer.load_average()
    return model, done


def read_pairs(folder: Path, size: int | None, largest: int) -> dict[tuple[int, int], tuple[Tensor, Tensor]]:
    """Pairs of FOLDER/source and FOLDER/target, which have the same names, as [N,3,H,W] in [-1,1] by size.

    Raises:
        ValueError: no pairs or too many, a picture without its pair, two pictures of one name, an unreadable file.
    """
    found = {}
    for part in (SOURCES, TARGETS):
        files = picture_files(folder / part) if (folder / part).is_dir() else []
        found[part] = {path.stem: path for path in files}
        if len(found[part]) < len(files):
            raise ValueError(f"pictures in {folder / part} have names of their own, found two alike: rename one")
    names = sorted(found[SOURCES].keys() | found[TARGETS].keys())
    alone = [name for name in names if name not in found[SOURCES] or name not in found[TARGETS]]
    if alone or not 1 <= len(names) <= MOST_PAIRS:
        told = f"{alone[0]} in one of them" if alone else f"{len(names)} pairs"
        raise ValueError(
            f"{folder} needs 1 to {MOST_PAIRS} pairs of the same name in {SOURCES}/ and {TARGETS}/, found {told}: add "
            "or remove pictures"
        )
    by_size: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
    for name in names:
        shown, wanted = (open_picture(found[part][name]) for part in (SOURCES, TARGETS))
        side = model_size(shown.size, size, largest)
        parts: list[Image.Image] = [resized(picture, side) for picture in (shown, wanted)]
        by_size[side].append((to_tensor(parts[0]), to_tensor(parts[1])))
    return {side: tuple(map(torch.cat, zip(*rows, strict=True))) for side, rows in by_size.items()}  # type: ignore[misc]


@dataclass
class TaskRecipe:
    """Learn a task of your own from 1 to 100 pairs of pictures; network and encoders stay as they are.

    DIR has the pictures in source/ and what is to become of them in target/, under the same names. The file that is
    written is a few kilobytes: pixwizard run photo.png --task-file my-task.safetensors -o out.png
    """

    pairs: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """Folder of the pairs."""
    name: str
    """What the task is called."""
    model: str = "nano"
    """The model: nano, or a folder. The file works with this model alone."""
    out: Path | None = None
    """The file; NAME.safetensors by default."""
    instruction: str = ""
    """A sentence that says it, read by the model beside the learned vector; the name in words by default."""
    steps: int = 500
    """Steps of training."""
    lr: float = ROW_LR
    """Peak learning rate."""
    batch_size: int = 8
    """Pairs of a step, drawn with replacement."""
    size: int | None = None
    """Side of the square of the area at which the model sees the pictures; their own by default, as far as the model
    was trained for it."""
    points: int = 5
    """Points of the time grid by which the task is asked later."""
    folder: Path | None = None
    """Where the run keeps its checkpoints; runs/task-NAME by default."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where training computes; auto takes a GPU if there is one."""
    seed: int = 0
    """Seed of batches and noise."""

    def run(self) -> bool:
        """Learn it and write the file; False when a signal ended it early.

        Raises:
            ValueError: no pairs, lengths that make no sense, a name that is none of a file, no such model.
        """
        if min(self.steps, self.batch_size) < 1 or self.points < 2 or self.lr <= 0:
            raise ValueError(
                f"--steps and --batch-size are at least 1, --points 2 and --lr positive, found {self.steps}, "
                f"{self.batch_size}, {self.points} and {self.lr:g}: take 500, 8, 5 and {ROW_LR:g}"
            )
        if not self.name.strip() or Path(self.name).name != self.name:
            raise ValueError(f"--name names the task and its file, found {self.name!r}: take one such as my-task")
        check_size(self.size)
        folder = find_folder(self.model)
        pipeline = PixWizardPipeline.from_pretrained(folder)
        found = read_pairs(self.pairs.expanduser(), self.size, pipeline.max_size)
        cuda = self.device == "cuda" or (self.device == "auto" and torch.cuda.is_available())
        pipeline.to("cuda" if cuda else "cpu")
        pairs = [encoded(pipeline, *pictures) for pictures in found.values()]
        sentence = self.instruction.strip() or self.name.replace("-", " ").replace("_", " ")
        run = self.folder or Path("runs") / f"task-{self.name}"
        model, done = learn(
            pipeline, pairs, self.name, sentence, run,
            steps=self.steps, lr=self.lr, batch_size=self.batch_size, seed=self.seed,
        )  # fmt: skip
        assert model.table is not None
        told = {
            "recipe": "pixwizard train task", "pairs": sum(map(len, pairs)), "steps": self.steps, "lr": self.lr,
            "model": model_fingerprint(folder), "model_name": self.model,
        }  # fmt: skip
        out = self.out or Path(f"{self.name}.safetensors")
        LearnedTask(model.table.cpu(), sentence, self.points, told).save(out)
        print(f"wrote {out}")
        return done
