"""How good are filters of edit data? Precision and recall of each, and of all together, on pairs spoiled on purpose.

A filter catches a pair when its score is out of bounds; relabelling catches one when it makes another task of it, or
finds none. Precision is the share of spoiled ones among what is caught, recall the share of the spoiled ones that is.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...comfyui_pixwizard.pictures.images import unit_to_image
from ..data.build.annotate import Tools
from ..data.build.judged import Judged
from ..data.build.places import Rejected
from ..data.build.recipe import BuildRecipe
from .spoiled_pairs import EditPair, spoiled_pairs

RELABEL = "relabel"
RECALL, PRECISION = 0.9, 0.8


@dataclass(frozen=True)
class Verdict:
    """What filters say of a pair.

    Attributes:
        spoiled: in which way, "" for a good pair.
        task: what the pair counts as after relabelling, "" where its sentence asks for none.
        relabelled: whether that is another task than the stored one.
        values: by filter.
        caught: filters that catch it.
    """

    spoiled: str
    task: str
    relabelled: bool
    values: dict[str, float]
    caught: tuple[str, ...] = field(default=())


def names(recipe: BuildRecipe) -> list[str]:
    """Names of the filters of a recipe, with a number where a score is used more than once."""
    scores = [told.score for told in recipe.filters]
    return [
        score if scores.count(score) == 1 else f"{score} {scores[: at + 1].count(score)}"
        for at, score in enumerate(scores)
    ]


def verdict(pair: EditPair, spoiled: str, recipe: BuildRecipe, tools: Tools) -> Verdict:
    """Ask every filter, also after one has caught the pair."""
    caught, task = [], ""
    try:
        task = tools.task([pair.sentence], pair.task)
    except Rejected:
        caught.append(RELABEL)
    relabelled = bool(task) and task != pair.task
    if relabelled:
        caught.append(RELABEL)
    target, source = (unit_to_image(picture) for picture in (pair.target, pair.source))
    judged, values = Judged(target, source, (), (pair.sentence,), task or pair.task), {}
    for number, (name, told) in enumerate(zip(names(recipe), recipe.filters, strict=True)):
        value = tools.value(number, judged)
        if value is not None:
            values[name] = value
        if not told.passes(value):
            caught.append(name)
    return Verdict(spoiled, task, relabelled, values, tuple(caught))


def judge_filters(
    recipe: BuildRecipe, n: int, spoiled: int, seed: int, advance: Callable[[int], Any]
) -> dict[str, Any]:
    """Precision and recall; see `report_of`. Raises ValueError as `Tools` and `spoiled_pairs`."""
    tools = Tools(recipe)
    verdicts = []
    for pair, way in spoiled_pairs(n, spoiled, seed):
        verdicts.append(verdict(pair, way, recipe, tools))
        advance(1)
    return report_of(verdicts, [RELABEL, *names(recipe)] if recipe.relabel else names(recipe)) | {"seed": seed}


def report_of(verdicts: Sequence[Verdict], filters: Sequence[str]) -> dict[str, Any]:
    """Figures as JSON has them: for each filter and for all together how many are caught, precision, recall, and the
    share caught of each way; and the verdicts.
    """
    ways = Counter(one.spoiled for one in verdicts if one.spoiled)

    def row(caught: Callable[[Verdict], bool]) -> dict[str, Any]:
        found = [one for one in verdicts if caught(one)]
        right = Counter(one.spoiled for one in found if one.spoiled)
        total = sum(right.values())
        return {
            "caught": len(found),
            "precision": total / len(found) if found else None,
            "recall": total / max(sum(ways.values()), 1),
            "by_way": {way: right[way] / count for way, count in ways.items()},
        }

    rows = {name: row(lambda one, name=name: name in one.caught) for name in filters}  # type: ignore[misc]
    together = row(lambda one: bool(one.caught))
    holds = together["recall"] >= RECALL and (together["precision"] or 0) >= PRECISION
    return {
        "pairs": len(verdicts), "spoiled": dict(ways), "filters": rows, "together": together, "holds": holds,
        "verdicts": [dataclasses.asdict(one) for one in verdicts],
    }  # fmt: skip


def table(report: dict[str, Any]) -> str:
    """Rows of filters, columns of figures and ways."""
    ways = list(report["spoiled"])
    heads = ["filter", "caught", "precision", "recall", *ways]
    lines = [heads]
    for name, row in [*report["filters"].items(), ("together", report["together"])]:
        shares = [row["precision"], row["recall"], *(row["by_way"][way] for way in ways)]
        lines.append([name, str(row["caught"]), *("-" if share is None else f"{share:.2f}" for share in shares)])
    widths = [max(len(line[at]) for line in lines) for at in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
