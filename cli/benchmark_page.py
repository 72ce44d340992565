"""What became of a benchmark as one page that needs no other file: rows, distributions, the worst and median answers.

What a paper prints stands below what was measured here and is marked as quoted, with the table that it is from.
"""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ..bench.chart import histograms
from ..comfyui_pixwizard.pictures.images import resized
from ..training.benchmarks.answering import source_of
from ..training.benchmarks.catalogue import benchmark
from ..training.benchmarks.generation_judge import reference_of
from ..training.benchmarks.judging import NAMED, BenchmarkOutcome
from ..training.benchmarks.question import Question
from ..training.benchmarks.report_table import number
from .demo_page import card, write_html

# Answers of each kind that are shown, and the longest side of a picture, in pixels.
SHOWN, SIDE = 4, 320
COPY = "copy_"
ROWS = """
table { border-collapse:collapse; width:100%; font-size:14px; background:var(--card); }
th, td { text-align:left; padding:6px 10px; border-bottom:1px solid var(--line); vertical-align:top; }
td.n { font-variant-numeric:tabular-nums; white-space:nowrap; } tr.here td { font-weight:600; }
tr.paper td { background:color-mix(in srgb, var(--card) 88%, orange); } .wide { overflow-x:auto; }
.plot { width:100%; background:#fff; border-radius:12px; }
"""
Answered = tuple[Question, dict[str, float]]


def write_page(path: Path, outcome: BenchmarkOutcome) -> None:
    """Write the page of an outcome, with every picture inside.

    Raises:
        ValueError: matplotlib is absent, or the place cannot be written.
    """
    title = f"{benchmark(outcome.benchmark).title} ({outcome.benchmark})"
    about = f"{len(outcome.each)} of {outcome.asked} answers judged, model {outcome.settings['model']}"
    if "data" in outcome.settings:
        about += f"; the data is {outcome.settings['data']}"
    body = [
        f"<h1>{html.escape(title)}</h1><p>{html.escape(about)}</p>",
        f"<h2>Figures</h2>{_figures(outcome)}",
        *_distributions(outcome),
        *_answers(outcome),
        f"<h2>Left out</h2>{_left_out(outcome)}",
        f"<h2>How it was measured</h2>{_settings(outcome)}",
    ]
    write_html(path, title, body, ROWS)


def columns(ours: Sequence[str], theirs: Sequence[str]) -> list[str]:
    """Our figures with those of papers among them: what a paper calls `psnr` stands behind `psnr_rgb` and `psnr_y`."""
    names = list(ours)
    for name in theirs:
        if name not in names:
            alike = [place for place, other in enumerate(names) if other.startswith(f"{name}_")]
            names.insert(alike[-1] + 1 if alike else len(names), name)
    return names


def _figures(outcome: BenchmarkOutcome) -> str:
    """Ours, the input itself, the paper's row, other methods; then what keeps figures from being there or compared."""
    ours = {name: value for name, value in outcome.metrics.items() if not name.startswith(COPY)}
    copied = {name.removeprefix(COPY): v for name, v in outcome.metrics.items() if name.startswith(COPY)}
    quotes = sorted(outcome.quotes, key=lambda quote: not quote.ours)
    names = columns(list(ours), [name for quote in quotes for name in quote.figures])
    rows = [_row("here", str(outcome.settings["model"]), names, _shown(ours), "measured here")]
    if copied:
        rows.append(_row("here", "the input itself", names, _shown(copied), "measured here"))
    for quote in quotes:
        told = {name: f"{value:g}" for name, value in quote.figures.items()}
        rows.append(_row("paper" if quote.ours else "", quote.method, names, told, f"quoted: {quote.table}"))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("", *names, "where it is from"))
    notes = [f"{name}: {value}" for name, value in ours.items() if isinstance(value, str)]
    notes += dict.fromkeys(f"quoted figures: {quote.note}" for quote in quotes if quote.note)
    table = f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    return table + "".join(f"<p>{html.escape(note)}</p>" for note in notes)


