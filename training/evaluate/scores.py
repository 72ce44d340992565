"""How answers are scored: a function for each metric, the same for the model, for copying and for the ceiling.

A score takes the samples and the pictures that answer them, [N,3,H,W] in [0,1]. Where a picture can only be judged by
reading it, the pictures are the model's own reading of its answers, and the metric's name says so.
Shape legend: N samples, H, W pixels, P pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..annotators import ANNOTATORS
from ..render.scenes import CLASS_NAMES
from . import metrics
from . import metrics_sparse as sparse
from .object_judge import appeared, judged
from .samples import Samples, class_ids

CHUNK = 25
# A pixel belongs to an edit where some channel changes by more than a byte's half step can explain.
CHANGED = 2 / 255


class Score(NamedTuple):
    """value: the task's figure; each: [N] the same of every sample alone; figures: further numbers by name."""

    value: float
    each: Tensor
    figures: dict[str, float]


Scorer = Callable[[Samples, Tensor], Score]


def decode(reading: str, samples: Samples, pictures: Tensor) -> Tensor:
    """Labels [N,...] that pictures [N,3,H,W] stand for as answers of a task with dense labels."""
    return torch.stack(samples.decode(reading, pictures))


def psnr_gain(samples: Samples, pictures: Tensor) -> Score:
    """Mean over the pictures of PSNR(answer) - PSNR(input), in dB, over whole pictures in RGB."""
    before, after = metrics.psnr(samples.source, samples.label), metrics.psnr(pictures, samples.label)
    figures = {"input_psnr": float(before.mean()), "output_psnr": float(after.mean())}
    return Score(float((after - before).mean()), after - before, figures)


def depth_error(samples: Samples, pictures: Tensor) -> Score:
    """AbsRel of each map, then the mean over the maps; every depth lies in the range that the model declares."""
    each = metrics.abs_rel(decode("depth", samples, pictures), samples.label)
    return Score(float(each.mean()), each, {})


def normal_error(samples: Samples, pictures: Tensor) -> Score:
    """Mean angle of each map in degrees, then the mean over the maps."""
    each = metrics.mean_angle(decode("normal", samples, pictures), samples.label)
    return Score(float(each.mean()), each, {})


def segmentation_iou(samples: Samples, pictures: Tensor) -> Score:
    """mIoU of one confusion matrix over all pictures; every pixel is given one of the classes that scenes have, by the
    ids that the model has for their names.
    """
    matrix, each = metrics.ConfusionMatrix(len(CLASS_NAMES)), []
    ids_of = class_ids(samples.declared)
    scene_id = torch.zeros(max(ids_of) + 1, dtype=torch.long)
    scene_id[ids_of] = torch.arange(1, len(CLASS_NAMES))
    class_maps = scene_id[torch.stack(samples.decode("segmentation", pictures, classes=ids_of))]
    for ids, truth in zip(class_maps, samples.label, strict=True):
        alone = metrics.ConfusionMatrix(len(CLASS_NAMES))
        alone.add(ids, truth)
        matrix.counts += alone.counts
        each.append(alone.miou())
    named = zip(CLASS_NAMES, matrix.iou().tolist(), strict=True)
    figures = {f"iou_{name}": value for name, value in named if value == value}
    return Score(matrix.miou(), torch.tensor(each), figures)


def referring_iou(samples: Samples, pictures: Tensor) -> Score:
    """cIoU = sum of intersections / sum of unions over all pictures; the mean of the IoUs beside it."""
    masks = decode(samples.task.name, samples, pictures)
    intersection, union = metrics.intersection_union(masks, samples.label)
    figures = {"mean_iou": metrics.mean_iou(masks, samples.label)}
    return Score(metrics.cumulative_iou(masks, samples.label), intersection / union.clamp_min(1), figures)


def box_accuracy(samples: Samples, pictures: Tensor) -> Score:
    """Share of pictures whose largest decoded box has an IoU of at least 0.5 with the true one; no box is wrong."""
    each, nothing = [], 0
    for found, truth in zip(samples.decode(samples.task.name, pictures), samples.label, strict=True):
        box = sparse.largest_box(found)
        nothing += not len(box)
        each.append(float(sparse.box_iou(box, truth).amax()) if len(box) else 0.0)
    iou = torch.tensor(each)
    figures = {"mean_iou": float(iou.mean()), "nothing_found": nothing / len(samples)}
    return Score(float((iou >= 0.5).double().mean()), iou, figures)


