"""`pixwizard eval --sweep`: every task under a few guidance weights and step counts, to choose its defaults by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from .measures import MEASURES
from .runner import Advance, Answerer, EvaluationSettings, answers, reading, referenced
from .samples import Samples

# (points of the time grid, text guidance, image guidance). One answer is right: guidance can only bend it.
PLAIN = ((2, 1.0, 1.0), (3, 1.0, 1.0), (5, 1.0, 1.0), (9, 1.0, 1.0))
# One answer is right, and it is nearly the source, which a model that hears little of the words gives back.
EDITED = (*PLAIN, (5, 2.0, 1.0), (5, 3.0, 1.0), (5, 2.0, 1.5))
# Many answers are right.
DRAWN = ((9, 1.0, 1.0), (9, 2.0, 1.0), (9, 4.0, 1.0), (17, 4.0, 1.0), (9, 8.0, 1.0), (17, 8.0, 1.0))
# And a map says where things are: how strongly it is followed is the image's guidance.
CONTROLLED = (
    (5, 1.0, 1.0), (9, 1.0, 1.0), (9, 2.0, 1.0), (9, 2.0, 1.5), (9, 1.0, 2.0), (9, 2.0, 2.0), (9, 2.0, 3.0),
)  # fmt: skip
BY_DOMAIN = {"editing": EDITED, "control": CONTROLLED, "generation": DRAWN}


def settings_of(samples: Samples) -> tuple[tuple[int, float, float], ...]:
    """The settings that a task is tried with."""
    return BY_DOMAIN.get(samples.task.domain, PLAIN)


def asked_in_all(questions: Iterable[Samples]) -> int:
    """How many pictures the sweep asks the model for."""
    return sum(len(settings_of(s)) * len(s) * (2 if MEASURES[s.task.name].reads else 1) for s in questions)


def sweep(pipeline: Answerer, samples: Samples, settings: EvaluationSettings, advance: Advance) -> dict[str, Any]:
    """The task's metric under each of its settings, and which of them is the best."""
    samples = referenced(pipeline, samples, settings)
    measure, rows = MEASURES[samples.task.name], []
    row = pipeline.declared[samples.task.name]
    for steps, text, image in settings_of(samples):
        output = answers(pipeline, samples, replace(settings, steps=steps, guidance=(text, image)), advance)
        value = measure.score(*reading(pipeline, samples, output, settings, advance)).value
        rows.append({"steps": steps, "text_guidance": text, "image_guidance": image, "value": value})
    best = (min if measure.lower_is_better else max)(rows, key=lambda one: one["value"])
    return {
        "metric": measure.metric,
        "lower_is_better": measure.lower_is_better,
        "n": len(samples),
        "default": {"steps": row.points, "guidance": [row.text_guidance, row.image_guidance]},
        "best": rows.index(best),
        "settings": rows,
    }


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each task: `steps/text/image value` for each setting, a star at the best."""
    lines = ["settings are written steps/text guidance/image guidance; * is the best of a task"]
    for name, row in results.items():
        cells = []
        for i, one in enumerate(row["settings"]):
            setting = f"{one['steps']}/{one['text_guidance']:g}/{one['image_guidance']:g}"
            cells.append(f"{setting:>8} {one['value']:.3f}{'*' if i == row['best'] else ' '}")
        lines.append(f"{name:<24}" + "  ".join(cells))
    return "\n".join(lines)
