"""What `pixwizard run` does, as plain values: a picture and its answer, the settings of all, what became of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..comfyui_pixwizard.pictures.buckets import Size

# Arguments of the pipeline that every call has; others are there only where they are asked for.
ALWAYS_SAID = {
    "instruction", "task", "steps", "solver", "text_guidance", "image_guidance", "guided_channels", "patch_grids",
    "seed", "keep_unchanged",
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One picture and where its answer goes; no source is a blank canvas."""

    source: Path | None
    output: Path

    @property
    def name(self) -> str:
        """For the progress bar."""
        return self.source.name if self.source else "canvas"


@dataclass(frozen=True)
class RunSettings:
    """What is done to every picture; plain values, so that it can be sent to other machines.

    Attributes:
        call: the pipeline's arguments but for the picture, its size, decode and progress; defaults filled in. Of a
            chain those of its last step.
        size: side of a square, (width, height), or None for the picture's own.
        keep_size: bring the answer back to the picture's size.
        label: kind of the label to write beside, None for none.
        model: as the user names it.
        folder: the model, as `from_pretrained` finds it from any working directory.
        fingerprint: of the model, see `digests.model_fingerprint`.
        max_size: side in pixels of the largest square that the model was trained for.
        backend: what evaluates the network, a key of `runtime.evaluators.EVALUATORS` or `ENGINES`.
        device: where, as PyTorch names it; auto is the GPU where there is one.
        engine: the exported folder that the backend runs, from any working directory.
        engine_digest: what tells it from others.
        provider: what the engine computes on.
        earlier: as `call`, those of the steps before it.
        task_digest: of the file of a learned task, where the call names one.
    """

    call: Mapping[str, Any]
    size: int | Size | None
    keep_size: bool
    label: str | None
    model: str
    folder: str
    fingerprint: str
    max_size: int
    backend: str = "eager"
    device: str = "auto"
    engine: str | None = None
    engine_digest: str | None = None
    provider: str = "cpu"
    earlier: tuple[Mapping[str, Any], ...] = ()
    task_digest: str | None = None

    @property
    def calls(self) -> tuple[Mapping[str, Any], ...]:
        """Of all steps."""
        return (*self.earlier, self.call)

    def until(self, step: int) -> RunSettings:
        """Those of the picture after so many steps, 1 at least."""
        if step > len(self.earlier):
            return self
        return replace(self, call=self.calls[step - 1], earlier=self.earlier[: step - 1], label=None)

    def entries(self, digest: str | None) -> dict[str, str | None]:
        """What an answer's PNG says of how it was made, from which `resume` knows it again; None is no entry.

        Args:
            digest: of the source's bytes; None for a blank canvas.
        """
        size = "x".join(map(str, self.size)) if isinstance(self.size, tuple) else self.size or "own"
        # Together, because an answer without one of them must not be taken for one with it, nor the other way round.
        options = {name: value for name, value in self.call.items() if name not in ALWAYS_SAID}
        values = dict(self.call) | dict(
            options=_as_json(options) if options else None,
            size_asked=size,
            keep_size=self.keep_size,
            decode=self.label is not None,
            model=self.model,
            model_fingerprint=self.fingerprint,
            source_sha256=digest,
            backend=None if self.backend == "eager" else self.backend,
            engine=self.engine_digest,
            task_sha256=self.task_digest,
            chain=_as_json([dict(call) for call in self.earlier]) if self.earlier else None,
        )
        return {name: None if value is None else str(value) for name, value in values.items()}


def _as_json(values: Any) -> str:
    """Plain values and dataclasses of them."""
    return json.dumps(values, default=vars)


def chain_files(output: Path, steps: int) -> tuple[Path, ...]:
    """Pictures of all steps of a chain but the last, whose is the output, and its page; none of a single step."""
    if steps == 1:
        return ()
    digits = len(str(steps))
    pictures = [output.with_name(f"{output.stem}_step{step:0{digits}}.png") for step in range(1, steps)]
    return (*pictures, output.with_suffix(".html"))


@dataclass(frozen=True)
class JobOutcome:
    """What became of a job: the answer's size, seconds of work, the files of its label and of its chain, or the error.

    Notes say what its source lost when it was read, such as transparency, and what of the instruction was not read.
    """

    job: Job
    size: Size = (0, 0)
    seconds: float = 0.0
    labels: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    chain: tuple[Path, ...] = ()
    error: Exception | None = None


def plan(inputs: Sequence[Path], output: Path) -> list[Job]:
    """What is to be done.

    Raises:
        ValueError: an output that does not fit the number of inputs or is one of them, a folder without pictures, two
            inputs of one name.
        FileNotFoundError: an input that does not exist.
    """
    from ..comfyui_pixwizard.pictures.images import picture_files

    sources: list[Path] = []
    for path in map(Path.expanduser, inputs):
        if not path.exists():
            raise FileNotFoundError(f"an input must be a picture or a folder, found none at {path}: check the path")
        sources += picture_files(path) if path.is_dir() else [path]
    output = output.expanduser()
    for path in map(Path.expanduser, inputs):
        if path.is_dir() and path.resolve() == output.resolve():
            raise ValueError(
                f"answers go to another folder than their pictures, found {output} for both: a second run would take "
                "them for pictures, so name a new folder"
            )
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
