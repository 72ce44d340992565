"""Samples inside tars and Parquet files: what is there, and the bytes of one of them."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ....comfyui_pixwizard.optional import pip_install, required
from ....comfyui_pixwizard.pictures.images import SUFFIXES


def require_pyarrow() -> tuple[Any, Any]:
    """pyarrow and pyarrow.parquet.

    Raises:
        ValueError: not installed.
    """
    told, install = "manifests are Parquet files and need pyarrow", pip_install("pyarrow")
    return required("pyarrow", told, install), required("pyarrow.parquet", told, install)


def opened_parquet(path: str | Path) -> Any:
    """A Parquet file, whose rows are read on demand.

    Raises:
        ValueError: it is none, or not whole; or pyarrow is not installed.
    """
    arrow, parquet = require_pyarrow()
    try:
        return parquet.ParquetFile(path)
    except (arrow.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} is no whole Parquet file: {str(error).splitlines()[0]}; copy it again") from error


@dataclass
class TarSample:
    """A sample of a tar: role -> (first byte, length) of its pictures, and its words."""

    pictures: dict[str, tuple[int, int]] = field(default_factory=dict)
    captions: Any = None
    instructions: Any = None
    task: str = ""


def tar_samples(path: str) -> Iterator[tuple[str, TarSample, str]]:
    """Key, parts and what is broken of each sample of a tar in WebDataset's form: members of one key lie together.

    `KEY.source.png` is a source, any other picture the target; `KEY.txt` a caption, `KEY.json` may hold caption,
    instruction and task.
    """
    key, parts = "", TarSample()
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if not member.isfile():
                    continue
                place, _, name = member.name.rpartition("/")
                stem, _, rest = name.partition(".")
                stem = f"{place}/{stem}" if place else stem
                if stem != key and key:
                    yield key, parts, "" if "target" in parts.pictures else "missing"
                if stem != key:
                    key, parts = stem, TarSample()
                _add(parts, rest.lower(), archive, member)
    except (tarfile.TarError, EOFError, OSError) as error:
        # What follows cannot be found; the sample at the break may lack parts.
        yield key or "start", TarSample(), f"broken archive ({type(error).__name__})"
        return
    if key:
        yield key, parts, "" if "target" in parts.pictures else "missing"


def _add(parts: TarSample, rest: str, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    role = "source" if rest.startswith(("source.", "input.")) else "target"
    if f".{rest}".endswith(SUFFIXES):
        if rest.count(".") == 0 or rest.startswith(("source.", "input.", "target.", "image.")):
            parts.pictures[role] = (member.offset_data, member.size)
    elif rest in ("txt", "json"):
        opened = archive.extractfile(member)
        text = opened.read().decode("utf-8", "replace") if opened else ""
        if rest == "txt":
            parts.captions = text
            return
        try:
            told = json.loads(text)
        except json.JSONDecodeError:
            return
        if isinstance(told, dict):
            parts.captions = told.get("captions", told.get("caption", parts.captions))
            parts.instructions = told.get("instructions", told.get("instruction", told.get("prompt")))
            parts.task = told["task"] if isinstance(told.get("task"), str) else ""


def parquet_rows(path: str, columns: Mapping[str, str], asked: set[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Row number and words of each row; pictures as a path, or True where the cell holds bytes.

    Raises:
        ValueError: no Parquet file, or a column that was asked for is not there.
    """
    arrow, _ = require_pyarrow()
    file = opened_parquet(path)
    names = file.schema_arrow.names
    there = {role: name for role, name in columns.items() if name in names}
    if missing := sorted(columns[role] for role in (asked | {"target"}) - set(there)):
        raise ValueError(f"{path} has the columns {', '.join(names)}, found no {missing[0]}: set columns")
    row = 0
    for batch in file.iter_batches(batch_size=1024, columns=sorted(set(there.values()))):
        for number in range(len(batch)):
            values = {}
            for role, name in there.items():
                cell = batch.column(name)[number]
                if role in ("target", "source"):
                    # Bytes are not copied here: they are read when the picture is.
                    value = cell.as_py() if arrow.types.is_string(cell.type) else cell.is_valid
                else:
                    value = cell.as_py()
                values[role] = value
            yield row, values
            row += 1


@lru_cache(maxsize=2)
def _group(path: str, group: int, column: str) -> Any:
    _, parquet = require_pyarrow()
    return parquet.ParquetFile(path).read_row_group(group, columns=[column]).column(0)


@lru_cache(maxsize=2)
def _group_ends(path: str) -> list[int]:
    _, parquet = require_pyarrow()
    metadata = parquet.ParquetFile(path).metadata
    ends, total = [], 0
    for number in range(metadata.num_row_groups):
        total += metadata.row_group(number).num_rows
        ends.append(total)
    return ends


def parquet_cell(path: str, row: int, column: str) -> bytes:
    """The bytes in a cell, or in the field `bytes` of one."""
    ends = _group_ends(path)
    group = next(number for number, end in enumerate(ends) if row < end)
    cell = _group(path, group, column)[row - (ends[group - 1] if group else 0)].as_py()
    return (cell.get("bytes") or b"") if isinstance(cell, dict) else (cell or b"")
