"""Batches that are drawn before they are asked for, in processes of their own.

What a batch is depends on its generator alone, so it does not matter who draws it.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

from .workers import KILLED, heed_the_parent_alone, start_worker

Draw = Callable[[torch.Generator], Any]
_draw: Draw | None = None


class Ahead:
    """Draws for generators that are announced.

    The processes are forks: they see what there is when the first is announced, such as pools of gigabytes, without a
    copy. They never touch a GPU.

    Args:
        draw: makes a batch, which can be pickled, of a generator.
        processes: how many draw at once.
    """

    def __init__(self, draw: Draw, processes: int) -> None:
        self.draw, self.processes = draw, processes
        self._pool: ProcessPoolExecutor | None = None
        self._waiting: dict[int, Future[bytes]] = {}

    def expect(self, generators: Sequence[torch.Generator]) -> None:
        """Begin to draw for these, which are as they were seeded; what was expected before and is not now is left.

        Where nothing is expected, the processes end.
        """
        if not generators:
            self.close()
            return
        if self._pool is None:
            context = multiprocessing.get_context("fork")
            self._pool = ProcessPoolExecutor(self.processes, context, _start, (self.draw,))
        seeds = [generator.initial_seed() for generator in generators]
        for seed in set(self._waiting) - set(seeds):
            self._waiting.pop(seed).cancel()
        for seed in seeds:
            if seed not in self._waiting:
                self._waiting[seed] = self._pool.submit(_drawn, seed)

    def take(self, generator: torch.Generator) -> Any:
        """The batch of a generator; drawn here if nobody expected it.

        Raises:
            ValueError: a process was killed.   Whatever drawing raises.
        """
        found = self._waiting.pop(generator.initial_seed(), None)
        if found is None:
            return self.draw(generator)
        try:
            return pickle.loads(found.result())  # ours, from a process of ours
        except BrokenProcessPool as error:
            raise ValueError(KILLED) from error

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool, self._waiting = None, {}


def _start(draw: Draw) -> None:
    global _draw
    heed_the_parent_alone()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    start_worker()
    _draw = draw


def _drawn(seed: int) -> bytes:
    assert _draw is not None
    return pickle.dumps(_draw(torch.Generator().manual_seed(seed)))


class DrawsAhead:
    """A stage whose batches are drawn by `draw(generator)`, ahead where `draw_ahead` has been called."""

    ahead: Ahead | None = None

    def draw(self, generator: torch.Generator) -> Any:
        """What a batch is made of, on the CPU."""
        raise NotImplementedError

    def draw_ahead(self, processes: int) -> None:
        """Draw in so many processes from now on; 0 draws when a batch is asked for."""
        self.ahead = Ahead(self.draw, processes) if processes else None

    def expect(self, generators: Sequence[torch.Generator]) -> None:
        """Told by the trainer which batches come next."""
        if self.ahead is not None:
            self.ahead.expect(generators)

    def drawn(self, generator: torch.Generator) -> Any:
        """What `draw` makes of a generator, whoever drew it."""
        return self.draw(generator) if self.ahead is None else self.ahead.take(generator)
