"""Weight files from strangers: read without executing anything, written whole or not at all.

Pickles are read with torch's restricted unpickler and an allow-list that is exactly what the caller names; tensors stay
memory-mapped and are copied group by group, so that memory does not grow with the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import struct
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

# How much is mapped and copied at a time.
GROUP_BYTES = 64 * 2**20
# How much of a tensor is cast at a time, in elements.
PIECE = 2**21
SAFETENSORS_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
# Names of files that are being written.
DRAFT = re.compile(r"\.(.+)\.\w{8}\.tmp")
_ALLOW_LIST_LOCK = threading.Lock()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Spec:
    """Element type and shape of one tensor of a file."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Size in a file."""
        return self.dtype.itemsize * torch.Size(self.shape).numel()


def _reason(error: BaseException) -> str:
    """One line of what went wrong, without torch's advice to switch its protection off."""
    text = str(error).strip()
    if refused := re.search(r"GLOBAL (\S+)", text):
        return f"it holds {refused[1]}, which is neither a tensor nor allowed"
    if text.startswith("Weights only load failed"):
        text = text.rpartition("WeightsUnpickler error: ")[2].split("\n\n\n")[-1].strip().split("\n")[0]
    return (" ".join(text.split()) or type(error).__name__)[:200]


@contextlib.contextmanager
def _only_allowed(classes: Sequence[type]) -> Iterator[None]:
    """Exactly `classes` on torch's allow-list, whatever other code of this process put there."""
    with _ALLOW_LIST_LOCK:
        others = torch.serialization.get_safe_globals()
        torch.serialization.clear_safe_globals()
        try:
            with torch.serialization.safe_globals(list(classes)):
                yield
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(others)


def read_pickle(path: str | Path, classes: Sequence[type] = ()) -> Any:
    """What torch.save wrote, memory-mapped, nothing executed.

    Args:
        path: a file in torch's zip format (torch 1.6 and later).
        classes: the allow-list beside tensors and plain containers.

    Raises:
        ValueError: no such file, truncated, not torch's format, or anything in it that is not allowed.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"a checkpoint file is needed, found none at {path}: check the path")
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} is not a complete file of torch.save (a zip archive): it is truncated, older than torch 1.6 or "
            "something else; copy or download it again"
        )
    try:
        with _only_allowed(classes):
            return torch.load(str(path), map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a hostile file chooses which one
        raise ValueError(
            f"{path} was refused: {_reason(error)}; use an unmodified copy of the released file"
        ) from error


class TensorFile:
    """A safetensors file or a pickled state dict: names and shapes now, values on demand.

    Raises:
        ValueError: unreadable, or not a flat dictionary of ordinary tensors.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise ValueError(f"a weights file is needed, found none at {self.path}: check the path")
        self.is_safetensors = self.path.suffix in (".safetensors", ".sft")
        self.metadata: dict[str, str] = {}
        if self.is_safetensors:
            self.specs = self._safetensors_specs()
        else:
            self.specs = {n: Spec(t.dtype, tuple(t.shape)) for n, t in self._pickled().items()}

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            with safe_open(str(self.path), framework="pt") as file:
                yield file
        except (SafetensorError, OSError, RuntimeError) as error:
            raise ValueError(
                f"{self.path} is not a complete safetensors file: {_reason(error)}; copy or download it again"
            ) from error

    def _safetensors_specs(self) -> dict[str, Spec]:
        dtypes = {name: dtype for dtype, name in SAFETENSORS_NAMES.items()}
        specs = {}
        with self._opened() as file:
            self.metadata = dict(file.metadata() or {})
            for name in file.keys():  # noqa: SIM118  (not a dictionary)
                entry = file.get_slice(name)
                if entry.get_dtype() not in dtypes:
                    raise ValueError(f"{self.path} holds {name} as {entry.get_dtype()}: convert it to F32, F16 or BF16")
                specs[name] = Spec(dtypes[entry.get_dtype()], tuple(entry.get_shape()))
        return specs

    def _pickled(self) -> dict[str, Tensor]:
        state = read_pickle(self.path)
        if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
            state = state["state_dict"]
        if not isinstance(state, dict) or not state:
            raise ValueError(f"{self.path} should hold a dictionary of tensors, found {type(state).__name__}")
        for name, value in state.items():
            ordinary = isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
            if not isinstance(name, str) or not ordinary or value.dtype not in SAFETENSORS_NAMES:
                raise ValueError(
                    f"{self.path} should hold named tensors only, found {str(name)[:80]!r}: {type(value).__name__}; "
                    "use a plain state dict"
                )
        return {name: value.detach() for name, value in state.items()}

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """The named tensors, memory-mapped afresh, so that dropping them gives the memory back."""
        if not self.is_safetensors:
            state = self._pickled()
            return {name: state[name] for name in names}
        with self._opened() as file:
            return {name: file.get_tensor(name) for name in names}


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file or a pickled state dict.

    Raises:
        ValueError: as `TensorFile`.
    """
    file = TensorFile(path)
    return file.read(list(file.specs))


@contextlib.contextmanager
def replaced(path: str | Path) -> Iterator[IO[bytes]]:
    """A file that appears under `path` when the block ends well, and not at all when it does not.

    Raises:
        ValueError: the place cannot be written.
    """
    path = Path(path)
    made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    # Not tempfile's, which are private: undoing that needs the umask, which a thread cannot read without changing it.
    draft = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = open(draft, "xb")  # noqa: SIM115  (the block below closes it)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
    try:
        with opened as file:
            yield file
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
        for folder in made:
            with contextlib.suppress(OSError):  # not empty: something else lives there now
                folder.rmdir()
        raise


def write_json(path: str | Path, value: object, **options: Any) -> None:
    """Write a value as JSON, as `replaced` does; options are those of `json.dumps`.

    Raises:
        ValueError: the place cannot be written.
    """
    with replaced(path) as file:
        file.write((json.dumps(value, **{"indent": 1, **options}) + "\n").encode())


def indexed_files(index: Path) -> list[Path]:
    """The files beside it that an index of shards names.

    Raises:
        ValueError: an unreadable index, or one that names nothing, or files elsewhere.
    """
    names = sorted(set(read_json(index).get("weight_map", {}).values()))
    if not names or any(Path(name).name != name for name in names):
        raise ValueError(f"{index} should name files beside it, found {names[:3]}: use an unmodified copy")
    return [index.parent / name for name in names]


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a model.

    Raises:
        ValueError: no such file, broken JSON, or no object.
    """
    try:
        return json_object(path.read_text(encoding="utf-8", errors="replace"), path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}; use an unmodified copy of the model") from error


