"""Checkpoints of a run: sharded, written in the background, whole or not at all, and read by any number of processes.

FOLDER/checkpoints/step-00000030/   tensors as torch.distributed.checkpoint writes them, and state.json
FOLDER/checkpoints/latest           the name of the newest
FOLDER/run.json                     the run's id, which each state.json repeats

A checkpoint is written under a hidden name and renamed when every process has finished, so a killed run leaves the one
before. Only tensors go through torch: all else is JSON. torch keeps its index as a pickle; it is read with an unpickler
that knows the dozen classes of such an index and refuses everything else, and tensors are read with weights_only.
"""

from __future__ import annotations

import json
import pickle
import secrets
import shutil
import warnings
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata

from ...comfyui_pixwizard.files.safe_files import replaced
from .parallel import World

# Right for one process; a run of several gives its group.
warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or uninitialized")
FOLDER, LATEST, STATE, RUN = "checkpoints", "latest", "state.json", "run.json"
_DCP = "torch.distributed.checkpoint."
_CLASSES = {
    _DCP + "metadata": {
        "Metadata", "StorageMeta", "MetadataIndex", "TensorProperties", "TensorStorageMetadata",
        "ChunkStorageMetadata", "_MEM_FORMAT_ENCODING",
    },
    _DCP + "filesystem": {"_StorageInfo"},
    "torch": {"Size"},
    "torch.serialization": {"_get_layout"},
    "pathlib": {"PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"},
}  # fmt: skip


