"""The metrics of the evaluation against closed forms and against numpy or scikit-image, written another way."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixwizard.training.evaluate.metrics import (
    ConfusionMatrix,
    abs_rel,
    cumulative_iou,
    intersection_union,
    mean_angle,
    mean_iou,
    psnr,
)

SEEDS = st.integers(0, 2**31 - 1)
SIDES = st.integers(1, 9)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_psnr_of_a_known_error() -> None:
    truth = torch.full((2, 3, 4, 4), 0.5)
    output = truth.clone()
    output[0] += 0.1
    output[1, 0] += 0.1  # one channel of three: a third of the squared error
    expected = [20.0, 20 + 10 * math.log10(3)]
    assert psnr(output, truth).tolist() == pytest.approx(expected, abs=1e-5)


def test_psnr_clamps_the_output_and_is_finite_for_equal_pictures() -> None:
    truth = torch.ones(1, 3, 2, 2)
    assert psnr(truth + 5, truth).item() == pytest.approx(100)
    assert psnr(torch.zeros(1, 3, 2, 2) - 5, truth).item() == pytest.approx(0)


@settings(max_examples=25, deadline=None)
@given(SEEDS, SIDES, SIDES)
def test_psnr_is_scikit_images(seed: int, height: int, width: int) -> None:
    reference = pytest.importorskip("skimage.metrics").peak_signal_noise_ratio
    output, truth = draw(seed, 2, 3, height, width), draw(seed + 1, 2, 3, height, width)
    expected = [reference(t.numpy(), o.numpy(), data_range=1) for o, t in zip(output, truth, strict=True)]
    assert psnr(output, truth).tolist() == pytest.approx(expected, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(SEEDS, SIDES, SIDES, st.floats(0.5, 2))
def test_abs_rel_of_a_scaled_map_is_the_scales_error(seed: int, height: int, width: int, scale: float) -> None:
    truth = 0.1 + 10 * draw(seed, 2, height, width)
    assert abs_rel(truth * scale, truth).tolist() == pytest.approx([abs(scale - 1)] * 2, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(SEEDS, SIDES, SIDES)
def test_abs_rel_is_the_mean_over_valid_pixels(seed: int, height: int, width: int) -> None:
    depth, truth = 10 * draw(seed, 1, height, width), 10 * draw(seed + 1, 1, height, width) + 0.01
    truth[0, 0, 0], depth[0, 0, 0] = 5.0, 4.0
    holes = draw(seed + 2, 1, height, width) < 0.3
    holes[0, 0, 0] = False
    truth[holes] = torch.tensor([0.0, math.inf, 1e6])[torch.arange(int(holes.sum())) % 3]
    d, t, ok = (x[0].numpy().astype(np.float64) for x in (depth, truth, ~holes))
    expected = np.mean([abs(a - b) / b for a, b, keep in zip(d.flat, t.flat, ok.flat, strict=True) if keep])
    assert abs_rel(depth, truth).item() == pytest.approx(expected, rel=1e-6)


def test_abs_rel_refuses_a_map_without_depth() -> None:
    truth = torch.ones(2, 3, 3)
    truth[1] = math.inf
    with pytest.raises(ValueError, match="none in map 1"):
        abs_rel(torch.ones(2, 3, 3), truth)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.floats(0, 180), st.floats(0.1, 5))
def test_mean_angle_of_a_rotation_is_its_angle(seed: int, angle: float, length: float) -> None:
    """Rodrigues' rotation about an axis across the vectors turns every one of them by the angle."""
    normal = torch.nn.functional.normalize(draw(seed, 2, 3, 4, 5).double() - 0.5, dim=1)
    axis = torch.linalg.cross(
        normal, torch.tensor([0.3, -0.5, 0.8]).double().reshape(1, 3, 1, 1).expand_as(normal), dim=1
    )
    axis = torch.nn.functional.normalize(axis, dim=1)
    theta = math.radians(angle)
    turned = normal * math.cos(theta) + torch.linalg.cross(axis, normal, dim=1) * math.sin(theta)
    assert mean_angle(turned * length, normal).tolist() == pytest.approx([angle] * 2, abs=1e-4)


def test_mean_angle_is_exact_for_equal_and_opposite_normals() -> None:
    normal = torch.nn.functional.normalize(draw(3, 1, 3, 8, 8) - 0.5, dim=1)
    assert mean_angle(normal, normal).item() < 1e-4
    assert mean_angle(-normal, normal).item() == pytest.approx(180, abs=1e-4)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(2, 6), SIDES, SIDES)
def test_miou_is_the_mean_of_set_ratios(seed: int, classes: int, height: int, width: int) -> None:
    predicted = (draw(seed, 3, height, width) * classes).long()
    truth = (draw(seed + 1, 3, height, width) * (classes - 1)).long()  # the last class is never true
    matrix = ConfusionMatrix(classes)
    for p, t in zip(predicted, truth, strict=True):
        matrix.add(p, t)
    p, t = predicted.numpy(), truth.numpy()
    expected = [((p == k) & (t == k)).sum() / ((p == k) | (t == k)).sum() for k in range(classes) if (t == k).any()]
    assert matrix.miou() == pytest.approx(np.mean(expected), rel=1e-9)
    assert bool(matrix.iou()[-1].isnan())


def test_miou_of_perfect_and_disjoint_answers() -> None:
    truth = torch.tensor([[0, 1], [2, 2]])
    perfect, wrong = ConfusionMatrix(3), ConfusionMatrix(3)
    perfect.add(truth, truth)
    wrong.add((truth + 1) % 3, truth)
    assert (perfect.miou(), wrong.miou()) == (1.0, 0.0)


def test_confusion_matrix_refuses_foreign_classes_and_emptiness() -> None:
    matrix = ConfusionMatrix(3)
    with pytest.raises(ValueError, match="predicted classes must lie in 0 to 2, found 0 to 3"):
        matrix.add(torch.tensor([0, 3]), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="at least one pixel"):
        matrix.miou()


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 4), SIDES, SIDES)
def test_intersection_and_union_are_numpys(seed: int, count: int, height: int, width: int) -> None:
    predicted, truth = draw(seed, count, height, width) < 0.4, draw(seed + 1, count, height, width) < 0.5
    intersection, union = intersection_union(predicted, truth)
    pairs = list(zip(predicted.numpy(), truth.numpy(), strict=True))
    assert intersection.tolist() == [int(np.logical_and(p, t).sum()) for p, t in pairs]
    assert union.tolist() == [int(np.logical_or(p, t).sum()) for p, t in pairs]


def test_cumulative_iou_weighs_by_area_and_mean_iou_does_not() -> None:
    predicted, truth = torch.zeros(3, 10, 10, dtype=torch.bool), torch.zeros(3, 10, 10, dtype=torch.bool)
    truth[0], predicted[0] = True, True  # 100 of 100
    truth[1, 0, :4], predicted[1, 0, 2:6] = True, True  # 2 of 6; the third has nothing, rightly
    assert cumulative_iou(predicted, truth) == pytest.approx(102 / 106)
    assert mean_iou(predicted, truth) == pytest.approx((1 + 1 / 3 + 1) / 3)
    assert cumulative_iou(predicted[2:], truth[2:]) == 1.0


@pytest.mark.parametrize("metric", [psnr, mean_angle])
def test_pictures_of_two_sizes_are_refused(metric) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="of one shape"):
        metric(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 5))
