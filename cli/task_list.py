"""`pixwizard tasks`."""

from __future__ import annotations

import json as json_module
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

LEAST_INSTRUCTIONS = 30


@dataclass
class Tasks:
    """List the tasks: domain, an instruction, default guidance and steps; or what a model declares of them."""

    file: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="[FILE]")] = None
    """Where --json writes; the screen by default."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """All instructions too, with those that training never draws, as JSON. With --model a list with one object for each
    task: name, codec, codec_options, solver, points, text_guidance, image_guidance, guided_channels, patch_grids and
    size."""
    model: Annotated[str | None, tyro.conf.arg(metavar="M")] = None
    """Instead, the code of its answers and the settings that this model declares for each task: nano, a folder, or a
    file of weights that `pixwizard convert` wrote."""
    check: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Instead, check that every task has thirty instructions, a builder of training pairs, a codec and a metric."""

    def run(self) -> int:
        """Print or write the list; with --check 1 where something is missing.

        Raises:
            ValueError: a file without --json, a place that cannot be written, no such model, or --check without the
                training.
        """
        from ..comfyui_pixwizard.files.safe_files import replaced

        if self.check:
            if self.json or self.file is not None or self.model is not None:
                raise ValueError(
                    "tasks --check only prints, found --json, --model or a file too: leave one of them out"
                )
            return check_tasks()
        if self.file is not None and not self.json:
            raise ValueError(f"tasks writes a file only with --json, found {self.file}: add --json")
        if self.model is not None:
            declared = declared_rows(self.model)
            text = json_module.dumps(declared, indent=1) if self.json else declared_table(declared)
        else:
            rows = describe_tasks()
            text = json_module.dumps({"tasks": rows}, indent=1) if self.json else table(rows)
        if self.file is None:
            print(text)
        else:
            with replaced(self.file) as out:
                out.write(f"{text}\n".encode())
        return 0


def describe_tasks() -> list[dict[str, Any]]:
    """The registry as plain values."""
    from ..comfyui_pixwizard.tasks import TASKS

    return [
        {
            "name": task.name,
            "domain": task.domain,
            "summary": task.summary,
            "answer": task.kind,
            "needs_image": task.needs_image,
            "steps": task.steps,
            "text_guidance": task.guidance[0],
            "image_guidance": task.guidance[1],
            "codecs": list(task.codecs),
            "words": list(task.words),
            "instructions": list(task.instructions),
            "held_out": list(task.held_out),
        }
        for task in TASKS.values()
    ]


def declared_rows(model: str) -> list[dict[str, Any]]:
    """What a model declares of every task, as plain values.

    Raises:
        ValueError: no model there, or a broken one.
    """
    from ..comfyui_pixwizard.files.components import read_declared

    return list(read_declared(model).rows())


def declared_table(rows: list[dict[str, Any]]) -> str:
    """Lines for people."""
    titles = (
        "task", "code", "its options", "solver", "points", "text, image guidance", "guided channels", "grids", "size",
    )  # fmt: skip
    lines: list[tuple[str, ...]] = [titles]
    for row in rows:
        options = ", ".join(f"{name}={_short(value)}" for name, value in row["codec_options"].items())
        asked = (str(row["points"]), f"{row['text_guidance']:g}, {row['image_guidance']:g}")
        guided = str(row["guided_channels"] or "all")
        sizes = str(row["patch_grids"]), str(row["size"])
        lines.append((row["name"], row["codec"], options, row["solver"], *asked, guided, *sizes))
    return aligned(lines)


def _short(value: Any) -> str:
    """A value in a word; of a row of ids its ends."""
    if isinstance(value, list) and len(value) > 1 and value == list(range(value[0], value[0] + len(value))):
        return f"{value[0]}-{value[-1]}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def check_tasks() -> int:
    """Print what every task has and which cells are empty; 0 when none is, else 1.

    Raises:
        ValueError: the training is not installed.
    """
    try:
        from ..training.data.rendered.builders import BUILDERS
        from ..training.evaluate.measures import MEASURES
    except ModuleNotFoundError as error:
        raise ValueError(
            f"tasks --check looks into the training, which is not installed (no {error.name}): use a clone of the "
            "repository after make install"
        ) from error
    cells = task_cells(BUILDERS, MEASURES)
    print(aligned([("task", *CELLS), *((name, *row.values()) for name, row in cells.items())]))
    empty = [f"{name}: {title}" for name, row in cells.items() for title in CELLS if not row[title]]
    print(f"empty: {', '.join(empty)}" if empty else f"{len(cells)} tasks, no empty cell")
    return 1 if empty else 0


CELLS = ("instructions", "builder", "codec", "eval")


def task_cells(builders: Mapping[str, Any], measures: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """For each task the text of every cell in CELLS, "" where there is nothing (or too few instructions)."""
    from ..comfyui_pixwizard.tasks import TASKS

    rows = {}
    for name, task in TASKS.items():
        count, builder = len(task.instructions) + len(task.held_out), builders.get(name)
        rows[name] = {
            "instructions": str(count) if count >= LEAST_INSTRUCTIONS else "",
            "builder": "" if builder is None else getattr(getattr(builder, "func", builder), "__name__", "yes"),
            "codec": ", ".join(task.codecs),
            "eval": measures[name].metric if name in measures else "",
        }
    return rows


def table(tasks: list[dict[str, Any]]) -> str:
    """Lines for people."""
    rows = [("task", "domain", "answer", "steps", "text, image guidance", "instruction")]
    for task in tasks:
        guidance = f"{task['text_guidance']:g}, {task['image_guidance']:g}"
        about = (task["name"], task["domain"], task["answer"], str(task["steps"]))
        rows.append((*about, guidance, task["instructions"][0]))
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the titles first, as columns of text."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)
