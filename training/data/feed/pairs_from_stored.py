"""From a stored sample to a training pair, for every task: what is needed, and what is made here.

A sample that was stored as a pair is used as it is. From clean pictures are made: degradations (source), edges (target
or source), readings of stored maps, and pictures on a blank canvas. Shape legend: H, W of the bucket.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ....comfyui_pixwizard.pictures.buckets import Size
from ....comfyui_pixwizard.pictures.images import open_picture
from ....comfyui_pixwizard.tasks import TASKS
from ...annotators import ANNOTATORS
from ...degradations import DEGRADATIONS
from .crops import Crop, Cut, unit
from .loader import Sample

GENERATION, REVERSE = "text_to_image", "_to_image"
MAPS = ("depth", "segmentation", "pose", "normal")


class StoredParts(Protocol):
    """Where the bytes of a sample's pictures come from (`collection.Collection`)."""

    def part(self, row: dict[str, Any], role: str) -> bytes | None:
        """Bytes of a role, None if it has none."""


@dataclass(frozen=True)
class Record:
    """A stored sample: its row of the manifest, and its pictures on demand."""

    parts: StoredParts
    row: dict[str, Any]

    @property
    def facts(self) -> dict[str, Any]:
        """What annotators told beside their maps."""
        found: dict[str, Any] = json.loads(self.row["facts"])
        return found

    def has(self, role: str) -> bool:
        """Whether it has a picture of this role."""
        return any(part["name"].partition(".")[0] == role for part in self.row["parts"])

    def picture(self, role: str, rgb: bool = True) -> Image.Image:
        """A picture of it.

        Raises:
            ValueError: its bytes are no longer the picture that they were.
        """
        data = self.parts.part(self.row, role)
        assert data is not None, role
        try:
            image = Image.open(io.BytesIO(data))
            image.load()
            return open_picture(image) if rgb else image
        except Exception as error:  # damaged bytes choose which one
            found = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"shard {self.row['shard']} is damaged, its {role} cannot be read ({found}): restore it, or remove it "
                "and build again"
            ) from error


def make(record: Record, task: str, size: Size, crop: Crop, generator: torch.Generator) -> Sample:
    """The pair of a task at a bucket's size. Everything is cut by one box, then degraded or read.

    Raises:
        ValueError: damaged bytes.
    """
    row = record.row
    cut = Cut.of((row["width"], row["height"]), size, crop, generator)
    clean = unit(cut(record.picture("target")))
    key = {role: f"{row['hash'][:32]}-{role}-{size[0]}x{size[1]}" if crop == "center" else "" for role in _ROLES}
    words = sentence(row, task, generator)
    reading = task.removesuffix(REVERSE)
    if record.has("source"):
        return Sample(unit(cut(record.picture("source"))), clean, words, key=(key["source"], key["target"]))
    if task == GENERATION:
        shade = int(torch.randint(2, (), generator=generator))
        blank = f"blank{shade}-{size[0]}x{size[1]}"
        return Sample(torch.full_like(clean, float(shade)), clean, words, True, (blank, key["target"]))
    if task in DEGRADATIONS:
        return Sample(DEGRADATIONS[task](clean[None], generator)[0], clean, words, key=("", key["target"]))
    if reading in ANNOTATORS:
        shown = TASKS[reading].encode(ANNOTATORS[reading](clean[None], generator)[0])
        name = ""
    else:
        shown = read_map(record, reading, cut)
        name = key[reading]
    if task.endswith(REVERSE):
        return Sample(shown, clean, words, key=(name, key["target"]))
    return Sample(clean, shown, words, key=(key["target"], name))


_ROLES = ("target", "source", *MAPS)


def sentence(row: dict[str, Any], task: str, generator: torch.Generator) -> str:
    """One of the stored instructions, or one of the task's with one of the captions."""
    given = row["captions"] if task == GENERATION or not row["instructions"] else row["instructions"]
    word = given[int(torch.randint(len(given), (), generator=generator))] if given else ""
    if row["instructions"] and task != GENERATION:
        return word
    return TASKS[task].instruction(generator, **({"caption": word} if TASKS[task].words else {}))


def read_map(record: Record, reading: str, cut: Cut) -> Tensor:
    """A stored map as the picture [3,H,W] that stands for it."""
    stored = record.picture(reading, rgb=False)
    if reading == "segmentation":
        classes = np.array(cut(stored, Image.Resampling.NEAREST))
        return TASKS[reading].encode(torch.from_numpy(classes).long())
    if reading != "depth":
        return unit(cut(stored.convert("RGB"), Image.Resampling.BILINEAR))
    facts = record.facts[reading]
    values = Image.fromarray(np.asarray(stored).astype(np.float32) / 65535)
    depth = torch.from_numpy(np.array(cut(values, Image.Resampling.BILINEAR))).clamp(0, 1)
    if facts["kind"] == "metric":
        return TASKS[reading].encode((facts["low"] + depth * (facts["high"] - facts["low"])).clamp_min(0))
    # Without metres only the order is known: the paper's grey, near is dark.
    return TASKS[reading].encode(1 - depth, codec="gray", near=0.0, far=1.0)


# -- which rows can serve a task -----------------------------------------------------------------------------------


def needs(task: str) -> str:
    """What a sample must have to serve a task, in words."""
    words = "captions and " if TASKS[task].words else ""
    reading = task.removesuffix(REVERSE)
    if task == GENERATION or task in DEGRADATIONS or reading in ANNOTATORS:
        return f"{words}clean pictures, or pairs of this task"
    if reading in MAPS:
        return f"{words}clean pictures with a stored {reading} map, or pairs of this task"
    return "pairs of this task with instructions"


def serves(table: Any, task: str) -> np.ndarray:
    """Which rows [n] bool of a part of a manifest can serve a task."""
    given = table.column("task").to_numpy()
    source, instructions = _has_part(table, "source"), _lengths(table, "instructions") > 0
    captions = _lengths(table, "captions") > 0
    wordy = bool(TASKS[task].words)
    only_caption = TASKS[task].words == ("caption",)
    told = instructions | (captions & only_caption) | (not wordy)
    pairs = (given == task) & source & told
    reading = task.removesuffix(REVERSE)
    clean = ~source & ((given == "") | (given == GENERATION) | (given == task))
    if task == GENERATION or task in DEGRADATIONS or reading in ANNOTATORS:
        return pairs | (clean & (captions | (not wordy)))
    if reading in MAPS:
        return pairs | (clean & _has_part(table, reading) & (captions | (not wordy)))
    return pairs


def _lengths(table: Any, column: str) -> np.ndarray:
    import pyarrow.compute

    return pyarrow.compute.list_value_length(table.column(column)).to_numpy()


def _has_part(table: Any, role: str) -> np.ndarray:
    import pyarrow.compute as compute

    parts = table.column("parts")
    names = compute.struct_field(compute.list_flatten(parts), "name")
    match = compute.starts_with(names, f"{role}.").to_numpy()
    found = np.zeros(len(table), bool)
    found[compute.list_parent_indices(parts).to_numpy()[match]] = True
    return found
