"""Frames that fit smudged outlines best, where no four straight sides are drawn.

A model that is unsure where a box begins draws the mean of where it may: a blurred ring with spurs. The bounds of such
a smudge lie outside of the box, the straight pieces in it are other boxes; the frame that covers most of it and little
else is near. Frames are tried by sums over rectangles, whatever the size of the picture.

Shape legend: maps [H, W]; N boxes [N, 4] as x0, y0, x1, y1; C candidates.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .clean_up import components
from .outlines import OutlineMarks, line_coverage, region_boxes

MOST_FRAMES = 8
# Least rise of the overlap by one more frame.
LEAST_RISE = 0.1
# Regions that a search starts from.
MOST_STARTS = 4
# Steps of the search, in widths of the outline, and how often one of a size is taken at most.
STEPS, MOST_MOVES = (1.0, 0.5, 0.25, 0.125), 16
# Moves of a box: each side alone, and all of it.
_MOVES = torch.cat([sign * torch.cat([torch.eye(4), torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 1]])]) for sign in (1, -1)])


class _Sums:
    """Sums of a map over the outlines of boxes."""

    def __init__(self, values: Tensor, line: int):
        self.table, self.line = F.pad(values.cumsum(0).cumsum(1), (1, 0, 1, 0)), line

    def inside(self, boxes: Tensor) -> Tensor:
        """[C,4] -> [C], zero where a box has no area."""
        height, width = self.table.shape[0] - 1, self.table.shape[1] - 1
        x0, y0, x1, y1 = boxes.round().long().unbind(1)
        x1, y1 = torch.maximum(x0, x1), torch.maximum(y0, y1)
        (x0, x1), (y0, y1) = ((one.clamp(0, width) for one in (x0, x1)), (one.clamp(0, height) for one in (y0, y1)))
        return self.table[y1, x1] - self.table[y0, x1] - self.table[y1, x0] + self.table[y0, x0]

    def outline(self, boxes: Tensor) -> Tensor:
        """[C,4] -> [C]."""
        inner = boxes + self.line * boxes.new_tensor([1.0, 1.0, -1.0, -1.0])
        return self.inside(boxes) - self.inside(inner)


def best_frames(drawn: OutlineMarks, begun: Tensor) -> Tensor:
    """Boxes [N,4] whose outlines, one after the other, overlap the marks most; the largest first, N = 0 without marks.

    Args:
        begun: [M,4], boxes to start from beside the bounds of the regions.
    """
    known = (~drawn.unknown).float()
    areas, left = _Sums(known, drawn.line), drawn.share * known
    total, covered, outlines, overlap = float(left.sum()), 0.0, 0.0, 0.0
    frames: list[Tensor] = []
    while len(frames) < MOST_FRAMES:
        starts = torch.cat([_starts(left, drawn), begun if not frames else begun[:0]])
        sums, given = _Sums(left, drawn.line), (covered, outlines)

        def overlaps(boxes: Tensor, sums: _Sums = sums, given: tuple[float, float] = given) -> Tensor:
            hit, area = given[0] + sums.outline(boxes), given[1] + areas.outline(boxes)
            return hit / (total + area - hit).clamp_min(1e-6)

        found = [_searched(start, overlaps, drawn) for start in starts]
        best = max(found, key=lambda one: one[1], default=None)
        if best is None or best[1] < overlap + LEAST_RISE:
            break
        frame, overlap = best
        frames.append(frame)
        covered += float(sums.outline(frame[None]))
        outlines += float(areas.outline(frame[None]))
        left = left * (1 - line_coverage(frame.round()[None], left.shape[0], left.shape[1], drawn.line)[0])
    boxes = torch.stack(frames) if frames else begun[:0]
    return boxes[(boxes[:, 2:] - boxes[:, :2]).prod(1).argsort(descending=True, stable=True)]


def _starts(left: Tensor, drawn: OutlineMarks) -> Tensor:
    """Bounds of the regions that are left, and of all of them together: [N,4]."""
    boxes, area = region_boxes(components(drawn.marked & (left > 0)))
    boxes = boxes[area >= 2 * drawn.line**2]
    size = (boxes[:, 2:] - boxes[:, :2]).sum(1)
    boxes = boxes[size.argsort(descending=True, stable=True)[:MOST_STARTS]]
    return torch.cat([boxes, torch.cat([boxes[:, :2].amin(0), boxes[:, 2:].amax(0)])[None]]) if len(boxes) else boxes


def _searched(start: Tensor, overlaps: Callable[[Tensor], Tensor], drawn: OutlineMarks) -> tuple[Tensor, float]:
    """The best box near one [4], and its overlap: moves that raise it most, at falling steps."""
    height, width = drawn.marked.shape
    most, box = start.new_tensor([width, height, width, height]), start
    value, moves = float(overlaps(box[None])), _MOVES.to(start)
    for step in STEPS:
        for _ in range(MOST_MOVES):
            tried = (box + max(step * drawn.line, 1.0) * moves).clamp_min(0)
            tried = torch.minimum(tried, most)
            wide = ((tried[:, 2:] - tried[:, :2]) > drawn.line).all(1)
            values = torch.where(wide, overlaps(tried), -1.0)
            best = int(values.argmax())
            if float(values[best]) <= value:
                break
            box, value = tried[best], float(values[best])
    return box, value
