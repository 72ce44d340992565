"""What `pixwizard run` does, as plain values: a picture and its answer, the settings of all, what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..comfyui_pixwizard.pictures.buckets import Size


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
        call: the pipeline's arguments but for the picture, its size, decode and progress; defaults filled in.
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

    def entries(self, digest: str | None) -> dict[str, str | None]:
        """What an answer's PNG says of how it was made, from which `resume` knows it again; None is no entry.

        Args:
            digest: of the source's bytes; None for a blank canvas.
        """
        size = "x".join(map(str, self.size)) if isinstance(self.size, tuple) else self.size or "own"
        values = dict(self.call) | dict(
            size_asked=size,
            keep_size=self.keep_size,
            decode=self.label is not None,
            model=self.model,
            model_fingerprint=self.fingerprint,
            source_sha256=digest,
            backend=None if self.backend == "eager" else self.backend,
            engine=self.engine_digest,
        )
        return {name: None if value is None else str(value) for name, value in values.items()}


@dataclass(frozen=True)
class JobOutcome:
    """What became of a job: the answer's size, seconds of work and the files of its label, or the error.

    Notes say what its source lost when it was read, such as transparency.
    """

    job: Job
    size: Size = (0, 0)
    seconds: float = 0.0
    labels: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    error: Exception | None = None
