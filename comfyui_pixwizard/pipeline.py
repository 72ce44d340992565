"""From a picture and an instruction to a picture and, where the task has one, a label.

Shapes: B pictures, H W pixels (multiples of 16), C latent channels, h w = H/8 W/8, n guidance branches.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from .answer import Keeping, Result, choose_reader, choose_task
from .evaluator import Eager, Evaluator
from .files.components import KINDS, Description, find_folder, kind_of, load_parts, read_description, save_parts
from .files.learned_task import GUIDANCE, LearnedTask, read_task
from .guidance import ALWAYS, DualGuidance
from .local_edits.edit import Candidates, LocalEdit, edit_locally, held_part
from .noise import draw_noise, noise_generators
from .pictures.buckets import CELL, Size
from .pictures.change import ROUND_TRIP, SOURCE, Change
from .pictures.filling import Filling, find_kept
from .pictures.images import Picture, open_picture, padded_to_cells, resized, to_image, to_tensor
from .pictures.sizes import model_size
from .pipeline_parts import PipelineParts
from .sampling import BEST, SAMPLED, Progress, Sampling, sample_latents
from .scaling import PLAIN, Scaling, scaling_for
from .solvers import DEFAULT_SOLVER
from .task_table import TaskRows, TaskTable
from .tasks import Task, get_task
from .tasks.declared import Declared
from .tasks.defaults import GENERAL
from .tasks.predictor import TaskPredictor
from .transformer import PixWizardTransformer
from .windows import InWindows

# Kinds of labels that are marks on the source.
COMPARED = {"mask", "boxes", "keypoints"}
STAGES = ("encode", "denoise", "decode")


class PixWizardPipeline(PipelineParts):
    """A model ready for use.

    Args:
        transformer: the velocity network.
        text_encoder: `.encode(texts) -> (features, mask)`.
        task_encoder: `.encode(texts) -> task vectors`.
        image_encoder: `.encode(image in [-1, 1]) -> image tokens`.
        autoencoder: `.encode(image) -> latents`, `.decode(latents) -> image`, `.channels`.
        task_table: learned vectors and tokens of tasks, for a model that has some.
        task_predictor: finds the task of a sentence; without, it is guessed.
        max_size: side in pixels of the largest square that the model was trained for; None takes what it declares.
        class_names: names of the classes that its segmentations show, by id; the first is "nothing".
        depth_range: smallest and largest depth in metres that it was trained on; None where any may come.
        declared: codes and settings of its tasks; without them, and without class_names and depth_range, those of the
            transformer's file, else this project's own.
        provenance: how the weights came to be, plain values.

    Raises:
        ValueError: encoders or a task table whose widths are not the transformer's.
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
        *,
        max_size: int | None = None,
        class_names: Sequence[str] = (),
        depth_range: tuple[float, float] | None = None,
        declared: Declared | None = None,
        provenance: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            transformer, text_encoder, task_encoder, image_encoder, autoencoder, task_table, task_predictor
        )
        if declared is None and (class_names or depth_range is not None or transformer.declared is None):
            declared = Declared.own(class_names, depth_range)
        self.declared: Declared = declared or transformer.declared or Declared.own()
        if max_size is not None:
            self.declared = replace(self.declared, max_size=max_size)
        if transformer.declared is not None:
            transformer.declared = self.declared
        self.max_size, self.class_names = self.declared.max_size, list(self.declared.class_names)
        self.depth_range = self.declared.depth_range
        self.provenance = dict(provenance or {})
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
            declared=found.declared(folder),
            provenance=found.provenance,
        )
        pipeline.name, pipeline.load_seconds = str(model), time.perf_counter() - start
        pipeline.folder = folder
        return pipeline

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float16) -> None:
        """Write a folder that `from_pretrained` reads, its weights as `dtype`.

        Raises:
            ValueError: a part that has no saved form, a value that `dtype` cannot hold, an unwritable place.
        """
        parts = self.parts
        kinds = {name: kind_of(name, parts[name]) for name in KINDS}
        own = self.declared.tasks == Declared.own(self.class_names, self.depth_range).tasks
        tasks = None if own else self.declared.to_dict()["tasks"]
        found = Description(kinds, self.max_size, self.class_names, self.depth_range, self.provenance, tasks)
        save_parts(Path(folder), parts, found, dtype)
        if self.direction is not None:
            self.direction.save(folder)

    def generate(
        self,
        source: Tensor,
        instructions: Sequence[str],
        *,
        steps: int = GENERAL.steps,
        solver: str = DEFAULT_SOLVER,
        guidance: DualGuidance | tuple[float, float] = GENERAL.guidance,
        token_choice: str = BEST,
        shift: float = 1.0,
        scaling: Scaling | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        seeds: Sequence[int] | None = None,
        windows: bool = False,
        patch_grids: int = 1,
        tasks: Sequence[str | LearnedTask | None] | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Answers to a batch of pictures of one size.

        Args:
            source: [B, 3, H, W] in [-1, 1], H and W multiples of 16.
            instructions: B of them.
            steps: points of the time grid, counted as the released scripts do: 5 are 4 steps.
            solver: a key of `solvers.EVALUATIONS`.
            guidance: weights, or (text, image).
            token_choice: "best" or "sampled", see `sampling.Sampling`.
            shift: of the time grid, above 1 towards noise.
            scaling: of positions and attention; None takes the rule of `scaling.scaling_for`.
            generator: source of the noise, or one for each sample; samples draw one after the other.
            seeds: instead, one for each sample. Without either, torch's global state.
            windows: sample in overlapping windows of the model's size, see `windows`.
            patch_grids: see `patch_grids`.
            tasks: of the samples, by which a model with a task table is told what to do beside the words; None in their
                places tells it nothing. Without, those that `predict_task` finds.
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
        if scaling is None:
            scaling = PLAIN if windows else scaling_for((source.shape[-1], source.shape[-2]), self.max_size)
        how = Sampling(steps, solver, guidance, token_choice, shift, scaling, windows, patch_grids)
        rows = self.task_rows(instructions, tasks)
        return self._generate(source, instructions, how, drawn, progress, {}, rows)

    def __call__(
        self,
        image: Picture | None,
        instruction: str,
        *,
        task: str | Path | LearnedTask | None = None,
        steps: int | None = None,
        solver: str | None = None,
        text_guidance: float | None = None,
        image_guidance: float | None = None,
        guided_channels: int | None = None,
        patch_grids: int | None = None,
        guidance_interval: tuple[float, float] = ALWAYS,
        token_choice: str = BEST,
        shift: float = 1.0,
        rope_scale: float | None = None,
        rope_watershed: float | None = None,
        proportional_attention: bool | None = None,
        seed: int = 0,
        size: int | Size | None = None,
        keep_size: bool = True,
        keep_unchanged: bool = True,
        threshold: float | None = None,
        reference: str = ROUND_TRIP,
        windows: bool = False,
        local: LocalEdit | None = None,
        decode: bool | str | None = None,
        progress: Progress | None = None,
    ) -> Result:
        """Do what the instruction says.

        Args:
            image: a Pillow picture, an array or a file; None starts from a blank canvas.
            instruction: what to do, in English; "" for a learned task's own sentence.
            task: a name in `tasks.TASKS`; it gives the defaults and how to decode. None predicts it from the words. Or
                a task that was learned from pairs, or its file.
            steps, solver, text_guidance, image_guidance, guided_channels, patch_grids: see `generate` and
                `DualGuidance`; None takes what the model declares for the task, 0 guided channels are all.
            guidance_interval, token_choice, shift: see `DualGuidance` and `sampling.Sampling`.
            rope_scale, rope_watershed, proportional_attention: for sizes beyond `max_size`; None takes the rule of
                `scaling.scaling_for`.
            seed: of the noise; the same seed gives the same answer.
            size: side of the square of the model's area, or an exact (width, height); None: the picture's own area,
                at most `max_size` squared.
            keep_size: bring the answer back to the picture's size.
            keep_unchanged: keep of the source what the task leaves alone, see `tasks.defaults`. To a picture that is
                larger than the model's size its change is carried, see `pictures.change`.
            threshold, reference: what counts as a change, see `answer.Keeping`. In a chain of edits, each on the answer
                of the one before, Emu Edit takes 0.03 and "source".
            windows: work at the picture's own size, or any `size`, in overlapping windows of the model's size.
            local: edit only what a mask shows, see `local_edits.edit`.
            decode: True, or a task's name, also returns the label.
            progress: see `generate`.

        Raises:
            ValueError: an empty instruction, an unreadable picture, an unknown task or solver, a task that needs a
                picture without one, sizes or steps that are too small, decode without a task.
            FileNotFoundError: no such picture.
        """
        learned = read_task(task)
        if isinstance(learned, LearnedTask):
            instruction, steps = instruction.strip() or learned.instruction, steps or learned.points
            text_guidance, image_guidance = (GUIDANCE if w is None else w for w in (text_guidance, image_guidance))
            chosen: Task | None = None
            if image is None:
                raise ValueError(f"the task {learned.name} works on a picture, found none: give one")
        else:
            chosen = self.choose_task(instruction, learned, has_image=image is not None)
            learned = chosen.name if chosen else None
        reader, keeping = choose_reader(chosen, decode), Keeping(threshold, reference)
        row = self.declared[chosen.name if chosen else None].asked(
            points=steps, solver=solver, text_guidance=text_guidance, image_guidance=image_guidance,
            guided_channels=guided_channels, patch_grids=patch_grids,
        )  # fmt: skip
        guidance = row.guidance(guidance_interval)
        given = None if image is None else open_picture(image)
        wanted = model_size(given.size if given else None, size, self.max_size, windows)
        # Every window has a size that the model was trained for.
        covered = (self.max_size, self.max_size) if windows else wanted
        scaling = scaling_for(covered, self.max_size, rope_scale, rope_watershed, proportional_attention)
        how = Sampling(row.points, row.solver, guidance, token_choice, shift, scaling, windows, row.patch_grids)
        source = resized(given, wanted) if given else Image.new("RGB", wanted, "white")
        seconds = {"load": self.load_seconds}
        made: Candidates | None = None
        change: Change | Filling | None = None

        def generated(shown: Tensor, shares: Tensor | None = None) -> Tensor:
            sentences, drawn = [instruction] * len(shown), noise_generators(len(shown), None, [seed] * len(shown))
            rows = self.task_rows(sentences, [learned] * len(shown))
            return self._generate(shown, sentences, how, drawn, progress, seconds, rows, shares)

        if local is not None:
            if given is not None and local.shape is None:
                local = replace(local, shape=given.size)
            start = time.perf_counter()
            kept = keeping if keep_unchanged else None
            made = edit_locally(self, local, given and source, instruction, chosen, kept, seed, generated)
            answer, change = made.picture, made.chosen_change
            seconds["local"] = time.perf_counter() - start - sum(seconds[name] for name in STAGES)
        else:
            answer = generated(to_tensor(source))
            if given is not None and keep_unchanged:
                answer, change = self.finish_with_change(chosen, to_tensor(source), answer, keeping)
        answer = answer[0]
        label = None if reader is None else self.read_label(reader, answer, to_tensor(source)[0], instruction)
        settings = dict(
            instruction=instruction, task=getattr(learned, "name", learned), steps=row.points, solver=row.solver,
            text_guidance=row.text_guidance, image_guidance=row.image_guidance, guided_channels=row.guided_channels,
            patch_grids=row.patch_grids, seed=seed, size=f"{wanted[0]}x{wanted[1]}", model=self.name,
            **how.told("token_choice", "shift", "windows"), **({} if scaling == PLAIN else asdict(scaling)),
            **keeping.told(), **(made.told() if made else {}),
        )  # fmt: skip
        kind = None if reader is None else self.declared.label_kind(reader, instruction)
        mask, notes = made.mask if made else None, self.unread(instruction)
        result = Result(to_image(answer), label, seconds, settings, change, kind, mask, notes)
        if given and keep_size:
            result.image = result.at_size_of(given)
        return result

    def choose_task(self, instruction: str, task: str | None, has_image: bool) -> Task | None:
        """The named task, or the predicted one, if any; see `answer.choose_task`."""
        return choose_task(instruction, task, has_image, self.predict_task)

    def read_label(self, task: Task, answer: Tensor, source: Tensor, instruction: str = "") -> Any:
        """The label that an answer [3, H, W] stands for, given its source [3, H, W]; both in [-1, 1].

        By the code that the model declares; the instruction says in which colours marks were asked for, and whether
        depth was asked for as relative.
        """
        reference = self.round_trip(source[None])[0] if task.kind in COMPARED else source
        options = self.declared[task.name].reading(instruction)
        return task.decode(answer.cpu() / 2 + 0.5, reference.cpu() / 2 + 0.5, **options)

    def finish(self, task: str, source: Tensor, answer: Tensor) -> Tensor:
        """An answer that keeps of its source what the task leaves alone; both [B, 3, H, W] in [-1, 1].

        Raises:
            ValueError: no task of this name.
        """
        return self.finish_with_change(get_task(task), source, answer)[0]

    def finish_with_change(
        self, task: Task | None, source: Tensor, answer: Tensor, keeping: Keeping | None = None
    ) -> tuple[Tensor, Change | Filling | None]:
        """As `finish`, and the change, for a larger picture; None where that gets the answer."""
        keeping = keeping or Keeping()
        threshold = keeping.threshold_for(task)
        if threshold is None:
            return answer, None
        source = source.to(answer)
        reference = source if keeping.reference == SOURCE else self.round_trip(source).to(answer)
        fills = task is not None and task.fills and keeping.threshold is None
        change = find_kept(answer, reference, threshold, fills)
        return change.onto(source), None if not threshold and task is not None and task.enlarged else change

    @torch.inference_mode()
    def _generate(
        self,
        source: Tensor,
        instructions: Sequence[str],
        how: Sampling,
        generators: Sequence[torch.Generator | None],
        progress: Progress | None,
        seconds: dict[str, float],
        task_rows: TaskRows | None,
        shares: Tensor | None = None,
    ) -> Tensor:
        """As `generate`; of shares [B, 1, H, W] of pixels, those without any keep the source's latents."""
        weight = self.transformer.x_embedder.weight
        height, width = source.shape[-2:]
        source = padded_to_cells(source).to(weight.device, weight.dtype)
        start = time.perf_counter()
        shape = (self.autoencoder.channels, source.shape[2] // 8, source.shape[3] // 8)
        noise = draw_noise(shape, generators, source.device)
        needed = how.guidance.branches()
        redrawable = how.token_choice == SAMPLED
        branches = self.encode(source, instructions, needed, noise, generators, redrawable, task_rows)
        encoded = time.perf_counter()
        evaluator = InWindows(self.evaluator, self.max_size) if how.windows else self.evaluator
        held = None if shares is None else held_part(branches, shares)
        x = sample_latents(evaluator, self.transformer, branches, noise, how, generators, progress, held)
        denoised = time.perf_counter()
        answer = self.decode(x.to(source.dtype))[..., :height, :width]
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
