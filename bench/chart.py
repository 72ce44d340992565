"""A line chart, drawn with Pillow alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

Points = Sequence[tuple[float, float]]

INK, MUTED, GRID, PAPER = "#1d2430", "#5d6675", "#e4e7ec", "#ffffff"
# Apart for people who do not see all colours too (after Okabe and Ito); marks differ as well.
COLORS = ("#000000", "#e69f00", "#0072b2", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#8a6d00", "#7a3fa0")
# Drawn at twice the size and halved, which smooths the lines.
FINER = 2
SIZE = (900, 600)
LEFT, RIGHT, TOP, BOTTOM = 70, 220, 76, 64
MARK = 4


@dataclass(frozen=True)
class Frame:
    """Where data lie on the canvas: x is drawn by its logarithm, y as it is.

    Attributes:
        low, high: corners of the data's area, (x, y).
    """

    low: tuple[float, float]
    high: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a point, of the finer canvas."""
        across = math.log(x / self.low[0]) / math.log(self.high[0] / self.low[0])
        up = (y - self.low[1]) / (self.high[1] - self.low[1])
        width, height = SIZE[0] - LEFT - RIGHT, SIZE[1] - TOP - BOTTOM
        return FINER * (LEFT + across * width), FINER * (SIZE[1] - BOTTOM - up * height)


def line_chart(
    title: str, across: str, up: str, curves: Mapping[str, Points], ticks: Sequence[float], level: float | None = None
) -> Image.Image:
    """Curves with axes, ticks, a grid and a legend: 900 x 600 pixels.

    Args:
        across, up: what the axes mean; the first is logarithmic.
        curves: points (x, y) by name, x above 0.
        ticks: of the first axis.
        level: a y that is drawn as a dashed line.

    Raises:
        ValueError: no points, or an x that is not above 0.
    """
    every = [point for points in curves.values() for point in points]
    if not every or min(x for x, _ in every) <= 0:
        raise ValueError("a chart needs points, and x above 0 on its logarithmic axis, found none or others")
    frame = _frame(every, ticks, level)
    canvas = Image.new("RGB", (FINER * SIZE[0], FINER * SIZE[1]), PAPER)
    draw = ImageDraw.Draw(canvas)
    _axes(draw, frame, ticks, across, up)
    if level is not None:
        _dashed(draw, frame.at(frame.low[0], level), frame.at(frame.high[0], level))
    for place, (name, points) in enumerate(curves.items()):
        _curve(draw, frame, place, points)
        _legend(draw, place, name)
    draw.text((FINER * LEFT, FINER * 14), title, INK, _font(17))
    return canvas.resize(SIZE, Image.Resampling.LANCZOS)


def stacked(charts: Sequence[Image.Image]) -> Image.Image:
    """Charts one below the other."""
    sheet = Image.new("RGB", (SIZE[0], SIZE[1] * len(charts)), PAPER)
    for place, chart in enumerate(charts):
        sheet.paste(chart, (0, SIZE[1] * place))
    return sheet


def _frame(every: Points, ticks: Sequence[float], level: float | None) -> Frame:
    """An area that holds everything, with a little room at the sides and round numbers below and above."""
    xs = [*(x for x, _ in every), *ticks]
    ys = [*(y for _, y in every), *([] if level is None else [level])]
    step = nice_step(max(ys) - min(ys))
    bottom, top = math.floor(min(ys) / step) * step, math.ceil(max(ys) / step) * step
    return Frame((min(xs) / 1.1, bottom), (max(xs) * 1.1, top if top > bottom else bottom + step))


def nice_step(span: float) -> float:
    """1, 2 or 5 times a power of ten that divides a span into five to ten parts or so."""
    rough = max(span, 1e-6) / 7
    power = 10.0 ** math.floor(math.log10(rough))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= rough), 10 * power)


def _axes(draw: ImageDraw.ImageDraw, frame: Frame, ticks: Sequence[float], across: str, up: str) -> None:
    small, normal = _font(13), _font(14)
    for x in ticks:
        place = frame.at(x, frame.low[1])
        draw.line((place, frame.at(x, frame.high[1])), GRID, FINER)
        draw.text((place[0], place[1] + FINER * 7), f"{x:g}", MUTED, small, anchor="mt")
    step = nice_step(frame.high[1] - frame.low[1])
    for i in range(round((frame.high[1] - frame.low[1]) / step) + 1):
        y = min(frame.low[1] + i * step, frame.high[1])
        place = frame.at(frame.low[0], y)
        draw.line((place, frame.at(frame.high[0], y)), GRID, FINER)
        draw.text((place[0] - FINER * 8, place[1]), f"{y:g}", MUTED, small, anchor="rm")
    corner = frame.at(*frame.low)
    draw.line((frame.at(frame.low[0], frame.high[1]), corner, frame.at(frame.high[0], frame.low[1])), INK, FINER)
    middle = (corner[0] + frame.at(*frame.high)[0]) / 2
    draw.text((middle, FINER * (SIZE[1] - 16)), across, INK, normal, anchor="mb")
    draw.text((FINER * 16, FINER * (TOP - 14)), up, INK, normal, anchor="lb")


def _curve(draw: ImageDraw.ImageDraw, frame: Frame, place: int, points: Points) -> None:
    color, pixels = COLORS[place % len(COLORS)], [frame.at(*point) for point in points]
    if len(pixels) > 1:
        draw.line(pixels, color, 2 * FINER, joint="curve")
    for x, y in pixels:
        _mark(draw, x, y, place)


def _mark(draw: ImageDraw.ImageDraw, x: float, y: float, place: int) -> None:
    """A disc, square or diamond."""
    color, reach = COLORS[place % len(COLORS)], FINER * MARK
    if place % 3 == 0:
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), color)
    elif place % 3 == 1:
        draw.rectangle((x - reach, y - reach, x + reach, y + reach), color)
    else:
        far = 1.4 * reach
        draw.polygon(((x, y - far), (x + far, y), (x, y + far), (x - far, y)), color)


def _legend(draw: ImageDraw.ImageDraw, place: int, name: str) -> None:
    x, y = FINER * (SIZE[0] - RIGHT + 22), FINER * (TOP + 12 + 24 * place)
    draw.line((x, y, x + FINER * 28, y), COLORS[place % len(COLORS)], 2 * FINER)
    _mark(draw, x + FINER * 14, y, place)
    draw.text((x + FINER * 38, y), name, INK, _font(14), anchor="lm")


def _dashed(draw: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float]) -> None:
    dash = 6 * FINER
    for x in range(int(start[0]), int(end[0]), 2 * dash):
        draw.line((x, start[1], min(x + dash, end[0]), start[1]), MUTED, FINER)


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(FINER * size)
