"""A run's state as files of a bounded size, to be carried to another machine and put together there.

A pack is a tar stream cut into PACK/run-000, run-001 … and PACK/index.json with the size and SHA-256 of each part.
It holds what resuming needs: word pieces, the model that a run began with, and of each stage the newest checkpoint and
the log. Pools are left out: they are rendered again.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...comfyui_pixwizard.files.safe_files import replaced, sha256_of, write_json
from .checkpoints import FOLDER, LATEST, newest

INDEX, PART = "index.json", "run-{:03d}"
LEFT_OUT = {"pools", "export", "tensorboard"}
MIB = 1 << 20


def _files(run: Path) -> Iterator[Path]:
    """What resuming needs, in order of the names."""
    for path in sorted(run.rglob("*")):
        inside = path.relative_to(run).parts
        if not path.is_file() or path.is_symlink() or LEFT_OUT & set(inside):
            continue
        if FOLDER in inside:
            stage = run.joinpath(*inside[: inside.index(FOLDER)])
            kept = newest(stage)
            if path.name != LATEST and (kept is None or kept not in path.parents):
                continue
        yield path


class _Cut(io.RawIOBase):
    """Writes a stream to PART files of at most `most` bytes each, with their digests."""

    def __init__(self, folder: Path, most: int) -> None:
        self.folder, self.most = folder, most
        self.parts: list[dict[str, str | int]] = []
        self._buffer = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:  # type: ignore[no-untyped-def, override]
        self._buffer += data
        while len(self._buffer) >= self.most:
            self._flush(self.most)
        return len(data)

    def _flush(self, size: int) -> None:
        part = bytes(self._buffer[:size])
        name = PART.format(len(self.parts))
        with replaced(self.folder / name) as file:
            file.write(part)
        self.parts.append({"name": name, "size": size, "sha256": hashlib.sha256(part).hexdigest()})
        del self._buffer[:size]

    def end(self) -> None:
        """Write what is left."""
        if self._buffer:
            self._flush(len(self._buffer))


class _Joined(io.RawIOBase):
    """Files one after the other, for reading."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths, self.at = list(paths), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def, override]
        while self.paths:
            with open(self.paths[0], "rb") as file:
                file.seek(self.at)
                count = file.readinto(buffer)
            self.at += count
            if count:
                return count
            self.paths, self.at = self.paths[1:], 0
        return 0


@dataclass
class Pack:
    """Cut a run's state into files that can be carried to another machine."""

    run_folder: Path
    """The run."""
    out: Path
    """Where the files go; a new or empty folder."""
    mib: float = 15.0
    """Largest file, in MiB."""

    def run(self) -> bool:
        """Write the files and print their number and size.

        Raises:
            ValueError: no run, no room for its files, or a size that is not positive.
        """
        files = list(_files(self.run_folder)) if self.run_folder.is_dir() else []
        if not any(path.name == LATEST for path in files):
            raise ValueError(f"a pack holds a run with a checkpoint, found none in {self.run_folder}: give its folder")
        if self.mib <= 0 or (self.out.exists() and any(self.out.iterdir())):
            raise ValueError(
                f"a pack goes into an empty folder, in parts of a positive size, found {self.out} and {self.mib:g} "
                "MiB: give another folder or size"
            )
        self.out.mkdir(parents=True, exist_ok=True)
        cut = _Cut(self.out, max(int(self.mib * MIB), 1))
        with tarfile.open(fileobj=cut, mode="w|") as tar:
            for path in files:
                tar.add(path, str(path.relative_to(self.run_folder)), recursive=False)
        cut.end()
        write_json(self.out / INDEX, {"parts": cut.parts})
        total = sum(int(part["size"]) for part in cut.parts)
        print(f"wrote {len(files)} files of {self.run_folder} as {len(cut.parts)} parts, {total / MIB:.1f} MiB")
        return True


@dataclass
class Unpack:
    """Put a run together again from the files of `train pack`."""

    pack: Path
    """The folder of the files."""
    out: Path
    """The run's new folder, which must not hold a run; pools that lie there already are used."""

    def run(self) -> bool:
        """Check every part, then write the run.

        Raises:
            ValueError: parts that are missing or damaged, or a folder that holds a run.
        """
        parts = self._parts()
        there = sorted(self.out.iterdir()) if self.out.exists() else []
        taken = [path.name for path in there if path.name not in LEFT_OUT]
        if taken:
            raise ValueError(f"a run is unpacked into a new folder, found {taken[0]} in {self.out}: give another")
        draft = self.out.with_name(f".{self.out.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        try:
            with tarfile.open(fileobj=io.BufferedReader(_Joined(parts), MIB), mode="r|") as tar:
                tar.extractall(draft, filter="data")  # nothing outside the folder, no links that leave it
            self.out.mkdir(parents=True, exist_ok=True)
            for path in sorted(draft.iterdir()):
                path.rename(self.out / path.name)
        except tarfile.TarError as error:
            raise ValueError(
                f"a pack is a tar stream in parts, found {self.pack}: {error}; pack the run again"
            ) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        print(f"wrote {self.out}")
        return True

    def _parts(self) -> list[Path]:
        try:
            told = json.loads((self.pack / INDEX).read_text())["parts"]
            # By their numbers: a name in the index is never used as a path.
            paths = [self.pack / PART.format(number) for number in range(len(told))]
            wanted = [(int(part["size"]), str(part["sha256"])) for part in told]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"a pack has an {INDEX}, found none in {self.pack}: {error}; give its folder") from error
        for path, (size, digest) in zip(paths, wanted, strict=True):
            if not path.is_file() or path.stat().st_size != size or sha256_of(path) != digest:
                raise ValueError(f"a pack's parts must all be there as written, found {path.name} missing or changed: "
                                 "carry it over again")  # fmt: skip
        return paths
