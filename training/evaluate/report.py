"""The evaluation as a table, as JSON, as contact sheets and as pictures of failures."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from einops import rearrange
from PIL import Image, ImageDraw
from torch import Tensor

from .runner import EvaluationOutcome, Row
from .samples import Samples

COLUMNS = ("value", "baseline", "ceiling", "floor", "target")
GAP, TEXT = 4, 14
LETTER = 6  # pixels of a letter of Pillow's own font, about


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}"


def table(rows: Mapping[str, Row]) -> str:
    """Lines for people: a task each, with the arrow that says which way is better."""
    titles = "".join(f"{name:>10}" for name in (*COLUMNS, "seen"))
    lines = [f"{'task':<24}{'metric':<42}{'n':>5}{titles}{'s':>7}  holds"]
    for name, row in rows.items():
        arrow = "lower" if row["lower_is_better"] else "higher"
        seen = row.get("seen_combinations", {}).get("value")
        figures = "".join(f"{_number(row[column]):>10}" for column in COLUMNS) + f"{_number(seen):>10}"
        figures += f"{row.get('seconds', 0):>7.0f}"
        lines.append(f"{name:<24}{row['metric'] + f' ({arrow})':<42}{row['n']:>5}{figures}  {_yes(row['holds'])}")
    return "\n".join(lines)


def _yes(holds: bool) -> str:
    return "yes" if holds else "NO"


def contact_sheet(samples: Samples, output: Tensor, count: int = 8) -> Image.Image:
    """The first samples from top to bottom: input, output, truth, each row under its instruction."""
    count = min(count, len(samples))
    height, width = samples.source.shape[-2:]
    sheet = Image.new("RGB", (3 * (width + GAP) + GAP, count * (height + TEXT + GAP) + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for i in range(count):
        top = GAP + i * (height + TEXT + GAP)
        draw.text((GAP, top), samples.instructions[i], fill="black")
        for j, pictures in enumerate((samples.source, output, samples.truth)):
            sheet.paste(_picture(pictures[i]), (GAP + j * (width + GAP), top + TEXT))
    return sheet


def _picture(tensor: Tensor) -> Image.Image:
    pixels = (tensor.clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(rearrange(pixels, "c h w -> h w c").numpy())


@dataclass(order=True)
class Failure:
    """One answer that is worse than most: how far it went from copying (0) to the ceiling (1), and what it shows."""

    progress: float
    task: str
    sentence: str = field(compare=False)
    pictures: tuple[Tensor, Tensor, Tensor] = field(compare=False)

    def draw(self) -> Image.Image:
        """Input, output and truth side by side, above them the task and the sentence."""
        height, width = self.pictures[0].shape[-2:]
        whole = 3 * (width + GAP) + GAP
        lines = textwrap.wrap(f"{self.task}: {self.sentence}", max(whole // LETTER, 20))
        top = GAP + len(lines) * TEXT
        panel = Image.new("RGB", (whole, top + height + TEXT + GAP), "white")
        draw = ImageDraw.Draw(panel)
        for i, line in enumerate(lines):
            draw.text((GAP, GAP // 2 + i * TEXT), line, fill="black")
        for j, (name, picture) in enumerate(zip(("input", "output", "truth"), self.pictures, strict=True)):
            left = GAP + j * (width + GAP)
            panel.paste(_picture(picture), (left, top))
            draw.text((left, top + height), name, fill="black")
        return panel


def worst(samples: Samples, outcome: EvaluationOutcome, count: int) -> list[Failure]:
    """The worst answers of one task, worst first."""
    order = outcome.each.nan_to_num(nan=-torch.inf).argsort()[:count].tolist()
    name = samples.task.name
    return [
        Failure(
            float(outcome.each[i]), name, samples.instructions[i],
            (samples.source[i], outcome.output[i], samples.truth[i]),
        )
        for i in order
    ]  # fmt: skip


def save_failures(failures: Sequence[Failure], folder: Path, count: int) -> list[Path]:
    """Write the `count` worst of them, numbered from the worst, as JPEG; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, failure in enumerate(sorted(failures)[:count], start=1):
        paths.append(folder / f"{number:02d}-{failure.task}.jpg")
        failure.draw().save(paths[-1], quality=90)
    return paths
