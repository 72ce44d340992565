"""The metrics of edges, boxes, joints and detections (see `metrics` for those of dense maps).

Shape legend: B pictures, H, W pixels, N, M boxes, P, Q persons, J joints, K points.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from ...comfyui_pixwizard.tasks.codecs.clean_up import thick

# PCK: a joint is found when it lies within this share of the picture's longer side of its true place.
PCK_SHARE = 0.05
EDGE_THRESHOLD = 0.5


def edge_f1(edges: Tensor, truth: Tensor, *, threshold: float = EDGE_THRESHOLD, tolerance: int = 1) -> Tensor:
    """F1 of edge pixels of each picture: [B,H,W] strengths twice -> [B].

    An edge pixel is right when a true one lies within `tolerance` pixels (Chebyshev), and found when one of the answer
    does; a tolerance of 0 compares pixel by pixel. Two maps without edges agree: 1.

    Raises:
        ValueError: different shapes.
    """
    if edges.shape != truth.shape or edges.ndim != 3:
        shapes = f"{tuple(edges.shape)} and {tuple(truth.shape)}"
        raise ValueError(f"edge_f1 compares two maps [B,H,W] of one shape, found {shapes}: bring them to one")
    a, b = edges > threshold, truth > threshold
    right, hit = ((x & thick(y, tolerance)).sum((1, 2)).double() for x, y in ((a, b), (b, a)))
    of_a, of_b = a.sum((1, 2)), b.sum((1, 2))
    precision, recall = right / of_a.clamp_min(1), hit / of_b.clamp_min(1)
    f1 = 2 * precision * recall / (precision + recall).clamp_min(1e-12)
    return torch.where((of_a == 0) & (of_b == 0), 1.0, f1)


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes x0 y0 x1 y1 in pixels: [N,4], [M,4] -> [N,M]; a box without area has IoU 0."""
    corner = torch.maximum(a[:, None, :2], b[None, :, :2]), torch.minimum(a[:, None, 2:], b[None, :, 2:])
    inner = (corner[1] - corner[0]).clamp_min(0).prod(-1)
    areas = ((x[:, 2:] - x[:, :2]).clamp_min(0).prod(-1) for x in (a, b))
    first, second = areas
    return inner / (first[:, None] + second[None] - inner).clamp_min(1e-9)


def largest_box(boxes: Tensor) -> Tensor:
    """The box of the largest area: [N,4] -> [1,4], or [0,4] of none; the answer to a question about one thing."""
    if not len(boxes):
        return boxes.reshape(0, 4)
    return boxes[(boxes[:, 2:] - boxes[:, :2]).clamp_min(0).prod(-1).argmax()][None]


def joint_hits(points: Tensor, truth: Tensor, size: tuple[int, int], share: float = PCK_SHARE) -> Tensor:
    """Which visible true joints were found: [...,3] twice (x, y, visible), one shape -> [...] bool.

    Found: visible in the answer too, and within `share` of the picture's longer side (PCK).
    """
    near = (points[..., :2] - truth[..., :2]).norm(dim=-1) <= share * max(size)
    return near & (points[..., 2] > 0.5) & (truth[..., 2] > 0.5)


def pose_hits(pose: Tensor, truth: Tensor, size: tuple[int, int]) -> int:
    """Visible true joints found under the best pairing of persons: [P,J,3], [Q,J,3] -> count."""
    pose, truth = (x[(x[..., 2] > 0.5).any(-1)] for x in (pose, truth))
    if not len(pose) or not len(truth):
        return 0
    hits = joint_hits(pose[:, None].expand(-1, len(truth), -1, -1), truth[None].expand(len(pose), -1, -1, -1), size)
    table = hits.sum(-1)
    few, many = (table, table.shape) if len(pose) <= len(truth) else (table.T, table.T.shape)
    pairings = itertools.permutations(range(many[1]), many[0])
    return max(int(few[torch.arange(many[0]), list(chosen)].sum()) for chosen in pairings)


def average_precision(scores: Tensor, truth: Tensor) -> float:
    """Area under precision over recall, all detections in one list: scores [N], truth [N] bool.

    The sum over the true ones of the precision at their rank, divided by their number (as scikit-learn defines it, for
    scores without ties).

    Raises:
        ValueError: nothing is true.
    """
    if not bool(truth.any()):
        raise ValueError("average precision needs at least one true detection, found none: add some")
    hits = truth[scores.argsort(descending=True)].double()
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1, dtype=torch.float64)
    return float((precision * hits).sum() / hits.sum())
