"""Rectangles from a picture of their outlines: lines in both directions, then the fewest rectangles that explain them.

Shape legend: maps [H, W]; N boxes [N, 4] as x0, y0, x1, y1; a vertical line has a place x and a reach in y.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .clean_up import components

# Least share of a side's readable pixels that are drawn.
LEAST_SIDE = 0.8
# Least share of a side's pixels that are readable: not `OutlineMarks.unknown`.
LEAST_KNOWN = 0.5
# Least share of a rectangle's outline that the rectangles chosen before it leave unexplained.
LEAST_NEW = 0.3
# Least share of a window along a line that is drawn: the rest may be gaps.
LEAST_RUN = 0.85
MOST_LINES = 28
MOST_BOXES = 32
MOST_SWAPS = 100
MOST_CANDIDATES = 400
MOST_PIXELS = 100_000
# Price of a line that goes on past a corner, in squares of its width.
OVERRUN = 2.0


@dataclass(frozen=True)
class OutlineMarks:
    """Where a picture shows outlines.

    Attributes:
        marked: [H,W] bool, pixels of outlines.
        unknown: [H,W] bool, where the picture does not show whether there is an outline.
        share: [H,W] opacity in [0,1], 0 where not marked.
        line: width of the outlines in pixels.
    """

    marked: Tensor
    unknown: Tensor
    share: Tensor
    line: int

    def turned(self) -> OutlineMarks:
        """Rows and columns exchanged."""
        return OutlineMarks(self.marked.T, self.unknown.T, self.share.T, self.line)


def _inside(low: Tensor, high: Tensor, count: int) -> Tensor:
    """Share of every pixel of an axis that lies between two numbers: [N], [N] -> [N,count]."""
    start = torch.arange(count, device=low.device)
    return (torch.minimum(high[:, None], start + 1) - torch.maximum(low[:, None], start)).clamp(0, 1)


def line_coverage(boxes: Tensor, height: int, width: int, line: int) -> Tensor:
    """Share of every pixel that outlines of a width in pixels cover: [N,4] -> [N,H,W]."""
    x0, y0, x1, y1 = boxes.unbind(1)
    outer = _inside(y0, y1, height)[:, :, None] * _inside(x0, x1, width)[:, None]
    inner = _inside(y0 + line, y1 - line, height)[:, :, None] * _inside(x0 + line, x1 - line, width)[:, None]
    return outer - inner


def region_boxes(regions: Tensor) -> tuple[Tensor, Tensor]:
    """Bounding boxes and areas of the regions 1..N of `components`: [N,4], [N]."""
    count = int(regions.max()) if regions.numel() else 0
    row, column = (regions > 0).nonzero(as_tuple=True)
    index = regions[row, column] - 1

    def extreme(values: Tensor, how: str) -> Tensor:
        start = 1 << 30 if how == "amin" else -1
        empty = torch.full((count,), start, device=regions.device)
        return empty.scatter_reduce(0, index, values, how)

    boxes = torch.stack(
        [extreme(column, "amin"), extreme(row, "amin"), extreme(column, "amax") + 1, extreme(row, "amax") + 1], dim=1
    )
    return boxes.float(), torch.bincount(index, minlength=count).float()


def _vertical_lines(drawn: OutlineMarks) -> Tensor:
    """Places x of the middles of vertical lines: [V], the longest first."""
    # Longer than two lines side by side are wide, so that their width is no line.
    length = 2 * drawn.line + 3
    field = drawn.marked.float()[None, None]
    run = F.avg_pool2d(field, (length, 1), stride=1) > LEAST_RUN
    straight = F.max_pool2d(F.pad(run.float(), (0, 0, length - 1, length - 1)), (length, 1), stride=1)[0, 0] > 0
    regions = components(straight & drawn.marked)
    boxes, area = region_boxes(regions)
    if not len(area):
        return boxes.new_zeros(0)
    order = area.argsort(descending=True, stable=True)[:MOST_LINES]
    place = torch.arange(regions.shape[1], device=regions.device) + 0.5
    sums = torch.zeros(len(area) + 1, 2, device=regions.device)
    weight = drawn.share + 1e-6
    parts = rearrange(torch.stack([weight, weight * place], dim=-1), "h w c -> (h w) c")
    sums.index_add_(0, regions.flatten(), parts)
    middle = sums[1:, 1] / sums[1:, 0]
    half = drawn.line / 2
    parts_of_thick = []
    for region in order[boxes[order, 2] - boxes[order, 0] > 1.6 * drawn.line].tolist():
        # Lines that touch make one thick or stepped region: its edges, and where it is the longest.
        count = (regions == region + 1).sum(0).float()[None, None]
        total = F.avg_pool1d(F.pad(count, (0, drawn.line - 1)), drawn.line, stride=1)[0, 0]
        peak = F.max_pool1d(total[None], 2 * drawn.line + 1, stride=1, padding=drawn.line)[0]
        peaks = ((total == peak) & (total > 0)).nonzero()[:, 0] + half
        wide = float(boxes[region, 2] - boxes[region, 0]) > 2.5 * drawn.line
        parts_of_thick += [boxes[region, 0, None] + half, boxes[region, 2, None] - half, peaks if wide else peaks[:0]]
    # The middle of two full lines side by side is that of neither; a blurred line is as wide, but paler.
    double = (boxes[:, 2] - boxes[:, 0] >= 2 * drawn.line) & (sums[1:, 0] > 0.8 * area)
    return _apart(torch.cat([middle[order[~double[order]]], *parts_of_thick]))[:MOST_LINES]


def _apart(lines: Tensor) -> Tensor:
    """The lines, without those that lie within half a pixel of an earlier one."""
    kept: list[float] = []
    for line in lines.tolist():
        if all(abs(line - other) > 0.5 for other in kept):
            kept.append(line)
    return lines.new_tensor(kept)


class _Sides:
    """How much of many lines is drawn, by running sums along the columns."""

    def __init__(self, drawn: OutlineMarks, marked: Tensor):
        # A line that is crooked by a pixel still counts.
        wide = F.max_pool2d(marked.float()[None], (1, 3), stride=1, padding=(0, 1))[0] > 0
        self.hits = F.pad((wide & ~drawn.unknown).float().cumsum(0), (0, 0, 1, 0))
        self.known = F.pad((~drawn.unknown).float().cumsum(0), (0, 0, 1, 0))

    def drawn(self, x: Tensor, y0: Tensor, y1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Drawn, readable and all pixels between y0 and y1 of column x: three counts [C]."""
        height, width = self.hits.shape[0] - 1, self.hits.shape[1]
        column = x.long().clamp(0, width - 1)
        top, bottom = (y.round().long().clamp(0, height) for y in (y0, y1))
        return (
            self.hits[bottom, column] - self.hits[top, column],
            self.known[bottom, column] - self.known[top, column],
            (bottom - top).float(),
        )


