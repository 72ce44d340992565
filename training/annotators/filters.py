"""What the annotators share: the check of the input, colours, and small filters made of shifted sums.

Shifted sums, because at these kernel sizes they are about ten times faster on a CPU than a convolution, and give each
pixel the same number wherever it lies in the picture and the batch. Beyond the border the last pixel repeats.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# Rows: luma (Rec. 601), green to red, yellow to blue, on display values, each with a range of one. A rough CIELAB
# without its cube root, which the display gamma stands in for.
_OPPONENT = ((0.299, 0.587, 0.114), (0.5, -0.5, 0.0), (-0.25, -0.25, 0.5))

SMALL = 192


def check_image(image: Tensor) -> None:
    """Raise ValueError unless image is a floating [B,3,H,W] tensor."""
    if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
        shape = f"{tuple(image.shape)} {image.dtype}"
        raise ValueError(
            f"an annotator needs a float image [B,3,H,W] in [0,1], found {shape}: add a batch axis or convert it"
        )


def is_small(image: Tensor) -> bool:
    """Whether filters take their finer scales: a shorter side below 192 pixels, where things are small as well."""
    return min(image.shape[-2:]) < SMALL


def opponent(image: Tensor) -> Tensor:
    """RGB [B,3,H,W] -> luma and two colour differences [B,3,H,W] float32."""
    red, green, blue = image.float().unbind(1)
    return torch.stack([r * red + g * green + b * blue for r, g, b in _OPPONENT], dim=1)


def shifts(x: Tensor, reach: int) -> Callable[[int, int], Tensor]:
    """Function (dy, dx) -> the value at (y + dy, x + dx) for each pixel of [B,C,H,W]; |dy|, |dx| <= reach."""
    h, w = x.shape[-2:]
    padded = F.pad(x, (reach,) * 4, mode="replicate")
    return lambda dy, dx: padded[..., reach + dy : reach + dy + h, reach + dx : reach + dx + w]


def gradient(x: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences per pixel along x and along y, each [B,C,H,W]."""
    at = shifts(x, 1)
    return (at(0, 1) - at(0, -1)) / 2, (at(1, 0) - at(-1, 0)) / 2


def soften(x: Tensor) -> Tensor:
    """Blur of [B,C,H,W] with [1 2 1] / 4 along both axes: standard deviation 0.71 pixels."""
    for dim in (-1, -2):
        before, here, after = _line(x, dim, 1, 1)
        x = (before + after).add_(here, alpha=2).mul_(1 / 4)
    return x


def blur(x: Tensor, step: int = 1) -> Tensor:
    """Blur of [B,C,H,W] with [1 4 6 4 1] / 16 on every `step`-th pixel: standard deviation `step` pixels.

    With steps 1, 2, 4 ... one after another the holes do not show (the a trous wavelet transform); a cascade of n such
    steps has the variance 1 + 4 + 16 ... = (4**n - 1) / 3.
    """
    for dim in (-1, -2):
        a, b, c, d, e = _line(x, dim, step, 2)
        x = (b + d).mul_(4).add_(c, alpha=6).add_(a).add_(e).mul_(1 / 16)
    return x


def dilate(x: Tensor) -> Tensor:
    """Largest value of 3 x 3 pixels of [B,C,H,W]."""
    for dim in (-1, -2):
        before, here, after = _line(x, dim, 1, 1)
        x = torch.maximum(torch.maximum(before, after), here)
    return x


def _line(x: Tensor, dim: int, step: int, reach: int) -> list[Tensor]:
    """Neighbours along an axis at -reach ... reach times step pixels."""
    pad = step * reach
    padded = F.pad(x, (pad, pad, 0, 0) if dim == -1 else (0, 0, pad, pad), mode="replicate")
    return [padded.narrow(dim, i * step, x.shape[dim]) for i in range(2 * reach + 1)]
