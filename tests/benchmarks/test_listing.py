"""What is told of the benchmarks: the list, the guide, and that nothing of one is said of another."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pixwizard.cli.main import main
from pixwizard.training.benchmarks.catalogue import BENCHMARKS
from pixwizard.training.benchmarks.layouts import LAYOUTS
from pixwizard.training.benchmarks.options import Options
from pixwizard.training.benchmarks.quoted import quoted

DOCS = Path(__file__).resolve().parents[2] / "docs"


def in_tables(page: str) -> set[str]:
    """What stands in backticks in the first column of the tables of a page."""
    rows = re.findall(r"^\| (`[^|]+) \|", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_the_list_has_layout_size_terms_and_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "benchmarks", "--json", str(tmp_path / "list.json")]) == 0
    told = json.loads((tmp_path / "list.json").read_text())
    printed = capsys.readouterr().out
    assert set(told) == set(BENCHMARKS)
    for name, one in told.items():
        assert all(one[key] for key in ("title", "layout", "size", "licence", "command"))
        assert f"pixwizard eval benchmark {name} --data DIR" in one["command"] and one["layout"] in printed


def test_the_guides_have_a_row_for_each() -> None:
    assert set(BENCHMARKS) <= in_tables("benchmarks.md")
    assert set(LAYOUTS) <= in_tables("data.md")


def test_every_benchmark_but_those_the_paper_lacks_has_the_papers_row() -> None:
    """Of the first split, and with the table; nothing of the paper is quoted where it judged another split."""
    lacking = {"pairs", "refcocog", "coco-keypoints"}
    for name, one in BENCHMARKS.items():
        rows = [quote for quote in quoted(name, Options(split=one.splits[0])) if quote.ours]
        assert bool(rows) == (name not in lacking), name
        assert all(re.search(r"Table \d|issue \d", quote.table) for quote in rows)
    assert not quoted("sots", Options(split="indoor"))
