"""Which bucket a picture is trained in, and what that costs. Sizes are (width, height) in pixels, arrays [n,2]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ....comfyui_pixwizard.pictures.buckets import bucket_sizes


def assign(shape: np.ndarray, centers: Sequence[int]) -> np.ndarray:
    """The bucket of each picture: of the largest centre whose area it has, the one that cuts least of it off.

    Args:
        shape: [n,2] of pictures.
        centers: sides of the squares round which buckets lie; pictures smaller than all go to the smallest.

    Returns:
        [n,2] int64 sizes of buckets.

    Raises:
        ValueError: no centre, or a picture without area.
    """
    if not centers or (len(shape) and shape.min() < 1):
        raise ValueError(f"buckets need a centre and pictures of at least one pixel, found centres {list(centers)}")
    ordered = sorted(centers)
    area = shape[:, 0].astype(np.int64) * shape[:, 1]
    level = np.searchsorted([center**2 for center in ordered], area, side="right") - 1
    aspect = np.log(shape[:, 0] / shape[:, 1])
    out = np.empty((len(shape), 2), np.int64)
    for number, center in enumerate(ordered):
        chosen = np.maximum(level, 0) == number
        sizes = np.array(bucket_sizes(center))
        known = np.log(sizes[:, 0] / sizes[:, 1])
        order = np.argsort(known, kind="stable")
        # What is cut off depends on the ratio of both aspects, so the border lies in the middle of their logarithms.
        borders = (known[order][1:] + known[order][:-1]) / 2
        out[chosen] = sizes[order[np.searchsorted(borders, aspect[chosen])]]
    return out


def cut_off(shape: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Share [n] of each picture that lies outside the crop when it covers its bucket: 0 when the aspects are equal."""
    ratio = (shape[:, 0] / shape[:, 1]) / (size[:, 0] / size[:, 1])
    return 1 - np.minimum(ratio, 1 / ratio)


def padding(shape: np.ndarray, batch: int, center: int) -> float:
    """Share of tokens that are padding when pictures are made as large as a centre's square without cropping.

    Batches are taken in the order of `shape` and padded to their longest picture, as the released training does.
    """
    scale = np.sqrt(center**2 / (shape[:, 0] * shape[:, 1]))
    cells = np.maximum(np.round(shape * scale[:, None] / 16), 1).astype(np.int64).prod(1)
    whole = cells[: len(cells) // batch * batch].reshape(-1, batch)
    return float(1 - whole.sum() / (whole.max(1) * batch).sum())
