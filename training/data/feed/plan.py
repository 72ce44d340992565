"""Which items are trained on, in which order: index logic alone, without files.

An epoch is cut into groups of `group` draws of one size bucket, and the groups into batches, so that a batch never
mixes sizes. The order is a function of (seed, epoch) and of nothing that depends on how many processes there are:
a `Cursor` into it is the state of all ranks at once. Nothing grows with the number of items: orders are computed
(see `permutation`), and a plan of 30 million items is as small as one of a hundred.

How often an item is drawn in an epoch is its source's rate, exact in the long run: a rate of 2.5 is two passes and, of
the third, a half that the next epoch continues with the other half.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from ....comfyui_pixwizard.pictures.buckets import Size
from .permutation import key_of, mixed, permuted

# Numbers that keep the keys of different uses apart.
_GROUPS, _BUCKET, _PASS, _SUBSET, _PHASE = range(1, 6)
FINENESS = 10**9


@dataclass(frozen=True)
class Source:
    """Items of one task that a plan draws from.

    Attributes:
        name: unique in its plan.
        task: of the registry.
        counts: items of each bucket (width, height). Items are numbered bucket by bucket in this order.
        repeats: draws of each item in an epoch; 0.5 is another half of the items each time.
        fraction: share of the items that is used at all, the same ones in every epoch.
    """

    name: str
    task: str
    counts: Mapping[Size, int]
    repeats: float = 1.0
    fraction: float = 1.0

    def __len__(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True)
class Cursor:
    """A place in the order of a plan, the same for all ranks: draws of group `group` before `offset` are done.

    Attributes:
        epoch, group, offset: see above.
        samples: draws since the beginning of training.
    """

    epoch: int = 0
    group: int = 0
    offset: int = 0
    samples: int = 0


@dataclass(frozen=True)
class Spans:
    """Tables of the items of one source and bucket, each [spans]."""

    bucket: np.ndarray
    first: np.ndarray  # number of the first item
    count: np.ndarray
    used: np.ndarray  # items that are drawn at all
    rate: list[Fraction]  # draws in an epoch
    key: np.ndarray  # of the order of a pass
    subset_key: np.ndarray  # of which items are used
    phase: list[Fraction]  # where in a pass the first epoch begins


@dataclass(frozen=True)
class Epoch:
    """Tables of one epoch; none is longer than the number of (source, bucket) spans."""

    start: np.ndarray  # [spans] where each span's endless stream of passes is continued
    first: np.ndarray  # [spans + 1] draws before each span, spans in order of buckets
    bucket_first: np.ndarray  # [buckets + 1] draws before each bucket
    full_first: np.ndarray  # [buckets + 1] whole groups before each bucket
    short: np.ndarray  # buckets that leave a shorter group, in the order in which these come
    keys: np.ndarray  # [buckets] of the order of draws
    group_key: int

    @property
    def draws(self) -> int:
        return int(self.first[-1])

    @property
    def groups(self) -> int:
        return int(self.full_first[-1]) + len(self.short)


@dataclass(frozen=True)
class Groups:
    """Consecutive groups: bucket numbers, their first draw within the bucket's, and lengths, each [n]."""

    bucket: np.ndarray
    begin: np.ndarray
    length: np.ndarray


@dataclass(frozen=True)
class DrawnItems:
    """Items [n] by their number in the plan and, of each, in which pass over its source it is drawn [n].

    No two draws of a training have the same pair: what is random about a sample is seeded by it.
    """

    items: np.ndarray
    turns: np.ndarray


