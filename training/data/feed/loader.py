"""Batches for training: a plan's indices, turned into pictures by worker processes that work ahead.

A batch is a dictionary:

    image        [B,3,H,W] float32 in [0,1], what the model sees (the blank canvas of text-to-image included)
    target       [B,3,H,W] float32 in [0,1], what it should make of it; cut by the same box
    instruction  list of B sentences
    task         list of B names of the registry
    t2i          [B] bool, True where the picture is a blank canvas
    item         [B] int64, number in the plan      turn  [B] int64, in which pass over its source it is drawn
    seed         [B] int64, of everything else that is random about a sample: noise, time, dropout
    key          list of B pairs of strings, what `cache.FeatureCache` knows image and target by; "" where they change
                 from draw to draw

What is random about a sample (degradation, words, crop) is a function of the plan's seed, the item and the turn: not of
the rank, the worker or the time. So a run that is resumed sees what it would have seen, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from ....comfyui_pixwizard.pictures.buckets import Size
from .permutation import key_of
from .plan import Plan, Source
from .stream import IndexBatch, IndexStream

_SAMPLE, _TRAINING = 11, 12


class Sample(NamedTuple):
    """One pair: image and target [3,H,W] in [0,1], the sentence, whether the image is a blank canvas, cache keys."""

    image: Tensor
    target: Tensor
    instruction: str
    blank: bool = False
    key: tuple[str, str] = ("", "")


class Items(Protocol):
    """Samples of one task by number; what a `Source` of a plan counts."""

    @property
    def source(self) -> Source:
        """Name, task and how many items of each bucket; items are numbered in that order."""

    def sample(self, index: int, size: Size, generator: torch.Generator) -> Sample:
        """The item at a bucket's size; all that is random comes from the generator.

        Raises:
            ValueError: the item cannot be read, in one line that names the file.
        """


class BrokenData(ValueError):
    """Training data cannot be read as they were when they were built."""


@dataclass
class _Work(TorchDataset):
    """What workers do: batches of indices in, batches of pictures out."""

    plan: Plan
    items: Sequence[Items]

    def __getitem__(self, index: IndexBatch) -> dict[str, Any]:
        try:
            return self._batch(index)
        except ValueError as error:
            # Raised again by the reader: across processes an exception would come with pages of traceback.
            return {"error": str(error)}

    def _batch(self, index: IndexBatch) -> dict[str, Any]:
        numbers, local = self.plan.locate(index.items)
        samples, seeds = [], []
        for number, at, item, turn in zip(numbers, local, index.items, index.turns, strict=True):
            seed = key_of(self.plan.seed, _SAMPLE, int(item), int(turn))
            generator = torch.Generator().manual_seed(seed >> 1)
            samples.append(self.items[number].sample(int(at), index.size, generator))
            seeds.append(key_of(seed, _TRAINING) >> 1)
        return {
            "image": torch.stack([sample.image for sample in samples]),
            "target": torch.stack([sample.target for sample in samples]),
            "instruction": [sample.instruction for sample in samples],
            "task": [self.plan.sources[number].task for number in numbers],
            "t2i": torch.tensor([sample.blank for sample in samples]),
            "item": torch.from_numpy(index.items.copy()),
            "turn": torch.from_numpy(index.turns.copy()),
            "seed": torch.tensor(seeds),
            "key": [sample.key for sample in samples],
        }


class Loader:
    """Endless batches of one rank; iterate, save `state_dict()` at any step, go on from it with any number of ranks.

    Args:
        plan: what is drawn, over the sources of `items` in their order.
        items: what reads the pictures of each of the plan's sources.
        rank, world, batch_size: as `IndexStream`.
        workers: processes that read ahead; 0 reads in this one.

    Raises:
        ValueError: items that are not the plan's.
        BrokenData: while iterating, when an item cannot be read; the message names the file.
    """

    def __init__(
        self,
        plan: Plan,
        items: Sequence[Items],
        rank: int = 0,
        world: int = 1,
        *,
        batch_size: int = 8,
        workers: int = 0,
    ):
        if [item.source for item in items] != list(plan.sources):
            found = [item.source.name for item in items]
            raise ValueError(f"a loader needs the items of its plan's sources in their order, found {found}")
        self.plan, self.items, self.workers = plan, items, workers
        self.stream = IndexStream(plan, rank, world, batch_size)
        self._ahead: Iterator[dict[str, Any]] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Where all ranks stand after the batches given out so far, whatever workers have read ahead."""
        return self.stream.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of any rank of any world.

        Raises:
            ValueError: the state of another plan.
        """
        self.stream.load_state_dict(state)
        self._ahead = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while True:
            yield next(self)

    def __next__(self) -> dict[str, Any]:
        if self._ahead is None:
            self._ahead = self._batches()
        batch = next(self._ahead)
        if "error" in batch:
            self._ahead = None
            raise BrokenData(batch["error"])
        next(self.stream)
        return batch

    def _batches(self) -> Iterator[dict[str, Any]]:
        """Batches from where the stream stands; it goes on only when they are given out."""
        ahead = self.stream.copy()
        work = _Work(self.plan, self.items)
        if not self.workers:
            return map(work.__getitem__, ahead)
        options: dict[str, Any] = dict(num_workers=self.workers, collate_fn=_as_it_is)
        return iter(DataLoader(work, batch_size=None, sampler=_Endless(ahead), **options))


def _as_it_is(batch: Any) -> Any:
    """The default makes lists of tuples."""
    return batch


class _Endless(torch.utils.data.Sampler):
    """A stream as a sampler."""

    def __init__(self, stream: IndexStream):
        self.stream = stream

    def __iter__(self) -> Iterator[IndexBatch]:
        return self.stream
