"""The project's own weight files: safetensors with the configuration and where they come from in the metadata.

A model is one file, or a folder with `model.safetensors` or `model-00001-of-0000N.safetensors` and their index.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config import PixWizardConfig
from ..tasks.declared import Declared
from ..transformer import PixWizardTransformer
from .safe_files import Spec, TensorFile, indexed_files, json_object, read_json, write_json, write_safetensors

CONFIG_FILE = "config.json"
SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
# Entry of the metadata: what the model declares, as JSON.
DECLARES = "declares"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# Small enough for hosts that refuse larger files.
MAX_SHARD_BYTES = 14_000_000


def meta_specs(config: PixWizardConfig) -> dict[str, Spec]:
    """Names and shapes of a configuration's parameters, without allocating them.

    Raises:
        ValueError: sizes that no model can have.
    """
    try:
        with torch.device("meta"):
            model = PixWizardTransformer(config)
    except (RuntimeError, TypeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"no model can be built from {config.to_dict()}: {reason}; use an unmodified copy") from error
    return {name: Spec(value.dtype, tuple(value.shape)) for name, value in model.state_dict().items()}


def count_layers(specs: Mapping[str, Spec]) -> int:
    """Number of transformer blocks in a file, which bounds what a hostile name or configuration could ask for."""
    return len({name.split(".")[1] for name in specs if name.startswith("layers.")})


def check_names_and_shapes(found: Mapping[str, Spec], wanted: Mapping[str, Spec], where: str | Path, fix: str) -> None:
    """Refuse a file that is not exactly the wanted model.

    Raises:
        ValueError: a missing, superfluous, misshapen or integer entry; the first one is named.
    """
    missing = [name for name in wanted if name not in found]
    if missing:
        raise ValueError(f"{where} lacks {len(missing)} of {len(wanted)} entries, the first is {missing[0]!r}: {fix}")
    foreign = [name for name in found if name not in wanted]
    if foreign:
        raise ValueError(f"{where} has {len(foreign)} entries of another model, the first is {foreign[0]!r}: {fix}")
    for name, spec in wanted.items():
        if found[name].shape != spec.shape or not found[name].dtype.is_floating_point:
            raise ValueError(
                f"{where} should hold {name} as floating {list(spec.shape)}, "
                f"found {found[name].dtype} {list(found[name].shape)}: {fix}"
            )


def declared_of(metadata: Mapping[str, str], where: Path) -> Declared | None:
    """What the metadata of a file of weights declare, if they do.

    Raises:
        ValueError: they declare what cannot be used.
    """
    if DECLARES not in metadata:
        return None
    values = json_object(metadata[DECLARES], where)
    return Declared.read(values.get("tasks"), values.get("class_names"), values.get("max_size"), where)


def output_file(out: str | Path) -> Path:
    """The file behind a command's OUT: itself when it ends in .safetensors, else OUT/model.safetensors."""
    out = Path(out)
    return out if out.suffix == ".safetensors" else out / SINGLE_FILE


