"""What picks among answers in a person's place: a score, whose two best answers count if they beat the model's own."""

from __future__ import annotations

from collections.abc import Callable

from ...comfyui_pixwizard.pictures.images import image_to_unit, open_picture
from ..data.build.judged import Judged
from ..data.build.recipe import Filter
from .grid_folder import MOST, SETTINGS, Asked, Choice, GridFolder

# Numbers of the answers that are kept.
Picker = Callable[[GridFolder, Asked], tuple[int, ...]]
TRUTH = "truth"


def score_picker(score: str, model: str = "") -> Picker:
    """A picker by a score, higher is better: "truth" is nearness to the true result, which rendered questions have; the
    others are those of `data build`, such as clip_direction with a model.

    Raises:
        ValueError: no such score, or what it needs is not there.
    """
    from ..data.build.quality_scores import SCORES

    if score != TRUTH and score not in SCORES:
        raise ValueError(f"--score is one of {TRUTH}, {', '.join(SCORES)}, found {score!r}: choose one of them")
    rate = _nearness if score == TRUTH else _by(SCORES[score](Filter(score, model=model)))

    def pick(grid: GridFolder, asked: Asked) -> tuple[int, ...]:
        values = [rate(grid, asked, number) for number in range(len(SETTINGS))]
        better = [number for number, value in enumerate(values) if value > values[0]]
        return tuple(sorted(sorted(better, key=lambda number: -values[number])[:MOST]))

    return pick


def _nearness(grid: GridFolder, asked: Asked, number: int) -> float:
    truth = grid.truth(asked)
    if not truth.is_file():
        raise ValueError(f"--score {TRUTH} needs the true results, found no {truth}: take another score")
    first, second = (image_to_unit(open_picture(path)) for path in (grid.answer(asked, number), truth))
    return -float((first - second).abs().mean())


def _by(score: Callable[[Judged], float | None]) -> Callable[[GridFolder, Asked, int], float]:
    def rate(grid: GridFolder, asked: Asked, number: int) -> float:
        target, source = (open_picture(path) for path in (grid.answer(asked, number), grid.source(asked)))
        value = score(Judged(target, source, (), (asked.sentence,), asked.task))
        return float("-inf") if value is None else value

    return rate


def pick_all(grid: GridFolder, picker: Picker, advance: Callable[[int], object]) -> None:
    """Let a picker answer what is left."""
    for asked in grid.left():
        grid.choose(asked.name, Choice(picker(grid, asked), seen=True))
        advance(1)
