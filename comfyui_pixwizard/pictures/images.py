"""Pictures in and out: Pillow, arrays and files to tensors and back.

Shapes: [B, 3, H, W] float32 in [-1, 1], as encoders and pipeline take them.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from .buckets import CELL

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
DEEP = "16 bits a channel are read as 8"
Picture = Image.Image | np.ndarray | str | Path


def open_picture(picture: Picture) -> Image.Image:
    """An RGB picture as `open_noted` reads it."""
    return open_noted(picture)[0]


def open_noted(picture: Picture) -> tuple[Image.Image, tuple[str, ...]]:
    """An RGB picture in sRGB, turned as its EXIF says, 8 bits a channel, transparent parts laid on white.

    Args:
        picture: a Pillow picture, a file, or an array [H, W], [H, W, 3] or [H, W, 4], uint8 or float in [0, 1].

    Returns:
        The picture, and in words what it lost or what was converted: bits, transparency, colours.

    Raises:
        ValueError: an unreadable file or an array that is no picture.
        FileNotFoundError: no such file.
    """
    if isinstance(picture, np.ndarray):
        return _as_rgb(_from_array(picture))
    if isinstance(picture, Image.Image):
        return _as_rgb(picture)
    path = Path(picture).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"a picture file is needed, found none at {path}: check the path")
    try:
        with Image.open(path) as image:
            return _as_rgb(image)
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


def _as_rgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    notes: list[str] = []
    # Pillow reads 16 bits a channel as 8 in all modes but I;16; only the raw mode of the file tells.
    raw = " ".join(str(tile[3]) for tile in getattr(image, "tile", ()))
    image = ImageOps.exif_transpose(image)
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I;16") or image.mode == "I":
        # Pillow's own conversion clips 16 bits to 8 instead of scaling them.
        image = Image.fromarray((np.asarray(image).astype(np.float64) / 257).round().clip(0, 255).astype(np.uint8))
        notes.append(DEEP)
    elif ";16" in raw:
        notes.append(DEEP)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
    elif image.mode == "P":
        image = image.convert("RGB")
    if profile:
        image, note = _in_srgb(image, profile)
        notes += [note] if note else []
    if image.mode == "RGBA":
        if int(np.asarray(image.getchannel("A")).min()) < 255:
            notes.append("transparent parts are laid on white")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB"), tuple(notes)


def _in_srgb(image: Image.Image, profile: bytes) -> tuple[Image.Image, str | None]:
    """A picture in sRGB by its ICC profile, and what to say of it; one that says sRGB is left as it is."""
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = ImageCms.getProfileDescription(own).strip()
        if "srgb" in name.lower():
            return image, None
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        converted = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (ImageCms.PyCMSError, OSError) as error:
        reason = " ".join(str(error).split())[:100]
        return image, f"its colour profile is left out, because it cannot be used ({reason})"
    assert converted is not None, "it was not converted in place"
    return converted, f"colours are converted from {name} to sRGB"


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


def image_to_unit(image: Image.Image) -> Tensor:
    """RGB picture to [3, H, W] in [0, 1]."""
    return to_tensor(image)[0] / 2 + 0.5


def unit_to_image(tensor: Tensor) -> Image.Image:
    """[3, H, W] in [0, 1] to a picture; values beyond are clamped."""
    pixels = (tensor.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(rearrange(pixels, "c h w -> h w c").numpy())


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture at (width, height), by Lanczos as the released sampler does; itself when it has that size."""
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


def padded_to_cells(pictures: Tensor) -> Tensor:
    """Pictures [B, 3, H, W] with their last rows and columns repeated until 16 divides both sides."""
    height, width = pictures.shape[-2:]
    margin = -width % CELL, -height % CELL
    return F.pad(pictures, (0, margin[0], 0, margin[1]), mode="replicate") if any(margin) else pictures


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