def keypoint_pck(samples: Samples, pictures: Tensor) -> Score:
    """Share of the asked joints that are found within 0.05 of the picture's side."""
    size, each = (int(pictures.shape[-2]), int(pictures.shape[-1])), []
    row, shown = samples.declared[samples.task.name], zip(pictures, samples.compared, strict=True)
    for (picture, source), truth, said in zip(shown, samples.label, samples.words, strict=True):
        points = samples.task.decode(picture, source, **row.reading() | {"colors": (said["color"],)})
        each.append(sparse.joint_hits(points, truth, size).double().mean())
    hits = torch.stack(each)
    return Score(float(hits.mean()), hits, {})


def pose_pck(samples: Samples, pictures: Tensor) -> Score:
    """Share of all visible joints that are found within 0.05 of the picture's side, persons paired for the best."""
    size = (int(pictures.shape[-2]), int(pictures.shape[-1]))
    hits, shown, seen = [], [], 0
    for pose, truth in zip(samples.decode("pose", pictures), samples.label, strict=True):
        hits.append(sparse.pose_hits(pose, truth, size))
        shown.append(int((truth[..., 2] > 0.5).sum()))
        seen += int((pose[..., 2] > 0.5).sum())
    each = torch.tensor(hits) / torch.tensor(shown).clamp_min(1)
    return Score(sum(hits) / max(sum(shown), 1), each, {"precision": sum(hits) / max(seen, 1)})


def edge_score(samples: Samples, pictures: Tensor) -> Score:
    """F1 of each edge map with a tolerance of one pixel, then the mean; the mean absolute error beside it."""
    edges = decode(samples.task.name, samples, pictures)
    each = sparse.edge_f1(edges, samples.label)
    return Score(float(each.mean()), each, {"mean_absolute_error": float((edges - samples.label).abs().mean())})


def extracted_edges(name: str) -> Scorer:
    """F1 of the edges that the annotator of a name finds in the answers, against the given map, pixel by pixel.

    No tolerance, as in the literature: with one pixel of it, a copy of the map, whose lines have an edge on either
    side, would score nearly 1. The tolerant figure is reported beside it.
    """

    def score(samples: Samples, pictures: Tensor) -> Score:
        edges = torch.cat([ANNOTATORS[name](part.clamp(0, 1)) for part in pictures.split(CHUNK)])
        each = sparse.edge_f1(edges, samples.label, tolerance=0)
        return Score(float(each.mean()), each, {"f1_1px": float(sparse.edge_f1(edges, samples.label).mean())})

    return score


def edit_error(samples: Samples, pictures: Tensor) -> Score:
    """L1 to the true result as a share of what copying the input leaves, both summed over all pictures.

    Beside it the same share inside the part that the edit changes, and the mean L1 outside of it (copying leaves 0).
    """
    left = (pictures.clamp(0, 1) - samples.truth).abs().double()
    copied = (samples.source - samples.truth).abs().double()
    inside = (copied.amax(1, keepdim=True) > CHANGED).expand_as(copied)
    outside = left[~inside]
    figures = {
        "l1_share_inside": float(left[inside].sum() / copied[inside].sum()),
        "l1_outside": float(outside.mean()) if len(outside) else 0.0,
    }
    each = left.sum((1, 2, 3)) / copied.sum((1, 2, 3)).clamp_min(1e-6)
    return Score(float(left.sum() / copied.sum()), each, figures)


def object_added(samples: Samples, pictures: Tensor) -> Score:
    """Share of the additions that the judge sees come into the picture, on the side that the words name.

    The words leave more places open than the one truth shows, so the L1 distance to it, which is reported too, is no
    measure of an addition.
    """
    hits = appeared(samples.source, pictures, samples.label[:, 0].long(), samples.label[:, 1:])
    each = hits.double()
    return Score(float(each.mean()), each, {"l1_share": edit_error(samples, pictures).value})


def objects_present(samples: Samples, pictures: Tensor) -> Score:
    """Share of the (colour, shape) pairs in the words that the judge sees; as `precision` that of its pairs in them.

    The judge (see `object_judge`) was trained on rendered scenes only.
    """
    seen = judged(pictures)
    hits = seen & samples.label
    figures = {"precision": float(hits.sum() / seen.sum().clamp_min(1))}
    return Score(float(hits.sum() / samples.label.sum()), hits.sum(1) / samples.label.sum(1), figures)
