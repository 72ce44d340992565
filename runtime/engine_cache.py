"""Built engines on disk, each beside a JSON file that says exactly what it is for.

An engine is code for one machine: it is opened only from a cache folder, and only while its bytes are the ones that
its JSON file (sidecar) was written for. Names are hashes of everything that an engine depends on, so that nothing
stale is ever found; what is no longer found goes when the folder grows beyond its cap, longest unused first.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..comfyui_pixwizard.files.safe_files import sha256_of, write_json
from .machine import cache_folder

ENGINE, SIDECAR, LOCK, DRAFT = ".engine", ".engine.json", ".lock", ".part"
FORMAT = 1
CAP = "PIXWIZARD_ENGINES_GB"
DEFAULT_CAP_GB = 32.0
# A build that died leaves its draft; nothing builds for longer than this.
DRAFT_SECONDS = 24 * 3600
Tell = Callable[[str], None]


def engines_folder() -> Path:
    """Where engines are kept outside a host."""
    return cache_folder() / "engines"


def cap_bytes() -> int:
    """How large a cache folder may grow: $PIXWIZARD_ENGINES_GB, by default 32 GB.

    Raises:
        ValueError: the variable holds no positive number.
    """
    text = os.environ.get(CAP) or str(DEFAULT_CAP_GB)
    with contextlib.suppress(ValueError):
        if float(text) > 0:
            return int(float(text) * 1e9)
    raise ValueError(f"{CAP} is the cap of the engine cache in gigabytes, found {text!r}: set it to a number above 0")


@dataclass(frozen=True)
class EngineKey:
    """Everything that an engine depends on; plain values only.

    Args:
        kind: "tensorrt" or "tensorrt-rtx".
        weights: hash of the base weights, without LoRA.
        graph, version: of the exported graph and of the project.
        precision: type of weights and products.
        profiles: shapes that it is built for, see `engine_profiles`.
        settings: what else the builder was told.
        builder: name and version of the compiler.
        architecture: of the GPU, such as sm90.
        system: operating system and processor.
    """

    kind: str
    weights: str
    graph: int
    version: str
    precision: str
    profiles: Any
    builder: str
    architecture: str
    system: str
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 over the key as JSON in one form."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Entry:
    """One engine of a cache: its key and file, what the sidecar says of it, and of `title` for people.

    `seconds` is how long the build took; `built` and `used` are UTC in ISO form; `notes` holds what was measured.
    """

    key: EngineKey
    path: Path
    bytes: int
    sha256: str
    built: str
    used: str
    seconds: float
    title: str
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def sidecar(self) -> Path:
        """The JSON file."""
        return sidecar_of(self.path)

    def plain(self) -> dict[str, Any]:
        """What the sidecar holds."""
        values = dataclasses.asdict(self)
        del values["path"]
        return {"format": FORMAT, "file": self.path.name} | values

    def state(self, closer: bool = False) -> str:
        """ok, missing or damaged, at a glance; looking closer compares all bytes with those that were built."""
        if not self.path.is_file():
            return "missing"
        whole = self.path.stat().st_size == self.bytes
        return "ok" if whole and (not closer or sha256_of(self.path) == self.sha256) else "damaged"


def sidecar_of(engine: Path) -> Path:
    """The JSON file of an engine file."""
    return engine.with_name(engine.name.removesuffix(ENGINE) + SIDECAR)


def read_sidecar(path: Path) -> Entry:
    """An entry from its JSON file.

    Raises:
        ValueError: not JSON, of another form, or not named by its key.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        known = {item.name for item in dataclasses.fields(Entry)} - {"path", "key"}
        if values["format"] != FORMAT or not isinstance(values["key"], dict):
            raise KeyError("format")
        entry = Entry(
            key=EngineKey(**values["key"]),
            path=path.with_name(path.name.removesuffix(SIDECAR) + ENGINE),
            **{name: values[name] for name in known},
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} does not describe an engine ({type(error).__name__}): delete it and build again"
        ) from error
    if path.name != entry.key.digest + SIDECAR or values["file"] != entry.path.name:
        raise ValueError(f"{path} describes another engine than its name says: delete it and build again")
    return entry


def _readable(path: Path) -> Entry | None:
    """An entry from its JSON file; None where it cannot be read, which is logged."""
    try:
        return read_sidecar(path)
    except ValueError as error:
        logging.warning("PixWizard engine cache: %s", error)
        return None


