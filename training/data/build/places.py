"""Where bytes are, and reading them: files, parts of files, cells of Parquet files, and pictures that are drawn."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .containers import parquet_cell


class Rejected(Exception):
    """A sample that is left out, and under which reason it is counted."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Ref:
    """Where bytes are: a file, a part of one (`at` is its first byte), or a cell (`at` is its row, `column` its name).

    `state` tells it apart from what it was before: size and time of change; "" where there is nothing.
    """

    path: str
    state: str
    at: int = 0
    length: int | None = None
    column: str = ""


@dataclass(frozen=True)
class Drawn(Ref):
    """A picture that is made of the bytes at a place.

    Attributes:
        drawn: JSON of what `drawing.draw` is told: {"kind": …} and what that kind takes.
    """

    drawn: str = ""


def file_ref(path: str | Path) -> Ref:
    """A whole file; its state is "" when there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return Ref(str(path), "")
    return Ref(str(path), f"{found.st_size} {found.st_mtime_ns}")


def read_raw(ref: Ref, missing: str) -> bytes:
    """The bytes at a place, of a drawn picture those that it is drawn from.

    Args:
        missing: the reason where there are none.

    Raises:
        Rejected: missing, unreadable, truncated.
    """
    if not ref.state:
        raise Rejected(missing)
    try:
        if ref.column:
            return parquet_cell(ref.path, ref.at, ref.column)
        with open(ref.path, "rb") as file:
            file.seek(ref.at)
            data = file.read(-1 if ref.length is None else ref.length)
    except OSError as error:
        raise Rejected(missing if isinstance(error, FileNotFoundError) else "unreadable") from error
    if ref.length is not None and len(data) < ref.length:
        raise Rejected("truncated")
    return data
