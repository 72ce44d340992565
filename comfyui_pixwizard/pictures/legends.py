"""Labels drawn for looking: enlarged, with a scale or a legend beside them, names on what is marked, confidence below.

Kinds and shapes of labels: see `labels`. All drawings of one kind and size of label have one size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..tasks.codecs.marks import MARK_COLORS
from ..tasks.codecs.palette import palette
from ..tasks.codecs.pose import JOINT_COLORS, JOINTS, LIMBS
from .images import resized, unit_to_image
from .labels import depth_colors, depth_range, draw_label

# Least and greatest longer side of the picture, and the column and the line beside it, in pixels.
SIDE, LARGEST, COLUMN, LINE = 448, 896, 132, 26
MARGIN, LETTERS = 8, 14
PAPER, INK, PALE = (255, 255, 255), (25, 25, 25), (210, 210, 210)
BAR = 96
# What a scale may name, in metres.
METRES = (
    0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 40, 50, 70, 100, 150, 200, 300, 500, 1000,
)  # fmt: skip
LEAST_STEP = 20
# Colours of boxes in turn, far apart.
TURNS = ((230, 25, 75), (60, 140, 250), (255, 165, 0), (40, 180, 75), (145, 70, 220), (0, 190, 190), (240, 60, 230))
TINT = (255, 0, 255)

Color = tuple[int, int, int]


def draw_for_people(
    kind: str, label: Tensor, confidence: float | None, on: Tensor | None = None, names: Sequence[str] = ()
) -> Image.Image:
    """A label with what it takes to read it.

    Args:
        kind: of the label, "image" and "edges" excepted.
        confidence: of the answer, 0 to 1; None where the label is no answer.
        on: picture [3,H,W] in [0,1] on which masks, boxes and points are drawn; a pose takes its size without one.
        names: of classes by id, of boxes or points in order.

    Raises:
        ValueError: a mask, boxes, points or a pose without `on`; a kind that has no drawing.
    """
    if kind not in _DRAWN:
        raise ValueError(f"labels are drawn of {', '.join(_DRAWN)}, found {kind!r}: look at the picture itself")
    if on is None and kind in ("mask", "boxes", "keypoints", "pose"):
        raise ValueError(f"a drawing of a label of kind {kind} needs the source picture, found none: pass it")
    picture, column, words = _DRAWN[kind](label, on, names)
    return _framed(picture, column, words, confidence)


def side_by_side(pictures: Sequence[tuple[str, Image.Image]], height: int) -> Image.Image:
    """Pictures at one height in a row, each under its title."""
    shown = [(title, resized(p, (max(1, round(p.width * height / p.height)), height))) for title, p in pictures]
    widths = [picture.width for _, picture in shown]
    sheet = Image.new("RGB", (sum(widths) + MARGIN * (len(shown) + 1), height + LINE + MARGIN), PAPER)
    draw, left = ImageDraw.Draw(sheet), MARGIN
    for title, picture in shown:
        draw.text((left, LINE // 2), fitted(draw, title, picture.width), INK, _font(), anchor="lm")
        sheet.paste(picture, (left, LINE))
        left += picture.width + MARGIN
    return sheet


def fitted(draw: ImageDraw.ImageDraw, text: str, room: int) -> str:
    """A text cut to as many pixels, the cut marked."""
    if draw.textlength(text, _font()) <= room:
        return text
    while text and draw.textlength(f"{text}…", _font()) > room:
        text = text[:-1]
    return f"{text}…"


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(LETTERS)


def sized(picture: Image.Image, sharp: bool = False) -> tuple[Image.Image, float]:
    """A picture with a longer side from SIDE to LARGEST, where letters can be read, and the factor of its size."""
    longer = max(picture.size)
    factor = math.ceil(SIDE / longer) if longer < SIDE else min(1.0, LARGEST / longer)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return (picture.resize(size, Image.Resampling.NEAREST) if sharp else resized(picture, size)), float(factor)


def _framed(picture: Image.Image, column: Image.Image | None, words: str, confidence: float | None) -> Image.Image:
    width = picture.width + (0 if column is None else COLUMN)
    sheet = Image.new("RGB", (width, picture.height + LINE), PAPER)
    sheet.paste(picture, (0, 0))
    if column is not None:
        sheet.paste(column, (picture.width, 0))
    draw, middle, left = ImageDraw.Draw(sheet), picture.height + LINE // 2, 0
    if confidence is not None:
        draw.text((MARGIN, middle), f"confidence {confidence:.2f}", INK, _font(), anchor="lm")
        left = 2 * MARGIN + round(draw.textlength("confidence 0.00", _font()))
        draw.rectangle((left, middle - 5, left + BAR, middle + 5), PALE)
        if confidence > 0:
            draw.rectangle((left, middle - 5, left + round(BAR * min(confidence, 1.0)), middle + 5), INK)
        left += BAR
    room = width - left - 3 * MARGIN
    if words and room > 0:
        draw.text((width - MARGIN, middle), fitted(draw, words, room), INK, _font(), anchor="rm")
    return sheet


def _column(height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    column = Image.new("RGB", (COLUMN, height), PAPER)
    return column, ImageDraw.Draw(column)


Drawn = tuple[Image.Image, Image.Image | None, str]


def _depth(label: Tensor, on: Tensor | None, names: Sequence[str]) -> Drawn:
    near, far = depth_range(label)
    picture, _ = sized(draw_label("depth", label))
    ticks = [((near - 1 / m) / max(near - far, 1e-6), f"{m:g} m") for m in METRES if far <= 1 / m <= near]
    if len(ticks) < 2:
        ticks = [(0.0, f"{1 / near:.3g} m"), (1.0, f"{1 / far:.3g} m")]
    return picture, _ramp(picture.height, "metres", ticks), ""


def _relative(label: Tensor, on: Tensor | None, names: Sequence[str]) -> Drawn:
    picture, _ = sized(draw_label("relative", label))
    ticks = [(0.0, "1 nearest"), (0.5, "0.5"), (1.0, "0 farthest")]
    return picture, _ramp(picture.height, "nearness", ticks), "no metres"


def _ramp(height: int, title: str, ticks: Sequence[tuple[float, str]]) -> Image.Image:
    """The colours of depth from near, above, to far, with texts at places from 0 to 1."""
    column, draw = _column(height)
    top, bottom, left, right = LINE + MARGIN, height - LINE, 2 * MARGIN, 2 * MARGIN + 24
    draw.text((left, LINE // 2 + 2), title, INK, _font(), anchor="lm")
    place = torch.linspace(0, 1, bottom - top)[:, None].expand(-1, right - left)
    column.paste(depth_colors(place), (left, top))
    draw.rectangle((left, top, right - 1, bottom - 1), outline=PALE)
    last = -math.inf
    for where, text in ticks:
        y = top + round(where * (bottom - top - 1))
        if y - last < LEAST_STEP:
            continue
        draw.line((right, y, right + 5, y), INK)
        draw.text((right + 9, y), text, INK, _font(), anchor="lm")
        last = y
    return column


def _normal(label: Tensor, on: Tensor | None, names: Sequence[str]) -> Drawn:
    """Beside it a sphere, whose normals are every one that can be seen, in their colours."""
    picture, _ = sized(draw_label("normal", label))
    column, draw = _column(picture.height)
    side = COLUMN - 4 * MARGIN
    across = (torch.arange(side) + 0.5) / side * 2 - 1
    x, y = across[None].expand(side, -1), -across[:, None].expand(-1, side)
    square = x.square() + y.square()
    normals = torch.stack((x, y, (1 - square).clamp_min(0).sqrt()))
    colors = torch.where(square <= 1, (normals + 1) / 2, torch.ones(()))
    left, top = 2 * MARGIN, LINE + MARGIN
    column.paste(unit_to_image(colors), (left, top))
    draw.text((COLUMN // 2, top - 3), "up (Y)", INK, _font(), anchor="mb")
    draw.text((COLUMN // 2, top + side // 2), "to you (Z)", INK, _font(), anchor="mm")
    for i, line in enumerate(("right (X) is red,", "left is cyan")):
        draw.text((COLUMN // 2, top + side + 6 + i * (LETTERS + 3)), line, INK, _font(), anchor="mt")
    return picture, column, ""


def _classes(label: Tensor, on: Tensor | None, names: Sequence[str]) -> Drawn:
    picture, _ = sized(draw_label("classes", label), sharp=True)
    column, draw = _column(picture.height)
    ids, counts = torch.unique(label, return_counts=True)
    found = sorted(zip(counts.tolist(), ids.tolist(), strict=True), reverse=True)
    colors, row = palette().tolist(), LETTERS + 8
    room = (picture.height - 2 * MARGIN) // row
    shown = found if len(found) <= room else found[: room - 1]
    for i, (count, number) in enumerate(shown):
        top = MARGIN + i * row
        draw.rectangle((MARGIN, top, MARGIN + LETTERS, top + LETTERS), tuple(colors[number]), PALE)
        name = names[number] if number < len(names) else f"class {number}"
        text = f"{name} {count / label.numel():.0%}"
        draw.text((2 * MARGIN + LETTERS, top + LETTERS // 2), fitted(draw, text, COLUMN - LETTERS - 3 * MARGIN), INK,
                  _font(), anchor="lm")  # fmt: skip
    if len(shown) < len(found):
        draw.text((MARGIN, MARGIN + len(shown) * row), f"and {len(found) - len(shown)} more", INK, _font())
    return picture, column, f"{len(found)} classes"


def _mask(label: Tensor, on: Tensor | None, names: Sequence[str]) -> Drawn:
    assert on is not None
    tint = torch.tensor(TINT)[:, None, None] / 255
    picture, _ = sized(unit_to_image(torch.where(label.bool(), torch.lerp(on, tint, 0.5), on)))
    return picture, None, f"{float(label.float().mean()):.1%} of the picture"


def _boxes(label: Tensor, on: Tensor | None, names: Sequence[str]) -> Drawn:
    assert on is not None
    picture, scale = sized(unit_to_image(on))
    draw = ImageDraw.Draw(picture)
    for i, box in enumerate(label.tolist()):
        color = TURNS[i % len(TURNS)]
        x0, y0, x1, y1 = (value * scale for value in box)
        draw.rectangle((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), outline=color, width=3)
    # Names after all lines, so that none is crossed.
    for i, box in enumerate(label.tolist()):
        name = names[i] if i < len(names) else f"box {i + 1}"
        _tag(draw, name, (box[0] * scale, box[1] * scale), TURNS[i % len(TURNS)], picture.width)
    return picture, None, f"{len(label)} box{'' if len(label) == 1 else 'es'}"


def _tag(draw: ImageDraw.ImageDraw, text: str, corner: tuple[float, float], color: Color, across: int) -> None:
    """A name on a ground of its own, above a corner, or under it at the edge of a picture of a width."""
    width, height = draw.textlength(text, _font()) + 8, LETTERS + 6
    left = max(0.0, min(corner[0], across - width))
    top = corner[1] - height if corner[1] >= height else corner[1]
    draw.rectangle((left, top, left + width, top + height), color)
    draw.text((left + 4, top + height / 2), text, PAPER, _font(), anchor="lm")


def _keypoints(label: Tensor, on: Tensor | None, names: Sequence[str]) -> Drawn:
    assert on is not None
    picture, scale = sized(unit_to_image(on))
    known = [_bytes(color) for color in MARK_COLORS.values()]
    by_name = dict(zip(MARK_COLORS, known, strict=True))
    points = []
    for i, (x, y, seen) in enumerate(label.tolist()):
        if seen > 0:
            name = names[i] if i < len(names) else f"point {i + 1}"
            points.append((x * scale, y * scale, by_name.get(name, known[i % len(known)]), name))
    _name_points(picture, points)
    return picture, None, f"{len(points)} of {len(label)} points"


def _pose(label: Tensor, on: Tensor | None, names: Sequence[str]) -> Drawn:
    assert on is not None
    picture, scale = sized(unit_to_image(on))
    draw = ImageDraw.Draw(picture)
    people, width = label.tolist(), max(3, round(min(picture.size) / 90))
    for person in people:
        for a, b, color in LIMBS:
            if person[a][2] > 0 and person[b][2] > 0:
                ends = [(person[k][0] * scale, person[k][1] * scale) for k in (a, b)]
                draw.line(ends, _bytes(color), width)
    called = [*names, *JOINTS[len(names) :]]
    _name_points(picture, [
        (x * scale, y * scale, _bytes(JOINT_COLORS[i]), called[i])
        for person in people for i, (x, y, seen) in enumerate(person) if seen > 0
    ])  # fmt: skip
    return picture, None, f"{len(people)} {'person' if len(people) == 1 else 'people'}"


def _name_points(picture: Image.Image, points: Sequence[tuple[float, float, Color, str]]) -> None:
    """Discs at x, y and their names beside them; a name that would cover one before it is left out.

    Names of a right joint stand to the left, where the other side of a body that faces the viewer is not.
    """
    draw = ImageDraw.Draw(picture)
    for x, y, color, _ in points:
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), color, INK)
    taken: list[tuple[float, float, float]] = []
    for x, y, _, name in points:
        width = draw.textlength(name, _font())
        left = x - 8 - width if name.startswith("right ") else x + 8
        left = x - 8 - width if left + width > picture.width else max(left, 2.0)
        if any(left < end and start < left + width and abs(y - line) < LETTERS for start, end, line in taken):
            continue
        draw.text((left, y), name, PAPER, _font(), anchor="lm", stroke_width=2, stroke_fill=INK)
        taken.append((left, left + width, y))


def _bytes(color: Sequence[float]) -> Color:
    red, green, blue = (round(value * 255) for value in color)
    return red, green, blue


_DRAWN: dict[str, Callable[[Tensor, Tensor | None, Sequence[str]], Drawn]] = {
    "depth": _depth,
    "relative": _relative,
    "normal": _normal,
    "classes": _classes,
    "mask": _mask,
    "boxes": _boxes,
    "keypoints": _keypoints,
    "pose": _pose,
}
