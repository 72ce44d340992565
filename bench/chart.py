"""Line charts, one below the other, and histograms side by side, by matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..comfyui_pixwizard.optional import pip_install, required

Points = Sequence[tuple[float, float]]

# Apart for people who do not see all colours too (after Okabe and Ito); marks differ as well.
COLORS = ("#000000", "#e69f00", "#0072b2", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#8a6d00", "#7a3fa0")
MARKS = "osD"
SIZE, DPI = (9, 6), 100  # inches of a chart, pixels an inch
SMALL, ACROSS, BINS = (3.6, 2.6), 3, (5, 40)  # inches of a histogram, histograms in a row, fewest and most bars


def figure_class() -> Any:
    """matplotlib's Figure.

    Raises:
        ValueError: matplotlib is absent.
    """
    return required("matplotlib.figure", "charts need matplotlib", pip_install("matplotlib>=3.8")).Figure


def line_charts(
    charts: Mapping[str, Mapping[str, Points]],
    across: str,
    up: str,
    ticks: Sequence[float],
    level: float | None = None,
    scale: str = "log",
) -> Any:
    """A figure of charts with axes, a grid and a legend, 900 x 600 pixels each, one below the other.

    Args:
        charts: by title, curves by name: points (x, y), x above 0.
        across, up: what the axes mean.
        ticks: of the first axis.
        level: a y that is drawn as a dashed line.
        scale: of the first axis, "log" or "linear".

    Raises:
        ValueError: no points, an x that is not above 0, or no matplotlib.
    """
    for curves in charts.values():
        if min((x for points in curves.values() for x, _ in points), default=0) <= 0:
            raise ValueError("a chart needs points, and x above 0 on its logarithmic axis, found none or others")
    figure = figure_class()((SIZE[0], SIZE[1] * len(charts)), dpi=DPI, layout="constrained")
    for axes, (title, curves) in zip(figure.subplots(len(charts), squeeze=False)[:, 0], charts.items(), strict=True):
        for place, (name, points) in enumerate(curves.items()):
            axes.plot(
                *zip(*points, strict=True), color=COLORS[place % len(COLORS)], marker=MARKS[place % 3], label=name
            )
        if level is not None:
            axes.axhline(level, color="gray", linestyle="--", linewidth=1)
        axes.set(title=title, xlabel=across, ylabel=up, xscale=scale)
        axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
        axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def histograms(panels: Mapping[str, Mapping[str, Sequence[float]]], up: str) -> Any:
    """A figure of histograms, three in a row: of each panel the first group filled, with its mean, others as outlines.

    Args:
        panels: by title, finite values by name of their group.
        up: what the height of a bar counts.

    Raises:
        ValueError: no panel, one without values, or no matplotlib.
    """
    if not panels or not all(values for groups in panels.values() for values in groups.values()):
        raise ValueError("a histogram needs values, found a figure or a group without any: leave it out")
    rows, across = -(-len(panels) // ACROSS), min(ACROSS, len(panels))
    figure = figure_class()((SMALL[0] * across, SMALL[1] * rows), dpi=DPI, layout="constrained")
    every = figure.subplots(rows, across, squeeze=False).ravel()
    for axes in every[len(panels) :]:
        axes.set_axis_off()
    for axes, (title, groups) in zip(every, panels.items(), strict=False):
        everything = [value for values in groups.values() for value in values]
        low, high = min(everything), max(everything)
        room = (low, high) if low < high else (low - 0.5, high + 0.5)
        for place, (name, values) in enumerate(groups.items()):
            bins = min(max(round(len(values) ** 0.5), BINS[0]), BINS[1])
            look = dict(histtype="step", linestyle="--") if place else dict(alpha=0.7)
            axes.hist(values, bins, range=room, color=COLORS[2 + place], label=name, **look)
        first = next(iter(groups.values()))
        axes.axvline(sum(first) / len(first), color=COLORS[4], label="mean")
        axes.set(title=title, ylabel=up)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="x-small", frameon=False)
    return figure
