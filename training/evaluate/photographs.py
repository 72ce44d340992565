"""Photographs to judge restoration on: scikit-image's bundled ones, or all pictures of a folder."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ...comfyui_pixwizard.optional import required
from ..data.rendered.photos import picture_paths

# Every photograph of an everyday subject that comes inside scikit-image's wheel, in colour and in grey. Left out: the
# stereo twin of the motorcycle, drawings, text, and what was taken through a microscope, telescope or ophthalmoscope.
BUNDLED = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "motorcycle_left.png",
    "rocket.jpg",
)


@cache
def bundled_photographs(size: int) -> Tensor:
    """Crops of scikit-image's photographs: [N,3,size,size] in [0,1], 19 of them at 256 px.

    Of each picture at native resolution: the first and the last of the crops without overlap that fit into it, spread
    evenly from corner to corner; where only one fits, the centre.

    Raises:
        ValueError: scikit-image is not installed, or has none of these files.
    """
    reason = "eval takes its photographs from scikit-image"
    data = required("skimage.data", reason, "pip install scikit-image, or pass --photos DIR")
    folder = Path(data.__file__).parent
    files = [folder / name for name in BUNDLED if (folder / name).is_file()]
    if not files:
        raise ValueError(f"eval found none of scikit-image's pictures in {folder}: reinstall it, or pass --photos DIR")
    return torch.stack([crop for path in files for crop in corner_crops(read_picture(path), size)])


def folder_photographs(folder: Path, size: int, limit: int) -> Tensor:
    """Centre crops of the pictures of a folder, in the order of their names: [N,3,size,size] in [0,1].

    At native resolution; a picture whose shorter side is below `size` is first enlarged to it (Lanczos).

    Raises:
        ValueError: no folder, no pictures in it, or a file that is no picture.
    """
    return torch.stack([centre_crop(read_picture(path), size) for path in picture_paths(folder)[:limit]])


def read_picture(path: Path) -> Image.Image:
    """An RGB picture, turned as its EXIF says.

    Raises:
        ValueError: the file is no readable picture.
    """
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"--photos takes readable pictures, found {path}: {error}; remove or replace it") from error


def at_least(image: Image.Image, size: int) -> Image.Image:
    """The picture itself, or enlarged so that its shorter side is `size`."""
    short = min(image.size)
    if short >= size:
        return image
    width, height = (max(size, round(side * size / short)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def centre_crop(image: Image.Image, size: int) -> Tensor:
    """The middle of a picture: [3,size,size] in [0,1]."""
    image = at_least(image, size)
    return _cut(image, (image.width - size) // 2, (image.height - size) // 2, size)


def corner_crops(image: Image.Image, size: int) -> list[Tensor]:
    """One or two crops [3,size,size]: opposite corners if two fit without overlap, else the centre."""
    image = at_least(image, size)
    if max(image.width // size, image.height // size) < 2:
        return [centre_crop(image, size)]
    return [_cut(image, 0, 0, size), _cut(image, image.width - size, image.height - size, size)]


def _cut(image: Image.Image, left: int, top: int, size: int) -> Tensor:
    pixels = np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.float32) / 255
    return rearrange(torch.from_numpy(pixels), "h w c -> c h w")
