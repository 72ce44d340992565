"""A benchmark's row as text: our figures, and below them what papers print."""

from __future__ import annotations

from .judging import NAMED, BenchmarkOutcome
from .quoted import Quote

WIDTH = 22


def number(value: float) -> str:
    """Enough digits to compare with a paper."""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def table(outcome: BenchmarkOutcome) -> str:
    """Lines for people."""
    lines = [f"{outcome.benchmark}: {len(outcome.each)} of {outcome.asked} judged, model {outcome.settings['model']}"]
    if "data" in outcome.settings:
        lines.append(f"  the data is {outcome.settings['data']}")
    for name, value in outcome.metrics.items():
        lines.append(f"  {name:<{WIDTH}} {value if isinstance(value, str) else number(value)}")
    for reason, names in outcome.faults.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        lines.append(f"  left out, {reason}: {len(names)} ({', '.join(names[:NAMED])}{more})")
    if outcome.quotes:
        lines += ["quoted, not measured here:", *(f"  {line}" for line in quotes(outcome.quotes))]
    return "\n".join(lines)


def quotes(rows: list[Quote]) -> list[str]:
    """A line for each row, that of the paper's own model marked, and a line for each note."""
    width = max(len(row.method) for row in rows) + 2
    lines = []
    for row in rows:
        figures = ", ".join(f"{name} {value:g}" for name, value in row.figures.items())
        lines.append(f"{'*' if row.ours else ' '} {row.method:<{width}} {figures}   ({row.table})")
    return lines + [f"  note: {note}" for note in dict.fromkeys(row.note for row in rows if row.note)]
