"""Loss of resolution: small copies, compressed on the way, brought back to full size.

Every sample has its own scale. Small copies of unequal size lie on one canvas that fits the largest, and repeat their
last row and column beyond their own size, as JPEG pads a picture.

Shape legend: B batch, H, W pixels, h, w pixels of the canvas.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import log_uniform, normal_like, per_sample
from .jpeg import jpeg

SCALES = (2.0, 4.0)
FACE_SCALES = (4.0, 8.0)
LARGEST_SCALE = 16.0


def super_resolution(image: Tensor, generator: torch.Generator, *, scale: float | Tensor | None = None) -> Tensor:
    """Low-resolution version of a picture at its full size: [B,3,H,W] in [0,1].

    A second-order chain: blurred, made smaller, noisy and compressed, and all of it once more; then enlarged by cubic
    interpolation (Wang et al. 2021, Real-ESRGAN, arXiv 2107.10833, of which this follows the order of operations).

    Args:
        image: [B,3,H,W] in [0,1].
        scale: factor between the full and the small size, 1 to 16, one number or one for each sample [B]; None draws 2
            to 4.

    Raises:
        ValueError: a scale outside 1 to 16 or neither a number nor [B].
    """
    b = image.shape[0]
    if scale is None:
        factor = per_sample(generator, *SCALES, b).flatten()
    else:
        factor = torch.as_tensor(scale, dtype=torch.float32, device=image.device).flatten()
        if factor.numel() not in (1, b) or bool((factor < 1).any()) or bool((factor > LARGEST_SCALE).any()):
            raise ValueError(
                f"scale must lie in 1 to {LARGEST_SCALE:g}, one number or one for each of {b} samples, found {scale}: "
                "pass e.g. 4.0"
            )
        factor = factor.expand(b)
    first = factor ** per_sample(generator, 0.3, 0.7, b).flatten()
    small = Small.of(image)
    for target, noise, quality in ((first, (0.01, 0.1), (40.0, 95.0)), (factor, (0.01, 0.09), (30.0, 95.0))):
        small = small.shrink(target, _width(generator, b), _width(generator, b))
        small = small.add_noise(per_sample(generator, *noise, b), generator)
        small = small.compress(per_sample(generator, *quality, b).flatten())
    return small.enlarge(*image.shape[-2:])


def face(image: Tensor, generator: torch.Generator, *, amount: float = 1.0) -> Tensor:
    """Picture of a face as it is cut out of a poor photograph: [B,3,H,W] in [0,1].

    Blurred, four to eight times smaller, noisy, compressed hard, and enlarged: the chain that blind face restoration
    is trained on (Wang et al. 2021, GFPGAN, arXiv 2101.04061), stronger than super_resolution. Works on any picture.

    Args:
        image: [B,3,H,W] in [0,1].
        amount: factor on blur, noise and the excess of the scale over 1; 1 lowers the PSNR of a photograph to 17 to
            25 dB.
    """
    b = image.shape[0]
    factor = 1 + amount * (log_uniform(generator, *FACE_SCALES, b).flatten() - 1)
    width = 0.5 + amount * per_sample(generator, 0.1, 0.6, b).flatten()
    small = Small.of(image).shrink(factor, width, width)
    small = small.add_noise(amount * per_sample(generator, 0.03, 0.11, b), generator)
    return small.compress(per_sample(generator, 30.0, 80.0, b).flatten()).enlarge(*image.shape[-2:])


def _width(generator: torch.Generator, batch: int) -> Tensor:
    return per_sample(generator, 0.6, 1.4, batch).flatten()


class Small:
    """Copies of pictures at scales of their own.

    Attributes:
        canvas: [B,3,h,w].
        full: (H, W) of the pictures that they are copies of.
        height, width: pixels that count [B], at most h and w.
    """

    def __init__(self, canvas: Tensor, full: tuple[int, int], height: Tensor, width: Tensor):
        self.canvas, self.full, self.height, self.width = canvas, full, height, width

    @classmethod
    def of(cls, image: Tensor) -> Small:
        """The pictures themselves."""
        b, _, h, w = image.shape
        return cls(image, (h, w), *(torch.full((b,), side, device=image.device) for side in (h, w)))

    def shrink(self, scale: Tensor, blur_y: Tensor, blur_x: Tensor) -> Small:
        """Blur and sample at 1/scale of the full size; scale [B], blurs [B] are deviations in new pixels."""
        height, width = (_shrunk(side, scale) for side in self.full)
        rows = _gaussian_rows(height, self.height, self.canvas.shape[2], blur_y)
        columns = _gaussian_rows(width, self.width, self.canvas.shape[3], blur_x)
        return Small(_resample(self.canvas, rows, columns), self.full, height, width)

    def add_noise(self, sigma: Tensor, generator: torch.Generator) -> Small:
        """Gaussian noise of deviation sigma [B,1,1,1]."""
        noisy = (self.canvas + sigma * normal_like(self.canvas, generator)).clamp_(0, 1)
        return Small(noisy, self.full, self.height, self.width)

    def compress(self, quality: Tensor) -> Small:
        """JPEG of quality [B]."""
        return Small(jpeg(self.canvas, quality), self.full, self.height, self.width)

    def enlarge(self, height: int, width: int) -> Tensor:
        """Pictures [B,3,height,width] by cubic interpolation, clamped to [0,1]."""
        rows = _cubic_rows(height, self.height, self.canvas.shape[2])
        columns = _cubic_rows(width, self.width, self.canvas.shape[3])
        return _resample(self.canvas, rows, columns).clamp_(0, 1)


def _shrunk(side: int, scale: Tensor) -> Tensor:
    return (side / scale).round().clamp_min(1).long()


def _resample(canvas: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """canvas [B,3,h,w] with weights rows [B,h',h] and columns [B,w',w]: [B,3,h',w']."""
    return rows[:, None] @ (canvas @ columns.mT[:, None])


def _gaussian_rows(new: Tensor, old: Tensor, side: int, blur: Tensor) -> Tensor:
    """Weights [B,max(new),side] that take old [B] pixels to new [B] ones through a Gaussian; rows sum to 1."""
    row = torch.minimum(torch.arange(int(new.max()), device=new.device), new[:, None] - 1)
    ratio = (old / new)[:, None]
    place = ((row + 0.5) * ratio - 0.5)[..., None]
    column = torch.arange(side, device=new.device)
    deviation = (blur[:, None] * ratio)[..., None].clamp_min(0.3)
    weight = torch.exp(-0.5 * ((place - column) / deviation) ** 2) * (column < old[:, None, None])
    return weight / weight.sum(-1, keepdim=True)


def _cubic_rows(new: int, old: Tensor, side: int, sharpness: float = -0.5) -> Tensor:
    """Weights [B,new,side] that enlarge old [B] pixels to new ones by Keys' cubic; rows sum to 1."""
    row, column = torch.arange(new, device=old.device), torch.arange(side, device=old.device)
    place = (row + 0.5) * (old[:, None] / new) - 0.5
    t = (place[..., None] - column).abs()
    near = ((sharpness + 2) * t - (sharpness + 3)) * t * t + 1
    far = sharpness * (((t - 5) * t + 8) * t - 4)
    weight = torch.where(t < 1, near, far) * ((t < 2) & (column < old[:, None, None]))
    return weight / weight.sum(-1, keepdim=True)