class _Index(pickle.Unpickler):
    """Reads torch's index of a checkpoint and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        known = name in _CLASSES.get(module, ()) or (
            module == "torch" and isinstance(getattr(torch, name, 0), torch.dtype)
        )
        if not known:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which no checkpoint needs")
        return super().find_class(module, name)


class Reader(dcp.FileSystemReader):
    """torch's reader of checkpoint folders, which executes nothing that it finds there."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        with open(Path(self.path) / ".metadata", "rb") as file:
            metadata = _Index(file).load()
        if not isinstance(metadata, Metadata):
            raise pickle.UnpicklingError(f"it is a {type(metadata).__name__}")
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata

    def shapes(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Element type and shape of every tensor."""
        found = {}
        for name, entry in self.read_metadata().state_dict_metadata.items():
            if not isinstance(entry, TensorStorageMetadata):
                raise pickle.UnpicklingError(f"{name} is no tensor")
            found[name] = entry.properties.dtype, tuple(entry.size)
        return found


_BROKEN = (CheckpointException, pickle.UnpicklingError, OSError, EOFError, ValueError, KeyError, IndexError,
           AttributeError, TypeError, RuntimeError)  # fmt: skip


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    # torch's message is a traceback; its last line says what happened.
    return lines[-1 if isinstance(error, CheckpointException) else 0][:200]


def newest(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run's folder, or None."""
    place = Path(folder) / FOLDER
    marker = place / LATEST
    if marker.is_file():
        found = place / Path(marker.read_text().strip()).name
        if (found / STATE).is_file():
            return found
    whole = sorted(path for path in place.glob("step-*") if (path / STATE).is_file())
    return whole[-1] if whole else None


def read(path: Path, prefix: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All tensors of a checkpoint whose names begin with prefix, on the CPU, and its other state.

    Raises:
        ValueError: damaged, or holding something that no checkpoint does.
    """
    try:
        reader = Reader(path)
        shapes = {name: spec for name, spec in reader.shapes().items() if name.startswith(prefix)}
        tensors = {name: torch.empty(shape, dtype=dtype) for name, (dtype, shape) in shapes.items()}
        dcp.load(tensors, storage_reader=reader, no_dist=True)
        return tensors, json.loads((path / STATE).read_text())
    except _BROKEN as error:
        raise ValueError(
            f"a checkpoint is a whole folder that training wrote, found {path}: {_reason(error)}; use another one"
        ) from error


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: the run's.
        world: who writes together.
        keep: how many to keep.
    """

    def __init__(self, folder: Path, world: World, keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"at least one checkpoint is kept, found {keep}: take 2")
        self.run, self.world, self.keep = Path(folder), world, keep
        self.folder = self.run / FOLDER
        self._pending: tuple[Future, Path] | None = None
        if world.main:
            self.folder.mkdir(parents=True, exist_ok=True)
            for leftover in self.folder.glob(".step-*.tmp"):
                shutil.rmtree(leftover, ignore_errors=True)
            if not (self.run / RUN).exists():
                with replaced(self.run / RUN) as file:
                    file.write(json.dumps({"id": secrets.token_hex(8)}).encode())
        world.wait()
        try:
            self.id = json.loads((self.run / RUN).read_text())["id"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.run / RUN} should hold the run's id: {error}; start in another folder") from error

    def latest(self) -> Path | None:
        """The newest whole checkpoint, or None."""
        return newest(self.run)

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Copy everything now and write it in the background; the one before is finished first."""
        self.finish()
        name = f"step-{step:08d}"
        draft = self.folder / f".{name}.tmp"
        if self.world.main:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            (draft / STATE).write_text(json.dumps({"run": self.id, "step": step} | dict(state)) + "\n")
        self.world.wait()
        writer = dcp.FileSystemWriter(draft, sync_files=True)
        single = self.world.saving is None
        done = dcp.async_save(dict(tensors), storage_writer=writer, process_group=self.world.saving, no_dist=single)
        assert isinstance(done, Future), "staging is synchronous"
        published: Future = Future()

        def publish(done: Future) -> None:
            try:
                done.result()
                if self.world.main:
                    self._publish(draft, self.folder / name)
                published.set_result(None)
            except BaseException as error:  # torch's own is none of Exception's; `finish` raises it
                published.set_exception(error)

        done.add_done_callback(publish)
        self._pending = published, draft

    def _publish(self, draft: Path, final: Path) -> None:
        """When the last byte is on disk: give the folder its name, and drop the oldest."""
        if final.exists():
            draft = draft.rename(draft.with_name(f".{final.name}-new.tmp"))
            final.rename(final.with_name(f".{final.name}-old.tmp"))
        draft.rename(final)
        with replaced(self.folder / LATEST) as file:
            file.write(f"{final.name}\n".encode())
        others = sorted(path for path in self.folder.glob("step-*"))[: -self.keep]
        # Hidden first, so that a kill leaves no half of one under a good name.
        hidden = [path.rename(path.with_name(f".{path.name}-old.tmp")) for path in others if path != final]
        for path in {*hidden, *self.folder.glob(".step-*-old.tmp")}:
            shutil.rmtree(path, ignore_errors=True)

    def finish(self) -> None:
        """Until what is being written is on disk.

        Raises:
            ValueError: it could not be written; the one before is kept.
        """
        if self._pending is None:
            return
        (published, draft), self._pending = self._pending, None
        try:
            published.result()
        except (CheckpointException, OSError, RuntimeError) as error:
            raise ValueError(
                f"the checkpoint {draft} could not be written: {_reason(error)}; make room and run the same command "
                f"again, {self.latest() or 'none'} is the last good one"
            ) from error

    def load(self, path: Path, tensors: dict[str, Tensor]) -> dict[str, Any]:
        """Fill the tensors, sharded as they are, from a checkpoint of any number of processes; the other state.

        Raises:
            ValueError: damaged, of another run or of another model.
        """
        fix = f"remove {path} to go on from the one before, or {self.folder} to start over"
        try:
            state = json.loads((path / STATE).read_text())
            reader = Reader(path)
            shapes = {name: shape for name, (_, shape) in reader.shapes().items()}
            wanted = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
            wrong = [name for name in {**wanted, **shapes} if wanted.get(name) != shapes.get(name)]
            if state.get("run") != self.id or wrong:
                found = f"{wrong[0]} {shapes.get(wrong[0])}" if wrong else f"run {state.get('run')}"
                raise ValueError(f"it is of another {'model' if wrong else 'run'} ({found})")
            dcp.load(tensors, storage_reader=reader, process_group=self.world.saving, no_dist=self.world.saving is None)
        except _BROKEN as error:
            raise ValueError(
                f"a run continues from a whole checkpoint of the same model, found {path}: {_reason(error)}; {fix}"
            ) from error
        return state
