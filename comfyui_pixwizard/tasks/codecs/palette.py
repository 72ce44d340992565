"""Classes as colours: a farthest-point palette (default), or the common ADE20K colours of the paper's answers.

PALETTE: every class gets the colour of a grid of step 15 that is farthest from all colours before it, so the first ones
differ the most and no two are nearer than 45 of 255; the corners of the cube come first, because a mixture of two
corners is far from the other six. ADE20K: half of its colours have a neighbour within 10 of 255 and two classes share
one (see ClassColors.twins), so even a little noise confuses them. Class 0 is black in both: none, or ignore.

Shape legend: class ids [..., H, W] int64; pictures [..., 3, H, W] in [0, 1]; K colours [K, 3] in 0..255.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from ..task import Codec, check_picture
from .clean_up import box_mean, even_windows, flatten_batch, snap

CLASSES = 151
GRID_STEP = 15
# Black, white and then pairs of complements.
FIRST = ((0, 0, 0), (1, 1, 1), (1, 0, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (0, 0, 1), (1, 1, 0))
# Distances in RGB: a pixel this near to a colour has its class, whatever lies around it; one this far from all classes
# of the picture is a mixture.
EXACT, MIXED = 3 / 255, 0.3
# Largest and smallest standard deviation that noise in an even window may have; and the noise of a window that counts
# as even, as a multiple of the picture's median variance.
SPREAD, QUANTUM, MOST_NOISE = 0.08, 1.5 / 255, 1.7

# Classes 1 (wall) to 150 (flag) of the ADE20K scene-parsing benchmark; the table that MMSegmentation and
# controlnet_aux/util.py use. 7 (road) and 49 (skyscraper) are both 8c8c8c there.
_ADE20K = """
    787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07 e005ff ebff07 96053d 787846 08ff33
    ff0652 8fff8c ccff04 ff3307 cc4603 0066c8 3de6fa ff0633 0b66ff ff0747 ff09e0 0907e6 dcdcdc ff095c 7009ff
    08ffd6 07ffe0 ffb806 0aff47 ff290a 07ffff e0ff08 6608ff ff3d06 ffc207 ff7a08 00ff14 ff0829 ff0599 0633ff
    eb0cff a09614 00a3ff 8c8c8c fa0a0f 14ff00 1fff00 ff1f00 ffe000 99ff00 0000ff ff4700 00ebff 00adff 1f00ff
    0bc8c8 ff5200 00fff5 003dff 00ff70 00ff85 ff0000 ffa300 ff6600 c2ff00 008fff 33ff00 0052ff 00ff29 00ffad
    0a00ff adff00 00ff99 ff5c00 ff00ff ff00f5 ff0066 ffad00 ff0014 ffb8b8 001fff 00ff3d 0047ff ff00cc 00ffc2
    00ff52 000aff 0070ff 3300ff 00c2ff 007aff 00ffa3 ff9900 00ff0a ff7000 8fff00 5200ff a3ff00 ffeb00 08b8aa
    8500ff 00ff5c b800ff ff001f 00b8ff 00d6ff ff0070 5cff00 00e0ff 70e0ff 46b8a0 a300ff 9900ff 47ff00 ff00a3
    ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff ff007a fff500 0abed4 d6ff00 00ccff 1400ff ffff00 0099ff 0029ff
    00ffcc 2900ff 29ff00 ad00ff 00f5ff 4700ff 7a00ff 00ffb8 005cff b8ff00 0085ff ffd600 19c2c2 66ff00 5c00ff
