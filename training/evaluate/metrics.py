"""The metrics of the evaluation, each as it is defined in the literature it is compared with.

Shape legend: B pictures, H, W pixels, K classes. All sums run in float64.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

# Two equal pictures have no finite PSNR; a squared error below this counts as this: at most 100 dB.
LEAST_ERROR = 1e-10
# Depths outside are no measurement (the usual limits are 1e-3 and the range of the sensor).
VALID_DEPTH = (1e-3, 1000.0)


def _check_same(output: Tensor, truth: Tensor, metric: str, ndim: int) -> None:
    if output.shape != truth.shape or output.ndim != ndim:
        shapes = f"{tuple(output.shape)} and {tuple(truth.shape)}"
        raise ValueError(
            f"{metric} compares two tensors of one shape with {ndim} axes, found {shapes}: bring them to one"
        )


def psnr(output: Tensor, truth: Tensor) -> Tensor:
    """RGB PSNR of each picture in dB: [B,3,H,W] twice, in [0,1] -> [B].

    The output is clamped to [0,1], as a picture that is shown is. One error over all three channels, not the
    luminance's. At most 100 dB, for equal pictures.
    """
    _check_same(output, truth, "psnr", 4)
    error = (output.double().clamp(0, 1) - truth.double()).square().mean((1, 2, 3))
    return -10 * error.clamp_min(LEAST_ERROR).log10()


def abs_rel(depth: Tensor, truth: Tensor) -> Tensor:
    """Mean of |d - d*| / d* over the valid pixels of each map: [B,H,W] metres twice -> [B].

    Depth is metric: no scale or shift is fitted. Valid are finite true depths in VALID_DEPTH.

    Raises:
        ValueError: different shapes, or a map without a valid pixel.
    """
    _check_same(depth, truth, "abs_rel", 3)
    low, high = VALID_DEPTH
    valid = truth.isfinite() & (truth > low) & (truth < high)
    counts = valid.sum((1, 2))
    if bool((counts == 0).any()):
        index = int((counts == 0).nonzero()[0])
        raise ValueError(
            f"abs_rel needs a true depth between {low:g} and {high:g} m, found none in map {index}: drop it"
        )
    safe = torch.where(valid, truth, 1).double()
    relative = torch.where(valid, (depth.double() - safe).abs() / safe, 0)
    return relative.sum((1, 2)) / counts


def mean_angle(normal: Tensor, truth: Tensor) -> Tensor:
    """Mean angle between two maps of normals in degrees: [B,3,H,W] twice, of any length -> [B].

    From the arc tangent of cross and dot product: the arc cosine loses small angles to rounding.
    """
    _check_same(normal, truth, "mean_angle", 4)
    a, b = normal.double(), truth.double()
    sine = torch.linalg.cross(a, b, dim=1).norm(dim=1)
    return torch.rad2deg(torch.atan2(sine, (a * b).sum(1))).mean((1, 2))


class ConfusionMatrix:
    """Counts of (true class, predicted class) over all pixels seen: `counts` [K,K] int64."""

    def __init__(self, classes: int):
        self.counts = torch.zeros(classes, classes, dtype=torch.int64)

    def add(self, predicted: Tensor, truth: Tensor) -> None:
        """Count two maps of class ids of one shape.

        Raises:
            ValueError: different shapes, or ids outside 0 to K - 1.
        """
        _check_same(predicted, truth, "a confusion matrix", truth.ndim)
        k = len(self.counts)
        for name, ids in (("predicted", predicted), ("true", truth)):
            if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= k):
                span = f"{int(ids.min())} to {int(ids.max())}"
                raise ValueError(f"{name} classes must lie in 0 to {k - 1}, found {span}: give the matrix more classes")
        self.counts += torch.bincount((truth * k + predicted).flatten(), minlength=k * k).reshape(k, k)

    def iou(self) -> Tensor:
        """Intersection over union of each class [K]; NaN where the class is not in the truth."""
        counts = self.counts.double()
        true, predicted, both = counts.sum(1), counts.sum(0), counts.diagonal()
        return torch.where(true > 0, both / (true + predicted - both).clamp_min(1), torch.nan)

    def miou(self) -> float:
        """Mean IoU over the classes that are in the truth.

        Raises:
            ValueError: nothing was counted.
        """
        if not int(self.counts.sum()):
            raise ValueError("mIoU needs at least one pixel, found none: add maps first")
        return float(self.iou().nanmean())


def intersection_union(predicted: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels in both and in either of two bool masks: [B,H,W] twice -> ([B], [B]) int64."""
    _check_same(predicted, truth, "intersection over union", 3)
    flat = [rearrange(mask.bool(), "b h w -> b (h w)") for mask in (predicted, truth)]
    return (flat[0] & flat[1]).sum(1), (flat[0] | flat[1]).sum(1)


def cumulative_iou(predicted: Tensor, truth: Tensor) -> float:
    """cIoU = sum of intersections / sum of unions over all pictures: large objects weigh more; 1 if all is empty."""
    intersection, union = intersection_union(predicted, truth)
    return float(intersection.sum() / union.sum()) if int(union.sum()) else 1.0


def mean_iou(predicted: Tensor, truth: Tensor) -> float:
    """gIoU of referring segmentation: the mean of each picture's IoU; a rightly empty mask counts as 1."""
    intersection, union = intersection_union(predicted, truth)
    return float(torch.where(union > 0, intersection / union.clamp_min(1), 1.0).double().mean())
