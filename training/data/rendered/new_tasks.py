"""Tasks that no model of the project was trained on, with true answers: what task inversion is measured with.

Shape legend: N pictures, S side in pixels; pictures are [N,3,S,S] in [0,1].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ...render.dead_leaves import dead_leaves

DARK, LIGHT = (0.07, 0.05, 0.30), (1.0, 0.78, 0.25)
LINE = (0.1, 1.0, 1.0)
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
RED, OTHERS = (0.86, 0.08, 0.08), ((0.1, 0.3, 0.85), (0.1, 0.62, 0.2), (0.92, 0.8, 0.1), (0.55, 0.2, 0.65))
SHAPES = 3


def duotone(n: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Dead leaves, and the same in shades from a dark blue to a light orange."""
    source = dead_leaves(n, size, generator)
    light = (source * torch.tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    dark, bright = (torch.tensor(color).view(1, 3, 1, 1) for color in (DARK, LIGHT))
    return source, dark + (bright - dark) * light


def outline_red(n: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Coloured discs and squares on grey leaves, at least one of them red, and the same with the red ones outlined."""
    gray = dead_leaves(n, size, generator).mean(1, keepdim=True).expand(-1, 3, -1, -1) * 0.8 + 0.1
    source, red = gray.clone(), torch.zeros(n, 1, size, size)
    rows = torch.arange(size).view(-1, 1).float()
    for picture in range(n):
        for number in range(SHAPES):
            y, x, scale = torch.rand(3, generator=generator).tolist()
            radius = size * (0.09 + 0.09 * scale)
            y, x = (radius + value * (size - 2 * radius) for value in (y, x))
            round_one, other = torch.randint(2, (2,), generator=generator).tolist()
            across, down = (rows.T - x).abs(), (rows - y).abs()
            inside = across.square() + down.square() < radius**2 if round_one else torch.maximum(across, down) < radius
            is_red = number == 0 or (bool(other) and number == 1)
            color = RED if is_red else OTHERS[int(torch.randint(len(OTHERS), (), generator=generator))]
            source[picture, :, inside] = torch.tensor(color)[:, None]
            # A shape that lies over another hides it.
            red[picture, 0][inside] = float(is_red)
    width = max(size // 64, 1)
    grown = F.max_pool2d(red, 2 * width + 1, stride=1, padding=width)
    line = torch.tensor(LINE).view(1, 3, 1, 1)
    return source, torch.where((grown - red) > 0, line, source)


NEW_TASKS: dict[str, tuple[str, Callable[[int, int, torch.Generator], tuple[Tensor, Tensor]]]] = {
    "duotone": ("Make a duotone of this picture.", duotone),
    "outline-red": ("Outline what is red.", outline_red),
}