class EngineCache:
    """Engines of some folders.

    Args:
        folder: where engines are built into.
        others: further folders to look in; nothing is changed there.
        cap: bytes that `folder` may hold, by default `cap_bytes()`.
    """

    def __init__(self, folder: Path | None = None, others: Sequence[Path] = (), cap: int | None = None) -> None:
        self.folder = engines_folder() if folder is None else Path(folder)
        self.folders = [self.folder, *(Path(other) for other in others if Path(other) != self.folder)]
        self.cap = cap

    def entries(self) -> list[Entry]:
        """All readable entries, the last used first; what cannot be read is logged."""
        paths = [path for folder in self.folders for path in sorted(folder.glob(f"*{SIDECAR}"))]
        readable = [entry for entry in map(_readable, paths) if entry is not None]
        return sorted(readable, key=lambda entry: entry.used, reverse=True)

    def find(self, key: EngineKey) -> Entry | None:
        """The entry of a key, or None where there is none that could be opened (then the log says why)."""
        for folder in self.folders:
            path = folder / (key.digest + SIDECAR)
            entry = _readable(path) if path.is_file() else None
            if entry is not None and entry.state() == "ok":
                return entry
            if entry is not None:
                logging.warning("PixWizard engine cache: %s is %s, it will be built again", entry.path, entry.state())
        return None

    def read(self, entry: Entry) -> bytes:
        """The bytes of an engine, after they proved to be the ones that were built; marks it as used.

        Raises:
            ValueError: it lies outside the cache, is gone, has other bytes, or strangers may write it.
        """
        if entry.path.parent not in self.folders:
            raise ValueError(
                f"engines are code and are opened from the cache only ({self.folder}), found {entry.path}: build it "
                "there, or name its folder as the cache"
            )
        if os.name == "posix" and entry.path.is_file() and entry.path.stat().st_mode & 0o002:
            raise ValueError(f"engines are code, and every user may write {entry.path}: run chmod o-w on it")
        try:
            data = entry.path.read_bytes()
        except OSError as error:
            raise ValueError(f"cannot read {entry.path}: {error.strerror or error}; build it again") from error
        found = hashlib.sha256(data).hexdigest()
        if len(data) != entry.bytes or found != entry.sha256:
            raise ValueError(
                f"{entry.path} is not what was built: {len(data)} bytes with SHA-256 {found[:12]}…, its sidecar says "
                f"{entry.bytes} and {entry.sha256[:12]}…; it is damaged or was exchanged, delete it and build again"
            )
        self._mark(entry, used=_now())
        return data

    def annotate(self, entry: Entry, **notes: Any) -> Entry:
        """Remember something that was measured on an engine."""
        return self._mark(entry, notes=entry.notes | notes)

    def build(
        self, key: EngineKey, title: str, make: Callable[[Path], dict[str, Any] | None], tell: Tell = logging.info
    ) -> Entry:
        """The entry of a key, built where there is none yet; of several processes one builds and the others wait.

        Args:
            make: writes the engine to the path that it is given; what it returns becomes the entry's notes.
            tell: is told when another process builds it.

        Raises:
            ValueError: the folder cannot be written, or as `make`; nothing is left then.
        """
        with self.locked(key.digest, tell):
            found = self.find(key)
            if found is not None:
                return found
            path = self.folder / (key.digest + ENGINE)
            draft = self.folder / f".{key.digest}.{secrets.token_hex(4)}{DRAFT}"
            start = time.perf_counter()
            try:
                notes = make(draft) or {}
                size, digest = draft.stat().st_size, sha256_of(draft)
                sidecar_of(path).unlink(missing_ok=True)
                os.replace(draft, path)
            finally:
                draft.unlink(missing_ok=True)
            now = _now()
            entry = Entry(key, path, size, digest, now, now, round(time.perf_counter() - start, 1), title, notes)
            write_json(entry.sidecar, entry.plain())
        self.prune(keep=[entry])
        return entry

    def prune(self, cap: int | None = None, keep: Iterable[Entry] = ()) -> list[Path]:
        """Remove leftovers, and engines that were not used for longest until the rest fits the cap.

        Engines that another process builds or reads at the moment stay.

        Returns:
            Engine files that are gone.
        """
        cap = cap if cap is not None else self.cap if self.cap is not None else cap_bytes()
        kept = {entry.path for entry in keep}
        gone = self._leftovers()
        own = [entry for entry in self.entries() if entry.path.parent == self.folder]
        total = sum(entry.bytes for entry in own)
        for entry in reversed(own):
            broken = entry.state() != "ok"
            if entry.path in kept or (total <= cap and not broken):
                continue
            with self.locked(entry.key.digest) as free:
                if free:
                    # Without its sidecar an engine is never opened: that one goes first.
                    entry.sidecar.unlink(missing_ok=True)
                    entry.path.unlink(missing_ok=True)
                    total -= entry.bytes
                    gone.append(entry.path)
        return gone

    def _leftovers(self) -> list[Path]:
        """Remove engines without a sidecar, sidecars that cannot be read, and old drafts."""
        gone = [path for path in self.folder.glob(f"*{ENGINE}") if not sidecar_of(path).is_file()]
        for path in self.folder.glob(f"*{SIDECAR}"):
            try:
                read_sidecar(path)
            except ValueError:
                gone += [path, path.with_name(path.name.removesuffix(SIDECAR) + ENGINE)]
        for path in self.folder.glob(f".*{DRAFT}"):
            with contextlib.suppress(FileNotFoundError):  # its builder finished meanwhile
                if time.time() - path.stat().st_mtime > DRAFT_SECONDS:
                    gone.append(path)
        removed = []
        for path in gone:
            with self.locked(path.name.lstrip(".").split(".")[0]) as free:
                if free and path.is_file():
                    path.unlink()
                    removed.append(path)
        return removed

    def _mark(self, entry: Entry, **changes: Any) -> Entry:
        """The entry with changes, also on disk where it is this cache's own and nobody works on it."""
        changed = dataclasses.replace(entry, **changes)
        if entry.path.parent == self.folder and os.access(self.folder, os.W_OK):
            with self.locked(entry.key.digest) as free:
                if free and entry.sidecar.is_file():
                    write_json(changed.sidecar, changed.plain())
        return changed

    @contextlib.contextmanager
    def locked(self, digest: str, tell: Tell | None = None) -> Iterator[bool]:
        """Hold the lock of a key; False where another process does and there is nobody to `tell` that this waits."""
        from filelock import FileLock, Timeout

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"cannot write the engine cache {self.folder}: {error.strerror or error}; set $PIXWIZARD_CACHE"
            ) from error
        lock = FileLock(self.folder / f".{digest}{LOCK}")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if tell is None:
                yield False
                return
            tell("another process builds this; waiting for it")
            lock.acquire()
        try:
            yield True
        finally:
            lock.release()


def _now() -> str:
    # Microseconds, so that the order of use is known within a second too.
    return datetime.now(UTC).isoformat(timespec="microseconds")
