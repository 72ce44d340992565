"""The evaluation as a table, as JSON and as contact sheets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from PIL import Image, ImageDraw
from torch import Tensor

from ...comfyui_pixwizard.safe_files import replaced
from .runner import Row
from .samples import Samples

COLUMNS = ("value", "baseline", "ceiling", "floor", "target")
GAP, TEXT = 4, 14


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}"


def table(rows: Mapping[str, Row]) -> str:
    """Lines for people: a task each, with the arrow that says which way is better."""
    lines = [
        f"{'task':<24}{'metric':<39}{'n':>5}" + "".join(f"{name:>10}" for name in COLUMNS) + f"{'seen':>10}  holds"
    ]
    for name, row in rows.items():
        arrow = "lower" if row["lower_is_better"] else "higher"
        seen = row.get("seen_combinations", {}).get("value")
        figures = "".join(f"{_number(row[column]):>10}" for column in COLUMNS) + f"{_number(seen):>10}"
        lines.append(f"{name:<24}{row['metric'] + f' ({arrow})':<39}{row['n']:>5}{figures}  {_yes(row['holds'])}")
    return "\n".join(lines)


def _yes(holds: bool) -> str:
    return "yes" if holds else "NO"


def write_json(path: Path, report: Mapping[str, Any]) -> None:
    """Write the report under a temporary name, then rename: no half-written file is left."""
    with replaced(path) as file:
        file.write((json.dumps(report, indent=2, allow_nan=False) + "\n").encode())


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
