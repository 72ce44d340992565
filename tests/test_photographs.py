"""The photographs that ship: small, and each with its source and a licence that asks for nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

FOLDER = Path(__file__).resolve().parents[1] / "nodes" / "photographs"
SOURCES = FOLDER / "SOURCES.md"
FREE = ("CC0 1.0", "public domain")


def test_nothing_else_lies_there() -> None:
    listed = [line.split("`")[1] for line in SOURCES.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert sorted(listed) == sorted(path.name for path in FOLDER.iterdir() if path != SOURCES) and len(listed) == 3


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.jpg")), ids=lambda path: path.stem)
def test_a_photograph_is_small_and_free(path: Path) -> None:
    with Image.open(path) as picture:
        assert picture.format == "JPEG" and picture.mode == "RGB" and picture.size == (256, 256)
        assert not picture.getexif()
    assert path.stat().st_size < 40_000
    (row,) = (line for line in SOURCES.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{path.name}`"))
    _, _, by, licence, source = (cell.strip() for cell in row.strip("|").split("|"))
    assert by and any(words in licence for words in FREE) and "columns" in source