def _shown(figures: Mapping[str, float | str]) -> dict[str, str]:
    return {name: "not measured" if isinstance(value, str) else number(value) for name, value in figures.items()}


def _row(kind: str, method: str, names: Sequence[str], told: Mapping[str, str], source: str) -> str:
    cells = "".join(f'<td class="n">{html.escape(told.get(name, ""))}</td>' for name in names)
    return f'<tr class="{kind}"><td>{html.escape(method)}</td>{cells}<td>{html.escape(source)}</td></tr>'


def _distributions(outcome: BenchmarkOutcome) -> Iterator[str]:
    """Of the figures that single answers have, those of the input behind them."""
    values: dict[str, list[float]] = {}
    for _, figures in outcome.each:
        for name, value in figures.items():
            if math.isfinite(value):
                values.setdefault(name, []).append(value)
    told = {name: {"answers": found} for name, found in values.items() if not name.startswith(COPY)}
    for name, curves in told.items():
        if COPY + name in values:
            curves["the input itself"] = values[COPY + name]
    if told:
        out = io.BytesIO()
        histograms(told, "answers").savefig(out, format="svg", metadata={"Date": None})
        uri = f"data:image/svg+xml;base64,{base64.b64encode(out.getvalue()).decode()}"
        yield f'<h2>Distribution over the answers</h2><img class="plot" alt="histograms" src="{uri}">'


def ranked(outcome: BenchmarkOutcome) -> list[Answered]:
    """The answers that have the figure by which answers are compared, the worst first."""
    name, sign = outcome.judge.main, 1 if outcome.judge.higher else -1
    return sorted((one for one in outcome.each if name in one[1]), key=lambda one: sign * one[1][name])


def _answers(outcome: BenchmarkOutcome) -> Iterator[str]:
    order = ranked(outcome)
    if not order:
        groups = {"The first answers (these figures are of all together, so none is the worst)": outcome.each[:SHOWN]}
    else:
        middle = max((len(order) - SHOWN) // 2, 0)
        by = f"by {outcome.judge.main}"
        groups = {
            f"The worst answers, {by}": order[:SHOWN],
            f"The median answers, {by}": order[middle : middle + SHOWN],
        }
    for title, answers in groups.items():
        yield f"<h2>{html.escape(title)}</h2>"
        yield from (_card(outcome, question, figures) for question, figures in answers)


def _card(outcome: BenchmarkOutcome, question: Question, figures: Mapping[str, float]) -> str:
    readers: dict[str, Callable[[Question], Image.Image | None]] = {
        "input": source_of, "answer": outcome.answers.open, "right answer": reference_of,
    }  # fmt: skip
    tiles = ""
    for caption, read in readers.items():
        picture = read(question)
        if picture is not None:
            tiles += f'<figure><img src="{_uri(picture)}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'
    told = ", ".join(f"{name} {number(value)}" for name, value in figures.items() if not name.startswith(COPY))
    return card(told, question.name, question.sentence(), tiles)


def _uri(picture: Image.Image) -> str:
    """A picture as PNG inside the page, made smaller where a side is longer than SIDE."""
    share = min(1.0, SIDE / max(picture.size))
    width, height = (max(1, round(share * side)) for side in picture.size)
    out = io.BytesIO()
    resized(picture, (width, height)).save(out, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


def _left_out(outcome: BenchmarkOutcome) -> str:
    if not outcome.faults:
        return "<p>nothing</p>"
    rows = []
    for reason, names in outcome.faults.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        rows.append((f"{reason}: {len(names)}", ", ".join(names[:NAMED]) + more))
    return _pairs(rows)


def _settings(outcome: BenchmarkOutcome) -> str:
    told = outcome.settings | {"n": len(outcome.each), "seconds": outcome.seconds}
    return _pairs([(name.replace("_", " "), _text(value)) for name, value in told.items()])


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _pairs(rows: Sequence[tuple[str, str]]) -> str:
    told = "".join(f"<tr><td>{html.escape(a)}</td><td>{html.escape(b)}</td></tr>" for a, b in rows)
    return f"<table><tbody>{told}</tbody></table>"
