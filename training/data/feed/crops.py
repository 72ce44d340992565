"""One box for everything that belongs to a sample, so that pixels of source, target and maps stay on top of each other.

The released training draws the box of source and target apart, and 87 % of its pairs are shifted, up to 19 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ....comfyui_pixwizard.pictures.buckets import Size

Crop = Literal["random", "center"]


@dataclass(frozen=True)
class Cut:
    """The part of a picture that is trained on, in shares of its sides, and the size it is brought to."""

    left: float
    top: float
    right: float
    bottom: float
    size: Size

    @classmethod
    def of(cls, shape: Size, size: Size, crop: Crop, generator: torch.Generator) -> Cut:
        """The largest box of a bucket's aspect in a picture of a shape, at random or in its middle.

        The same numbers are drawn from the generator whatever is done with them.
        """
        at = float(torch.rand((), generator=generator))
        if crop == "center":
            at = 0.5
        ratio = (size[0] / size[1]) / (shape[0] / shape[1])
        width, height = min(ratio, 1.0), min(1 / ratio, 1.0)
        left, top = (1 - width) * at, (1 - height) * at
        return cls(left, top, left + width, top + height, size)

    def __call__(self, picture: Image.Image, resample: Image.Resampling = Image.Resampling.LANCZOS) -> Image.Image:
        """This part of a picture, whatever its own resolution, at the bucket's size."""
        width, height = picture.size
        box = self.left * width, self.top * height, min(self.right, 1.0) * width, min(self.bottom, 1.0) * height
        # A source may be smaller than its target; far larger pictures are reduced by whole factors first, for speed.
        gap = None if resample == Image.Resampling.NEAREST else 3.0
        return picture.resize(self.size, resample, box, reducing_gap=gap)


def unit(picture: Image.Image) -> Tensor:
    """An RGB picture as [3,H,W] in [0,1]."""
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).float() / 255
