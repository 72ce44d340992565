"""At which size the model sees a picture. Sizes are (width, height) in pixels."""

from __future__ import annotations

from .buckets import CELL, Size, bucket_for

SMALLEST = 64


def check_size(size: int | Size | None) -> None:
    """Check a requested size: the side of a square, or an exact size.

    Raises:
        ValueError: sides that 16 does not divide, a square below 64.
    """
    sides, least = ((), CELL) if size is None else ((size,), SMALLEST) if isinstance(size, int) else (size, CELL)
    if any(side < least or side % CELL for side in sides):
        nearest = "x".join(str(max(least, round(side / CELL) * CELL)) for side in sides)
        given = "x".join(map(str, sides))
        raise ValueError(f"sizes are multiples of {CELL} pixels from {least} up, found {given}: take {nearest}")


def model_size(picture: Size | None, size: int | Size | None, max_size: int, windows: bool = False) -> Size:
    """The size for a picture, or for a blank canvas when there is none.

    Args:
        picture: its size.
        size: side of the square whose area the model works at, an exact size, or None for the picture's own area.
        max_size: side of the largest square where the picture decides.
        windows: the model works in windows, so that nothing limits the picture's own size, and any exact one is right.

    Raises:
        ValueError: as `check_size`.
    """
    if windows and picture is not None and (size is None or isinstance(size, tuple)):
        return size or picture
    check_size(size)
    if isinstance(size, tuple):
        return size
    if picture is None:
        return (size or max_size,) * 2
    own = round((picture[0] * picture[1]) ** 0.5 / CELL) * CELL
    return bucket_for(*picture, size or min(max(own, SMALLEST), max_size))