@dataclass(frozen=True)
class Plan:
    """The order of training over some sources.

    Attributes:
        sources: at least one, with at least one item together.
        seed: of every order.
        group: draws of one bucket that come together. A multiple of what all ranks take in a step keeps the ranks of a
            step at one size.
        shares: of an epoch's draws for some tasks, e.g. {"text_to_image": 0.5}; the others share the rest by rate.
        epoch_draws: length of an epoch; by default what the sources without a share amount to by their rates.

    Raises:
        ValueError: no items, names used twice, rates or shares that make no sense.
    """

    sources: Sequence[Source]
    seed: int = 0
    group: int = 64
    shares: Mapping[str, float] = field(default_factory=dict)
    epoch_draws: int | None = None

    def __post_init__(self) -> None:
        _check(self)

    def __getstate__(self) -> dict[str, Any]:
        # What is computed of these is made again where it is needed.
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @cached_property
    def buckets(self) -> tuple[Size, ...]:
        """Sizes that have items, in order."""
        return tuple(sorted({size for source in self.sources for size, count in source.counts.items() if count}))

    @cached_property
    def offsets(self) -> np.ndarray:
        """[sources + 1] items before each source."""
        return np.cumsum([0, *(len(source) for source in self.sources)])

    @cached_property
    def spans(self) -> Spans:
        """Each source's items of each bucket, by bucket and then by source."""
        numbers = {size: number for number, size in enumerate(self.buckets)}
        rates = self._rates()
        rows = []
        for number, source in enumerate(self.sources):
            first = int(self.offsets[number])
            for size, count in source.counts.items():
                if count:
                    used = max(1, round(count * source.fraction))
                    rows.append((numbers[size], number, first, count, used, rates[number] * used))
                first += count
        rows.sort(key=lambda row: row[:2])
        return Spans(
            bucket=np.array([row[0] for row in rows]),
            first=np.array([row[2] for row in rows], np.int64),
            count=np.array([row[3] for row in rows], np.int64),
            used=np.array([row[4] for row in rows], np.int64),
            rate=[row[5] for row in rows],
            key=np.array([key_of(self.seed, _PASS, *row[:2]) for row in rows], np.uint64),
            subset_key=np.array([key_of(self.seed, _SUBSET, *row[:2]) for row in rows], np.uint64),
            phase=[Fraction(key_of(self.seed, _PHASE, *row[:2]) >> 32, 2**32) for row in rows],
        )

    @cached_property
    def epoch(self) -> Callable[[int], Epoch]:
        """Tables of an epoch, kept for the last few."""
        return lru_cache(maxsize=4)(self._epoch)

    def __len__(self) -> int:
        """Number of items."""
        return int(self.offsets[-1])

    @property
    def fingerprint(self) -> str:
        """Tells plans apart whose orders differ."""
        sources = [asdict(source) | {"counts": sorted(source.counts.items())} for source in self.sources]
        told = [sources, self.seed, self.group, sorted(self.shares.items()), self.epoch_draws]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    def _rates(self) -> list[Fraction]:
        """Draws per used item and epoch for each source."""
        amounts = [Fraction(0)] * len(self.sources)
        for number, source in enumerate(self.sources):
            used = sum(max(1, round(count * source.fraction)) for count in source.counts.values() if count)
            amounts[number] = used * _exact(source.repeats)
        by_task: dict[str, Fraction] = {}
        for source, amount in zip(self.sources, amounts, strict=True):
            key = source.task if source.task in self.shares else ""
            by_task[key] = by_task.get(key, Fraction(0)) + amount
        shares = {task: _exact(share) for task, share in self.shares.items()}
        rest = 1 - sum(shares.values(), Fraction(0))
        free = by_task.get("", Fraction(0))
        own: Fraction = free / rest if rest and free else sum(by_task.values(), Fraction(0))
        total = Fraction(self.epoch_draws) if self.epoch_draws else own
        shares[""] = rest
        rates = []
        for source in self.sources:
            key = source.task if source.task in self.shares else ""
            scale = shares[key] * total / by_task[key] if by_task[key] else Fraction(0)
            rates.append((_exact(source.repeats) * scale).limit_denominator(FINENESS))
        return rates

    # -- the order ---------------------------------------------------------------------------------------------------

    def _epoch(self, epoch: int) -> Epoch:
        spans = self.spans
        ends = [
            [int(number * rate + phase) for rate, phase in zip(spans.rate, spans.phase, strict=True)]
            for number in (epoch, epoch + 1)
        ]
        start, end = (np.array(values, np.int64) for values in ends)
        draws = end - start
        per_bucket = np.bincount(spans.bucket, draws, len(self.buckets)).astype(np.int64)
        full = per_bucket // self.group
        short = np.flatnonzero(per_bucket % self.group)
        shuffled = np.random.Generator(np.random.PCG64(key_of(self.seed, _GROUPS, epoch, 1))).permutation(short)
        return Epoch(
            start=start,
            first=_before(draws),
            bucket_first=_before(per_bucket),
            full_first=_before(full),
            short=shuffled,
            keys=np.array([key_of(self.seed, _BUCKET, epoch, b) for b in range(len(self.buckets))], np.uint64),
            group_key=key_of(self.seed, _GROUPS, epoch, 0),
        )

    def groups(self, epoch: int, first: int, count: int) -> Groups:
        """Groups first … first + count - 1 of an epoch, fewer at its end. Whole ones come first, in random order."""
        tables = self.epoch(epoch)
        whole = int(tables.full_first[-1])
        number = np.arange(first, min(first + count, whole), dtype=np.int64)
        keys = np.full(len(number), tables.group_key, np.uint64)
        number = permuted(number, np.full(len(number), max(whole, 1)), keys)
        bucket = np.searchsorted(tables.full_first, number, side="right") - 1
        begin = (number - tables.full_first[bucket]) * self.group
        short = tables.short[max(first - whole, 0) : max(first + count - whole, 0)]
        per_bucket = np.diff(tables.bucket_first)
        rest = per_bucket[short] % self.group
        return Groups(
            np.concatenate([bucket, short]),
            np.concatenate([begin, per_bucket[short] - rest]),
            np.concatenate([np.full(len(number), self.group), rest]),
        )

    def draws(self, epoch: int, bucket: np.ndarray, position: np.ndarray) -> DrawnItems:
        """What is drawn at some positions [n] within an epoch's draws of some buckets [n]."""
        tables = self.epoch(epoch)
        amount = np.diff(tables.bucket_first)[bucket]
        place = tables.bucket_first[bucket] + permuted(position, amount, tables.keys[bucket])
        span = np.searchsorted(tables.first, place, side="right") - 1
        spans = self.spans
        used, count = spans.used[span], spans.count[span]
        turn, within = np.divmod(tables.start[span] + place - tables.first[span], used)
        local = permuted(within, used, mixed(spans.key[span] ^ mixed(turn.astype(np.uint64) + np.uint64(1))))
        partly = np.flatnonzero(used < count)
        local[partly] = permuted(local[partly], count[partly], spans.subset_key[span[partly]])
        return DrawnItems(spans.first[span] + local, turn)

    def locate(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Source numbers [n] and numbers within the source [n] of items [n]."""
        source = np.searchsorted(self.offsets, items, side="right") - 1
        return source, items - self.offsets[source]

    # -- what there is -----------------------------------------------------------------------------------------------

    def epoch_size(self, epoch: int = 0) -> int:
        """Draws of an epoch; where rates are not whole, epochs differ by a few."""
        return int(self.epoch(epoch).draws)

    def task_draws(self, epoch: int = 0) -> dict[str, int]:
        """Draws of each task in an epoch."""
        numbers = np.searchsorted(self.offsets, self.spans.first, side="right") - 1
        found = dict.fromkeys((source.task for source in self.sources), 0)
        for number, draws in zip(numbers, np.diff(self.epoch(epoch).first), strict=True):
            found[self.sources[number].task] += int(draws)
        return found

    def bucket_draws(self, epoch: int = 0) -> dict[Size, int]:
        """Draws of each bucket in an epoch."""
        return dict(zip(self.buckets, np.diff(self.epoch(epoch).bucket_first).tolist(), strict=True))


def _exact(number: float) -> Fraction:
    return Fraction(number).limit_denominator(FINENESS)


def _before(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _check(plan: Plan) -> None:
    names = [source.name for source in plan.sources]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"sources of a plan have names of their own, found {twice[0]} twice: rename one")
    if not sum(map(len, plan.sources)):
        raise ValueError(f"a plan needs items, found none in {len(names)} sources: check their folders")
    if plan.group < 1 or (plan.epoch_draws is not None and plan.epoch_draws < 1):
        found = f"{plan.group} and {plan.epoch_draws}"
        raise ValueError(f"a group and an epoch have at least one draw, found {found}: take 64 and leave the other out")
    for source in plan.sources:
        if min(source.counts.values(), default=0) < 0:
            raise ValueError(f"source {source.name} cannot have fewer than 0 items: check its counts")
        if not source.repeats >= 0 or not 0 < source.fraction <= 1:
            raise ValueError(
                f"source {source.name} needs repeats of at least 0 and a fraction in (0, 1], found "
                f"{source.repeats:g} and {source.fraction:g}: leave it out to use none of it"
            )
    _check_shares(plan)


def _check_shares(plan: Plan) -> None:
    drawn = {source.task for source in plan.sources if len(source) and source.repeats > 0}
    if not drawn:
        raise ValueError("a plan needs a source with repeats above 0, found none: raise one")
    unknown = sorted(set(plan.shares) - drawn)
    total = sum(plan.shares.values())
    if unknown:
        raise ValueError(f"shares are given to tasks with items, found {unknown[0]}: choose from {sorted(drawn)}")
    if min(plan.shares.values(), default=0) < 0 or total > 1 + 1e-9:
        raise ValueError(f"shares are not negative and at most 1 together, found {dict(plan.shares)}: lower some")
    if drawn <= set(plan.shares) and abs(total - 1) > 1e-6:
        raise ValueError(f"shares of all tasks are 1 together, found {total:g}: change one, or leave one out")
