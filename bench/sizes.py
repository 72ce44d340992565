"""`pixwizard bench sizes`: what a model answers beyond its trained size, with and without scaling.

Shapes: N pictures, H, W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..comfyui_pixwizard.files.safe_files import write_json
from ..comfyui_pixwizard.limits import check_least
from ..comfyui_pixwizard.scaling import Scaling, scaling_for
from ..comfyui_pixwizard.tasks import TASKS
from ..training.evaluate.metrics import psnr

if TYPE_CHECKING:  # slow, and not needed for --help
    from ..comfyui_pixwizard.pipeline import PixWizardPipeline

# What is compared: RoPE scaling (None by the rule, 1 off) and proportional attention.
VARIANTS: dict[str, tuple[float | None, bool]] = {
    "neither": (1.0, False),
    "positions": (None, False),
    "attention": (1.0, True),
    "both": (None, True),
}
# As a share of the side: how far a picture is moved at least to be compared with itself, and what counts as shading.
LEAST_MOVE, SHADING = 1 / 4, 1 / 8


@dataclass
class Sizes:
    """Measure answers at several times the trained size, with and without scaled positions and proportional attention.

    PSNR is that of a denoised dead-leaves picture against the clean one. Repetition is that of a picture drawn from
    words: how much it is like itself moved by a quarter of its side or more, 1 where it repeats exactly.
    """

    times: tuple[int, ...] = (2, 3)
    """How many times as long a side as that of the largest square that the model was trained for."""
    n: int = 2
    """Pictures of each kind."""
    points: int = 9
    """Of the time grid, for the drawn pictures."""
    seed: int = 0
    """Of pictures, instructions and noise."""
    model: str = "nano"
    """The bundled model, nano, or a folder."""
    json: Path | None = None
    """Also write the figures there."""

    def run(self) -> int:
        """Measure and print the table.

        Raises:
            ValueError: settings that cannot be used, no such model, a file that cannot be written.
        """
        check_least(self, n=1, points=2)
        if not self.times or min(self.times) < 1:
            raise ValueError(f"--times must be numbers from 1 up, found {' '.join(map(str, self.times))}: take 2 3")
        from ..comfyui_pixwizard.pipeline import PixWizardPipeline

        pipeline = PixWizardPipeline.from_pretrained(self.model)
        if torch.cuda.is_available():
            pipeline.to("cuda")
        rows = []
        with torch.inference_mode(), tqdm(total=len(self.times) * len(VARIANTS), unit="row", leave=False) as bar:
            for times in self.times:
                side = times * pipeline.max_size
                for name, (scale, proportional) in VARIANTS.items():
                    scaling = scaling_for((side, side), pipeline.max_size, scale, None, proportional)
                    rows.append({"side": side, "scaled": name} | self.measure(pipeline, side, scaling))
                    bar.update()
        print(table(rows))
        if self.json is not None:
            write_json(self.json, {"model": self.model, "n": self.n, "rows": rows})
        return 0

    def measure(self, pipeline: PixWizardPipeline, side: int, scaling: Scaling) -> dict[str, float]:
        """PSNR of denoised pictures, in dB, and repetition of drawn ones: means over n."""
        from ..training.evaluate.samples import restoration_samples, seeded
        from ..training.render.dead_leaves import dead_leaves

        asked = restoration_samples("denoise", dead_leaves(self.n, side, seeded("bench", self.seed)), self.seed)
        words = ["Draw a red ball and a blue box on a wooden floor"] * self.n
        clean = self._answers(pipeline, "denoise", asked.source, list(asked.instructions), scaling)
        drawn = self._answers(pipeline, "text_to_image", torch.ones(self.n, 3, side, side), words, scaling)
        return {"psnr": float(psnr(clean, asked.label).mean()), "repetition": float(repetition(drawn).mean())}

    def _answers(
        self, pipeline: PixWizardPipeline, task: str, source: Tensor, sentences: list[str], scaling: Scaling
    ) -> Tensor:
        row = pipeline.declared[task]
        points = self.points if not TASKS[task].needs_image else row.points
        answers = pipeline.generate(
            source * 2 - 1,
            sentences,
            steps=points,
            solver=row.solver,
            guidance=row.guidance(),
            patch_grids=row.patch_grids,
            scaling=scaling,
            seeds=range(self.seed, self.seed + len(source)),
        )
        return answers.cpu() / 2 + 0.5


def repetition(pictures: Tensor) -> Tensor:
    """How much pictures [N, 3, H, W] are like themselves moved by a quarter of their side or more: [N].

    The highest value of the circular autocorrelation of their grey without shading, of which 1 is at no move at all.
    """
    grey = pictures.mean(1)
    height, width = grey.shape[-2:]
    window = 2 * (int(min(height, width) * SHADING) // 2) + 1
    detail = grey - torch.nn.functional.avg_pool2d(
        grey[:, None], window, stride=1, padding=window // 2, count_include_pad=False
    ).squeeze(1)
    power = torch.fft.rfft2(detail).abs().square()
    likeness = torch.fft.irfft2(power, s=(height, width))
    likeness = likeness / likeness[:, :1, :1].clamp_min(1e-12)
    moves = [torch.minimum(torch.arange(side), side - torch.arange(side)) for side in (height, width)]
    far = (moves[0] >= LEAST_MOVE * height)[:, None] | (moves[1] >= LEAST_MOVE * width)
    return likeness.masked_fill(~far, -1.0).amax((1, 2))


def table(rows: list[dict[str, Any]]) -> str:
    """Lines for people."""
    lines = [f"{'side':>6}  {'scaled':<10}{'PSNR, dB':>10}{'repetition':>12}"]
    for row in rows:
        lines.append(f"{row['side']:>6}  {row['scaled']:<10}{row['psnr']:>10.2f}{row['repetition']:>12.3f}")
    return "\n".join(lines)
