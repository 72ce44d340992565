"""docs/scale.md: its arithmetic computed again from its assumptions, and the order of a large training in small."""

import re
import tracemalloc
from math import log2
from pathlib import Path

import numpy as np
import pytest

from pixwizard.comfyui_pixwizard.pictures.buckets import CELL, bucket_sizes
from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.training.data.feed.plan import Cursor, Plan, Source
from pixwizard.training.data.feed.stream import IndexStream

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
# Logarithms of aspects of photographs: most near 4:3 and 3:2, both ways, some far from it.
ASPECTS, SPREAD = np.array((-0.4, -0.29, 0.0, 0.29, 0.4, 0.58)), 0.12


# -- on paper ------------------------------------------------------------------------------------------------------


def assumptions() -> dict[str, float]:
    block = PAGE.partition("assumptions:\n")[2].partition("\n\n")[0]
    return {name: float(value.replace(",", "")) for name, value in (line.split() for line in block.splitlines())}


def row(a: dict[str, float], gpus: int, size: int) -> list[str]:
    """The page's line for so many GPUs, by the formulas below its tables."""
    tflop = {512: 3.09, 768: 7.60, 1024: 15.13}[size]
    share, area, hop = a["batch"] / gpus, (size / 512) ** 2, a["hop_us"] / 1e6
    compute = share * (a["passes"] * tflop + a["encoders_tflop"] * area) / a["tflops"]
    gradients, moved = 4 * a["parameters"], 8 * a["parameters"]  # bytes; moved by FSDP: bf16 weights twice, gradients
    node, net = a["node_gb"] * 1e9, a["net_gb"] * 1e9
    rate, nodes = node if gpus <= 8 else min(node, 8 * net), gpus // 8

    def tree(size: float, ranks: int) -> float:
        return 2 * log2(ranks) * max(1.0, size / 25e6) * hop if ranks > 1 else 0.0

    ddp = 2 * (gpus - 1) / gpus * gradients / rate + tree(gradients, gpus)
    fsdp = (gpus - 1) / gpus * moved / rate + 72 * (gpus - 1) * hop
    between = 2 * (nodes - 1) / nodes * gradients / 8 / net + tree(gradients / 8, nodes)
    hybrid = 7 / 8 * moved / node + 72 * 7 * hop + between
    cores = share * a["load_ms"] / 1000 * (size / 768) ** 2 / compute
    state, seconds = 20 * a["parameters"] / 1e9, max(compute, hybrid)
    read = a["batch"] / seconds * 1.5 * a["picture_mb"] * (size / 768) ** 2 / 1000
    times = [f"{value:.3f}" for value in (compute, ddp, fsdp, hybrid)]
    memory = [f"{value:.1f}" for value in (cores, state + 2 * a["parameters"] / 1e9, state / gpus, state / 8)]
    return [str(gpus), f"{share:g}", *times, *memory, f"{read:.2f}", f"{20e6 / a['batch'] * seconds / 3600:.1f}"]


@pytest.mark.parametrize("size", [512, 768, 1024])
def test_the_page_holds_what_its_formulas_give(size: int) -> None:
    table = PAGE.partition(f"samples at {size} px:\n")[2].partition("\n\n")[0].partition("```")[0]
    found = [line.split() for line in table.splitlines()[1:]]
    assert found == [row(assumptions(), gpus, size) for gpus in (8, 32, 64, 128, 256, 512)]


def test_the_page_holds_what_a_collection_takes() -> None:
    a = assumptions()
    stored, clean = a["pairs"] * (1 - a["derived"]), a["pairs"] * a["derived"] / a["uses"]
    ours = (stored * 2 * a["picture_mb"] + clean * (a["picture_mb"] + a["map_mb"])) / 1e6
    cores, gpus = (stored * 2 + clean) * a["check_ms"] / 3.6e6, clean * a["networks_tflop"] / a["tflops"] / 3600
    for name, value in {
        "stored pairs, clean pictures": f"{stored / 1e6:.1f} M, {clean / 1e6:.1f} M",
        "all pairs stored": f"{a['pairs'] * 2 * a['picture_mb'] / 1e6:.1f} TB",
        "degradations and edges online": f"{ours:.1f} TB",
        "shards of 1,000 samples": f"{(stored + clean) / 1000:,.0f}",
        "build, reading and checking": f"{cores:,.0f} core hours ({cores / 256:.1f} h on 256 cores)",
        "build, networks": f"{gpus:,.0f} GPU hours ({gpus / 64:.2f} h on 64 GPUs)",
    }.items():
        assert re.search(rf"^  {re.escape(name)} +{re.escape(value)}$", PAGE, re.MULTILINE), (name, value)


