"""What `pixwizard run` does, as plain values: a picture and its answer, the settings of all, what became of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..comfyui_pixwizard.pictures.buckets import Size

# Arguments of the pipeline that every call has; others are there only where they are asked for.
ALWAYS_SAID = {
    "instruction", "task", "steps", "solver", "text_guidance", "image_guidance", "guided_channels", "seed",
    "keep_unchanged",
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
            options=json.dumps(options) if options else None,
            size_asked=size,
            keep_size=self.keep_size,
            decode=self.label is not None,
            model=self.model,
            model_fingerprint=self.fingerprint,
            source_sha256=digest,
            backend=None if self.backend == "eager" else self.backend,
            engine=self.engine_digest,
            chain=json.dumps([dict(call) for call in self.earlier]) if self.earlier else None,
        )
        return {name: None if value is None else str(value) for name, value in values.items()}


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

    Notes say what its source lost when it was read, such as transparency.
    """

    job: Job
    size: Size = (0, 0)
    seconds: float = 0.0
    labels: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    chain: tuple[Path, ...] = ()
    error: Exception | None = None
