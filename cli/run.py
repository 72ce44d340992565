"""`pixwizard run`: pictures in, pictures out, and the labels beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from .local_options import LocalOptions

if TYPE_CHECKING:
    from ..comfyui_pixwizard.answer import Keeping
    from ..comfyui_pixwizard.pictures.buckets import Size
    from ..comfyui_pixwizard.tasks import Task
    from ..comfyui_pixwizard.tasks.declared import Declared
    from .jobs import Job, JobOutcome, RunSettings

# So many answers that are kept are named; of more, only the number is told.
NAMED = 10
EVERYWHERE, WATERSHED = (0.0, 1.0), 0.3


@dataclass
class Run:
    """Do what an instruction says, to one or many pictures.

    Writes PNG files that carry the settings in their text entries. Answers that were made from the same pictures with
    the same settings are kept, so that a run that ended early goes on where it was. Without INPUT the model paints on
    a blank canvas: pixwizard run -i "Draw a red ball on a wooden floor" -o ball.png

    Several instructions are a chain: each works on the picture that the one before made, and a page beside OUT shows
    every step: pixwizard run photo.jpg -i "Remove the rain" -i "Make it dusk" -o dusk.png
    """

    instruction: tyro.conf.UseAppendAction[Annotated[tuple[str, ...], tyro.conf.arg(aliases=["-i"], metavar="TEXT")]]
    """What to do, in English; again for every further step of a chain."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")]
    """A .png file; for several pictures or a folder, a folder."""
    inputs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="[INPUT [INPUT ...]]")] = ()
    """Pictures, or folders of pictures."""
    task: tyro.conf.UseAppendAction[Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME")]] = ()
    """A name that `pixwizard tasks` lists; predicted from the words by default. It gives the other defaults. Once, or
    once for every instruction of a chain."""
    task_file: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Do what pixwizard train task learned from pairs and wrote to this file; it brings its own words and settings."""
    steps: int | None = None
    """Points of the time grid; one less than this is the number of steps."""
    solver: str | None = None
    """euler, midpoint, heun, rk4, ab2, dpmpp_2m or unipc; what the model declares (`pixwizard tasks --model`) by
    default, as the other settings."""
    text_guidance: float | None = None
    """Weight of the instruction."""
    image_guidance: float | None = None
    """Weight of the picture."""
    guided_channels: int | None = None
    """Guide only that many latent channels, 0 for all; 3 is what the released weights declare."""
    patch_grids: int | None = None
    """Average over 1, 2 or 4 patch grids half a patch beside each other: fewer borders of patches and answers nearer to
    the truth, at as many times the work. By default what the model declares for the task."""
    guidance_interval: Annotated[tuple[float, float], tyro.conf.arg(metavar="FROM TO")] = EVERYWHERE
    """Guide only at these times, 0 noise to 1 picture; at the others the prediction that sees everything is taken as
    it is, which costs one evaluation."""
    token_choice: Literal["best", "sampled"] = "best"
    """Which image tokens each layer sees: those that it ranks highest, or drawn with Gumbel noise at every evaluation,
    as the released code does."""
    shift: float = 1.0
    """Of the time grid: above 1 it crowds towards noise, as large pictures may want it."""
    rope_scale: float | None = None
    """Of positions, for a --size beyond what the model was trained for; then the square root of how many times as many
    pixels it has by default, and 1, which scales nothing, for others."""
    rope_watershed: float = WATERSHED
    """Flow time up to which positions are scaled linearly, from where on by NTK."""
    proportional_attention: Literal["by-size", "on", "off"] = "by-size"
    """Scale attention by the number of tokens; by size: where it is beyond what the model was trained for."""
    seed: int = 0
    """Of the noise."""
    size: Annotated[str | None, tyro.conf.arg(metavar="N|WxH")] = None
    """The model's size: side of the square of the same area, or exactly WIDTHxHEIGHT; multiples of 16. The picture's
    own by default, as far as the model was trained for it."""
    keep_model_size: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Leave the answer at the model's size instead of bringing it back to the picture's."""
    whole_answer: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Take all of the answer, also where a task that changes only a part (an edit) changed nothing; without it what
    changed is carried to the picture at its own size with that picture as guide, and the rest stays."""
    threshold: float | None = None
    """Keep the picture where the mean change, as a share of full scale, is no larger; from twice this on all of the
    change is taken. By default what suits the task (0.1 for edits of a thing), in a chain 0.03. Answers of reading and
    control tasks, other pictures, keep nothing."""
    reference: Literal["round-trip", "source"] | None = None
    """A change from what: from the picture after the autoencoder, which softens every pixel, the default for a single
    instruction; or from the picture itself, the default in a chain."""
    windows: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Work at the picture's own size, or at any --size, in overlapping windows of the model's size: for restoring
    pictures larger than the model was trained for, in memory that hardly grows with them."""
    local: Annotated[LocalOptions, tyro.conf.arg(name="")] = field(default_factory=LocalOptions)
    decode: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also write what the answer stands for, at the model's size: depth (16-bit PNG in millimetres, .npy in metres),
    relative depth where the instruction asks for it (16-bit PNG, .npy from 0 farthest to 1 nearest), normals (.npy),
    segmentation (indexed PNG, JSON legend), mask and edges (PNG), boxes, keypoints and pose (JSON)."""
    model: str = "nano"
    """The bundled model, nano, or a folder."""
    backend: str = "eager"
    """What runs the network: eager, bfloat16, compiled, or auto for the fastest that needs no compiler here;
    onnxruntime and tensorrt run what pixwizard export onnx and tensorrt wrote."""
    engine: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """With --backend onnxruntime or tensorrt: the exported folder."""
    provider: Literal["cpu", "cuda", "tensorrt", "tensorrt-rtx"] = "cpu"
    """What ONNX Runtime computes on; there is no falling back to another."""
    device: str = "auto"
    """cpu, cuda or cuda:N; auto is the GPU where there is one."""
    again: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Make all answers anew, also those that were made before."""
    ray: Annotated[str | None, tyro.conf.arg(metavar="ADDRESS")] = None
    """Spread the pictures over a Ray cluster whose machines see the same folders: its address, or local."""

    def run(self) -> int:
        """Exit code 0; 1 when some of several pictures failed.

        Raises:
            ValueError: settings that cannot be used, or a picture that cannot when it is the only one.
            FileNotFoundError: no such picture.
        """
        from .jobs import plan

        jobs = plan(self.inputs, self.output)
        tasks, size = self._check(jobs)
        from .resume import leftovers_removed, made_before

        if self.ray is not None:
            from ..runtime.ray_cluster import require_ray

            require_ray()
        settings = self._settings(tasks, size)
        with leftovers_removed(jobs, settings):
            kept = set() if self.again else set(made_before(jobs, settings))
            for line in _kept_lines([job for job in jobs if job in kept], len(jobs)):
                print(line)
            left = [job for job in jobs if job not in kept]
            failed = self._do_all(left, len(jobs), settings) if left else 0
        return 1 if failed else 0

    def _settings(self, tasks: Sequence[Task | None], size: Size | int | None) -> RunSettings:
        """What is asked for in every step, with the defaults that the pipeline would take."""
        from ..comfyui_pixwizard.files.components import BUNDLED, find_folder, read_declared, read_description
        from ..comfyui_pixwizard.files.digests import model_fingerprint
        from ..comfyui_pixwizard.files.safe_files import sha256_of
        from ..runtime.evaluators import engine_digest
        from .jobs import RunSettings

        folder = find_folder(self.model)
        declared = read_declared(self.model)
        calls = [self._call(words, task, declared) for words, task in zip(self.instruction, tasks, strict=True)]
        last = tasks[-1]
        label = declared.label_kind(last, self.instruction[-1]) if last and self.decode else None
        return RunSettings(
            call=calls[-1],
            earlier=tuple(calls[:-1]),
            size=size,
            keep_size=not self.keep_model_size,
            label=label,
            model=self.model,
            folder=self.model if self.model in BUNDLED else str(folder.absolute()),
            fingerprint=model_fingerprint(folder),
            max_size=read_description(folder).max_size,
            backend=self.backend,
            device=self.device,
            engine=str(self.engine.expanduser().absolute()) if self.engine else None,
            engine_digest=engine_digest(self.engine.expanduser()) if self.engine else None,
            provider=self.provider,
            task_digest=sha256_of(self.task_file.expanduser()) if self.task_file else None,
        )

    def _call(self, instruction: str, task: Task | None, model: Declared) -> dict[str, Any]:
        """The pipeline's arguments of one step."""
        name = task.name if task else None
        declared, points, weights = model[name], self.steps, (self.text_guidance, self.image_guidance)
        if self.task_file is not None:
            from ..comfyui_pixwizard.files.learned_task import GUIDANCE, LearnedTask

            points = points or LearnedTask.load(self.task_file).points
            text, image = weights
            weights = (GUIDANCE if text is None else text, GUIDANCE if image is None else image)
        row = declared.asked(
            points=points, solver=self.solver, text_guidance=weights[0], image_guidance=weights[1],
            guided_channels=self.guided_channels, patch_grids=self.patch_grids,
        )  # fmt: skip
        # For the pipeline None is what the model declares.
        every = None if declared.guided_channels is None else 0
        return dict(
            instruction=instruction,
            task=str(self.task_file.expanduser().absolute()) if self.task_file else name,
            steps=row.points,
            solver=row.solver,
            text_guidance=row.text_guidance,
            image_guidance=row.image_guidance,
            guided_channels=every if row.guided_channels is None else row.guided_channels,
            patch_grids=row.patch_grids,
            **({} if self.guidance_interval == EVERYWHERE else {"guidance_interval": self.guidance_interval}),
            **self._beyond(),
            seed=self.seed,
            keep_unchanged=not self.whole_answer,
            **self._keeping().told(),
            **({"windows": True} if self.windows else {}),
            **({"local": local} if (local := self.local.edit(instruction, task)) else {}),
        )

    def _keeping(self) -> Keeping:
        """What counts as a change: in a chain as Emu Edit does it, unless something else is asked for."""
        from ..comfyui_pixwizard.answer import Keeping
        from ..comfyui_pixwizard.pictures.change import CHAIN_THRESHOLD, ROUND_TRIP, SOURCE

        threshold, reference = (CHAIN_THRESHOLD, SOURCE) if len(self.instruction) > 1 else (None, ROUND_TRIP)
        return Keeping(threshold if self.threshold is None else self.threshold, self.reference or reference)

    def _beyond(self) -> dict[str, Any]:
        """What is asked for beside the model's own, where it is; so that answers from before are known again."""
        on = {"by-size": None, "on": True, "off": False}[self.proportional_attention]
        wanted = {
            "token_choice": (self.token_choice, "best"),
            "shift": (self.shift, 1.0),
            "rope_scale": (self.rope_scale, None),
            "rope_watershed": (self.rope_watershed, WATERSHED),
            "proportional_attention": (on, None),
        }
        return {name: value for name, (value, usual) in wanted.items() if value != usual}

    def _do_all(self, jobs: Sequence[Job], of: int, settings: RunSettings) -> int:
        """All pictures under one bar of steps; how many failed, of which the only one of all raises."""
        from ..comfyui_pixwizard.pictures.images import open_picture
        from .batch import in_words, load, reason, run_here
        from .messages import report
        from .step_bar import StepBar

        if of == 1 and jobs[0].source is not None:
            open_picture(jobs[0].source)  # so that a bad file is told at once, not after the model is loaded
        pipeline = load(settings) if self.ray is None else None
        if pipeline is not None and self.backend != "eager":
            print(f"{pipeline.evaluator.name}: {pipeline.evaluator.reason}")
        failed = 0
        with StepBar(jobs, sum(call["steps"] - 1 for call in settings.calls)) as bar:
            if pipeline is not None:
                outcomes = run_here(jobs, settings, pipeline, bar.begin)
            else:
                from .batch_ray import run_on_ray

                outcomes = run_on_ray(jobs, settings, self.ray or "")
            with closing(outcomes):
                for outcome in outcomes:
                    bar.end(outcome)
                    if outcome.error is None:
                        bar.write("\n".join(_written_lines(outcome, settings)))
                        continue
                    if of == 1:
                        raise in_words(outcome.error) from outcome.error
                    failed += 1
                    error, source = reason(outcome.error), outcome.job.source
                    with bar.external_write_mode():
                        report(error if str(source) in error else f"{source}: {error}")
            if bar.done > 1:
                print(f"{bar.done} pictures in {bar.seconds:.0f} s, {bar.an_hour:.0f} an hour")
        if failed:
            report(f"{failed} of {of} pictures failed; the others are in {self.output}")
        return failed

    def _check(self, jobs: Sequence[Job]) -> tuple[list[Task | None], Size | int | None]:
        """Everything that can be wrong with the settings, before the model is loaded."""
        from ..comfyui_pixwizard.files.components import read_declared
        from ..comfyui_pixwizard.guidance import DualGuidance
        from ..comfyui_pixwizard.noise import noise_generators
        from ..comfyui_pixwizard.pictures.labels import label_files
        from ..comfyui_pixwizard.pictures.sizes import check_size
        from ..comfyui_pixwizard.sampling import Sampling
        from ..comfyui_pixwizard.scaling import Scaling
        from ..comfyui_pixwizard.solvers import EVALUATIONS
        from .jobs import chain_files

        if self.solver is not None and self.solver not in EVALUATIONS:
            raise ValueError(f"--solver must be one of {', '.join(EVALUATIONS)}, found {self.solver!r}: take euler")
        if self.steps is not None and self.steps < 2:
            raise ValueError(f"--steps counts points of the time grid, at least 2, found {self.steps}: take 5")
        from ..runtime.evaluators import check, find_device

        check(self.backend, self.engine.expanduser() if self.engine else None, self.provider)
        find_device(self.device)
        size = parse_size(self.size)
        check_size(size)
        weights = {"text": self.text_guidance, "image": self.image_guidance}
        asked = {name: weight for name, weight in weights.items() if weight is not None}
        DualGuidance(**asked, guided_channels=self.guided_channels or None, interval=self.guidance_interval)
        noise_generators(1, None, [self.seed])
        Sampling(
            shift=self.shift,
            scaling=Scaling(1.0 if self.rope_scale is None else self.rope_scale, self.rope_watershed),
            patch_grids=1 if self.patch_grids is None else self.patch_grids,
        )
        self._keeping()
        if self.whole_answer and (self.threshold is not None or self.reference is not None):
            raise ValueError(
                "--whole-answer keeps nothing of the picture, found --threshold or --reference beside it: leave it or "
                "them out"
            )
        tasks = self._tasks(has_image=jobs[0].source is not None)
        if self.local.local_mask is not None and jobs[0].source is None:
            raise ValueError("--local-mask edits a part of a picture, found no INPUT: name one")
        task, steps = tasks[-1], len(tasks)
        if self.decode and task is None:
            raise ValueError(
                "--decode needs to know the task, found none that fits the instruction: name it with --task"
            )
        sources = {job.source.resolve() for job in jobs if job.source is not None}
        kind = read_declared(self.model).label_kind(task, self.instruction[-1]) if task and self.decode else "image"
        taken: set[Path] = set()
        for job in jobs:
            for path in (job.output, *label_files(job.output, kind), *chain_files(job.output, steps)):
                if path.resolve() in sources:
                    raise ValueError(
                        f"an input is never overwritten, found output {path} among them: choose another OUT"
                    )
                if path.resolve() in taken:
                    raise ValueError(f"every output needs a name of its own, found {path} twice: rename an input")
                taken.add(path.resolve())
        return tasks, size

    def _tasks(self, has_image: bool) -> list[Task | None]:
        """The task of every instruction; all but the first have a picture, made by the one before."""
        from ..comfyui_pixwizard.answer import choose_task
        from ..comfyui_pixwizard.files.components import load_task_reader

        if self.task_file is not None:
            from ..comfyui_pixwizard.files.learned_task import LearnedTask

            learned = LearnedTask.load(self.task_file)
            if self.task or len(self.instruction) > 1 or not has_image:
                raise ValueError(
                    "--task-file does one thing to a picture, found --task, several instructions or no INPUT beside "
                    "it: leave them out, and name a picture"
                )
            self.instruction = self.instruction or (learned.instruction,)
            return [None]
        steps = len(self.instruction)
        if not steps:
            raise ValueError("an instruction must say what to do, found none: add -i 'Remove the noise'")
        if len(self.task) not in {0, 1, steps}:
            raise ValueError(
                f"--task is named once or once for each of {steps} instructions, found {len(self.task)}: leave it "
                "out, or name it so"
            )
        names: tuple[str | None, ...] = self.task if len(self.task) == steps else (self.task or (None,)) * steps
        read = None if all(names) else load_task_reader(self.model)
        words = enumerate(zip(self.instruction, names, strict=True))
        return [choose_task(text, name, has_image or step > 0, read) for step, (text, name) in words]


def _written_lines(outcome: JobOutcome, settings: RunSettings) -> Iterator[str]:
    yield f"wrote {outcome.job.output} ({outcome.size[0]}x{outcome.size[1]}, {outcome.seconds:.1f} s)"
    yield from (f"wrote {path}" for path in (*outcome.labels, *outcome.chain))
    yield from (f"{outcome.job.source or outcome.job.output}: {note}" for note in outcome.notes)
    if settings.label is not None and not outcome.labels:
        yield f"task {settings.call['task']} has no label beside its picture"


def _kept_lines(kept: Sequence[Job], of: int) -> list[str]:
    if len(kept) > NAMED:
        return [f"kept {len(kept)} of {of} answers, made before with these settings"]
    return [f"kept {job.output}, made before with these settings" for job in kept]


def parse_size(text: str | None) -> int | tuple[int, int] | None:
    """256 or 320x192.

    Raises:
        ValueError: anything else.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(?:[xX](\d+))?", text.strip())
    if not match:
        raise ValueError(f"--size must be a number or WIDTHxHEIGHT, found {text!r}: for example 256 or 320x192")
    return (int(match[1]), int(match[2])) if match[2] else int(match[1])
