"""Where a local edit happens: a mask that is given, as a picture, an array or a tensor.

Shapes: H, W pixels of the picture at the model's size.
"""

from __future__ import annotations

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ..pictures.buckets import Size
from ..pictures.images import image_to_unit, open_picture

# Largest log of the ratio of two aspects that counts as the same: the model's sizes are multiples of 16.
SAME_SHAPE = 0.25


def read_mask(mask: Any, size: Size, shape: Size | None = None) -> Tensor:
    """A mask at a picture's size: [H, W] bool, true where to edit.

    Args:
        mask: a picture, a file or an array, white where to edit, or a tensor [h, w], bool or in [0, 1].
        size: (width, height).
        shape: (width, height) of the picture that it was drawn on, where that has another shape; None for `size`.

    Raises:
        ValueError: an unreadable mask, one of another shape than the picture, or an empty one.
        FileNotFoundError: no such file.
    """
    value = mask.float() if isinstance(mask, Tensor) else image_to_unit(open_picture(mask)).mean(0)
    if value.ndim != 2 or not value.numel() or not bool(((value >= 0) & (value <= 1)).all()):
        raise ValueError(
            f"a mask is [H, W], bool or in [0, 1], found {list(value.shape)}: take one channel, of 0 and 1"
        )
    height, width = value.shape
    shape = shape or size
    if abs(math.log(width / height * shape[1] / shape[0])) > SAME_SHAPE:
        raise ValueError(
            f"a mask has the picture's shape, found {width} x {height} px for a picture of {shape[0]} x {shape[1]} px: "
            "cut it as the picture"
        )
    if (width, height) != size:
        value = F.interpolate(value[None, None], (size[1], size[0]), mode="bilinear", antialias=True)[0, 0]
    found = value > 0.5
    if not bool(found.any()):
        raise ValueError("a mask is white where to edit, found an empty one: paint some of it, or turn it over")
    return found
