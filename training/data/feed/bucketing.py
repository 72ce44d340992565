"""Which bucket a picture is trained in. Sizes are (width, height) in pixels, arrays [n,2]."""

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
