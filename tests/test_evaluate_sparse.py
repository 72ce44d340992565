"""The metrics of edges, boxes, joints and detections against closed forms and against slow loops."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixwizard.training.evaluate.metrics_sparse import (
    average_precision,
    box_iou,
    edge_f1,
    joint_hits,
    largest_box,
    pose_hits,
    thick,
)

SEEDS = st.integers(0, 2**31 - 1)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def slow_f1(a: torch.Tensor, b: torch.Tensor, tolerance: int) -> float:
    """F1 of two bool maps [H,W], pixel by pixel."""

    def near(one: torch.Tensor, other: torch.Tensor) -> float:
        points, targets = one.nonzero().tolist(), other.nonzero().tolist()
        hits = [any(max(abs(y - v), abs(x - u)) <= tolerance for v, u in targets) for y, x in points]
        return sum(hits) / len(hits) if hits else 0.0

    precision, recall = near(a, b), near(b, a)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(2, 9), st.integers(2, 9), st.integers(0, 2))
def test_edge_f1_is_the_slow_loops(seed: int, height: int, width: int, tolerance: int) -> None:
    a, b = draw(seed, 1, height, width), draw(seed + 1, 1, height, width)
    a[0, 0, 0] = b[0, -1, -1] = 1.0
    found = edge_f1(a, b, threshold=0.7, tolerance=tolerance)
    assert found.item() == pytest.approx(slow_f1(a[0] > 0.7, b[0] > 0.7, tolerance))


def test_edge_f1_forgives_one_pixel_and_not_two() -> None:
    truth, near, far = (torch.zeros(1, 9, 9) for _ in range(3))
    truth[0, :, 3], near[0, :, 4], far[0, :, 5] = 1, 1, 1
    assert edge_f1(near, truth).item() == 1 and edge_f1(far, truth).item() == 0
    assert edge_f1(near, truth, tolerance=0).item() == 0
    nothing = torch.zeros(1, 9, 9)
    assert edge_f1(nothing, nothing).item() == 1 and edge_f1(nothing, truth).item() == 0
    with pytest.raises(ValueError, match="of one shape"):
        edge_f1(truth[0], truth)


def test_thick_grows_in_eight_directions() -> None:
    mask = torch.zeros(1, 5, 5, dtype=torch.bool)
    mask[0, 2, 2] = True
    assert thick(mask).sum() == 9 and thick(mask, 2).all()


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_box_iou_is_that_of_pixel_masks(seed: int) -> None:
    corners = (draw(seed, 2, 2, 2) * 12).round().sort(1).values
    boxes = corners.flatten(1)
    masks = torch.zeros(2, 12, 12, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y0:y1, x0:x1] = True
    union = (masks[0] | masks[1]).sum()
    expected = float((masks[0] & masks[1]).sum() / union) if union else 0.0
    assert box_iou(boxes[:1], boxes[1:]).item() == pytest.approx(expected)


def test_the_largest_box_answers() -> None:
    boxes = torch.tensor([[0.0, 0, 3, 3], [1, 1, 9, 2], [2, 2, 6, 6]])
    assert largest_box(boxes).tolist() == [[2, 2, 6, 6]]
    assert largest_box(torch.zeros(0, 4)).shape == (0, 4)


@pytest.mark.parametrize(("distance", "visible", "hit"), [(6.3, 1, True), (6.5, 1, False), (0.0, 0, False)])
def test_a_joint_is_hit_within_a_twentieth_of_the_longer_side(distance: float, visible: float, hit: bool) -> None:
    truth = torch.tensor([[20.0, 30, 1]])
    point = torch.tensor([[20.0, 30 + distance, visible]])
    assert joint_hits(point, truth, (64, 128)).tolist() == [hit]
    assert joint_hits(point, truth * torch.tensor([1, 1, 0]), (64, 128)).tolist() == [False]


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(1, 3), st.integers(1, 3))
def test_persons_are_paired_for_the_best(seed: int, found: int, true: int) -> None:
    pose, truth = draw(seed, found, 18, 3) * 40, draw(seed + 1, true, 18, 3) * 40
    pose[..., 2] = truth[..., 2] = 1
    few, many = sorted((found, true))
    expected = 0
    for order in itertools.permutations(range(many), few):
        pairs = [(i, j) if found <= true else (j, i) for i, j in enumerate(order)]
        expected = max(expected, sum(int(joint_hits(pose[p], truth[t], (40, 40)).sum()) for p, t in pairs))
    assert pose_hits(pose, truth, (40, 40)) == expected


def test_the_order_of_persons_and_invisible_ones_do_not_matter() -> None:
    truth = draw(4, 2, 18, 3) * 100
    truth[..., 2] = 1
    absent = torch.zeros(1, 18, 3)
    assert pose_hits(truth.flip(0), torch.cat((truth, absent)), (100, 100)) == 36
    assert pose_hits(absent, truth, (100, 100)) == 0


def test_average_precision_of_known_rankings() -> None:
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    assert average_precision(scores, torch.tensor([True, True, False, False])) == 1
    assert average_precision(scores, torch.tensor([True, False, True, False])) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(scores, torch.tensor([False, False, False, True])) == pytest.approx(1 / 4)
    with pytest.raises(ValueError, match="at least one true"):
        average_precision(scores, torch.zeros(4, dtype=torch.bool))


def test_average_precision_of_chance_is_the_share_of_true_ones() -> None:
    truth = draw(5, 20000) < 0.3
    assert average_precision(draw(6, 20000), truth) == pytest.approx(0.3, abs=0.02)
    assert math.isclose(average_precision(truth.float() + 1e-3 * draw(7, 20000), truth), 1.0)
