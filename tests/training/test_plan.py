"""The order of training: every draw once, whatever the ranks; rates, shares and buckets as they were told."""

import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixwizard.training.data.feed.permutation import key_of, permuted
from pixwizard.training.data.feed.plan import Plan, Source
from pixwizard.training.data.feed.stream import IndexStream

SQUARE, WIDE, TALL = (64, 64), (96, 48), (48, 96)
Draw = tuple[int, int]


def plan(**more: object) -> Plan:
    sources = [
        Source("photos", "denoise", {SQUARE: 100, WIDE: 37}),
        Source("films", "derain", {SQUARE: 50}, repeats=2.5),
        Source("words", "text_to_image", {TALL: 23}, fraction=0.5),
    ]
    return Plan(sources, **({"group": 16} | more))  # type: ignore[arg-type]


def dealt(chosen: Plan, world: int, batch: int, steps: int, state: dict | None = None) -> tuple[list[Draw], dict]:
    """What all ranks draw, step by step and rank by rank, and the state after it."""
    streams = [IndexStream(chosen, rank, world, batch) for rank in range(world)]
    for stream in streams if state else ():
        stream.load_state_dict(state)  # type: ignore[arg-type]
    found = []
    for _ in range(steps):
        for stream in streams:
            one = next(stream)
            assert 1 <= len(one.items) <= batch
            found += list(zip(one.items.tolist(), one.turns.tolist(), strict=True))
    states = [stream.state_dict() for stream in streams]
    assert all(one == states[0] for one in states)
    return found, states[0]


def epochs(chosen: Plan, count: int) -> list[list[Draw]]:
    """The draws of some epochs, apart."""
    stream, found = IndexStream(chosen), [[] for _ in range(count)]
    while (one := next(stream)).epoch < count:
        found[one.epoch] += list(zip(one.items.tolist(), one.turns.tolist(), strict=True))
    return found


# -- permutations --------------------------------------------------------------------------------------------------


@given(size=st.integers(1, 700), key=st.integers(0, 2**64 - 1))
def test_a_random_order_has_everything_once(size: int, key: int) -> None:
    order = permuted(np.arange(size), np.full(size, size), np.full(size, key, np.uint64))
    assert sorted(order.tolist()) == list(range(size))


def test_a_random_order_looks_random() -> None:
    """Neighbours lie far apart, and no place keeps its number more often than by chance."""
    size = 30_000
    orders = [permuted(np.arange(size), np.full(size, size), np.full(size, key_of(k), np.uint64)) for k in range(8)]
    for order in orders:
        assert abs(np.corrcoef(np.arange(size), order)[0, 1]) < 0.03
        assert abs(np.abs(np.diff(order)).mean() / size - 1 / 3) < 0.01
        assert (order == np.arange(size)).sum() < 12
    assert abs(np.corrcoef(orders[0], orders[1])[0, 1]) < 0.03


# -- disjoint, complete, resumable ---------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    worlds=st.lists(st.tuples(st.integers(1, 7), st.integers(1, 9), st.integers(0, 20)), min_size=1, max_size=4),
    group=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_any_change_of_ranks_and_batch_goes_on_with_exactly_what_is_left(
    worlds: list[tuple[int, int, int]], group: int, seed: int
) -> None:
    chosen = plan(group=group, seed=seed)
    found, state = [], None
    for world, batch, steps in worlds:
        more, state = dealt(chosen, world, batch, steps, state)
        found += more
    assert state is not None and state["samples"] == len(found) == len(set(found))
    alone, stream = [], IndexStream(chosen, batch_size=5)
    while len(alone) < len(found):
        one = next(stream)
        alone += list(zip(one.items.tolist(), one.turns.tolist(), strict=True))
    assert alone[: len(found)] == found


