"""Figures that papers print, of quoted.toml: quoted beside ours, never measured here."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .options import Options

PAPER = "PixWizard, arXiv 2409.15278"


@dataclass(frozen=True)
class Quote:
    """One row of a paper.

    Attributes:
        ours: whether it is the row of the model that this project rebuilds.
        note: what keeps it from being compared.
    """

    method: str
    figures: Mapping[str, float]
    table: str
    ours: bool = False
    note: str = ""

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        return {name: value for name, value in asdict(self).items() if value != ""}


def quoted(name: str, options: Options) -> list[Quote]:
    """What papers print for a benchmark; nothing where none was found, or where they judge another split."""
    tables = tomllib.loads(Path(__file__).with_name("quoted.toml").read_text(encoding="utf-8"))["tables"]
    quotes = []
    for table in tables:
        for place, benchmark in enumerate(table["benchmarks"]):
            if benchmark in (name, f"{name} {options.split}"):
                quotes += _rows(table, place)
    return quotes


def _rows(table: Mapping[str, Any], place: int) -> list[Quote]:
    """The rows of a table that have figures of its benchmark number `place`."""
    source, names = table["source"], table["figures"]
    note = table.get("notes", {}).get(table["benchmarks"][place], "")
    quotes = []
    for method, row in table["rows"].items():
        printed = zip(names, row[place * len(names) : (place + 1) * len(names)], strict=True)
        figures = {name: value for name, value in printed if value != "-"}
        if figures:
            ours = method.startswith("PixWizard") and source.startswith(PAPER)
            quotes.append(Quote(method, figures, source, ours, note))
    return quotes
