"""Classes as colours: a farthest-point palette on a grid of step 15, smallest distance 45 of 255.

Every class gets the grid colour that is farthest from all colours before it, so the first ones differ the most; the
corners of the cube come first, because a mixture of two corners is far from the other six. Class 0 is black.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from .clean import box_mean, even_windows, flatten_batch, snap
from .task import Codec, check_picture

CLASSES = 151
GRID_STEP = 15
# Black, white and then pairs of complements.
FIRST = ((0, 0, 0), (1, 1, 1), (1, 0, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (0, 0, 1), (1, 1, 0))
EXACT = 3 / 255
MIXED = 0.3
SPREAD = 0.08


@cache
def _grid_palette() -> tuple[tuple[int, int, int], ...]:
    level = torch.arange(0, 256, GRID_STEP)
    grid = torch.cartesian_prod(level, level, level)
    chosen = [tuple(255 * c for c in corner) for corner in FIRST]
    distance = torch.full((len(grid),), 1 << 30)
    for colour in chosen:
        distance = torch.minimum(distance, (grid - torch.tensor(colour)).square().sum(1))
    while len(chosen) < CLASSES:
        colour = tuple(grid[distance.argmax()].tolist())
        chosen.append(colour)
        distance = torch.minimum(distance, (grid - torch.tensor(colour)).square().sum(1))
    return tuple((int(r), int(g), int(b)) for r, g, b in chosen)


def palette(classes: int = CLASSES) -> Tensor:
    """Colours of the classes 0 (none) to classes - 1: [classes, 3] in 0..255, int64.

    Raises:
        ValueError: more classes than the palette has, or none.
    """
    if not 1 <= classes <= CLASSES:
        raise ValueError(f"the palette has 1 to {CLASSES} classes, found {classes}: use fewer")
    return torch.tensor(_grid_palette()[:classes])


def encode_classes(labels: Any, source: Any = None) -> Tensor:
    """Class ids [...,H,W] (integer, 0 to 150) to colours [...,3,H,W] in [0,1].

    Raises:
        ValueError: not integer, or an id outside the palette.
    """
    ids = torch.as_tensor(labels)
    if ids.ndim < 2 or ids.is_floating_point():
        raise ValueError(
            f"class ids are an integer map [..., H, W], found {tuple(ids.shape)} {ids.dtype}: convert them first"
        )
    ids = ids.long()
    if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= CLASSES):
        found = f"{int(ids.min())} to {int(ids.max())}"
        raise ValueError(f"class ids lie in 0 to {CLASSES - 1}, found {found}: map them to that range (0 is none)")
    return (palette().to(ids.device)[ids].float() / 255).movedim(-1, -3)


def _distances(picture: Tensor, colours: Tensor) -> Tensor:
    """Distance of every pixel [B,3,H,W] to every colour [K,3] in [0,1]: [B,H,W,K]."""
    return torch.cdist(rearrange(picture, "b c h w -> b h w c"), colours[None])


def _candidates(classes: Iterable[int] | None, device: torch.device) -> Tensor:
    if classes is None:
        return torch.arange(CLASSES, device=device)
    ids = torch.tensor(sorted(set(classes)), device=device)
    if not ids.numel() or int(ids.min()) < 0 or int(ids.max()) >= CLASSES:
        raise ValueError(f"classes must be ids in 0 to {CLASSES - 1}, found {ids.tolist()}: name at least one of them")
    return ids


def decode_classes(
    picture: Any, source: Any = None, *, classes: Iterable[int] | None = None, cleanup: bool = True
) -> Tensor:
    """Colours [...,3,H,W] to class ids [...,H,W] int64, the nearest colour of the palette.

    A pixel between two classes mixes two colours, and a mixture may be nearest to a third class. With cleanup only
    classes that fill at least one even 3x3 window somewhere are taken for present (pixels that hit a colour exactly
    keep it), and what is far from all present colours takes the class of the neighbour with the most similar colour.

    Args:
        classes: ids that may occur, when they are known; the fewer, the more noise is bearable.
        cleanup: False is the plain nearest colour.

    Raises:
        ValueError: not a float picture, or ids outside the palette.
    """
    whole = check_picture(picture)
    flat = flatten_batch(whole, 3)
    ids = _candidates(classes, flat.device)
    colours = palette().to(flat.device)[ids].float() / 255
    decoded = torch.stack([_decode_one(sample, colours, cleanup) for sample in flat])
    return ids[decoded].reshape(*whole.shape[:-3], *whole.shape[-2:])


def _decode_one(picture: Tensor, colours: Tensor, cleanup: bool) -> Tensor:
    """Index of a colour for every pixel of one picture: [3,H,W], [K,3] -> [H,W]."""
    distance = _distances(picture[None], colours)[0]
    nearest, index = distance.min(-1)
    if not cleanup:
        return index
    # Along an edge a mixture may fill windows too, but it changes from pixel to pixel.
    spread = (box_mean(picture.square()) - box_mean(picture).square()).mean(0)
    present = torch.zeros(len(colours), dtype=torch.bool, device=picture.device)
    present[index[even_windows(index) & (spread < SPREAD**2)]] = True
    if not bool(present.any()):
        return index
    again, among = distance.masked_fill(~present, torch.inf).min(-1)
    exact = nearest < EXACT
    index = torch.where(exact, index, among)
    trusted = exact | (again < MIXED)
    return snap(index[None, None], trusted[None], picture[None])[0, 0]


def classes_confidence(picture: Any, source: Any = None, *, classes: Iterable[int] | None = None) -> float:
    """1 when all pixels have a colour of the palette, 0 when they are as far from it as random colours are."""
    flat = flatten_batch(check_picture(picture), 3)
    colours = palette().to(flat.device)[_candidates(classes, flat.device)].float() / 255
    corners = torch.cartesian_prod(*[torch.linspace(0, 1, 9, device=flat.device)] * 3)
    chance = float(torch.cdist(corners, colours).amin(1).mean())
    distance = float(_distances(flat, colours).amin(-1).mean())
    return max(1 - distance / chance, 0.0)


PALETTE = Codec("palette", encode_classes, decode_classes, classes_confidence)
