"""Latents and text features that are computed once and kept: `FeatureCache(folder, told)`.

What is kept belongs to a file's hash and bucket (the keys of the loader's batches) or to a sentence, and to a hash of
what made it: the encoder's weights and its settings. Another encoder therefore never finds them. Entries are collected
and written as safetensors files of some hundred, whole or not at all; every process writes its own.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ....comfyui_pixwizard.files.safe_files import replaced

ENTRIES = 256  # of a file


def config_hash(**told: Any) -> str:
    """A hash of what features depend on beside their input: fingerprint of weights, element type, settings."""
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]


class FeatureCache:
    """Tensors by key, in files.

    Args:
        folder: of all caches.
        config: from `config_hash`; a folder inside.
        entries: tensors of a file.

    Attributes:
        hits, misses: how often a key was known, and not; keys that are empty count as neither.
    """

    def __init__(self, folder: str | Path, config: str, entries: int = ENTRIES):
        self.folder, self.entries = Path(folder) / config, entries
        self.hits = self.misses = 0
        self._where: dict[str, Path] = {}
        self._fresh: dict[str, Tensor] = {}
        self._open: dict[Path, Any] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            self._where.update(dict.fromkeys(self._opened(path).keys(), path))

    def __len__(self) -> int:
        return len(self._where) + len(self._fresh)

    def get(self, keys: Sequence[str], compute: Callable[[list[int]], Tensor | Sequence[Tensor]]) -> list[Tensor]:
        """The tensors of some keys; those that are not known are computed together.

        Args:
            keys: one for each tensor; "" for what must not be kept.
            compute: takes numbers of keys and answers their tensors in that order.

        Returns:
            Tensors on the device where they were computed, or in memory where they were known.
        """
        known = {at: self._read(key) for at, key in enumerate(keys) if key and self._has(key)}
        missing = [at for at in range(len(keys)) if at not in known]
        self.hits += len(known)
        self.misses += sum(1 for at in missing if keys[at])
        computed = dict(zip(missing, compute(missing), strict=True)) if missing else {}
        for at, tensor in computed.items():
            if keys[at]:
                self._fresh[keys[at]] = tensor.detach().to("cpu", copy=True).contiguous()
        if len(self._fresh) >= self.entries:
            self.flush()
        return [known[at] if at in known else computed[at] for at in range(len(keys))]

    def flush(self) -> None:
        """Write what is new; call it at checkpoints and at the end."""
        if not self._fresh:
            return
        digest = hashlib.sha256("".join(sorted(self._fresh)).encode()).hexdigest()[:12]
        path = self.folder / f"{digest}-{os.getpid()}.safetensors"
        with replaced(path) as file:
            file.write(save(self._fresh))
        self._where.update(dict.fromkeys(self._fresh, path))
        self._fresh = {}

    def _has(self, key: str) -> bool:
        return key in self._fresh or key in self._where

    def _read(self, key: str) -> Tensor:
        if key in self._fresh:
            return self._fresh[key]
        path = self._where[key]
        try:
            return self._opened(path).get_tensor(key)
        except SafetensorError as error:
            raise ValueError(f"{path} of the cache is damaged: remove it, it will be made again") from error

    def _opened(self, path: Path) -> Any:
        if path not in self._open:
            try:
                self._open[path] = safe_open(str(path), "pt").__enter__()
            except (SafetensorError, OSError) as error:
                raise ValueError(f"{path} of the cache is damaged: remove it, it will be made again") from error
        return self._open[path]


def stacked(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    """Latents of one bucket as a batch."""
    return torch.stack([tensor.to(device) for tensor in tensors])
