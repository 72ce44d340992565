"""Pictures in and out: Pillow, arrays and files to tensors and back.

Shapes: [B, 3, H, W] float32 in [-1, 1], as encoders and pipeline take them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
Picture = Image.Image | np.ndarray | str | Path


def open_picture(picture: Picture) -> Image.Image:
    """An RGB picture, turned as its EXIF says; transparent parts are laid on white.

    Args:
        picture: a Pillow picture, a file, or an array [H, W], [H, W, 3] or [H, W, 4], uint8 or float in [0, 1].

    Raises:
        ValueError: an unreadable file or an array that is no picture.
        FileNotFoundError: no such file.
    """
    if isinstance(picture, np.ndarray):
        return _as_rgb(_from_array(picture))
    if isinstance(picture, Image.Image):
        return _as_rgb(ImageOps.exif_transpose(picture))
    path = Path(picture).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"a picture file is needed, found none at {path}: check the path")
    try:
        with Image.open(path) as image:
            return _as_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        reason = "a format that is not known"
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        reason = "a folder" if path.is_dir() else " ".join(str(error).split())[:200]
    raise ValueError(
        f"{path} cannot be read as a picture, found: {reason}; give a whole PNG, JPEG, WebP, BMP or TIFF file"
    )


def _from_array(array: np.ndarray) -> Image.Image:
    channels = 1 if array.ndim == 2 else array.shape[-1]
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or not array.size:
        raise ValueError(
            f"an array picture is [H, W], [H, W, 3] or [H, W, 4], found {list(array.shape)}: move the axes"
        )
    if array.dtype != np.uint8:
        if not np.issubdtype(array.dtype, np.floating) or not (array.min() >= 0 and array.max() <= 1):
            raise ValueError(
                f"an array picture is uint8 or float in [0, 1], found {array.dtype} from {array.min()} to "
                f"{array.max()}: rescale it"
            )
        array = np.round(array * 255).astype(np.uint8)
    return Image.fromarray(array[..., 0] if array.ndim == 3 and channels == 1 else array)


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        # Pillow's own conversion clips 16 bits to 8 instead of scaling them.
        return Image.fromarray(
            (np.asarray(image).astype(np.float64) / 257).round().clip(0, 255).astype(np.uint8)
        ).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        seen = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    return image.convert("RGB")


def to_tensor(image: Image.Image) -> Tensor:
    """RGB picture to [1, 3, H, W] in [-1, 1]."""
    pixels = torch.from_numpy(np.array(image.convert("RGB"), dtype=np.float32))
    return rearrange(pixels, "h w c -> 1 c h w") / 127.5 - 1


def to_image(tensor: Tensor) -> Image.Image:
    """[3, H, W] in [-1, 1] to a picture; values beyond are clamped.

    Raises:
        ValueError: not one RGB picture.
    """
    if tensor.ndim != 3 or tensor.shape[0] != 3:
        raise ValueError(f"one picture is [3, H, W], found {list(tensor.shape)}: index the batch first")
    return unit_to_image(tensor.float() / 2 + 0.5)


def unit_to_image(tensor: Tensor) -> Image.Image:
    """[3, H, W] in [0, 1] to a picture; values beyond are clamped."""
    pixels = (tensor.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(rearrange(pixels, "c h w -> h w c").numpy())


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture at (width, height), by Lanczos as the released sampler does; itself when it has that size."""
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


def picture_files(folder: Path) -> list[Path]:
    """The pictures of a folder (not of folders inside), sorted by name.

    Raises:
        ValueError: there are none.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise ValueError(f"a folder of pictures is needed, found none in {folder}: it may hold {', '.join(SUFFIXES)}")
    return files


def metadata_of(path: str | Path) -> dict[str, Any]:
    """The text entries of a PNG file, such as `pixwizard run` writes."""
    with Image.open(path) as image:
        return dict(getattr(image, "text", {}))