def test_a_stream_resumed_at_any_step_gives_the_same_batches() -> None:
    chosen = plan()
    whole = IndexStream(chosen, 1, 3, 4)
    batches, states = [], []
    for _ in range(120):
        states.append(whole.state_dict())
        batches.append(next(whole))
    for at in (0, 1, 7, 28, 29, 63, 119):
        again = IndexStream(pickle.loads(pickle.dumps(chosen)), 1, 3, 4)
        again.load_state_dict(states[at])
        for wanted in batches[at:]:
            found = next(again)
            assert found.size == wanted.size and found.epoch == wanted.epoch
            assert np.array_equal(found.items, wanted.items) and np.array_equal(found.turns, wanted.turns)


def test_a_state_of_other_data_is_refused() -> None:
    state = IndexStream(plan()).state_dict()
    with pytest.raises(ValueError, match="began with"):
        IndexStream(plan(seed=1)).load_state_dict(state)


def test_a_batch_has_one_bucket_and_its_items() -> None:
    chosen = plan()
    stream = IndexStream(chosen, batch_size=6)
    bounds = {SQUARE: [(0, 100), (137, 187)], WIDE: [(100, 137)], TALL: [(187, 210)]}
    for _ in range(200):
        one = next(stream)
        assert all(any(low <= item < high for low, high in bounds[one.size]) for item in one.items)


def test_orders_differ_by_epoch_and_seed() -> None:
    first, second = epochs(plan(), 2)
    assert [item for item, _ in first] != [item for item, _ in second][: len(first)]
    assert first != epochs(plan(seed=5), 1)[0]


# -- rates ---------------------------------------------------------------------------------------------------------


def test_a_scale_of_a_half_is_half_the_items_and_the_other_half_next_time() -> None:
    """The released code makes a whole number of it, which is none."""
    chosen = Plan([Source("a", "denoise", {SQUARE: 40}, repeats=0.5)], group=8)
    first, second = ([item for item, _ in found] for found in epochs(chosen, 2))
    assert len(first) == len(second) == 20 and sorted(first + second) == list(range(40))


def test_repeats_are_whole_passes_and_a_rest() -> None:
    chosen = Plan([Source("a", "denoise", {SQUARE: 40}, repeats=2.5)], group=8)
    for found in epochs(chosen, 2):
        assert Counter(Counter(item for item, _ in found).values()) == {2: 20, 3: 20}
        assert len(set(found)) == len(found)


def test_a_fraction_is_the_same_part_in_every_epoch() -> None:
    chosen = Plan([Source("a", "denoise", {SQUARE: 40, WIDE: 20}, fraction=0.25)], group=8)
    first, second = (sorted(item for item, _ in found) for found in epochs(chosen, 2))
    assert first == second and len(first) == 15 and first != list(range(15))


@given(share=st.floats(0.05, 0.95), draws=st.integers(50, 3000))
def test_shares_are_of_all_draws(share: float, draws: int) -> None:
    chosen = plan(shares={"text_to_image": share}, epoch_draws=draws)
    found = chosen.task_draws()
    assert abs(sum(found.values()) - draws) <= 4
    assert abs(found["text_to_image"] - share * draws) <= 2
    # The others keep their proportion: 137 to 125.
    assert abs(found["denoise"] * 125 - found["derain"] * 137) <= 137 * 3


def test_without_a_length_the_sources_without_a_share_come_as_often_as_they_say() -> None:
    chosen = plan(shares={"text_to_image": 0.5})
    assert chosen.task_draws()["denoise"] == 137
    assert abs(chosen.task_draws()["text_to_image"] - 262) <= 2


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"shares": {"deblur": 0.5}}, "found deblur"),
        ({"shares": {"denoise": 0.8, "derain": 0.4}}, "at most 1 together"),
        ({"shares": {"denoise": 0.2, "derain": 0.2, "text_to_image": 0.2}}, "are 1 together"),
        ({"group": 0}, "at least one draw"),
        ({"sources": [Source("a", "denoise", {SQUARE: 0})]}, "needs items"),
        ({"sources": [Source("a", "denoise", {SQUARE: 1})] * 2}, "twice"),
        ({"sources": [Source("a", "denoise", {SQUARE: 1}, fraction=0.0)]}, r"fraction in \(0, 1\]"),
    ],
)
def test_plans_that_make_no_sense_are_refused(more: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Plan(**({"sources": plan().sources} | more))
