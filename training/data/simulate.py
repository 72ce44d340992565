"""The order of a large training, tried without pictures: `pixwizard data simulate`."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import numpy as np
from tqdm import tqdm

from ...comfyui_pixwizard.pictures.buckets import CELL, Size, bucket_sizes
from ...comfyui_pixwizard.tasks import TASKS
from .feed.plan import Cursor, Plan, Source
from .feed.stream import IndexStream

# Aspects of photographs: most near 4:3 and 3:2, both ways, some far from it.
ASPECTS, SPREAD = (-0.4, -0.29, 0.0, 0.29, 0.4, 0.58), 0.12


def bucket_counts(items: int, sizes: tuple[Size, ...]) -> dict[Size, int]:
    """A number of items spread over buckets as photographs are."""
    aspect = np.log([width / height for width, height in sizes])
    weight = np.exp(-(((aspect[:, None] - np.array(ASPECTS)) / SPREAD) ** 2) / 2).sum(1) + 1e-3
    ends = np.round(np.cumsum(weight) / weight.sum() * items).astype(int)
    return dict(zip(sizes, np.diff(ends, prepend=0).tolist(), strict=True))


def large_plan(items: int, center: int, group: int, seed: int) -> Plan:
    """A plan of so many items over all tasks, each drawn once an epoch."""
    sizes = bucket_sizes(center)
    each, rest = divmod(items, len(TASKS))
    counts = [bucket_counts(each + (number < rest), sizes) for number in range(len(TASKS))]
    return Plan([Source(task, task, found) for task, found in zip(TASKS, counts, strict=True)], seed, group)


def simulate(items: int, ranks: int, batch_size: int, steps: int, center: int, seed: int) -> dict[str, Any]:
    """Figures of all ranks' streams over some steps, or a whole epoch for steps = 0.

    Raises:
        ValueError: numbers below 1.
    """
    if min(items, ranks, batch_size) < 1 or steps < 0:
        found = f"{items}, {ranks}, {batch_size} and {steps}"
        raise ValueError(f"--items, --ranks and --batch-size are at least 1, --steps at least 0; found {found}")
    step = ranks * batch_size
    plan = large_plan(items, center, step, seed)
    whole = steps == 0
    first = _deal(plan, ranks, batch_size, steps, Cursor(), plan.epoch_size() if whole else None)
    steps = first["steps"]
    half = steps // 2
    # The second half again, by half as many ranks with twice the batch: the same draws must come.
    middle = IndexStream(plan, 0, ranks, batch_size).advanced(Cursor(), half * ranks)
    fewer = _deal(plan, max(ranks // 2, 1), batch_size * 2, 0, middle, first["samples"])
    before = first["order"][: middle.samples]
    again = np.concatenate([before, fewer["order"]])
    alone = _deal(plan, 1, 64, 0, Cursor(), first["samples"])["order"]
    seen = np.zeros(len(plan), bool)
    seen[first["order"]] = True
    memory, small = (_memory(n, center, seed, ranks, batch_size, steps) for n in (items, max(items // 10, 1)))
    return {
        "items": items,
        "ranks": ranks,
        "batch_size": batch_size,
        "steps": steps,
        "samples": first["samples"],
        "buckets": len(plan.buckets),
        "disjoint": int(seen.sum()) == first["samples"],
        "complete": bool(np.array_equal(first["order"], alone)) and (not whole or bool(seen.all())),
        "same after half with half the ranks": bool(np.array_equal(again, first["order"])),
        "items_per_second": round(first["samples"] / max(first["seconds"], 1e-9)),
        "step_balance": round(first["balance"], 5),
        "bucket_error": round(first["bucket_error"], 5),
        "rank_memory_kb": memory,
        "rank_memory_kb_at_a_tenth_of_the_items": small,
    }


def _deal(plan: Plan, ranks: int, batch: int, steps: int, cursor: Cursor, limit: int | None) -> dict[str, Any]:
    """What all ranks draw in some steps, or until `limit` draws since the beginning, in the order of the plan."""
    streams = [IndexStream(plan, rank, ranks, batch, cursor=cursor) for rank in range(ranks)]
    numbers = {size: number for number, size in enumerate(plan.buckets)}
    area = np.array([width * height // CELL**2 for width, height in plan.buckets])
    shares = np.zeros((ranks, len(numbers)), np.int64)
    drawn: list[np.ndarray] = []
    balance: list[float] = []
    samples, seconds = cursor.samples, 0.0
    bar = tqdm(total=steps or None, desc=f"{ranks} ranks", unit="step", leave=False)
    while len(balance) < steps or (not steps and limit is not None and samples < limit):
        began = time.process_time()
        batches = [next(stream) for stream in streams]
        seconds += time.process_time() - began
        tokens = np.zeros(ranks)
        for rank, batch_of in enumerate(batches):
            bucket = numbers[batch_of.size]
            shares[rank, bucket] += len(batch_of.items)
            tokens[rank] = area[bucket] * len(batch_of.items)
            drawn.append(batch_of.items)
            samples += len(batch_of.items)
        balance.append(tokens.mean() / tokens.max())
        bar.update()
    bar.close()
    order = np.concatenate(drawn)
    if limit is not None:
        order = order[: limit - cursor.samples]
    total = shares.sum(0) / shares.sum()
    # Half the sum of absolute differences: the share of a rank's samples that would have to lie in other buckets.
    error = np.abs(shares / shares.sum(1, keepdims=True) - total).sum(1).mean() / 2
    found = {"steps": len(balance), "order": order, "samples": cursor.samples + len(order), "seconds": seconds}
    return found | {"balance": float(np.mean(balance)), "bucket_error": float(error)}


def _memory(items: int, center: int, seed: int, ranks: int, batch: int, steps: int) -> float:
    """Most kilobytes that plan and stream of one rank take over some steps of one epoch."""
    tracemalloc.start()
    try:
        plan = large_plan(items, center, ranks * batch, seed)
        stream = IndexStream(plan, ranks - 1, ranks, batch)
        for _ in range(min(steps, 2000, plan.epoch_size() // (ranks * batch))):
            next(stream)
        return round(tracemalloc.get_traced_memory()[1] / 1000, 1)
    finally:
        tracemalloc.stop()


def table(found: dict[str, Any]) -> str:
    """The figures as lines."""
    words = {
        "disjoint": "no item twice",
        "complete": "the draws are those of one rank alone",
        "items_per_second": "indices a second of one core, all ranks together",
        "step_balance": "mean over largest work of a step (1 is even)",
        "bucket_error": "share of a rank's samples in other buckets than the mean's",
        "rank_memory_kb": "memory of a rank's plan and stream, kB at most",
        "rank_memory_kb_at_a_tenth_of_the_items": "the same with a tenth of the items, kB",
    }
    width = max(len(words.get(name, name)) for name in found)
    return "\n".join(
        f"{words.get(name, name):<{width}}  {value:,}" if not isinstance(value, bool)
        else f"{words.get(name, name):<{width}}  {'yes' if value else 'NO'}"
        for name, value in found.items()
    )  # fmt: skip
