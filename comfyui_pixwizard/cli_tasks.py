"""`pixwizard tasks`."""

from __future__ import annotations

import json as json_module
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro


@dataclass
class Tasks:
    """List the tasks: domain, an instruction, default guidance and steps."""

    file: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="[FILE]")] = None
    """Where --json writes; the screen by default."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """All instructions too, as JSON."""

    def run(self) -> int:
        """Print or write the list.

        Raises:
            ValueError: a file without --json, or a place that cannot be written.
        """
        from .safe_files import replaced

        if self.file is not None and not self.json:
            raise ValueError(f"tasks writes a file only with --json, found {self.file}: add --json")
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
    from .tasks import TASKS

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
        }
        for task in TASKS.values()
    ]


def table(rows: list[dict[str, Any]]) -> str:
    """Lines for people."""
    columns = {
        "task": [row["name"] for row in rows],
        "domain": [row["domain"] for row in rows],
        "answer": [row["answer"] for row in rows],
        "steps": [str(row["steps"]) for row in rows],
        "text, image guidance": [f"{row['text_guidance']:g}, {row['image_guidance']:g}" for row in rows],
        "instruction": [row["instructions"][0] for row in rows],
    }
    widths = {title: max(len(title), *map(len, cells)) for title, cells in columns.items()}
    lines = [list(columns), *zip(*columns.values(), strict=True)]
    spaced = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths.values(), strict=True)) for line in lines
    ]
    return "\n".join(line.rstrip() for line in spaced)
