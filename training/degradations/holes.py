"""Missing parts: masks of circles, rectangles and free-form strokes, and missing surroundings."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .checks import grid, uniform

CIRCLES, RECTANGLES, STROKES, SEGMENTS = 6, 5, 3, 4
FILLS = (0.0, 1.0, 0.5)
FILL_WEIGHTS = (0.4, 0.4, 0.2)


def inpaint(
    image: Tensor,
    generator: torch.Generator,
    *,
    coverage: tuple[float, float] = (0.25, 0.4),
    fill: float | None = None,
) -> Tensor:
    """Picture with holes, which `draw_mask` draws: [B,3,H,W] in [0,1].

    Args:
        image: [B,3,H,W] in [0,1].
        coverage: smallest and largest share of pixels that a sample loses.
        fill: value inside the holes in [0,1]; None draws black, white or (less often) mid-grey for each sample.

    Raises:
        ValueError: a fill outside [0,1], or a coverage not within 0 < low <= high < 1.
    """
    b, _, h, w = image.shape
    return filled(image, draw_mask(b, h, w, generator, coverage=coverage), fill, generator)


def outpaint(
    image: Tensor,
    generator: torch.Generator,
    *,
    coverage: tuple[float, float] = (0.2, 0.45),
    fill: float | None = None,
) -> Tensor:
    """Picture of which a rectangle is left, outside of what `draw_frame` draws: [B,3,H,W] in [0,1].

    A sample loses one to four sides, and `coverage` is met up to a row and a column of pixels; else as `inpaint`.
    """
    b, _, h, w = image.shape
    return filled(image, draw_frame(b, h, w, generator, coverage=coverage), fill, generator)


def draw_frame(
    batch: int, height: int, width: int, generator: torch.Generator, *, coverage: tuple[float, float] = (0.2, 0.45)
) -> Tensor:
    """Everything but a random rectangle: [B,H,W] bool, True outside; at least one pixel stays.

    Raises:
        ValueError: coverage not within 0 < low <= high < 1.
    """
    low, high = _checked(coverage)
    kept = 1 - uniform(generator, low, high, batch)
    # Shares of height and width whose product is the area: a third of the samples each keep all of one of them.
    split = uniform(generator, -0.5, 1.5, batch).clamp(0, 1)
    inside = [_span(kept**part, side, generator) for part, side in ((split, height), (1 - split, width))]
    return ~(inside[0][:, :, None] & inside[1][:, None, :])


def _span(share: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """An interval of each axis [B,side] bool that is a share [B] of it; half of them touch an end."""
    length = (share * side).round().clamp(1, side)
    start = (uniform(generator, -0.5, 1.5, share.shape[0]).clamp(0, 1) * (side - length)).round()
    place = torch.arange(side, device=share.device)
    return (place >= start[:, None]) & (place < (start + length)[:, None])


def filled(image: Tensor, mask: Tensor, fill: float | None, generator: torch.Generator) -> Tensor:
    """Image [B,3,H,W] with a value in place of what the mask [B,H,W] covers; None draws it for each sample."""
    if fill is not None and not 0 <= fill <= 1:
        raise ValueError(f"fill must lie in [0, 1], found {fill:g}: pass 0 for black or 1 for white")
    b = image.shape[0]
    if fill is None:
        weights = torch.tensor(FILL_WEIGHTS, device=generator.device)
        choice = torch.multinomial(weights, b, replacement=True, generator=generator)
        value = torch.tensor(FILLS, device=image.device, dtype=image.dtype)[choice].reshape(b, 1, 1, 1)
    else:
        value = torch.tensor(fill, device=image.device, dtype=image.dtype)
    return torch.where(mask[:, None], value, image)


def _checked(coverage: tuple[float, float]) -> tuple[float, float]:
    low, high = coverage
    if not 0 < low <= high < 1:
        raise ValueError(
            f"coverage must be (low, high) with 0 < low <= high < 1, found {coverage}: pass e.g. (0.25, 0.4)"
        )
    return low, high


def draw_mask(
    batch: int, height: int, width: int, generator: torch.Generator, *, coverage: tuple[float, float] = (0.25, 0.4)
) -> Tensor:
    """Random holes [B,H,W] bool whose share of the pixels lies within coverage.

    Shapes are signed distances in units of the shorter side; their union is grown or shrunk until it covers the drawn
    share exactly, so no sample is rejected and the loop has a fixed length.

    Raises:
        ValueError: coverage not within 0 < low <= high < 1.
    """
    low, high = _checked(coverage)
    device, short = generator.device, min(height, width)
    y, x = grid(height, width, device)
    reach = (height / short, width / short)
    # Per sample either one kind of shape alone or all of them.
    kind = torch.randint(4, (batch,), generator=generator, device=device)
    field = torch.full((batch, height, width), -math.inf, device=device)
    for i in range(CIRCLES):
        _lay(field, _round(x, y, *_dot(batch, reach, generator)), _active((kind == 0) | (kind == 3), i, generator))
    for i in range(RECTANGLES):
        _lay(field, _rectangle(x, y, batch, reach, generator), _active((kind == 1) | (kind == 3), i, generator))
    for i in range(STROKES):
        active = _active((kind == 2) | (kind == 3), i, generator)
        for segment in _stroke(batch, reach, generator):
            _lay(field, _round(x, y, *segment), active)
    # The ramp breaks ties along the straight sides of rectangles.
    field += 1e-4 * (x + 0.37 * y)
    share = uniform(generator, low, high, batch)
    pixels = height * width
    keep = (share * pixels).round().long().clamp(math.ceil(low * pixels), max(math.floor(high * pixels), 1))
    # Selection sample by sample: four times faster than sorting the batch.
    rows = zip(field.reshape(batch, -1), keep.tolist(), strict=True)
    threshold = torch.stack([row.kthvalue(pixels - k + 1).values for row, k in rows])
    return field >= threshold[:, None, None]


def _active(kind: Tensor, slot: int, generator: torch.Generator) -> Tensor:
    """Which samples use this slot [B]: the first one always, so that no sample stays without a shape."""
    chance = uniform(generator, 0.0, 1.0, kind.shape[0])
    return kind & (chance < (1.0 if slot == 0 else 0.7))


def _lay(field: Tensor, shape: Tensor, active: Tensor) -> None:
    """Union of a shape into the field, in place, for the active samples."""
    torch.maximum(field, shape.masked_fill_(~active[:, None, None], -math.inf), out=field)


def _place(batch: int, reach: tuple[float, float], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return uniform(generator, 0.0, reach[0], batch), uniform(generator, 0.0, reach[1], batch)


def _dot(batch: int, reach: tuple[float, float], generator: torch.Generator) -> tuple[Tensor, ...]:
    """A circle as a segment without length: start, end, radius, each [B]."""
    cy, cx = _place(batch, reach, generator)
    return cy, cx, cy, cx, uniform(generator, 0.08, 0.3, batch)


def _stroke(batch: int, reach: tuple[float, float], generator: torch.Generator) -> list[tuple[Tensor, ...]]:
    """A random walk with a turning heading, as segments (y0, x0, y1, x1, radius), each [B]."""
    cy, cx = _place(batch, reach, generator)
    heading = uniform(generator, 0.0, 2 * math.pi, batch)
    radius = uniform(generator, 0.025, 0.1, batch)
    segments: list[tuple[Tensor, ...]] = []
    for _ in range(SEGMENTS):
        step = uniform(generator, 0.12, 0.4, batch)
        # Reflected at the border: the walk stays in the picture.
        ny = _reflect(cy + step * torch.sin(heading), reach[0])
        nx = _reflect(cx + step * torch.cos(heading), reach[1])
        segments.append((cy, cx, ny, nx, radius))
        cy, cx = ny, nx
        heading = heading + uniform(generator, -1.6, 1.6, batch)
    return segments


def _reflect(position: Tensor, reach: float) -> Tensor:
    return reach - (reach - position.abs()).abs()


def _round(x: Tensor, y: Tensor, y0: Tensor, x0: Tensor, y1: Tensor, x1: Tensor, radius: Tensor) -> Tensor:
    """Signed distance [B,H,W] to a segment with round ends, positive inside."""
    y0, x0, y1, x1, radius = (v[:, None, None] for v in (y0, x0, y1, x1, radius))
    dy, dx = y1 - y0, x1 - x0
    py, px = y - y0, x - x0
    along = ((px * dx + py * dy) / (dx**2 + dy**2).clamp_min(1e-8)).clamp_(0, 1)
    distance = (px - along * dx).square_().add_((py - along * dy).square_()).sqrt_()
    return distance.neg_().add_(radius)


def _rectangle(x: Tensor, y: Tensor, batch: int, reach: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Chebyshev distance [B,H,W] to an upright rectangle: growing it keeps its corners."""
    cy, cx = (v[:, None, None] for v in _place(batch, reach, generator))
    half_y, half_x = (uniform(generator, 0.06, 0.3, batch)[:, None, None] for _ in range(2))
    return torch.minimum(half_y - (y - cy).abs(), half_x - (x - cx).abs())
