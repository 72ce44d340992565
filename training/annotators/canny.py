"""Canny's edges, by OpenCV: the filter that the benchmarks of canny-to-image take for the truth."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ...comfyui_pixwizard.optional import required
from .filters import check_image

LOW, HIGH = 100.0, 200.0
HIGH_RANGE = (80.0, 250.0)
RATIO_RANGE = (0.3, 0.7)


def canny(
    image: Tensor, generator: torch.Generator | None = None, *, low: float | None = None, high: float | None = None
) -> Tensor:
    """Edges of one pixel's width [B,H,W], 0 or 1, on the picture's device.

    `cv2.Canny` (J. Canny, 1986) on the picture in 8-bit RGB, where at each pixel the channel with the steepest slope
    counts. Edges start above the high threshold and are followed down to the low one.

    Args:
        image: [B,3,H,W] in [0,1].
        generator: draws both thresholds for each sample: high from 80 to 250, low from 0.3 to 0.7 of it.
        low, high: thresholds on the slope in 8-bit units, 0 < low <= high; both or none. Without them and without a
            generator 100 and 200.

    Raises:
        ValueError: wrong shape of the image, thresholds in the wrong order or given together with a generator, or
            OpenCV is not installed.
    """
    check_image(image)
    cv2 = required("cv2", "canny edges need OpenCV", "pip install opencv-python-headless")
    pictures = rearrange((image.detach().clamp(0, 1) * 255).round().to(torch.uint8), "b c h w -> b h w c").cpu().numpy()
    thresholds = _thresholds(len(pictures), generator, low, high)
    edges = [cv2.Canny(np.ascontiguousarray(rgb), *pair) for rgb, pair in zip(pictures, thresholds, strict=True)]
    return torch.from_numpy(np.stack(edges)).to(image.device) / 255


def _thresholds(
    batch: int, generator: torch.Generator | None, low: float | None, high: float | None
) -> list[tuple[float, float]]:
    """(low, high) for each sample."""
    if (low is None) != (high is None) or (low is not None and generator is not None):
        raise ValueError("canny takes a generator or both of low and high, found a mixture: leave one out")
    if generator is not None:
        share = torch.rand(batch, 2, generator=generator, device=generator.device).cpu()
        upper = HIGH_RANGE[0] + (HIGH_RANGE[1] - HIGH_RANGE[0]) * share[:, 0]
        lower = upper * (RATIO_RANGE[0] + (RATIO_RANGE[1] - RATIO_RANGE[0]) * share[:, 1])
        return list(zip(lower.tolist(), upper.tolist(), strict=True))
    low, high = (LOW, HIGH) if low is None or high is None else (low, high)
    if not 0 < low <= high:
        raise ValueError(f"canny needs 0 < low <= high, found low {low:g} and high {high:g}: pass e.g. 100 and 200")
    return [(low, high)] * batch
