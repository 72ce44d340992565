"""The parts of a model, and what they make of pictures and sentences.

Shapes: B pictures, H W pixels (multiples of 16), C latent channels, h w = H/8 W/8.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from .cpu.kernels import use_cpu_kernels
from .encoders.offload import brought
from .encoders.tiled_decoding import decode_tiled, encode_pictures, needs_tiles
from .evaluator import Branch
from .files.learned_task import LearnedTask
from .local_edits.direction import Direction
from .noise import noise_generators
from .pictures.images import padded_to_cells
from .task_reader import TaskReader
from .task_table import TaskRows, TaskTable
from .tasks.predictor import TaskPredictor
from .transformer import PixWizardTransformer


class PipelineParts:
    """Transformer, encoders and autoencoder of one model; see `pipeline.PixWizardPipeline`.

    `predict_task(sentences)` answers the task of each sentence, None where it asks for none.

    Raises:
        ValueError: encoders, a task table or a task predictor whose widths are not the transformer's.
    """

    def __init__(
        self,
        transformer: PixWizardTransformer,
        text_encoder: Any,
        task_encoder: Any,
        image_encoder: Any,
        autoencoder: Any,
        task_table: TaskTable | None = None,
        task_predictor: TaskPredictor | None = None,
    ) -> None:
        config = transformer.config
        for name, found, wanted in (
            ("text_encoder", text_encoder.features, config.cap_feat_dim),
            ("task_encoder", task_encoder.features, config.cap_clip_feat_dim),
            ("image_encoder", image_encoder.features, config.clip_image_dim),
            ("autoencoder", autoencoder.channels, config.in_channels),
        ):
            if found != wanted:
                raise ValueError(
                    f"{name} must have width {wanted} for this transformer, found {found}: use the parts of one model"
                )
        if task_table is not None and not task_table.fits(config):
            raise ValueError(
                f"task_table must have widths {config.conditioning_dim} and {config.cap_feat_dim} for this "
                f"transformer, found {task_table.vectors.shape[1]} and {task_table.tokens.shape[1]}: use the parts of "
                "one model"
            )
        self.transformer, self.autoencoder, self.task_table = transformer.eval(), autoencoder, task_table
        self.task_predictor, self.predict_task = task_predictor, TaskReader(task_predictor, task_encoder)
        self.text_encoder, self.task_encoder, self.image_encoder = text_encoder, task_encoder, image_encoder
        for part in self.parts.values():
            use_cpu_kernels(part)
        self.folder: Path | None = None

    @property
    def parts(self) -> dict[str, Any]:
        """The components by name; a task table and a task predictor only where the model has one."""
        more = {"task_table": self.task_table, "task_predictor": self.task_predictor}
        return {
            "transformer": self.transformer,
            "text_encoder": self.text_encoder,
            "task_encoder": self.task_encoder,
            "image_encoder": self.image_encoder,
            "autoencoder": self.autoencoder,
            **{name: part for name, part in more.items() if part is not None},
        }

    @cached_property
    def direction(self) -> Direction | None:
        """By which the best of several forms of a local edit is chosen; None where the model's folder has none."""
        return None if self.folder is None else Direction.read(self.folder)

    def to(self, *where: torch.device | str | torch.dtype) -> Self:
        """Move or cast all components, as `nn.Module.to`."""
        for part in self.parts.values():
            part.to(*where)
        return self

    def offload(self, device: torch.device | str) -> Self:
        """The transformer to a device, all else to the CPU, from where each part comes only while it runs."""
        for name, part in self.parts.items():
            part.to(device if name == "transformer" else "cpu")
        return self

    def unread(self, instruction: str) -> tuple[str, ...]:
        """Which encoders do not read an instruction to its end, in words; those that count no tokens are not asked."""
        readers = {"text encoder": self.text_encoder, "task encoder": self.task_encoder}
        counts = {name: (part, part.count(instruction)) for name, part in readers.items() if hasattr(part, "count")}
        return tuple(
            f"the {name} reads at most {part.max_tokens} tokens, found {found} in the instruction: the last "
            f"{found - part.max_tokens} were cut off, shorten it"
            for name, (part, found) in counts.items()
            if found > part.max_tokens
        )

    def task_rows(
        self, instructions: Sequence[str], tasks: Sequence[str | LearnedTask | None] | None
    ) -> TaskRows | None:
        """What the task table, or a learned task, says to each of B instructions; without any tasks the predicted ones.

        Raises:
            ValueError: another number of tasks, or one that was learned on another kind of network.
        """
        if tasks is not None and len(tasks) != len(instructions):
            raise ValueError(
                f"tasks are given for each of {len(instructions)} instructions, found {len(tasks)}: put None where "
                "there is none"
            )
        if self.task_table is None and not any(isinstance(task, LearnedTask) for task in tasks or ()):
            return None
        config = self.transformer.config
        table = self.task_table or TaskTable.of(config, [""])
        rows = []
        for task in self.predict_task(instructions) if tasks is None else tasks:
            if isinstance(task, LearnedTask):
                task.check(config)
                rows.append(task.rows())
            else:
                rows.append(table.rows(table.places([task])))
        return TaskRows(
            *(torch.cat([part.to(rows[0].vector.device) for part in parts]) for parts in zip(*rows, strict=True))
        )

    def encode(
        self,
        source: Tensor,
        instructions: Sequence[str],
        branches: Sequence[str],
        noise: Tensor,
        generators: Sequence[torch.Generator | None],
        redrawable: bool = False,
        task_rows: TaskRows | None = None,
    ) -> dict[str, Branch]:
        """Everything of some branches of guidance that no step changes.

        Args:
            source: [B, 3, H, W] in [-1, 1], on the model's device.
            noise: the initial noise [B, C, h, w]: the null image's source is that noise itself (see
                docs/mathematics.md section 9).
            generators: of the samples, for an autoencoder that samples its posterior.
            redrawable: keep the keys of all image tokens, so that others can be chosen (`Conditions.redraw`); needs
                gradients to be off.
            task_rows: of the samples' tasks, for the branch that has the text.
        """
        device = source.device
        texts = {name: list(instructions) if name == "full" else [""] * len(instructions) for name in branches}
        with brought(self.autoencoder, device):
            latents = encode_pictures(self.autoencoder, source, generators)
        with brought(self.image_encoder, device):
            tokens = self.image_encoder.encode(source)
        with brought(self.text_encoder, device):
            features = {name: self.text_encoder.encode(text) for name, text in texts.items()}
        with brought(self.task_encoder, device):
            vectors = {name: self.task_encoder.encode(text) for name, text in texts.items()}
        # Equal draws choose as none do.
        draws = torch.ones(self.transformer.config.n_layers, *tokens.shape[:2]) if redrawable else None
        found = {}
        for name in branches:
            null = name == "none"
            seen = torch.zeros_like(tokens) if null else tokens
            words, mask = features[name]
            rows = None if task_rows is None or name != "full" else task_rows.to(device, words.dtype)
            conditions = self.transformer.encode_conditions(
                words, mask, vectors[name], seen, gumbel=draws, task_rows=rows
            )
            found[name] = Branch(noise.to(latents) if null else latents, conditions)
        return found

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] float32 in [-1, 1] of latents [B, C, h, w]; large ones piece by piece."""
        with brought(self.autoencoder, latents.device) as autoencoder:
            tiled = needs_tiles(latents)
            pictures = decode_tiled(autoencoder.decode, latents) if tiled else autoencoder.decode(latents)
        return pictures.float().clamp(-1, 1)

    @torch.inference_mode()
    def round_trip(self, pictures: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] in [-1, 1] through the autoencoder and back: what an answer that changes nothing is.

        Marks on a picture (masks, boxes, joints) are found by their difference from this, so that the autoencoder's
        own error does not count. An autoencoder that samples draws the same for every picture.
        """
        weight = self.transformer.x_embedder.weight
        height, width = pictures.shape[-2:]
        shown = padded_to_cells(pictures).to(weight.device, weight.dtype)
        with brought(self.autoencoder, weight.device):
            latents = encode_pictures(self.autoencoder, shown, noise_generators(len(shown), None, [0] * len(shown)))
        return self.decode(latents)[..., :height, :width]
