"""One shard: a tar of samples in WebDataset's form and a Parquet file with a row for each.

Both are written under temporary names and renamed, the Parquet file last, so it vouches for the tar: where it lies and
the tar has the size that it says, the shard is done. What was left out is counted in its metadata.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from ....comfyui_pixwizard.files.safe_files import replaced
from .annotate import Tools
from .containers import require_pyarrow
from .inputs import Candidate
from .pictures import Picture, read_pair
from .places import Rejected
from .recipe import FORMAT, BuildRecipe

Item = TypeVar("Item")

FOLDER = "shards"
REPORT = b"pixwizard"
EXAMPLES = 5
TOGETHER = 16  # samples that are annotated together


@dataclass(frozen=True)
class Work:
    """One shard's candidates under its name."""

    name: str
    candidates: tuple[Candidate, ...]


@dataclass
class Tally:
    """What became of candidates: good ones, left out ones by reason, and a few of these by name; and of the good ones
    those that count as another task than they were stored under.
    """

    good: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    relabelled: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def reject(self, reason: str, origin: str, count: int = 1) -> None:
        """Count one, and note which."""
        self.rejected[reason] += count
        if len(noted := self.examples.setdefault(reason, [])) < EXAMPLES:
            noted.append(origin)

    def add(self, other: dict[str, Any]) -> None:
        """Add what `told` made of another."""
        self.good += other["good"]
        self.rejected.update(other["rejected"])
        self.relabelled.update(other.get("relabelled", {}))
        for reason, origins in other["examples"].items():
            noted = self.examples.setdefault(reason, [])
            noted += origins[: EXAMPLES - len(noted)]

    def told(self) -> dict[str, Any]:
        """As JSON has it, most frequent reasons first."""
        reasons, relabelled = (
            sorted(counts.items(), key=lambda item: (-item[1], item[0])) for counts in (self.rejected, self.relabelled)
        )
        return {
            "good": self.good,
            "rejected": dict(reasons),
            "examples": {name: self.examples[name] for name, _ in reasons},
        } | ({"relabelled": dict(relabelled)} if relabelled else {})


def schema() -> Any:
    """Columns of a manifest; parts are members of the tar: role, first byte, length, checksum."""
    arrow, _ = require_pyarrow()
    text, many = arrow.string(), arrow.list_(arrow.string())
    part = arrow.struct([("name", text), ("at", arrow.int64()), ("bytes", arrow.int64()), ("crc", arrow.int64())])
    score = arrow.struct([("name", text), ("value", arrow.float64())])
    return arrow.schema(
        [
            ("key", text), ("shard", text), ("input", text), ("origin", text), ("task", text),
            ("width", arrow.int32()), ("height", arrow.int32()), ("instructions", many), ("captions", many),
            ("hash", text), ("parts", arrow.list_(part)), ("scores", arrow.list_(score)), ("facts", text),
        ]
    )  # fmt: skip


def works(recipe: BuildRecipe, candidates: Iterator[Candidate], models: dict[str, str]) -> Iterator[Work]:
    """Candidates in shards, each named by the hash of what it is made from.

    Args:
        models: fingerprints of the folders of weights that the recipe names.
    """
    told = recipe.told()
    for name in ("output", "inputs", "shard", "unique"):
        del told[name]  # candidates say what matters of them
    base = hashlib.sha256(json.dumps([FORMAT, told, models], sort_keys=True).encode())
    for group in batched(candidates, recipe.shard):
        digest = base.copy()
        for candidate in group:
            digest.update(json.dumps(asdict(candidate), sort_keys=True).encode())
        yield Work(digest.hexdigest()[:24], group)