def _sides(upright: _Sides, lying: _Sides, lines: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Drawn, readable and all pixels of each side of rectangles [C,4], given by the middles of their lines: [C,4]."""
    x0, y0, x1, y1 = lines.unbind(1)
    parts = [upright.drawn(x0, y0, y1), upright.drawn(x1, y0, y1), lying.drawn(y0, x0, x1), lying.drawn(y1, x0, x1)]
    hits, known, length = (torch.stack(values, dim=1) for values in zip(*parts, strict=True))
    return hits, known, length


def _candidates(drawn: OutlineMarks) -> Tensor:
    """Rectangles, by the middles of their lines, whose four sides are drawn: [C,4]."""
    across, down = _vertical_lines(drawn).sort().values, _vertical_lines(drawn.turned()).sort().values
    if len(across) < 2 or len(down) < 2:
        return across.new_zeros(0, 4)
    pairs = [torch.combinations(lines) for lines in (across, down)]
    pairs = [pair[pair[:, 1] - pair[:, 0] > drawn.line] for pair in pairs]
    i, j = torch.meshgrid(*[torch.arange(len(pair), device=across.device) for pair in pairs], indexing="ij")
    x, y = pairs[0][i.flatten()], pairs[1][j.flatten()]
    lines = torch.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], dim=1)
    if not len(lines):
        return lines
    upright, lying = _Sides(drawn, drawn.marked), _Sides(drawn.turned(), drawn.marked.T)
    hits, known, length = _sides(upright, lying, lines)
    good = (hits >= LEAST_SIDE * known) & (known >= LEAST_KNOWN * length)
    return lines[good.all(1)]


def _explained(marked: Tensor, lines: Tensor, line: int, every: int) -> Tensor:
    """Which of the M marked pixels, of which one of `every` counts, the outline of each rectangle explains: [C,4] ->
    [C,M/every] float, 0 or 1.
    """
    places = marked.nonzero()
    if every > 1:  # by lot, as every other pixel of a row is the edge of a line more often than its middle
        order = torch.randperm(len(places), generator=torch.Generator().manual_seed(0))
        places = places[order[: len(places) // every].to(places.device)]
    row, column = places.unbind(1)
    x, y = column + 0.5, row + 0.5
    x0, y0, x1, y1 = lines[..., None].unbind(1)
    reach = line / 2 + 1
    within = (x > x0 - reach) & (x < x1 + reach) & (y > y0 - reach) & (y < y1 + reach)
    hollow = (x > x0 + reach) & (x < x1 - reach) & (y > y0 + reach) & (y < y1 - reach)
    return (within & ~hollow).float()


def _overruns(drawn: OutlineMarks, lines: Tensor) -> Tensor:
    """How many of a rectangle's eight line ends go on past the corner, as no outline's does: [C,4] -> [C]."""
    height, width = drawn.marked.shape
    past = drawn.line / 2 + 2
    steps = past + torch.arange(drawn.line, device=lines.device)
    x0, y0, x1, y1 = lines[..., None].unbind(1)
    count = torch.zeros(len(lines), device=lines.device)
    for x, y in ((x0 - steps, y0), (x0 - steps, y1), (x1 + steps, y0), (x1 + steps, y1),
                 (x0, y0 - steps), (x1, y0 - steps), (x0, y1 + steps), (x1, y1 + steps)):  # fmt: skip
        column, row = (values.expand(len(lines), len(steps)).floor().long() for values in (x, y))
        outside = (column < 0) | (column >= width) | (row < 0) | (row >= height)
        hit = drawn.marked[row.clamp(0, height - 1), column.clamp(0, width - 1)] & ~outside
        count += hit.all(1)
    return count


def _chosen(explained: Tensor, price: Tensor, least: Tensor) -> list[int]:
    """Rectangles that together explain the most, less their prices: [C,M], [C], least new pixels [C] -> indices.

    Greedy, and then pairs of them are exchanged for better pairs: two boxes that share a line can be explained by
    their hull too, which is greedy's first choice.
    """
    chosen: list[int] = []
    left = torch.ones(explained.shape[1], device=explained.device)
    while len(chosen) < min(MOST_BOXES, len(explained)):
        new = explained @ left
        best = int(torch.where(new >= least, new - price, -torch.inf).argmax())
        if float(new[best]) < float(least[best]) or best in chosen:
            break
        chosen.append(best)
        left = left * (1 - explained[best])
    for i, j in [*itertools.combinations(range(len(chosen)), 2)][:MOST_SWAPS]:
        others = [c for n, c in enumerate(chosen) if n not in (i, j)]
        left = 1 - explained[others].amax(0) if others else torch.ones_like(left)
        alone = explained * left
        both = alone @ explained.T
        single = alone.sum(1)
        value = single[:, None] + single[None] - both - price[:, None] - price[None]
        a, b = divmod(int(value.argmax()), len(value))
        better = float(value[a, b]) > float(value[chosen[i], chosen[j]]) + 1e-3
        if better and a != b and not {a, b} & set(others):
            chosen[i], chosen[j] = a, b
    return chosen


def _refined(drawn: OutlineMarks, low: float, high: float, place: float) -> float:
    """Middle of a vertical line near x = place, between y = low and y = high: centroid of its opacity."""
    reach = drawn.line + 1
    columns = torch.arange(drawn.share.shape[1], device=drawn.share.device) + 0.5
    near = (columns - place).abs() <= reach
    margin = drawn.line if high - low > 2.5 * drawn.line else 0
    rows = slice(max(round(low) + margin, 0), max(round(high) - margin, 1))
    profile = (drawn.share[rows, near]).sum(0)
    # Another line in the window would pull the centroid.
    profile = torch.where(profile > 0.15 * profile.max(), profile, 0.0)
    total = float(profile.sum())
    moved = float((profile * columns[near]).sum()) / total if total > 0 else place
    return moved if abs(moved - place) <= 1 else place


def _thin(drawn: OutlineMarks) -> OutlineMarks:
    """The marks without areas wider than two outlines side by side; what these areas hide is unknown."""
    side = 3 * drawn.line + 1
    filled = F.avg_pool2d(drawn.marked.float()[None], side, stride=1) > 0.9
    thick = F.max_pool2d(F.pad(filled.float(), (side - 1,) * 4), side, stride=1)[0] > 0
    if not bool(thick.any()):
        return drawn
    return OutlineMarks(drawn.marked & ~thick, drawn.unknown | thick, drawn.share * ~thick, drawn.line)


def find_rectangles(whole: OutlineMarks) -> Tensor:
    """Boxes [N,4] whose outlines, drawn inside them, explain what is marked; the largest first."""
    drawn = _thin(whole)
    turned = drawn.turned()
    lines = _candidates(drawn)
    if not len(lines):
        return lines
    hits, known, length = _sides(_Sides(drawn, drawn.marked), _Sides(turned, drawn.marked.T), lines)
    price = drawn.line * ((known - hits).clamp_min(0).sum(1) + OVERRUN * drawn.line * _overruns(drawn, lines))
    least = LEAST_NEW * drawn.line * length.sum(1)
    # Noise has thousands of rectangles, of which none is a box: time and memory must not grow with them.
    best = (drawn.line * hits.sum(1) - price).topk(min(len(lines), MOST_CANDIDATES)).indices.sort().values
    lines, price, least = lines[best], price[best], least[best]
    every = 1 + int(drawn.marked.sum()) // MOST_PIXELS
    explained = _explained(drawn.marked, lines, drawn.line, every)
    chosen = lines[_chosen(explained, price / every, least / every)]
    corners = []
    for x0, y0, x1, y1 in chosen.tolist():
        half = drawn.line / 2
        corners.append(
            [
                _refined(drawn, y0, y1, x0) - half,
                _refined(turned, x0, x1, y0) - half,
                _refined(drawn, y0, y1, x1) + half,
                _refined(turned, x0, x1, y1) + half,
            ]
        )
    boxes = drawn.share.new_tensor(corners).reshape(-1, 4)
    height, width = drawn.marked.shape
    boxes = torch.minimum(boxes.clamp_min(0), boxes.new_tensor([width, height, width, height]))
    size = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return boxes[size.argsort(descending=True, stable=True)]
