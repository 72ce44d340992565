"""The page of mathematics and the code that cites it: cited sections and named files exist."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "mathematics.md"
NAME = PAGE.relative_to(ROOT).as_posix()
# Made or installed, not part of the repository.
SKIPPED = {"runs", "demo", "build", "dist", "node_modules", "__pycache__"}
CITATION = re.compile(rf"{re.escape(NAME)} sections? (\d+)(?: (to|and) (\d+))?")
# Written apart, so that this file does not cite what it forbids.
FORBIDDEN = re.compile(r"\bNO" r"TES\b")


def texts() -> Iterator[tuple[str, str]]:
    """Every Python and Markdown file of the repository: its path from the root, and its text in one line."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in SKIPPED]
        for path in (Path(folder, name) for name in files if name.endswith((".py", ".md"))):
            lines = path.read_text(encoding="utf-8").splitlines()
            yield path.relative_to(ROOT).as_posix(), " ".join(line.strip().removeprefix("# ") for line in lines)


def cited(text: str) -> Iterator[int]:
    """Numbers of the sections that a text cites."""
    for first, link, second in CITATION.findall(text):
        last = int(second or first)
        yield from range(int(first), last + 1) if link == "to" else {int(first), last}


def test_sections_are_numbered_from_one() -> None:
    headings = re.findall(r"^## (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [heading.partition(". ")[0] for heading in headings] == [str(i + 1) for i in range(len(headings))]


def test_cited_sections_exist() -> None:
    headings = {int(number) for number in re.findall(r"^## (\d+)\. ", PAGE.read_text(encoding="utf-8"), re.MULTILINE)}
    citations = {path: sorted(cited(text)) for path, text in texts()}
    assert sum(map(len, citations.values())) > 25
    assert {path: found for path, found in citations.items() if not headings.issuperset(found)} == {}


def test_code_names_the_section() -> None:
    here = Path(__file__).relative_to(ROOT).as_posix()
    for path, text in texts():
        if path.endswith(".py") and path != here:
            assert text.count(NAME) == len(CITATION.findall(text)), f"{path} names {NAME} without a section"


def test_nothing_outside_of_the_repository_is_cited() -> None:
    assert [path for path, text in texts() if FORBIDDEN.search(text)] == []


def test_sections_that_the_page_refers_to_exist() -> None:
    # What refers to the paper says so, or stands in parentheses in the table of section 17.
    page = PAGE.read_text(encoding="utf-8")
    text = re.sub(r"\((?:section|appendix) [\w.]+\)|paper section [\w.]+", "", page)
    headings = set(re.findall(r"^## (\d+)\. ", text, re.MULTILINE))
    own = set(re.findall(r"section\s+(\d+)", text)) | set(re.findall(r"^\|.*\| (\d+) \|.*\|.*\|$", text, re.MULTILINE))
    assert len(own) > 10 and own <= headings


def test_files_that_the_page_names_exist() -> None:
    page = PAGE.read_text(encoding="utf-8")
    named = {name for name in re.findall(r"`([\w./-]+\.(?:py|md|json|safetensors))`", page) if "/" in name}
    linked = {name for name in re.findall(r"\]\(([^)#]+)\)", page) if "://" not in name}
    assert len(named) > 15
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
    assert [name for name in sorted(linked) if not (PAGE.parent / name).is_file()] == []
