"""The batches of one rank out of a plan, endless, resumable, and the same whatever the number of ranks.

The draws of an epoch, in the plan's order, are cut into slices, one batch each; in every step the ranks take one slice
each in turn. A step may begin in one epoch and end in the next, so no rank is ever without a batch, and nothing is left
out or done twice. Continued from the same cursor by more or fewer ranks, or with another batch size, the same draws
come, in the same order, dealt out differently.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ....comfyui_pixwizard.pictures.buckets import Size
from .plan import Cursor, Groups, Plan

# How many groups are looked at together: numpy then takes microseconds for each.
FEWEST, MOST, STEPS = 64, 4096, 32


@dataclass(frozen=True)
class IndexBatch:
    """What a rank works on in one step.

    Attributes:
        size: (width, height) of the bucket, one for the whole batch.
        items: [n] int64 numbers in the plan.   turns: [n] int64, see `plan.DrawnItems`.
        epoch: of these draws.
    """

    size: Size
    items: np.ndarray
    turns: np.ndarray
    epoch: int


class IndexStream:
    """Endless batches of indices of one rank.

    Args:
        plan: what is drawn from.
        rank, world: which of how many processes.
        batch_size: draws in a batch; fewer where a group ends.
        cursor: where all ranks stand.

    Raises:
        ValueError: a rank outside the world, a batch size below 1.
    """

    def __init__(
        self,
        plan: Plan,
        rank: int = 0,
        world: int = 1,
        batch_size: int = 8,
        cursor: Cursor | None = None,
    ):
        if not 0 <= rank < world:
            raise ValueError(f"a rank is one of 0 to world - 1, found {rank} of {world}: check the launcher")
        if batch_size < 1:
            raise ValueError(f"a batch holds at least 1 sample, found {batch_size}: raise it")
        self.plan, self.rank, self.world, self.batch_size = plan, rank, world, batch_size
        slices = STEPS * world * batch_size // plan.group
        self.window = int(np.clip(slices, FEWEST, MOST))
        self._restart(cursor or Cursor())

    def _restart(self, cursor: Cursor) -> None:
        self.cursor, self.steps = cursor, 0
        self._ready: deque[IndexBatch] = deque()
        self._next = cursor  # the first slice that has not been looked at
        self._seen = 0  # slices before it, from the cursor that this began with

    def __iter__(self) -> Iterator[IndexBatch]:
        return self

    def __next__(self) -> IndexBatch:
        while not self._ready:
            self._look_ahead()
        self.steps += 1
        return self._ready.popleft()

    def copy(self) -> IndexStream:
        """A stream of its own that stands where this one does."""
        return IndexStream(self.plan, self.rank, self.world, self.batch_size, Cursor(**self._place()))

    # -- state -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Where all ranks stand after the batches that this one has given out: the same on every rank."""
        return self._place() | {"plan": self.plan.fingerprint}

    def _place(self) -> dict[str, int]:
        done = self.steps * self.world
        self.cursor = self.advanced(self.cursor, done)
        self.steps, self._seen = 0, self._seen - done
        return asdict(self.cursor)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of any rank of any world.

        Raises:
            ValueError: the state of another plan.
        """
        if state.get("plan") != self.plan.fingerprint:
            raise ValueError(
                f"a run continues with the data, seed and weights that it began with ({state.get('plan')}), found "
                f"others ({self.plan.fingerprint}): restore them, or start a new run"
            )
        self._restart(Cursor(**{name: int(state[name]) for name in ("epoch", "group", "offset", "samples")}))

    def advanced(self, cursor: Cursor, slices: int) -> Cursor:
        """The cursor some slices later."""
        while slices:
            groups, counts = self._groups(cursor, MOST)
            ends = np.cumsum(counts)
            done = int(np.searchsorted(ends, slices, side="right"))  # groups that are taken whole
            taken = int(groups.length[:done].sum())
            if done == len(counts):
                slices -= int(ends[-1])
                cursor = self._behind(cursor, done, taken)
                continue
            left = slices - (int(ends[done - 1]) if done else 0)
            part = left * self.batch_size
            offset = part + (cursor.offset if done == 0 else 0)
            return replace(
                cursor, group=cursor.group + done, offset=offset, samples=cursor.samples + taken + part
            )  # part of a group that is never whole, as it would be among the done ones
        return cursor

    # -- looking ahead -----------------------------------------------------------------------------------------------

    def _groups(self, cursor: Cursor, count: int) -> tuple[Groups, np.ndarray]:
        """The next groups of the cursor's epoch, what is done of the first left out, and how many slices each gives."""
        groups = self.plan.groups(cursor.epoch, cursor.group, count)
        if cursor.offset:
            groups.begin[0] += cursor.offset
            groups.length[0] -= cursor.offset
        return groups, -(-groups.length // self.batch_size)

    def _behind(self, cursor: Cursor, groups: int, draws: int) -> Cursor:
        """The cursor after some whole groups: in the next epoch, if they were this one's last."""
        epoch, group = cursor.epoch, cursor.group + groups
        if group >= self.plan.epoch(epoch).groups:
            epoch, group = epoch + 1, 0
        return Cursor(epoch, group, 0, cursor.samples + draws)

    def _look_ahead(self) -> None:
        """Find this rank's slices in the next window of groups."""
        cursor = self._next
        groups, counts = self._groups(cursor, self.window)
        before = np.concatenate([[0], np.cumsum(counts)])
        own = np.arange((self.rank - self._seen) % self.world, before[-1], self.world)
        at = np.searchsorted(before, own, side="right") - 1
        begin = (own - before[at]) * self.batch_size
        length = np.minimum(self.batch_size, groups.length[at] - begin)
        ends = np.cumsum(length)
        positions = np.arange(ends[-1] if len(ends) else 0)
        positions += np.repeat(groups.begin[at] + begin - (ends - length), length)
        draws = self.plan.draws(cursor.epoch, np.repeat(groups.bucket[at], length), positions)
        cuts = ends[:-1]
        items, turns = np.split(draws.items, cuts), np.split(draws.turns, cuts)
        for number, bucket in enumerate(groups.bucket[at]):
            self._ready.append(IndexBatch(self.plan.buckets[bucket], items[number], turns[number], cursor.epoch))
        self._next = self._behind(cursor, len(counts), int(groups.length.sum()))
        self._seen += int(before[-1])
