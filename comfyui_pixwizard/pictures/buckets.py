"""Size buckets: pictures of any aspect are resized to one of a list of sizes of about equal area.

Sizes are (width, height) in pixels.  Source: docs/mathematics.md section 12.
"""

from collections.abc import Sequence
from functools import lru_cache

CELL = 16  # pixels of one token's side: autoencoder factor 8, patch size 2
MAX_ASPECT = 4.0

Size = tuple[int, int]


@lru_cache(maxsize=32)
def bucket_sizes(center: int, cell: int = CELL, max_aspect: float = MAX_ASPECT) -> tuple[Size, ...]:
    """The released bucket list around a square.

    Walks from the widest to the tallest size whose token count stays within round((center/cell)^2).

    Args:
        center: side of the square that has the list's area (128, 256 for nano; 512, 768, 1024 released).
        cell: sides are multiples of this.
        max_aspect: longest side over shortest.

    Returns:
        Sizes in order of falling width.

    Raises:
        ValueError: a centre smaller than a cell, an aspect below 1.
    """
    if center < cell:
        raise ValueError(f"the size must be at least {cell} pixels, found {center}: take a multiple of {cell}")
    if max_aspect < 1:
        raise ValueError(f"the largest aspect must be at least 1, found {max_aspect:g}: take 4")
    cells = round((center / cell) ** 2)
    sizes = []
    width, height = cells, 1
    while width > 0:
        if max(width, height) / min(width, height) <= max_aspect:
            sizes.append((width * cell, height * cell))
        if (height + 1) * width <= cells:
            height += 1
        else:
            width -= 1
    return tuple(sizes)


def nearest_size(width: int, height: int, sizes: Sequence[Size]) -> Size:
    """The size whose width/height is nearest to a picture's; of equally near ones the first.

    Raises:
        ValueError: a picture without area, an empty list.
    """
    if width < 1 or height < 1:
        raise ValueError(f"a picture must have at least one pixel, found {width} x {height}: check the file")
    if not sizes:
        raise ValueError("nearest_size needs at least one size, found none: use bucket_sizes")
    aspect = width / height
    return min(sizes, key=lambda size: abs(size[0] / size[1] - aspect))


def bucket_for(width: int, height: int, center: int) -> Size:
    """The bucket around `center` that suits a picture of any size."""
    return nearest_size(width, height, bucket_sizes(center))
