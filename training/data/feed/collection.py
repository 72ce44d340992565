"""What `pixwizard data build` made, as items to train on: one task's samples out of shards, at any buckets.

A sample is read by its place in the manifest, so nothing is scanned and memory does not grow with the collection. What
a network had to find is stored; degradations and edges are made here, from the clean picture and the item's generator.
Shape legend: H, W of the bucket.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ....comfyui_pixwizard.files.safe_files import replaced
from ....comfyui_pixwizard.pictures.buckets import Size
from ..build.build import read_report
from ..build.containers import require_pyarrow
from ..build.manifest import ARROW
from ..build.recipe import FORMAT
from ..build.shards import FOLDER
from .bucketing import assign
from .crops import Crop
from .loader import Sample
from .pairs_from_stored import Record, make, needs, serves
from .plan import Source

ORDERS = "orders"
ROWS = 65536  # rows that are looked at together when buckets are assigned


class Collection:
    """A finished build.

    Attributes:
        folder: of the build.
        inputs: names, with tasks, repeats and fractions as its recipe told them.

    Raises:
        ValueError: no finished build, or one of another version.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        report = read_report(self.folder)
        if report["format"] != FORMAT:
            raise ValueError(
                f"{self.folder} was built in form {report['format']}, this version reads form {FORMAT}: build it again"
            )
        self.inputs: list[dict[str, Any]] = report["inputs"]

    def __getstate__(self) -> dict[str, Any]:
        # Workers map the manifest and open the shards themselves.
        return {name: value for name, value in vars(self).items() if name != "table"}

    @cached_property
    def table(self) -> Any:
        """The manifest, mapped into memory."""
        arrow, _ = require_pyarrow()
        try:
            return arrow.ipc.open_file(arrow.memory_map(str(self.folder / ARROW))).read_all()
        except (OSError, arrow.ArrowInvalid) as error:
            raise ValueError(f"{self.folder / ARROW} is not whole: build it again with its recipe") from error

    def row(self, number: int) -> dict[str, Any]:
        """One row of the manifest."""
        found: dict[str, Any] = self.table.slice(number, 1).to_pylist()[0]
        return found

    def part(self, row: dict[str, Any], role: str) -> bytes | None:
        """The bytes of a part of a sample: "target", "source", or a map's name; None if it has none.

        Raises:
            ValueError: the shard is gone or not what it was.
        """
        found = next((p for p in row["parts"] if p["name"].partition(".")[0] == role), None)
        if found is None:
            return None
        path = self.folder / FOLDER / f"{row['shard']}.tar"
        try:
            with path.open("rb") as file:
                file.seek(found["at"])
                data = file.read(found["bytes"])
        except OSError as error:
            raise ValueError(
                f"shard {path} cannot be read ({error.strerror}): restore it, or build it again"
            ) from error
        if zlib.crc32(data) != found["crc"]:
            raise ValueError(f"shard {path} is not as it was built: restore it, or remove it and build again")
        return data

    def items(
        self,
        task: str,
        centers: Sequence[int] = (512, 768, 1024),
        *,
        inputs: Sequence[str] | None = None,
        crop: Crop = "random",
        repeats: float | None = None,
        fraction: float | None = None,
    ) -> ShardItems:
        """The samples that can serve a task.

        Args:
            task: of the registry.
            centers: sides of the squares round which the buckets lie.
            inputs: names of some of the recipe's inputs; all that can serve by default.
            crop: where pairs are cut, "random" or "center".
            repeats, fraction: see `plan.Source`; by default as the recipe told for the inputs.

        Raises:
            ValueError: no sample can serve the task.
        """
        chosen = [one for one in self.inputs if inputs is None or one["name"] in inputs]
        rates = [(one["repeats"], one["fraction"]) for one in chosen]
        if (repeats is None or fraction is None) and len(set(rates)) > 1:
            raise ValueError(
                f"the inputs of {self.folder} tell different repeats and fractions: name inputs that are drawn alike, "
                "or give repeats and fraction"
            )
        told = rates[0] if rates else (1.0, 1.0)
        rate = (told[0] if repeats is None else repeats, told[1] if fraction is None else fraction)
        names = tuple(one["name"] for one in chosen)
        return ShardItems(self, task, tuple(centers), names, crop, rate)


class ShardItems:
    """Samples of one task; see `loader.Items`. Made by `Collection.items`.

    Attributes:
        source: what a plan is told of them.
    """

    def __init__(
        self,
        collection: Collection,
        task: str,
        centers: tuple[int, ...],
        inputs: tuple[str, ...],
        crop: Crop,
        rate: tuple[float, float],
    ):
        self.collection, self.task, self.centers, self.crop, self.inputs = collection, task, centers, crop, inputs
        sizes, counts = np.unique(self._order["size"], axis=0, return_counts=True)
        if not len(counts):
            raise ValueError(
                f"{collection.folder} holds nothing for task {task}, which needs {needs(task)}: build that, or leave "
                "the task out"
            )
        by_bucket = {(int(w), int(h)): int(count) for (w, h), count in zip(sizes, counts, strict=True)}
        self.source = Source(f"{collection.folder.name}/{'+'.join(inputs)}/{task}", task, by_bucket, *rate)

    def __getstate__(self) -> dict[str, Any]:
        # Workers map the order themselves.
        return {name: value for name, value in vars(self).items() if name != "_order"}

    @cached_property
    def _order(self) -> dict[str, np.ndarray]:
        """Row numbers of the manifest and sizes of their buckets, bucket by bucket.

        Found once and kept beside the manifest, from where all processes of a machine map it.
        """
        manifest = (self.collection.folder / ARROW).stat()
        told = [self.task, self.centers, self.inputs, manifest.st_size, manifest.st_mtime_ns]
        stem = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
        place = self.collection.folder / ORDERS
        paths = {name: place / f"{stem}-{name}.npy" for name in ("row", "size")}
        if not all(path.exists() for path in paths.values()):
            for path, array in zip(paths.values(), self._find(), strict=True):
                with replaced(path) as file:
                    np.save(file, array)
        return {name: np.load(path, mmap_mode="r") for name, path in paths.items()}

    def _find(self) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers [n] and sizes [n,2] of their buckets, sorted by bucket."""
        table = self.collection.table
        rows, sizes = [np.zeros(0, np.int64)], [np.zeros((0, 2), np.int64)]
        for first in range(0, len(table), ROWS):
            part = table.slice(first, ROWS).combine_chunks()
            chosen = np.isin(part.column("input").to_numpy().astype(str), self.inputs) & serves(part, self.task)
            number = np.flatnonzero(chosen)
            shape = np.stack([part.column(name).to_numpy()[number] for name in ("width", "height")], 1)
            rows.append(number + first)
            sizes.append(assign(shape, self.centers))
        found, size = np.concatenate(rows), np.concatenate(sizes)
        order = np.lexsort((found, size[:, 1], size[:, 0]))
        return found[order], size[order].astype(np.int16)

    def sample(self, index: int, size: Size, generator: torch.Generator) -> Sample:
        """See `loader.Items.sample`."""
        row = self.collection.row(int(self._order["row"][index]))
        try:
            return make(Record(self.collection, row), self.task, size, self.crop, generator)
        except ValueError as error:
            raise ValueError(f"{error} (sample {row['key']}, {row['input']}: {row['origin']})") from error
