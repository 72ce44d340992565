"""A fixed number of rendered pairs of one task, as items of a plan: small data sets that need no download.

Shape legend: N pairs, S side in pixels.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ....comfyui_pixwizard.pictures.buckets import Size
from ...loop.seeding import seeded
from ..feed.loader import Sample
from ..feed.plan import Source
from .builders import BUILDERS
from .pools import cached, of_text, to_text
from .scene_pool import to_bytes
from .sources import RenderedSources

CHUNK = 25


class RenderedPairs:
    """N pairs of a task, rendered once, kept in a file and never changed: what they show, their words, their damage.

    Args:
        folder: of the file.
        task: of the registry.
        count: N.
        rendered: what they are rendered from, read only where there is no file yet.
        seed: pairs of another seed are other pairs.
    """

    def __init__(self, folder: Path, task: str, count: int, rendered: RenderedSources, seed: int = 0) -> None:
        self.size = rendered.size
        path = Path(folder) / f"pairs-{task}-{count}-{self.size}-{seed}.safetensors"
        data = cached(path, lambda: self._build(task, count, rendered, seed))
        self.pictures, self.targets = data["source"], data["target"]
        self.sentences: list[str] = of_text(data["texts"])
        self.source = Source(f"{task}-{seed}", task, {(self.size, self.size): count})

    @staticmethod
    def _build(task: str, count: int, rendered: RenderedSources, seed: int) -> dict[str, Tensor]:
        sources, targets, sentences = [], [], []
        for first in tqdm(range(0, count, CHUNK), desc=f"{count} pairs of {task}", unit="chunk"):
            pairs = BUILDERS[task](rendered, min(CHUNK, count - first), seeded("pairs", task, seed, first))
            sources.append(to_bytes(pairs.source))
            targets.append(to_bytes(pairs.target))
            sentences += pairs.sentences
        return {"source": torch.cat(sources), "target": torch.cat(targets), "texts": to_text(sentences)}

    def drawn(self, repeats: float) -> RenderedPairs:
        """The same pairs, drawn more or less often."""
        other = copy(self)
        other.source = replace(self.source, repeats=repeats)
        return other

    def sample(self, index: int, size: Size, generator: torch.Generator) -> Sample:
        """Pair `index`; nothing about it is random."""
        name = f"{self.source.name}:{self.size}:{index}"
        return Sample(
            self.pictures[index].float() / 255,
            self.targets[index].float() / 255,
            self.sentences[index],
            self.source.task == "text_to_image",
            (f"{name}:source", f"{name}:target"),
        )