class ModelFiles:
    """The file or files of one transformer: configuration, names and shapes, what it declares; values on demand.

    Raises:
        ValueError: nothing there, unreadable, no configuration, or not the model that the configuration describes.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.files = [TensorFile(file) for file in self._find()]
        self.provenance: dict[str, Any] = json_object(
            self.files[0].metadata.get("provenance", "{}"), self.files[0].path
        )
        self.declared = declared_of(self.files[0].metadata, self.files[0].path)
        self.config = self._config()
        self.specs: dict[str, Spec] = {}
        for file in self.files:
            self.specs.update(file.specs)
        fix = "use an unmodified model written by this project (pixwizard convert makes one of the released files)"
        if self.config.n_layers != count_layers(self.specs):
            layers = count_layers(self.specs)
            raise ValueError(f"{self.path} should hold {self.config.n_layers} layers, found {layers}: {fix}")
        check_names_and_shapes(self.specs, meta_specs(self.config), self.path, fix)

    def _find(self) -> list[Path]:
        if self.path.is_file():
            return [self.path]
        index = self.path / INDEX_FILE
        if (self.path / SINGLE_FILE).is_file():
            return [self.path / SINGLE_FILE]
        if not index.is_file():
            raise ValueError(
                f"a model is a .safetensors file or a folder with {SINGLE_FILE} or {INDEX_FILE}, found neither at "
                f"{self.path}: check the path, or make one with pixwizard convert"
            )
        return indexed_files(index)

    def _config(self) -> PixWizardConfig:
        beside = self.path / CONFIG_FILE
        if self.path.is_dir() and beside.is_file():
            values = read_json(beside)
        elif "config" in self.files[0].metadata:
            values = json_object(self.files[0].metadata["config"], self.files[0].path)
        else:
            raise ValueError(
                f"{self.path} has no PixWizard configuration in its metadata or in {CONFIG_FILE}: "
                "convert released files with pixwizard convert"
            )
        try:
            return PixWizardConfig.from_dict(values)
        except TypeError as error:
            raise ValueError(
                f"{self.path} has a configuration of wrong types: {error}; use an unmodified copy"
            ) from error

    def read(self) -> dict[str, Tensor]:
        """All tensors, memory-mapped."""
        tensors: dict[str, Tensor] = {}
        for file in self.files:
            tensors.update(file.read(list(file.specs)))
        return tensors


def load_transformer(
    path: str | Path, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> PixWizardTransformer:
    """A transformer in eval mode from a file or folder of this project, its weights in `dtype` on `device`.

    Raises:
        ValueError: as `ModelFiles`.
    """
    files = ModelFiles(path)
    with torch.device("meta"):
        model = PixWizardTransformer(files.config)
    # A copy even where nothing is cast: weights that map a file would fail when it is replaced.
    state = {name: tensor.to(device, dtype, copy=True) for name, tensor in files.read().items()}
    model.load_state_dict(state, strict=True, assign=True)
    model.declared = files.declared
    return model.eval()


def save_transformer(
    model: PixWizardTransformer,
    folder: str | Path,
    dtype: torch.dtype = torch.float32,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write config.json and the weights as `dtype`, in shards of at most `max_shard_bytes` where no tensor is larger.

    Args:
        provenance: plain values for the metadata: how the weights came to be.
    """
    folder = Path(folder)
    state = model.state_dict()
    specs = {name: Spec(dtype, tuple(value.shape)) for name, value in state.items()}
    shards = _shards(specs, max_shard_bytes)
    config = json.dumps(model.config.to_dict())
    metadata = {"config": config, "provenance": json.dumps(dict(provenance or {}))}
    if model.declared is not None:
        metadata[DECLARES] = json.dumps(model.declared.to_dict())
    names = [SINGLE_FILE]
    if len(shards) > 1:
        names = [f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]

    def read(wanted: Sequence[str]) -> dict[str, Tensor]:
        return {name: state[name] for name in wanted}

    for name, shard in zip(names, shards, strict=True):
        write_safetensors(folder / name, {entry: specs[entry] for entry in shard}, read, metadata)
    write_json(folder / CONFIG_FILE, model.config.to_dict())
    if len(shards) > 1:
        weight_map = {entry: name for name, shard in zip(names, shards, strict=True) for entry in shard}
        total = sum(spec.bytes for spec in specs.values())
        write_json(folder / INDEX_FILE, {"metadata": {"total_size": total}, "weight_map": weight_map}, indent=None)
    _remove_stale(folder, {*names, *([INDEX_FILE] if len(shards) > 1 else [])})


def _shards(specs: Mapping[str, Spec], limit: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    size = 0
    for name, spec in specs.items():
        if shards[-1] and size + spec.bytes > limit:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += spec.bytes
    return shards


def _remove_stale(folder: Path, kept: set[str]) -> None:
    """What an earlier save with another number of shards left would be read instead of, or beside, the new files."""
    for path in (folder / SINGLE_FILE, folder / INDEX_FILE, *folder.glob("model-*-of-*.safetensors")):
        if path.name not in kept:
            path.unlink(missing_ok=True)
