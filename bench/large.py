"""`pixwizard bench large`: a large picture denoised in windows, against whole at smaller sizes: PSNR, seams, memory.

Shapes: H, W pixels; pictures [1, 3, H, W] in [-1, 1].
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from ..comfyui_pixwizard.pictures.buckets import CELL
from ..comfyui_pixwizard.pictures.images import open_picture, resized, to_image, to_tensor
from ..comfyui_pixwizard.windows import LATENT_PIXEL, Windows
from ..training.evaluate.metrics import psnr
from ..training.render.dead_leaves import SHEET, sheet
from .peak import TensorPeak

if TYPE_CHECKING:
    from ..comfyui_pixwizard.pipeline import PixWizardPipeline

INSTRUCTION = "Remove the noise from this picture"


@dataclass
class Large:
    """Denoise a large picture in windows of the model's size, and whole at smaller sizes, brought back by Lanczos.

    The seam figure is how much more the error changes from one pixel to the next where windows begin and end than at
    the borders of the tokens beside: 1 is no seam.
    """

    side: int = 1024
    """Longer side in pixels of the picture."""
    picture: Path | None = None
    """A photograph, at least as large; without one dead leaves are drawn."""
    whole: tuple[int, ...] = (1008,)
    """Sides of squares at which the picture is denoised whole, beside the model's own size."""
    noise: float = 50.0
    """Standard deviation of the noise, of 255."""
    seed: int = 0
    """Of picture and noise."""
    model: str = "nano"
    """The bundled model, nano, or a folder."""

    def run(self) -> int:
        """Measure and print a table.

        Raises:
            ValueError: settings that cannot be used, no such picture or model.
        """
        from ..comfyui_pixwizard.pipeline import PixWizardPipeline

        if self.side < 64 or self.noise <= 0 or any(side < 64 or side % 16 for side in self.whole):
            raise ValueError(
                f"--side is at least 64, --noise above 0 and --whole multiples of 16 from 64 up, found {self.side}, "
                f"{self.noise:g} and {self.whole}: take 1024, 50 and 512"
            )
        clean = self.draw()
        generator = torch.Generator().manual_seed(self.seed)
        given = to_tensor(clean)
        noisy = to_image((given + 2 * self.noise / 255 * torch.randn(given.shape, generator=generator))[0])
        pipeline = PixWizardPipeline.from_pretrained(self.model)
        print(f"{clean.width} x {clean.height} px, noise {self.noise:g}: {_psnr(noisy, clean):.2f} dB")
        print("| | PSNR dB | seam | seconds | MiB of tensors |\n|---|---|---|---|---|")
        ways: list[tuple[str, dict[str, Any]]] = [("in windows", dict(windows=True))]
        ways += [(f"whole at {side} px", dict(size=side)) for side in (pipeline.max_size, *self.whole)]
        for name, options in ways:
            print(self.row(pipeline, name, noisy, clean, options))
        return 0

    def draw(self) -> Image.Image:
        """The clean picture."""
        if self.picture is not None:
            image = open_picture(self.picture)
            share = self.side / max(image.size)
            if share > 1:
                raise ValueError(
                    f"--picture has at least --side {self.side} px, found {max(image.size)}: take a larger one"
                )
            return resized(image, (round(image.width * share), round(image.height * share)))
        # A sheet has at most one size; their borders are edges as others are.
        generator, across = torch.Generator().manual_seed(self.seed), math.ceil(self.side / SHEET)
        rows = [torch.cat([sheet(generator) for _ in range(across)], dim=2) for _ in range(across)]
        return to_image(torch.cat(rows, dim=1)[:, : self.side * 3 // 4, : self.side] * 2 - 1)

    def row(
        self, pipeline: PixWizardPipeline, name: str, noisy: Image.Image, clean: Image.Image, options: dict[str, Any]
    ) -> str:
        """One line of the table."""
        with TensorPeak() as counted:
            start = time.perf_counter()
            answer = pipeline(noisy, INSTRUCTION, task="denoise", seed=self.seed, **options).image
            seconds = time.perf_counter() - start
        seam = f"{seam_of(answer, clean, pipeline.max_size):.3f}" if "windows" in options else ""
        return f"| {name} | {_psnr(answer, clean):.2f} | {seam} | {seconds:.1f} | {counted.peak / 2**20:.0f} |"


def _psnr(image: Image.Image, clean: Image.Image) -> float:
    return float(psnr(to_tensor(image) / 2 + 0.5, to_tensor(clean) / 2 + 0.5))


def seam_of(answer: Image.Image, clean: Image.Image, side: int) -> float:
    """Mean step of the error across cuts of windows, over that across the borders of tokens beside them.

    Args:
        answer, clean: of one size.
        side: of the windows in pixels.
    """
    error = to_tensor(answer) - to_tensor(clean)
    height, width = (-(-length // LATENT_PIXEL // 2) * 2 for length in error.shape[-2:])
    windows = Windows(height, width, side).all
    at_cuts, beside = 0.0, 0.0
    for axis, slices in ((-2, [window.rows for window in windows]), (-1, [window.columns for window in windows])):
        steps, length = _steps(error, axis), error.shape[axis]
        for cut in {end * LATENT_PIXEL for item in slices for end in (item.start, item.stop)}:
            if CELL < cut < length - CELL:
                at_cuts += steps[cut - 1]
                beside += (steps[cut - 1 - CELL] + steps[cut - 1 + CELL]) / 2
    if not at_cuts:
        raise ValueError(f"seams need more than one window, found {answer.width} x {answer.height} px: take it larger")
    return at_cuts / beside


def _steps(error: Tensor, axis: int) -> list[float]:
    """Mean absolute step from each row (or column) to the next."""
    others = [dimension for dimension in range(4) if dimension != axis % 4]
    return error.diff(dim=axis).abs().mean(others).tolist()
