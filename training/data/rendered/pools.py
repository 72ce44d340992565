"""Pools of rendered material, made once, kept on disk and drawn from again and again.

Rendering costs more than training on what was rendered, so a recipe renders a pool first. A pool is a function of its
seed and size; its files are written to a temporary name and renamed, so that a killed build leaves nothing
half-written, and large pools lie in parts that all cores render and that are rendered once.
Shape legend: S sheets or side of a picture, A sheet side, B batch, N pictures.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...render.dead_leaves import SHEET, cut, finish, sheet
from ..feed.workers import in_processes

SHEETS = 20  # of a part


def missing(paths: Sequence[Path]) -> list[int]:
    """Numbers of the files that are not there yet."""
    return [number for number, path in enumerate(paths) if not path.exists()]


def cached(path: Path, build: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Load the tensors of `path`, building and writing them first if there is no such file."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            save_file(build(), temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return load_file(path)


def to_text(value: Any) -> Tensor:
    """A plain value as bytes of JSON, for a file that holds tensors."""
    return torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)


def of_text(tensor: Tensor) -> Any:
    """The inverse of `to_text`."""
    return json.loads(bytes(tensor.numpy()))


def cropped(pictures: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """One random square [n,3,size,size] of square pictures [n,3,S,S] that are at least as large."""
    top, left = (int(torch.randint(pictures.shape[-1] - size + 1, (1,), generator=generator)) for _ in range(2))
    return pictures[:, :, top : top + size, left : left + size]


class Pictures:
    """N square pictures as bytes, drawn by number or at random.

    Attributes:
        image: [N,3,S,S] uint8.   size: S.
    """

    def __init__(self, image: Tensor):
        self.image, self.size = image, image.shape[-1]

    def __len__(self) -> int:
        return len(self.image)

    def picture(self, index: Tensor) -> Tensor:
        """Pictures [B,3,S,S] in [0,1]."""
        return self.image[index].float() / 255

    def draw(self, n: int, size: int, generator: torch.Generator) -> Tensor:
        """n pictures [n,3,size,size] in [0,1]; size is at most the pool's."""
        pictures = self.picture(torch.randint(len(self), (n,), generator=generator))
        return cropped(pictures, size, generator)


class LeafPool:
    """Dead-leaves sheets as uint8 [S,3,A,A]; pictures are cut from them anew at every draw."""

    def __init__(self, folder: Path, sheets: int = 160, seed: int = 1):
        parts = [
            (folder / f"leaves-{seed}-{first}-{min(SHEETS, sheets - first)}.safetensors", first, sheets)
            for first in range(0, sheets, SHEETS)
        ]
        todo = [parts[i] for i in missing([path for path, _, _ in parts])]
        in_processes(partial(_paint_sheets, seed), todo, "dead leaves")
        self.sheets = torch.cat([load_file(path)["sheets"] for path, _, _ in parts])

    def draw(self, n: int, size: int, generator: torch.Generator) -> Tensor:
        """Cut n pictures: [n,3,size,size] in [0,1]."""
        chosen = torch.randint(len(self.sheets), (n,), generator=generator).tolist()
        pictures = [cut(self.sheets[i], size, generator) for i in chosen]
        return finish(torch.stack(pictures).float() / 255, generator)


def _paint_sheets(seed: int, part: tuple[Path, int, int]) -> None:
    path, first, sheets = part

    def build() -> dict[str, Tensor]:
        numbers = range(first, min(first + SHEETS, sheets))
        out = torch.empty(len(numbers), 3, SHEET, SHEET, dtype=torch.uint8)
        for row, number in enumerate(numbers):
            painted = sheet(torch.Generator().manual_seed(seed * 1_000_003 + number))
            out[row] = (painted * 255).round().to(torch.uint8)
        return {"sheets": out}

    cached(path, build)
