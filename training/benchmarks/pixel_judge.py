"""Restoration: PSNR and SSIM, on RGB and on MATLAB's luma, of each picture, then the mean.

Shape legend: H, W pixels; pictures are uint8 [H, W, 3] in RGB.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from ...comfyui_pixwizard.optional import pip_install, required
from .judge import Figure, Shown
from .question import MISSING_PAIR, OTHER_ANSWER, OTHER_SIZE, Fault, Question, picture_of

# Equal pictures have no finite PSNR: they count as this, in dB.
EQUAL = 100.0
# Side of SSIM's Gaussian window: sigma 1.5, cut at 3.5 sigma.
WINDOW = 11
NAMES = ("psnr_rgb", "ssim_rgb", "psnr_y", "ssim_y")


def luma(picture: np.ndarray) -> np.ndarray:
    """MATLAB's `rgb2ycbcr(picture)(:, :, 1)`: uint8 [H,W,3] -> uint8 [H,W], 16 (black) to 235 (white), rounded."""
    weights = np.array([65.481, 128.553, 24.966])
    return np.floor(16 + picture.astype(np.float64) @ weights / 255 + 0.5).astype(np.uint8)


def psnr(answer: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two uint8 pictures, one error over all channels; EQUAL for equal ones."""
    metrics = _metrics()
    if np.array_equal(answer, truth):
        return EQUAL
    return min(float(metrics.peak_signal_noise_ratio(truth, answer, data_range=255)), EQUAL)


def ssim(answer: np.ndarray, truth: np.ndarray) -> float:
    """Structural similarity of two uint8 pictures with the Gaussian window of its paper, the mean of the channels.

    Only windows that lie inside the picture count, as in the paper's own code.

    Raises:
        Fault: a side below WINDOW.
    """
    if min(truth.shape[:2]) < WINDOW:
        raise Fault(f"smaller than SSIM's window of {WINDOW} pixels")
    return float(
        _metrics().structural_similarity(
            truth,
            answer,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            channel_axis=2 if truth.ndim == 3 else None,
        )
    )


def _metrics():  # type: ignore[no-untyped-def]
    return required("skimage.metrics", "PSNR and SSIM are scikit-image's", pip_install("scikit-image"))


def four_figures(answer: Image.Image, truth: Image.Image) -> dict[str, float]:
    """NAMES of two RGB pictures of one size."""
    pair = np.asarray(answer), np.asarray(truth)
    bright = luma(pair[0]), luma(pair[1])
    return dict(zip(NAMES, (psnr(*pair), ssim(*pair), psnr(*bright), ssim(*bright)), strict=True))


def target_of(question: Question) -> Image.Image:
    """The right answer as RGB.

    Raises:
        Fault: there is none, or it is broken.
    """
    if question.target is None:
        raise Fault(MISSING_PAIR)
    return picture_of(question.target)


class PixelJudge:
    """See `judge.Judge`; figures begin with `copy_` where the input itself is taken for the answer."""

    main, higher = "psnr_rgb", True

    def __init__(self) -> None:
        self.each: list[dict[str, float]] = []

    def add(self, question: Question, shown: Shown, answer: Image.Image) -> Mapping[str, float]:
        truth = target_of(question)
        source = shown.source
        if source is None or source.size != truth.size:
            raise Fault(OTHER_SIZE)
        if answer.size != truth.size:
            raise Fault(OTHER_ANSWER)
        copied = {f"copy_{name}": value for name, value in four_figures(source, truth).items()}
        self.each.append(four_figures(answer, truth) | copied)
        return self.each[-1]

    def result(self) -> Mapping[str, Figure]:
        return {name: float(np.mean([one[name] for one in self.each])) for name in self.each[0]}

    def settings(self) -> Mapping[str, str]:
        return {
            "psnr": f"of each picture, then the mean; equal pictures count as {EQUAL:g} dB",
            "ssim": "Gaussian window 11x11, sigma 1.5, inside the picture only; RGB: mean of the channels",
            "y": "MATLAB's rgb2ycbcr of 8-bit pictures, 16 to 235, rounded",
        }
