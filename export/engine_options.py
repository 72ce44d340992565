"""What the commands that build engines share: the model, the shapes, the graph."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from ..comfyui_pixwizard.config import PixWizardConfig
from ..comfyui_pixwizard.files.checkpoint import load_transformer
from ..comfyui_pixwizard.files.components import find_transformer
from ..comfyui_pixwizard.pictures.buckets import Size
from ..comfyui_pixwizard.transformer import PixWizardTransformer
from ..runtime.engine_profiles import Profile, bucket_profiles, default_buckets, size_profiles
from .fp8 import export_fp8
from .onnx_model import VELOCITY_FILE, export_velocity

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SIZE = re.compile(r"(\d+)(?:x(\d+))?")


@dataclass
class Shapes:
    """What an engine shall take."""

    buckets: tuple[int, ...] = ()
    """Largest numbers of tokens (a 512 px square has 1024), one profile each; by default three that suit the model."""
    sizes: tuple[str, ...] = ()
    """Exact sizes instead, as 512 or 768x512: the fastest engines, and nothing else fits them."""
    batch: int = 3
    """The most samples at once, times branches of guidance."""
    text: int = 256
    """The most text tokens."""
    aspect: float = 2.0
    """The longest picture of a bucket, as long side over short side."""

    def profiles(self, config: PixWizardConfig) -> list[Profile]:
        """One profile for each size or bucket.

        Raises:
            ValueError: both are given, or something that makes no profile.
        """
        if self.buckets and self.sizes:
            raise ValueError("an engine is built for --buckets or for --sizes, found both: leave one of them out")
        if self.sizes:
            return size_profiles(config, [parse_size(text) for text in self.sizes], batch=self.batch, text=self.text)
        buckets = self.buckets or default_buckets(config)
        return bucket_profiles(config, buckets, batch=self.batch, text=self.text, aspect=self.aspect)


def parse_size(text: str) -> Size:
    """512 or 768x512 to (width, height).

    Raises:
        ValueError: neither.
    """
    found = SIZE.fullmatch(text)
    if not found:
        raise ValueError(f"a size is written 512 or 768x512, found {text!r}: give pixels")
    return int(found[1]), int(found[2] or found[1])


def load_model(model: str) -> PixWizardTransformer:
    """The network of "nano", of a model's folder or of its transformer's.

    Raises:
        ValueError: no such model.
    """
    return load_transformer(find_transformer(model))


@contextlib.contextmanager
def exported_graph(transformer: PixWizardTransformer, precision: str, place: Path) -> Iterator[Path]:
    """The velocity graph as a file for as long as the block lasts; `place` has room for it.

    Raises:
        ValueError: a package is missing, or the place cannot be written.
    """
    try:
        place.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=".graph-", dir=place)
    except OSError as error:
        raise ValueError(f"cannot write {place}: {error.strerror or error}; choose another folder") from error
    with folder as name:
        if precision == "fp8":
            yield export_fp8(transformer, Path(name) / VELOCITY_FILE)
        else:
            yield export_velocity(transformer, Path(name), DTYPES[precision], VELOCITY_FILE)
