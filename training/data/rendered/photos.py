"""Photographs of a folder as a source of clean pictures, for those who have some (the bundled model uses none)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ....comfyui_pixwizard.pictures.images import SUFFIXES
from ...render.dead_leaves import cut


def picture_paths(folder: Path) -> list[Path]:
    """All pictures under a folder, sorted.

    Raises:
        ValueError: no folder, or no pictures in it.
    """
    if not folder.is_dir():
        raise ValueError(f"--photos takes a folder of pictures, found {folder}: no such folder; give one that exists")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f"--photos takes a folder of pictures, found none in {folder}: give one that holds some")
    return paths


class PhotoPool:
    """All pictures of a folder, kept as bytes at a longest side of at most 1024 px; crops are cut at every draw.

    Raises:
        ValueError: no folder, no pictures in it, or a file that is no picture.
    """

    def __init__(self, folder: Path):
        self.photos = [self._read(path) for path in picture_paths(Path(folder))]

    @staticmethod
    def _read(path: Path) -> Tensor:
        try:
            with Image.open(path) as image:
                image.thumbnail((1024, 1024), Image.Resampling.LANCZOS)
                return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()
        except (UnidentifiedImageError, OSError) as error:
            raise ValueError(
                f"--photos takes readable pictures, found {path}: {error}; remove or replace it"
            ) from error

    def draw(self, n: int, size: int, generator: torch.Generator) -> Tensor:
        """n crops [n,3,size,size] in [0,1]."""
        chosen = torch.randint(len(self.photos), (n,), generator=generator).tolist()
        return torch.stack([cut(self.photos[i], size, generator) for i in chosen]).float() / 255