"""


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


def ade20k_palette() -> Tensor:
    """Colours of the ADE20K classes 0 (ignore, black) to 150 (flag): [151, 3] in 0..255, int64; 7 and 49 are equal."""
    return torch.tensor([(0, 0, 0), *(tuple(bytes.fromhex(text)) for text in _ADE20K.split())])


@dataclass(frozen=True)
class ClassColors:
    """A code of classes: one colour for each id.

    Attributes:
        table: colours of the ids 0, 1, … in 0..255.
    """

    table: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, colors: Tensor) -> ClassColors:
        """From colours [K,3] in 0..255."""
        return cls(tuple((int(r), int(g), int(b)) for r, g, b in colors.tolist()))

    @cached_property
    def twins(self) -> dict[int, int]:
        """Ids whose colour an earlier id has: id -> that id, as which it is decoded unless `classes` rules it out."""
        first: dict[tuple[int, int, int], int] = {}
        return {i: first[color] for i, color in enumerate(self.table) if first.setdefault(color, i) != i}

    def encode(self, labels: Any, source: Any = None) -> Tensor:
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
        last = len(self.table) - 1
        if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) > last):
            span = f"{int(ids.min())} to {int(ids.max())}"
            raise ValueError(f"class ids lie in 0 to {last}, found {span}: map them to that range (0 is none)")
        colors = torch.tensor(self.table, device=ids.device)
        return (colors[ids].float() / 255).movedim(-1, -3)

    def _candidates(self, classes: Iterable[int] | None, device: torch.device) -> tuple[Tensor, Tensor]:
        """Ids [K] and colours [K,3] in [0,1] that may occur."""
        colors = torch.tensor(self.table, device=device).float() / 255
        ids = torch.arange(len(colors), device=device)
        if classes is not None:
            ids = torch.tensor(sorted(set(classes)), device=device)
            last = len(colors) - 1
            if not ids.numel() or int(ids.min()) < 0 or int(ids.max()) > last:
                raise ValueError(f"classes must be ids in 0 to {last}, found {ids.tolist()}: name at least one of them")
        return ids, colors[ids]

    def decode(
        self, picture: Any, source: Any = None, *, classes: Iterable[int] | None = None, cleanup: bool = True
    ) -> Tensor:
        """Colours [...,3,H,W] to class ids [...,H,W] int64, the nearest colour of the palette.

        A pixel between two classes mixes two colours, and a mixture may be nearest to a third class. With cleanup only
        classes that fill at least one even 3x3 window somewhere are taken for present (pixels that hit a colour exactly
        keep it), noise is averaged away where a window holds nothing else, and what is far from all present colours
        takes the class of the neighbour with the most similar colour. Of the ids that share a colour (`twins`) the
        lowest is answered.

        Args:
            classes: ids that may occur, when they are known; the fewer, the more noise is bearable.
            cleanup: False is the plain nearest colour.

        Raises:
            ValueError: not a float picture, or ids outside the palette.
        """
        whole = check_picture(picture)
        flat = flatten_batch(whole, 3)
        ids, colors = self._candidates(classes, flat.device)
        decoded = torch.stack([_decode_one(sample, colors, cleanup) for sample in flat])
        return ids[decoded].reshape(*whole.shape[:-3], *whole.shape[-2:])

    def confidence(self, picture: Any, source: Any = None, *, classes: Iterable[int] | None = None) -> float:
        """1 when all pixels have a colour of the palette; 0 when they are as far from it as random colours are, or all
        of them are class 0."""
        flat = flatten_batch(check_picture(picture), 3)
        ids, colors = self._candidates(classes, flat.device)
        corners = torch.cartesian_prod(*[torch.linspace(0, 1, 9, device=flat.device)] * 3)
        chance = float(torch.cdist(corners, colors).amin(1).mean())
        distance, index = _nearest(rearrange(flat, "b c h w -> b h w c"), colors)
        if not bool((ids[index] > 0).any()):
            return 0.0
        return max(1 - float(distance.mean()) / chance, 0.0)


def _nearest(picture: Tensor, colours: Tensor) -> tuple[Tensor, Tensor]:
    """Distance to the nearest colour and its index, each [...]: of pixels [...,3] to colours [K,3]."""
    # |p - c|^2 without |p|^2, which does not change the order; float32 is exact enough for values in [0, 1].
    score = torch.addmm(colours.square().sum(1), picture.reshape(-1, 3), colours.T, alpha=-2)
    index = score.argmin(1).reshape(picture.shape[:-1])
    return (picture - colours[index]).norm(dim=-1), index


def _flat(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over 5x5 windows [3,H,W], and where a window holds nothing but noise [H,W] bool.

    The noise is measured: half of all windows are even, unless the picture is all edges.
    """
    mean = box_mean(picture, 2)
    variance = (box_mean(picture.square(), 2) - mean.square()).mean(0)
    limit = (MOST_NOISE * variance.median()).clamp(QUANTUM**2, SPREAD**2)
    return mean, variance < limit


def _decode_one(picture: Tensor, colours: Tensor, cleanup: bool) -> Tensor:
    """Index of a colour for every pixel of one picture: [3,H,W], [K,3] -> [H,W]."""
    pixels = picture.movedim(0, -1)
    nearest, index = _nearest(pixels, colours)
    if not cleanup:
        return index
    mean, flat = _flat(picture)
    exact = nearest < EXACT
    averaged = torch.where((flat & ~exact)[..., None], mean.movedim(0, -1), pixels)
    _, smooth = _nearest(averaged, colours)
    # Along an edge a mixture may fill windows too, but it changes from pixel to pixel.
    present = torch.unique(smooth[even_windows(smooth) & flat])
    if not len(present):
        return index
    distance, among = _nearest(averaged, colours[present])
    index = torch.where(exact, index, present[among])
    trusted = exact | (distance < MIXED)
    return snap(index[None, None], trusted[None], picture[None])[0, 0]


GRID_COLORS = ClassColors.of(palette())
ADE20K_COLORS = ClassColors.of(ade20k_palette())

PALETTE = Codec("palette", GRID_COLORS.encode, GRID_COLORS.decode, GRID_COLORS.confidence)
ADE20K = Codec("ade20k", ADE20K_COLORS.encode, ADE20K_COLORS.decode, ADE20K_COLORS.confidence)
