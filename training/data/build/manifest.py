"""The manifest of a build: every sample once, in the order of the inputs, whatever the workers.

Twice: `manifest.parquet` for people and tools, and `manifest.arrow`, the same rows uncompressed, which the loader maps
into memory, so that 30 million rows cost a process what it touches of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ....comfyui_pixwizard.files.safe_files import replaced, write_json
from .containers import require_pyarrow
from .recipe import FORMAT, REPORT, BuildRecipe
from .shards import Tally, paths, schema

PARQUET, ARROW = "manifest.parquet", "manifest.arrow"


def merge(
    recipe: BuildRecipe, inputs: list[dict[str, Any]], names: Sequence[str], told: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Write both manifests and the report, which is returned.

    Raises:
        ValueError: no good sample, or the place cannot be written.
    """
    arrow, parquet = require_pyarrow()
    output, tally = Path(recipe.output), Tally()
    for one in told:
        tally.add(one)
    if not tally.good:
        reasons = ", ".join(f"{count} {reason}" for reason, count in tally.rejected.items()) or "no files"
        raise ValueError(f"a build needs good samples, found none ({reasons}): check inputs and filters")
    keep = _first_of_each(output, names, tally) if recipe.unique else np.ones(tally.good, bool)
    by_input = dict.fromkeys((given["name"] for given in inputs), 0)
    first = 0
    with (
        replaced(output / PARQUET) as file,
        replaced(output / ARROW) as mapped,
        parquet.ParquetWriter(file, schema()) as writer,
        arrow.ipc.new_file(mapped, schema()) as stream,
    ):
        for table in _tables(output, names):
            kept = table.filter(arrow.array(keep[first : first + len(table)])).combine_chunks()
            first += len(table)
            for name in kept.column("input").to_pylist():
                by_input[name] += 1
            if len(kept):
                writer.write_table(kept)
                stream.write_table(kept)
    tally.good = int(keep.sum())
    report = {"format": FORMAT} | tally.told() | {"shards": len(names), "samples": by_input, "inputs": inputs}
    write_json(output / REPORT, report)
    return report


def _tables(output: Path, names: Sequence[str]) -> Iterator[Any]:
    _, parquet = require_pyarrow()
    for name in names:
        with parquet.ParquetFile(paths(output, name)[1]) as file:
            yield file.read().replace_schema_metadata(None)


def _first_of_each(output: Path, names: Sequence[str], tally: Tally) -> np.ndarray:
    """Which rows are not the same as an earlier one; the others are counted."""
    digests = np.empty(tally.good, "S16")
    first = 0
    for table in _tables(output, names):
        found = np.array([digest[:16] for digest in table.column("hash").to_pylist()], "S16")
        digests[first : first + len(found)] = found
        first += len(found)
    keep = np.zeros(len(digests), bool)
    keep[np.unique(digests, return_index=True)[1]] = True
    if not keep.all():
        first = 0
        for table in _tables(output, names):
            for row in np.flatnonzero(~keep[first : first + len(table)]):
                where = [table.column(name)[int(row)].as_py() for name in ("input", "origin")]
                tally.reject("duplicate", ": ".join(where))
            first += len(table)
    return keep