def json_object(text: str, where: Path) -> dict[str, Any]:
    """The object that a text is; raises ValueError where it is none."""
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where} cannot be read, it holds broken JSON: {error}; use an unmodified copy") from error
    if not isinstance(values, dict):
        raise ValueError(f"{where} should hold a JSON object, found {type(values).__name__}: use an unmodified copy")
    return values


def drafts_of(paths: Iterable[Path]) -> list[Path]:
    """What `replaced` has begun of these files and not finished, now or when it was killed."""
    folders: dict[Path, set[str]] = {}
    for path in paths:
        folders.setdefault(path.parent, set()).add(path.name)
    found: list[Path] = []
    for folder, names in folders.items():
        with contextlib.suppress(OSError):  # nothing is begun where nothing can be read
            matches = [(entry, DRAFT.fullmatch(entry.name)) for entry in os.scandir(folder) if entry.name[:1] == "."]
            found += [folder / entry.name for entry, match in matches if match and match[1] in names]
    return found


def write_safetensors(
    path: str | Path,
    specs: Mapping[str, Spec],
    read: Callable[[Sequence[str]], Mapping[str, Tensor]],
    metadata: Mapping[str, str],
) -> None:
    """Write a safetensors file group by group, casting to the specs' element types.

    Args:
        path: the file, replaced at once when all is written.
        specs: what the file shall hold.
        read: returns the named tensors; called for about `GROUP_BYTES` at a time.
        metadata: strings.

    Raises:
        ValueError: a tensor of another shape, or a finite value that the new element type cannot hold.
    """
    # Wide elements first keeps every tensor aligned to its element size.
    names = sorted(specs, key=lambda name: (-specs[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **metadata}}
    offset = 0
    for name in names:
        end = offset + specs[name].bytes
        dtype = SAFETENSORS_NAMES[specs[name].dtype]
        header[name] = {"dtype": dtype, "shape": list(specs[name].shape), "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with replaced(path) as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for group in _groups(names, specs):
            tensors = read(group)
            for name in group:
                for piece in _pieces(name, tensors[name], specs[name]):
                    file.write(piece)
            del tensors


def _groups(names: Sequence[str], specs: Mapping[str, Spec]) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for name in names:
        # The source may hold wider elements than the output.
        mapped = specs[name].bytes // specs[name].dtype.itemsize * max(specs[name].dtype.itemsize, 4)
        if group and size + mapped > GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(name)
        size += mapped
    if group:
        yield group


def _pieces(name: str, tensor: Tensor, spec: Spec) -> Iterator[memoryview]:
    """A tensor's bytes in the wanted element type, little by little."""
    if tuple(tensor.shape) != spec.shape:
        raise ValueError(f"{name} should be {list(spec.shape)}, found {list(tensor.shape)}: the file changed meanwhile")
    for piece in tensor.detach().reshape(-1).split(PIECE):
        cast = piece.to("cpu", spec.dtype).contiguous()
        if cast.is_floating_point() and cast.numel() and cast.dtype.itemsize < tensor.dtype.itemsize:
            low, high = torch.aminmax(piece)
            # Counting is slow and only needed when the extremes do not fit, or are not numbers.
            if not (high <= torch.finfo(spec.dtype).max and low >= torch.finfo(spec.dtype).min):
                lost = int(torch.isinf(cast).sum() - torch.isinf(piece).sum())
                if lost:
                    raise ValueError(f"{name} has {lost} values too large for {spec.dtype}: use bfloat16 or float32")
        yield cast.view(torch.uint8).numpy().data
