"""A picture of an input as it is stored: read, looked at whole, and made smaller where the recipe says so."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from ....comfyui_pixwizard.pictures.images import open_picture
from .drawing import draw
from .places import Drawn, Ref, Rejected, read_raw
from .recipe import BuildRecipe

# Formats that are stored as they are, and how their members are called.
KEPT = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
# Shapes of a pair may differ by so much of a side, which is rounding.
SHAPE_TOLERANCE = 0.02


@dataclass(frozen=True)
class Picture:
    """A whole picture: as RGB, and its bytes and suffix in a shard."""

    image: Image.Image
    data: bytes
    suffix: str


def read_bytes(ref: Ref, missing: str) -> bytes:
    """The bytes of a picture at a place, a drawn one as PNG; `missing` is the reason where there are none.

    Raises:
        Rejected: missing, unreadable, truncated.
    """
    if not isinstance(ref, Drawn):
        return read_raw(ref, missing)
    out = io.BytesIO()
    draw(ref).save(out, "PNG")
    return out.getvalue()


def read_picture(data: bytes, recipe: BuildRecipe) -> Picture:
    """Look at every pixel of a picture.

    Raises:
        Rejected: unreadable, truncated, too small, too large, wrong mode.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # sizes are checked below
            image = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise Rejected("too large") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, OverflowError) as error:
        raise Rejected("unreadable") from error
    if min(image.size) < recipe.smallest:
        raise Rejected("too small")
    if image.width * image.height > recipe.most_pixels:
        raise Rejected("too large")
    if image.mode not in recipe.modes:
        raise Rejected("wrong mode")
    try:
        image.load()
    except Exception as error:  # a broken file chooses which one
        raise Rejected("truncated") from error
    return _stored(image, data, recipe)


def _stored(image: Image.Image, data: bytes, recipe: BuildRecipe) -> Picture:
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    picture = open_picture(image)
    side = recipe.store_side
    if image.format in KEPT and not turned and (side is None or max(image.size) <= side):
        return Picture(picture, data, KEPT[image.format])
    if side is not None and max(picture.size) > side:
        picture = ImageOps.contain(picture, (side, side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=recipe.quality, subsampling=0)
    return Picture(picture, out.getvalue(), "jpg")


def read_pair(target: Ref, source: Ref | None, recipe: BuildRecipe) -> tuple[Picture, Picture | None]:
    """Both pictures of a sample.

    Raises:
        Rejected: as `read_picture`; a source that is missing, or of another shape than its target.
    """
    wanted = read_picture(read_bytes(target, "missing"), recipe)
    if source is None:
        return wanted, None
    given = read_picture(read_bytes(source, "missing pair"), recipe)
    (a, b), (c, d) = wanted.image.size, given.image.size
    if abs(a * d - b * c) > SHAPE_TOLERANCE * max(a * d, b * c):
        raise Rejected("pair of two shapes")
    return wanted, given