# -- in simulation -------------------------------------------------------------------------------------------------


def large_plan(items: int, center: int, group: int, seed: int = 0) -> Plan:
    """So many items over all tasks, in buckets as photographs are, each drawn once an epoch."""
    sizes = bucket_sizes(center)
    aspect = np.log([width / height for width, height in sizes])
    weight = np.exp(-(((aspect[:, None] - ASPECTS) / SPREAD) ** 2) / 2).sum(1) + 1e-3
    each, rest = divmod(items, len(TASKS))
    sources = []
    for number, task in enumerate(TASKS):
        ends = np.round(np.cumsum(weight) / weight.sum() * (each + (number < rest))).astype(int)
        sources.append(Source(task, task, dict(zip(sizes, np.diff(ends, prepend=0).tolist(), strict=True))))
    return Plan(sources, seed, group)


def deal(plan: Plan, ranks: int, batch: int, until: int, cursor: Cursor | None = None) -> tuple[np.ndarray, list]:
    """Items that all ranks draw, step after step, until so many are drawn; and the batches of each step."""
    streams = [IndexStream(plan, rank, ranks, batch, cursor=cursor) for rank in range(ranks)]
    steps, drawn = [], cursor.samples if cursor else 0
    left = until - drawn
    while drawn < until:
        steps.append([next(stream) for stream in streams])
        drawn += sum(len(one.items) for one in steps[-1])
    return np.concatenate([one.items for step in steps for one in step])[:left], steps


def memory_kb(items: int, ranks: int, batch: int, steps: int) -> float:
    """The most that plan and stream of one rank take."""
    tracemalloc.start()
    try:
        stream = IndexStream(large_plan(items, 768, ranks * batch), ranks - 1, ranks, batch)
        for _ in range(steps):
            next(stream)
        return tracemalloc.get_traced_memory()[1] / 1000
    finally:
        tracemalloc.stop()


def test_512_ranks_draw_apart_and_evenly() -> None:
    ranks, batch, steps = 512, 2, 33
    plan = large_plan(30_000_000, 768, ranks * batch)
    order, dealt = deal(plan, ranks, batch, steps * ranks * batch)
    assert len(plan.buckets) == 145 and len(dealt) == steps
    assert len(np.unique(order)) == len(order)
    assert np.array_equal(order, deal(plan, 1, 64, len(order))[0])
    middle = IndexStream(plan, 0, ranks, batch).advanced(Cursor(), steps // 2 * ranks)
    assert np.array_equal(order[middle.samples :], deal(plan, ranks // 2, 2 * batch, len(order), middle)[0])
    work = np.array([[len(one.items) * one.size[0] * one.size[1] // CELL**2 for one in step] for step in dealt])
    assert (work.mean(1) / work.max(1)).mean() > 0.99
    names = {size: number for number, size in enumerate(plan.buckets)}
    buckets = np.array([[names[one.size] for one in step] for step in dealt])
    shares = np.stack([np.bincount(column, minlength=len(names)) / steps for column in buckets.T])
    # Half the sum of absolute differences: what of a rank's samples would have to lie in other buckets.
    assert np.abs(shares - shares.mean(0)).sum(1).mean() / 2 < 0.01


def test_a_whole_epoch_has_every_item_once() -> None:
    plan = large_plan(20_000, 512, 64, seed=3)
    assert plan.epoch_size() == 20_000
    order, _ = deal(plan, 16, 4, 20_000)
    assert np.array_equal(np.sort(order), np.arange(20_000))
    assert np.array_equal(order, deal(plan, 1, 64, 20_000)[0])


def test_a_plan_does_not_grow_with_its_items() -> None:
    large, small = (memory_kb(items, 512, 2, 33) for items in (30_000_000, 3_000_000))
    assert large < 4000 and large < 1.5 * small


def test_rates_of_thirty_million_items_are_exact() -> None:
    chosen = large_plan(30_000_000, 768, 1024)
    assert [chosen.epoch_size(epoch) for epoch in (0, 1, 7)] == [30_000_000] * 3
