"""From a picture and an instruction to a picture and, where the task has one, a label.

Shapes: B pictures, H W pixels (multiples of 16), C latent channels, h w = H/8 W/8, n guidance branches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from .answer import Result, choose_reader, choose_task
from .cpu.kernels import use_cpu_kernels
from .encoders.offload import brought
from .encoders.tiled_decoding import decode_tiled, needs_tiles
from .evaluator import Branch, Eager, Evaluator
from .files.components import Description, find_folder, kind_of, load_parts, read_description, save_parts
from .flow import time_grid
from .guidance import ALWAYS, DualGuidance
from .noise import draw_noise, noise_generators
from .pictures.buckets import CELL, Size
from .pictures.full_size import Change, find_change
from .pictures.images import Picture, open_picture, resized, to_image, to_tensor
from .pictures.paste_back import keep_unchanged
from .pictures.sizes import model_size
from .solvers import DEFAULT_SOLVER, solve
from .tasks import Task, get_task
from .tasks.codecs.asked import asked_options
from .tasks.defaults import GENERAL, settings_for
from .transformer import Latents, PixWizardTransformer

# Kinds of labels that are marks on the source.
COMPARED = {"mask", "boxes", "keypoints"}
Progress = Callable[[int, int], None]


class PixWizardPipeline:
    """A model ready for use.

    Args:
        transformer: the velocity network.
        text_encoder: `.encode(texts) -> (features, mask)`.
        task_encoder: `.encode(texts) -> task vectors`.
        image_encoder: `.encode(image in [-1, 1]) -> image tokens`.
        autoencoder: `.encode(image) -> latents`, `.decode(latents) -> image`, `.channels`.
        max_size: side in pixels of the largest square that the model was trained for.
        class_names: names of the classes that its segmentations show, by id; the first is "nothing".
        depth_range: smallest and largest depth in metres that it was trained on; None where any may come.
        provenance: how the weights came to be, plain values.

    Raises:
        ValueError: encoders whose widths are not the transformer's.
    """

    def __init__(
        self,
        transformer: PixWizardTransformer,
        text_encoder: Any,
        task_encoder: Any,
        image_encoder: Any,
        autoencoder: Any,
        *,
        max_size: int = 256,
        class_names: Sequence[str] = (),
        depth_range: tuple[float, float] | None = None,
        provenance: dict[str, Any] | None = None,
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
        self.transformer, self.autoencoder = transformer.eval(), autoencoder
        self.text_encoder, self.task_encoder, self.image_encoder = text_encoder, task_encoder, image_encoder
        self.max_size, self.class_names = max_size, list(class_names)
        self.depth_range = None if depth_range is None else (float(depth_range[0]), float(depth_range[1]))
        self.provenance = dict(provenance or {})
        for part in self.parts.values():
            use_cpu_kernels(part)
        self.evaluator: Evaluator = Eager()
        self.name, self.load_seconds = "unnamed", 0.0

    @classmethod
    def from_pretrained(cls, model: str | Path = "nano", dtype: torch.dtype = torch.float32) -> PixWizardPipeline:
        """Read the bundled model "nano" or a folder that `save_pretrained` wrote, to the CPU; never downloads.

        Raises:
            ValueError: no model there, or a broken one.
        """
        start = time.perf_counter()
        folder = find_folder(model)
        found = read_description(folder)
        parts: dict[str, Any] = load_parts(folder, found, dtype)
        pipeline = cls(
            **parts,
            max_size=found.max_size,
            class_names=found.class_names,
            depth_range=found.depth_range,
            provenance=found.provenance,
        )
        pipeline.name, pipeline.load_seconds = str(model), time.perf_counter() - start
        return pipeline

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float16) -> None:
        """Write a folder that `from_pretrained` reads, its weights as `dtype`.

        Raises:
            ValueError: a part that has no saved form, a value that `dtype` cannot hold, an unwritable place.
        """
        parts = self.parts
        kinds = {name: kind_of(name, part) for name, part in parts.items() if name != "transformer"}
        found = Description(kinds, self.max_size, self.class_names, self.depth_range, self.provenance)
        save_parts(Path(folder), parts, found, dtype)

    @property
    def parts(self) -> dict[str, Any]:
        """The components by name."""
        return {
            "transformer": self.transformer,
            "text_encoder": self.text_encoder,
            "task_encoder": self.task_encoder,
            "image_encoder": self.image_encoder,
            "autoencoder": self.autoencoder,
        }

    def to(self, *where: torch.device | str | torch.dtype) -> PixWizardPipeline:
        """Move or cast all components, as `nn.Module.to`."""
        for part in self.parts.values():
            part.to(*where)
        return self

    def offload(self, device: torch.device | str) -> PixWizardPipeline:
        """The transformer to a device, all else to the CPU, from where each part comes only while it runs."""
        for name, part in self.parts.items():
            part.to(device if name == "transformer" else "cpu")
        return self

    def generate(
        self,
        source: Tensor,
        instructions: Sequence[str],
        *,
        steps: int = GENERAL.steps,
        solver: str = DEFAULT_SOLVER,
        guidance: DualGuidance | tuple[float, float] = GENERAL.guidance,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        seeds: Sequence[int] | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Answers to a batch of pictures of one size.

        Args:
            source: [B, 3, H, W] in [-1, 1], H and W multiples of 16.
            instructions: B of them.
            steps: points of the time grid, counted as the released scripts do: 5 are 4 steps.
            solver: a key of `solvers.EVALUATIONS`.
            guidance: weights, or (text, image).
            generator: source of the noise, or one for each sample; samples draw one after the other.
            seeds: instead, one for each sample. Without either, torch's global state.
            progress: called after every step with (done, in all).

        Returns:
            [B, 3, H, W] float32 in [-1, 1].

        Raises:
            ValueError: sizes that do not fit, another number of instructions or seeds, an unknown solver, steps < 2.
        """
        self._check(source, instructions)
        if not isinstance(guidance, DualGuidance):
            guidance = DualGuidance(*guidance)
        drawn = noise_generators(len(source), generator, seeds)
        return self._generate(source, instructions, steps, solver, guidance, drawn, progress, {})

    def __call__(
        self,
        image: Picture | None,
        instruction: str,
        *,
        task: str | None = None,
        steps: int | None = None,
        solver: str = DEFAULT_SOLVER,
        text_guidance: float | None = None,
        image_guidance: float | None = None,
        guided_channels: int | None = None,
        guidance_interval: tuple[float, float] = ALWAYS,
        seed: int = 0,
        size: int | Size | None = None,
        keep_size: bool = True,
        keep_unchanged: bool = True,
        decode: bool | str | None = None,
        progress: Progress | None = None,
    ) -> Result:
        """Do what the instruction says.

        Args:
            image: a Pillow picture, an array or a file; None starts from a blank canvas.
            instruction: what to do, in English.
            task: a name in `tasks.TASKS`; it gives the defaults and how to decode. None guesses it.
            steps, text_guidance, image_guidance: None takes the task's own.
            solver, guided_channels, guidance_interval: see `generate` and `DualGuidance`.
            seed: of the noise; the same seed gives the same answer.
            size: side of the square of the model's area, or an exact (width, height); None: the picture's own area,
                at most `max_size` squared.
            keep_size: bring the answer back to the picture's size.
            keep_unchanged: paste the source back where a task that changes only a part changed nothing. To a picture
                that is larger than the model's size its change is carried, see `pictures.full_size`.
            decode: True, or a task's name, also returns the label.
            progress: see `generate`.

        Raises:
            ValueError: an empty instruction, an unreadable picture, an unknown task or solver, a task that needs a
                picture without one, sizes or steps that are too small, decode without a task.
            FileNotFoundError: no such picture.
        """
        chosen = self.choose_task(instruction, task, has_image=image is not None)
        reader = choose_reader(chosen, decode)
        (text, seen), steps, _ = settings_for(chosen.name if chosen else None, steps, text_guidance, image_guidance)
        given = None if image is None else open_picture(image)
        wanted = model_size(given.size if given else None, size, self.max_size)
        source = resized(given, wanted) if given else Image.new("RGB", wanted, "white")
        seconds = {"load": self.load_seconds}
        answer = self._generate(
            to_tensor(source),
            [instruction],
            steps,
            solver,
            DualGuidance(text, seen, guided_channels, guidance_interval),
            noise_generators(1, None, [seed]),
            progress,
            seconds,
        )
        change = None
        if chosen is not None and given is not None and keep_unchanged:
            answer, change = self.finish_with_change(chosen.name, to_tensor(source), answer)
        answer = answer[0]
        label = None if reader is None else self.read_label(reader, answer, to_tensor(source)[0], instruction)
        settings = dict(
            instruction=instruction, task=chosen and chosen.name, steps=steps, solver=solver,
            text_guidance=text, image_guidance=seen, guided_channels=guided_channels, seed=seed,
            size=f"{wanted[0]}x{wanted[1]}", model=self.name,
        )  # fmt: skip
        result = Result(to_image(answer), label, seconds, settings, change)
        if given and keep_size:
            result.image = result.at_size_of(given)
        return result

    choose_task = staticmethod(choose_task)

    def read_label(self, task: Task, answer: Tensor, source: Tensor, instruction: str = "") -> Any:
        """The label that an answer [3, H, W] stands for, given its source [3, H, W]; both in [-1, 1].

        The instruction says in which colours marks were asked for (see `asked_options`).
        """
        options: dict[str, Any] = {}
        if task.kind == "classes" and self.class_names:
            options["classes"] = range(1, len(self.class_names))
        if task.kind == "depth" and self.depth_range:
            options["near"], options["far"] = self.depth_range
        options |= asked_options(task.codec().name, instruction)
        reference = self.round_trip(source[None])[0] if task.kind in COMPARED else source
        return task.decode(answer.cpu() / 2 + 0.5, reference.cpu() / 2 + 0.5, **options)

    @torch.inference_mode()
    def round_trip(self, pictures: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] in [-1, 1] through the autoencoder and back: what an answer that changes nothing is.

        Marks on a picture (masks, boxes, joints) are found by their difference from this, so that the autoencoder's
        own error does not count.
        """
        weight = self.transformer.x_embedder.weight
        with brought(self.autoencoder, weight.device):
            latents = self.autoencoder.encode(pictures.to(weight.device, weight.dtype))
        return self.decode(latents)

    def finish(self, task: str, source: Tensor, answer: Tensor) -> Tensor:
        """An answer with the source pasted back where the task changed nothing; both [B, 3, H, W] in [-1, 1].

        Raises:
            ValueError: no task of this name.
        """
        return self.finish_with_change(task, source, answer)[0]

    def finish_with_change(self, task: str, source: Tensor, answer: Tensor) -> tuple[Tensor, Change | None]:
        """As `finish`, and the change, for a larger picture; None for a task that makes a new picture."""
        threshold = get_task(task).keep
        if threshold is None and get_task(task).domain != "editing":
            return answer, None
        source, reference = source.to(answer), self.round_trip(source).to(answer)
        kept = answer if threshold is None else keep_unchanged(source, answer, reference, threshold)
        return kept, find_change(answer, reference, threshold)

    @torch.inference_mode()
    def _generate(
        self,
        source: Tensor,
        instructions: Sequence[str],
        steps: int,
        solver: str,
        guidance: DualGuidance,
        generators: Sequence[torch.Generator | None],
        progress: Progress | None,
        seconds: dict[str, float],
    ) -> Tensor:
        weight = self.transformer.x_embedder.weight
        source = source.to(weight.device, weight.dtype)
        start = time.perf_counter()
        shape = (self.autoencoder.channels, source.shape[2] // 8, source.shape[3] // 8)
        noise = draw_noise(shape, generators, source.device)
        branches = self.encode(source, instructions, guidance.branches(), noise, generators)
        encoded = time.perf_counter()
        grid = time_grid(steps)
        step = self.evaluator.start(self.transformer, branches, grid[:-1].tolist())

        def velocity(x: Any, t: Tensor) -> Latents:
            """Guided velocity of x [B, C, h, w]."""
            now = guidance.at(float(t))
            return now.combine(step(x, float(t), now.branches()))

        # The state stays float32 whatever the weights are: many small steps are summed.
        x = solve(velocity, noise, grid, solver, progress)
        assert isinstance(x, Tensor), "a tensor goes in"
        denoised = time.perf_counter()
        answer = self.decode(x.to(source.dtype))
        seconds |= dict(encode=encoded - start, denoise=denoised - encoded, decode=time.perf_counter() - denoised)
        return answer

    def _check(self, source: Tensor, instructions: Sequence[str]) -> None:
        if source.ndim != 4 or source.shape[1] != 3 or source.shape[2] % CELL or source.shape[3] % CELL:
            raise ValueError(
                f"source must be [B, 3, H, W] with H and W multiples of {CELL}, found {list(source.shape)}: resize it"
            )
        if len(instructions) != len(source):
            raise ValueError(
                f"one instruction for each of {len(source)} pictures is needed, found {len(instructions)}: repeat it"
            )

    def _encode_source(self, source: Tensor, generators: Sequence[torch.Generator | None]) -> Tensor:
        """Latents of the pictures; a posterior that is sampled draws from each sample's generator, after its noise."""
        if getattr(self.autoencoder, "posterior", "mode") == "mode":
            return self.autoencoder.encode(source)
        parts = zip(source.split(1), generators, strict=True)
        return torch.cat([self.autoencoder.encode(picture, generator) for picture, generator in parts])

    def encode(
        self,
        source: Tensor,
        instructions: Sequence[str],
        branches: Sequence[str],
        noise: Tensor,
        generators: Sequence[torch.Generator | None],
    ) -> dict[str, Branch]:
        """Everything of some branches of guidance that no step changes.

        Args:
            source: [B, 3, H, W] in [-1, 1], on the model's device.
            noise: the initial noise [B, C, h, w]: the null image's source is that noise itself (see
                docs/mathematics.md section 9).
            generators: of the samples, for an autoencoder that samples its posterior.
        """
        device = source.device
        texts = {name: list(instructions) if name == "full" else [""] * len(instructions) for name in branches}
        with brought(self.autoencoder, device):
            latents = self._encode_source(source, generators)
        with brought(self.image_encoder, device):
            tokens = self.image_encoder.encode(source)
        with brought(self.text_encoder, device):
            features = {name: self.text_encoder.encode(text) for name, text in texts.items()}
        with brought(self.task_encoder, device):
            vectors = {name: self.task_encoder.encode(text) for name, text in texts.items()}
        found = {}
        for name in branches:
            null = name == "none"
            seen = torch.zeros_like(tokens) if null else tokens
            words, mask = features[name]
            conditions = self.transformer.encode_conditions(words, mask, vectors[name], seen)
            found[name] = Branch(noise.to(latents) if null else latents, conditions)
        return found

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] float32 in [-1, 1] of latents [B, C, h, w]; large ones piece by piece."""
        with brought(self.autoencoder, latents.device) as autoencoder:
            tiled = needs_tiles(latents)
            pictures = decode_tiled(autoencoder.decode, latents) if tiled else autoencoder.decode(latents)
        return pictures.float().clamp(-1, 1)
