"""`pixwizard run`: pictures in, pictures out, and the labels beside them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from .pipeline import PixWizardPipeline, Progress, Result
    from .resolution import Size
    from .tasks import Task


@dataclass
class Run:
    """Do what an instruction says, to one or many pictures.

    Writes PNG files that carry the settings in their text entries. Without INPUT the model paints on a blank canvas:
    pixwizard run -i "Draw a red ball on a wooden floor" -o ball.png
    """

    instruction: Annotated[str, tyro.conf.arg(aliases=["-i"], metavar="TEXT")]
    """What to do, in English."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")]
    """A .png file; for several pictures or a folder, a folder."""
    inputs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="[INPUT [INPUT ...]]")] = ()
    """Pictures, or folders of pictures."""
    task: str | None = None
    """A name that `pixwizard tasks` lists; guessed from the instruction by default. It gives the other defaults."""
    steps: int | None = None
    """Points of the time grid; one less than this is the number of steps."""
    solver: str = "euler"
    """euler, midpoint, heun, rk4 or ab2."""
    text_guidance: float | None = None
    """Weight of the instruction."""
    image_guidance: float | None = None
    """Weight of the picture."""
    guided_channels: int | None = None
    """Guide only that many latent channels; 3 is what the released code does."""
    seed: int = 0
    """Of the noise."""
    size: Annotated[str | None, tyro.conf.arg(metavar="N|WxH")] = None
    """The model's size: side of the square of the same area, or exactly WIDTHxHEIGHT; multiples of 16. The picture's
    own by default, as far as the model was trained for it."""
    keep_model_size: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Leave the answer at the model's size instead of bringing it back to the picture's."""
    whole_answer: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Take all of the answer, also where a task that changes only a part (an edit) changed nothing; without it the
    picture itself is pasted back there."""
    decode: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also write what the answer stands for, at the model's size: depth (16-bit PNG in millimetres, .npy in metres),
    normals (.npy), segmentation (indexed PNG, JSON legend), mask and edges (PNG), boxes, keypoints and pose (JSON)."""
    model: str = "nano"
    """The bundled model, nano, or a folder."""

    def run(self) -> int:
        """Exit code 0; 1 when some of several pictures failed.

        Raises:
            ValueError: settings that cannot be used, or a picture that cannot when it is the only one.
            FileNotFoundError: no such picture.
        """
        jobs = plan(self.inputs, self.output)
        task, size = self._check(jobs)
        from .images import open_picture
        from .pipeline import GENERAL_STEPS, PixWizardPipeline

        if len(jobs) == 1 and jobs[0].source is not None:
            open_picture(jobs[0].source)  # so that a bad file is told at once, not after the model is loaded
        pipeline = PixWizardPipeline.from_pretrained(self.model)
        points = self.steps or (task.steps if task else GENERAL_STEPS)
        failed = self._do_all(jobs, points - 1, lambda job, progress: self._do(job, pipeline, task, size, progress))
        return 1 if failed else 0

    def _do_all(self, jobs: Sequence[Job], steps: int, do: Callable[[Job, Progress], list[str]]) -> int:
        """All pictures under one bar of steps; how many failed, of which the only one raises."""
        from tqdm import tqdm

        from .cli import report

        failed = 0
        with tqdm(total=len(jobs) * steps, unit="step", leave=False) as bar:

            def advance(done: int, of: int) -> None:
                bar.update()

            for number, job in enumerate(jobs, start=1):
                bar.set_description(job.name if len(jobs) == 1 else f"{number}/{len(jobs)} {job.name}")
                try:
                    lines = do(job, advance)
                except (ValueError, OSError) as error:
                    if len(jobs) == 1:
                        raise
                    failed += 1
                    bar.total -= steps
                    with bar.external_write_mode():
                        report(error if str(job.source) in str(error) else f"{job.source}: {error}")
                else:
                    for line in lines:
                        bar.write(line)
        if failed:
            report(f"{failed} of {len(jobs)} pictures failed; the others are in {self.output}")
        return failed

    def _check(self, jobs: Sequence[Job]) -> tuple[Task | None, Size | int | None]:
        """Everything that can be wrong with the settings, before the model is loaded."""
        from .guidance import DualGuidance
        from .labels import label_files
        from .pipeline import PixWizardPipeline
        from .sizing import check_size
        from .solvers import EVALUATIONS

        if self.solver not in EVALUATIONS:
            raise ValueError(f"--solver must be one of {', '.join(EVALUATIONS)}, found {self.solver!r}: take euler")
        if self.steps is not None and self.steps < 2:
            raise ValueError(f"--steps counts points of the time grid, at least 2, found {self.steps}: take 5")
        size = parse_size(self.size)
        check_size(size)
        DualGuidance(guided_channels=self.guided_channels)
        task = PixWizardPipeline.choose_task(self.instruction, self.task, has_image=jobs[0].source is not None)
        if self.decode and task is None:
            raise ValueError(
                "--decode needs to know the task, found none that fits the instruction: name it with --task"
            )
        sources = {job.source.resolve() for job in jobs if job.source is not None}
        for job in jobs:
            written = [job.output, *(label_files(job.output, task.kind) if task and self.decode else ())]
            for path in written:
                if path.resolve() in sources:
                    raise ValueError(
                        f"an input is never overwritten, found output {path} among them: choose another OUT"
                    )
        return task, size

    def _do(
        self, job: Job, pipeline: PixWizardPipeline, task: Task | None, size: Size | int | None, progress: Progress
    ) -> list[str]:
        """One picture; returns lines that say what was written."""
        result = pipeline(
            job.source,
            self.instruction,
            task=task.name if task else None,
            steps=self.steps,
            solver=self.solver,
            text_guidance=self.text_guidance,
            image_guidance=self.image_guidance,
            guided_channels=self.guided_channels,
            seed=self.seed,
            size=size,
            keep_size=not self.keep_model_size,
            keep_unchanged=not self.whole_answer,
            decode=self.decode,
            progress=progress,
        )
        save_png(result, job.output)
        seconds = sum(value for name, value in result.seconds.items() if name != "load")
        lines = [f"wrote {job.output} ({result.image.width}x{result.image.height}, {seconds:.1f} s)"]
        if self.decode and task is not None:
            from .labels import save_label

            seen_at = parse_size(result.settings["size"])
            assert isinstance(seen_at, tuple), "the pipeline says WIDTHxHEIGHT"
            files = save_label(job.output, task.kind, result.label, pipeline.class_names, seen_at)
            lines += [f"wrote {path}" for path in files]
            if not files:
                lines.append(f"task {task.name} has no label beside its picture")
        return lines


@dataclass(frozen=True)
class Job:
    """One picture and where its answer goes; no source is a blank canvas."""

    source: Path | None
    output: Path

    @property
    def name(self) -> str:
        """For the progress bar."""
        return self.source.name if self.source else "canvas"


def plan(inputs: Sequence[Path], output: Path) -> list[Job]:
    """What is to be done.

    Raises:
        ValueError: an output that does not fit the number of inputs, a folder without pictures, two inputs of one name.
        FileNotFoundError: an input that does not exist.
    """
    from .images import picture_files

    sources: list[Path] = []
    for path in map(Path.expanduser, inputs):
        if not path.exists():
            raise FileNotFoundError(f"an input must be a picture or a folder, found none at {path}: check the path")
        sources += picture_files(path) if path.is_dir() else [path]
    output = output.expanduser()
    if len(sources) > 1 or any(Path(path).is_dir() for path in inputs):
        if output.is_file() or output.suffix.lower() == ".png":
            raise ValueError(f"several pictures are written to a folder, found the file {output}: name a folder")
        return [Job(source, output / name) for source, name in zip(sources, _names(sources), strict=True)]
    source = sources[0] if sources else None
    if output.is_dir():
        output = output / (f"{source.stem}.png" if source else "canvas.png")
    if output.suffix.lower() != ".png":
        raise ValueError(f"answers are PNG files, found {output}: end it in .png, or name a folder that exists")
    return [Job(source, output)]


def _names(sources: Sequence[Path]) -> list[str]:
    """File names of the answers: a.jpg becomes a.png, or a.jpg.png where there is an a.webp too."""
    stems = Counter(source.stem for source in sources)
    names = [f"{source.stem if stems[source.stem] == 1 else source.name}.png" for source in sources]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(
            f"answers in one folder need different names, found {twice[0]} twice: run the folders one by one"
        )
    return names


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


def save_png(result: Result, path: Path) -> None:
    """Write the answer with its settings as text entries, whole or not at all."""
    from PIL.PngImagePlugin import PngInfo

    from .safe_files import replaced
    from .version import VERSION

    info = PngInfo()
    for name, value in (result.settings | {"version": f"pixwizard {VERSION}"}).items():
        if value is not None:
            info.add_text(name, str(value))
    with replaced(path) as file:
        result.image.save(file, "png", pnginfo=info)