def batched(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """Items in groups of a size, the last one shorter (itertools has it from Python 3.12 on)."""
    waiting = iter(items)
    while group := tuple(islice(waiting, size)):
        yield group


def paths(output: Path, name: str) -> tuple[Path, Path]:
    """A shard's tar and Parquet file."""
    return output / FOLDER / f"{name}.tar", output / FOLDER / f"{name}.parquet"


def told_of(output: Path, name: str) -> dict[str, Any] | None:
    """What a finished shard says of itself: its tally and its tar's size; None when it is not there or not whole."""
    arrow, parquet = require_pyarrow()
    tar, table = paths(output, name)
    try:
        told = json.loads(parquet.read_schema(table).metadata[REPORT])
        return told if tar.stat().st_size == told["bytes"] else None
    except (OSError, KeyError, TypeError, arrow.ArrowInvalid):
        return None


def build_shard(work: Work, recipe: BuildRecipe, tools: Tools) -> None:
    """Write a shard.

    Raises:
        ValueError: it cannot be written, or an annotator cannot be used.
    """
    arrow, parquet = require_pyarrow()
    tar, table = paths(Path(recipe.output), work.name)
    tally, rows = Tally(), []
    with replaced(tar) as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for group in batched(work.candidates, TOGETHER):
                rows += _samples(group, recipe, tools, tally, archive, work.name)
        size = file.tell()
    tally.good = len(rows)
    told = tally.told() | {"bytes": size}
    shaped = schema().with_metadata({REPORT: json.dumps(told).encode()})
    with replaced(table) as file:
        parquet.write_table(arrow.Table.from_pylist(rows, schema=shaped), file)


def _samples(
    group: Sequence[Candidate], recipe: BuildRecipe, tools: Tools, tally: Tally, archive: tarfile.TarFile, shard: str
) -> list[dict[str, Any]]:
    """Rows of the good ones of some candidates, whose parts are written to the archive."""
    read: list[tuple[Candidate, Picture, Picture | None]] = []
    scores: list[dict[str, float]] = []
    for candidate in group:
        try:
            if candidate.broken or candidate.target is None:
                raise Rejected(candidate.broken or "missing")
            target, source = read_pair(candidate.target, candidate.source, recipe)
            task = tools.task(candidate.instructions, candidate.task) if source else candidate.task
            pictures = target.image, source.image if source else None
            found = tools.score(*pictures, candidate.captions, candidate.instructions, task)
        except Rejected as rejected:
            tally.reject(rejected.reason, f"{candidate.input}: {candidate.origin}")
            continue
        if task != candidate.task:
            tally.relabelled[f"{candidate.task or 'none'} to {task}"] += 1
            candidate = replace(candidate, task=task)
        read.append((candidate, target, source))
        scores.append(found)
    notes = tools.annotate([target.image for _, target, _ in read])
    rows = []
    for (candidate, target, source), score, note in zip(read, scores, notes, strict=True):
        key = hashlib.sha256(f"{candidate.input}\0{candidate.origin}".encode()).hexdigest()[:20]
        members = {f"target.{target.suffix}": target.data}
        if source is not None:
            members[f"source.{source.suffix}"] = source.data
        members |= {f"{name}.png": _png(picture) for name, picture in note.maps.items()}
        row = {
            "key": key,
            "shard": shard,
            "input": candidate.input,
            "origin": candidate.origin,
            "task": candidate.task,
            "width": target.image.width,
            "height": target.image.height,
            "instructions": candidate.instructions,
            "captions": (*candidate.captions, *note.captions),
            "hash": _digest(candidate, target, source),
            "scores": [{"name": name, "value": value} for name, value in score.items()],
            "facts": json.dumps(note.facts, sort_keys=True),
        }
        members["json"] = json.dumps({n: row[n] for n in ("task", "instructions", "captions", "origin")}).encode()
        row["parts"] = [_write(archive, f"{key}.{name}", name, data) for name, data in members.items()]
        rows.append(row)
    return rows


def _digest(candidate: Candidate, target: Picture, source: Picture | None) -> str:
    """Of all that training sees of a sample."""
    words = json.dumps([candidate.task, candidate.instructions, candidate.captions]).encode()
    found = hashlib.sha256(words)
    for picture in (target, source):
        found.update(hashlib.sha256(picture.data if picture else b"").digest())
    return found.hexdigest()


def _png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _write(archive: tarfile.TarFile, member: str, name: str, data: bytes) -> dict[str, Any]:
    """Add a member that is the same whenever it is written; answers where its bytes begin."""
    header = tarfile.TarInfo(member)
    header.size = len(data)
    archive.addfile(header, io.BytesIO(data))
    blocks = -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return {"name": name, "at": archive.offset - blocks, "bytes": len(data), "crc": zlib.crc32(data)}
