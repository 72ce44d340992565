"""Boxes as pictures: an outline of one colour on the source, drawn inside the box.

Decoding finds horizontal and vertical lines first. Every rectangle whose four sides are drawn is a candidate, and the
fewest candidates that explain the drawn pixels are kept. So nested and crossing boxes are separated, and a gap in a
line does no harm. Where rectangles explain little of what is drawn, the frames that fit it best are taken.

Shape legend: N boxes [N, 4] as x0, y0, x1, y1 in pixels (see `marks`; a box of whole pixels has x1 = last + 1); one
picture [3, H, W] in [0, 1]; maps [H, W].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..task import Codec
from .clean_up import hue_distance, hue_saturation_value
from .frames import best_frames
from .marks import check_base, check_canvas, check_one, mark_color, paint_share
from .outlines import OutlineMarks, find_rectangles, line_coverage

DEFAULT_COLOR = "red"
# Widths of outlines as shares of the shorter side. A model that reads a picture in patches of 16 pixels cannot place a
# line of 2 among them; three times as wide it is seen from a patch away, and an error of a width is no loss of the box.
BOLD, THIN = 3 / 64, 1 / 64
# Least opacity of a drawn pixel. A blur lowers thin lines: a line of 2 pixels keeps 0.6 at sigma 1.2.
DRAWN = 0.35
# Without a source: how far a hue may be off (turns), and the least saturation and value.
HUE, SATURATION, VALUE = 20 / 360, 0.5, 0.3
# Also without a source: how far a colour may be from the paint's; a blur mixes a thin line with its surroundings.
NEAR = 0.5
# Agreement with what is drawn from which on rectangles are taken as they are; a blurred and noisy one has 0.5.
SURE = 0.5


def line_width(height: int, width: int, line: float = BOLD) -> int:
    """Width of the outlines in pixels, at least 2: a share of the shorter side."""
    return max(2, round(min(height, width) * line))


def _check_boxes(label: Any) -> Tensor:
    boxes = torch.as_tensor(label).float()
    if boxes.ndim != 2 or boxes.shape[-1] != 4 or not bool(boxes.isfinite().all()):
        raise ValueError(f"boxes are [N, 4] of x0, y0, x1, y1, found {tuple(boxes.shape)}: finite, one row a box")
    if not bool((boxes[:, 2:] > boxes[:, :2]).all()):
        worst = boxes[~(boxes[:, 2:] > boxes[:, :2]).all(1)][0].tolist()
        raise ValueError(f"a box needs x0 < x1 and y0 < y1, found {worst}: swap its corners or leave it out")
    return boxes


def outline_coverage(boxes: Tensor, height: int, width: int, line: float = BOLD) -> Tensor:
    """Share of every pixel that the outlines cover: [N,4] -> [N,H,W]."""
    return line_coverage(boxes, height, width, line_width(height, width, line))


def encode_boxes(label: Any, source: Any = None, *, color: str = DEFAULT_COLOR, line: float = BOLD) -> Tensor:
    """Source with the outlines of the boxes: [N,4] -> [3,H,W]. What lies beyond the border is cut off first.

    Args:
        line: width of the outlines as a share of the shorter side.

    Raises:
        ValueError: not [N,4] finite numbers, a box without area, no source, or an unknown colour.
    """
    boxes = _check_boxes(label)
    canvas = check_canvas(source, "a box")
    height, width = canvas.shape[-2:]
    boxes = boxes.to(canvas.device)
    boxes = torch.minimum(boxes.clamp_min(0), boxes.new_tensor([width, height, width, height]))
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)]
    paint = mark_color(color).to(canvas.device)[:, None, None]
    if not len(boxes):
        return canvas.clone()
    coverage = outline_coverage(boxes, height, width, line).amax(0)
    return canvas + coverage * (paint - canvas)


def _drawn(picture: Tensor, source: Any, color: str, line: float) -> OutlineMarks:
    """Where the colour was drawn."""
    paint = mark_color(color).to(picture.device)
    side, other = picture.shape[-2:]
    width = line_width(side, other, line)
    if source is not None:
        base = check_base(source, picture, "a box")
        share, readable = paint_share(picture, base, paint)
        # A pixel that moved from the source but not towards the paint was changed by something else.
        off, moved = (picture - paint[:, None, None]).norm(dim=0), (picture - base).norm(dim=0)
        marked = readable & (share > DRAWN) & (off < 2 * moved)
        return OutlineMarks(marked, ~readable, share.clamp(0, 1) * marked, width)
    smooth = _median(picture)
    hue, saturation, value = hue_saturation_value(smooth)
    of, needed, bright = (float(x) for x in hue_saturation_value(paint[:, None, None]))
    if needed > 0:
        marked = (hue_distance(hue, of) < HUE) & (saturation > SATURATION) & (value > VALUE)
        marked &= (smooth - paint[:, None, None]).norm(dim=0) < NEAR
    else:
        marked = (saturation < 0.2) & ((value - bright).abs() < 0.2)
    return OutlineMarks(marked, torch.zeros_like(marked), marked.float(), width)


def _median(picture: Tensor) -> Tensor:
    """Median over 3x3 windows; over the border the edge pixels repeat."""
    padded = torch.nn.functional.pad(picture[None], (1, 1, 1, 1), "replicate")[0]
    return padded.unfold(1, 3, 1).unfold(2, 3, 1).flatten(-2).median(-1).values


def _agreement(boxes: Tensor, drawn: OutlineMarks, line: float) -> float:
    """Intersection over union of the drawn pixels and the outlines of boxes [N,4]; 0 without a box."""
    if not len(boxes):
        return 0.0
    height, width = drawn.marked.shape
    again = (outline_coverage(boxes, height, width, line).amax(0) > DRAWN) & ~drawn.unknown
    union = int((again | drawn.marked).sum())
    return int((again & drawn.marked).sum()) / max(union, 1)


def _boxes(drawn: OutlineMarks, line: float) -> Tensor:
    """Rectangles whose sides are drawn; where these say little of what is, the frames that fit it best."""
    rectangles = find_rectangles(drawn)
    if _agreement(rectangles, drawn, line) >= SURE:
        return rectangles
    frames = best_frames(drawn, rectangles)
    return frames if len(frames) else rectangles


def decode_boxes(picture: Any, source: Any = None, *, color: str = DEFAULT_COLOR, line: float = BOLD) -> Tensor:
    """Boxes [N,4] with the largest first, N = 0 when none is drawn.

    Args:
        source: the picture before the boxes, against which things of the colour that were there before cancel; None
            takes pixels by hue, saturation and value instead.
        line: width of the outlines as a share of the shorter side.

    Raises:
        ValueError: not one float picture, a source of another size, or an unknown colour.
    """
    return _boxes(_drawn(check_one(picture), source, color, line), line)


def boxes_confidence(picture: Any, source: Any = None, *, color: str = DEFAULT_COLOR, line: float = BOLD) -> float:
    """Intersection over union of the drawn pixels and the decoded outlines; 0 without a box."""
    drawn = _drawn(check_one(picture), source, color, line)
    return _agreement(_boxes(drawn, line), drawn, line)


BOX = Codec("box", encode_boxes, decode_boxes, boxes_confidence)
