"""Edits of any picture with true results: styles, each of them a filter; written words are in `lettering`.

Shape legend: B pictures, H, W pixels; pictures are [B,3,H,W] in [0,1]. Lengths follow the shorter side, so that an
edit looks alike at every size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .lettering import INKS as INKS
from .lettering import PLACES as PLACES
from .lettering import WORDS as WORDS
from .lettering import text_edit as text_edit
from .lettering import write as write
from .scene_words import Chooser

Words = dict[str, str]
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def _check(picture: Tensor) -> Tensor:
    if picture.ndim != 4 or picture.shape[1] != 3 or not picture.is_floating_point() or min(picture.shape[-2:]) < 16:
        shape = f"{tuple(picture.shape)} {picture.dtype}"
        raise ValueError(
            f"an edit needs a float picture [B,3,H,W] in [0,1] of at least 16 x 16, found {shape}: convert it"
        )
    return picture


def _gray(picture: Tensor) -> Tensor:
    """Luma [B,1,H,W]."""
    weights = torch.tensor(_LUMA, device=picture.device, dtype=picture.dtype)
    return (picture * weights[:, None, None]).sum(1, keepdim=True)


def _blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of [B,C,H,W] with reflected borders; sigma in pixels."""
    radius = min(max(1, round(3 * sigma)), min(x.shape[-2:]) - 1)
    at = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, -1)
    x = F.pad(x, (radius, radius, radius, radius), mode="reflect")
    x = F.conv2d(x, kernel[:, :, None], groups=x.shape[1])
    return F.conv2d(x, kernel[..., None], groups=x.shape[1])


def _calmest(picture: Tensor, radius: int) -> Tensor:
    """Kuwahara's filter: of the four windows with the pixel in a corner, the mean of the one with least variance."""
    height, width = picture.shape[-2:]
    moments = torch.cat((picture, _gray(picture).square(), _gray(picture)), 1)
    means = F.avg_pool2d(F.pad(moments, (radius,) * 4, mode="reflect"), radius + 1, stride=1)
    corners = [means[..., top : top + height, left : left + width] for top in (0, radius) for left in (0, radius)]
    variance = torch.stack([corner[:, 3] - corner[:, 4].square() for corner in corners])
    colors = torch.stack([corner[:, :3] for corner in corners])
    best = variance.argmin(0)[None, :, None].expand(1, *colors.shape[1:])
    return torch.gather(colors, 0, best)[0]


def pencil(picture: Tensor) -> Tensor:
    """Gray strokes on white paper: luma divided by its blurred surroundings, which leaves edges and fine shade."""
    gray = _gray(picture)
    around = _blur(gray, min(picture.shape[-2:]) / 50)
    strokes = ((gray + 0.05) / (around + 0.05)).clamp(max=1) ** 2
    return (strokes * (0.88 + 0.12 * gray)).clamp(0, 1).expand_as(picture).clone()


def sepia(picture: Tensor) -> Tensor:
    """Luma in brown tones from near black to cream."""
    gray = _gray(picture)
    return torch.cat((gray**0.75, 0.92 * gray, 0.74 * gray**1.2), 1)


def black_and_white(picture: Tensor) -> Tensor:
    """Luma in three equal channels."""
    return _gray(picture).expand_as(picture).clone()


def poster(picture: Tensor) -> Tensor:
    """Five levels a channel after small things are smoothed away."""
    radius = max(1, round(min(picture.shape[-2:]) / 48))
    return (_calmest(_calmest(picture, radius), radius) * 4).round() / 4


def oil(picture: Tensor) -> Tensor:
    """Patches of even, stronger colour with sharp borders, as of a broad brush."""
    radius = max(2, round(min(picture.shape[-2:]) / 32))
    painted = _calmest(_calmest(picture, radius), radius)
    gray = _gray(painted)
    return (gray + 1.35 * (painted - gray)).clamp(0, 1)


def mosaic(picture: Tensor) -> Tensor:
    """Square blocks, sixteen along the shorter side, each of its mean colour."""
    height, width = picture.shape[-2:]
    side = max(2, round(min(height, width) / 16))
    blocks = F.avg_pool2d(picture, side, ceil_mode=True, count_include_pad=False)
    return blocks.repeat_interleave(side, -2).repeat_interleave(side, -1)[..., :height, :width]


def negative(picture: Tensor) -> Tensor:
    """Every channel turned round."""
    return 1 - picture


STYLES: dict[str, Callable[[Tensor], Tensor]] = {
    "a pencil drawing": pencil,
    "a sepia photograph": sepia,
    "a black and white photograph": black_and_white,
    "a poster with few colors": poster,
    "an oil painting": oil,
    "a mosaic of blocks": mosaic,
    "a negative": negative,
}
# Other words for each style; all of them take the place of a style's name in an instruction.
STYLE_WORDS: dict[str, tuple[str, ...]] = {
    "a pencil drawing": ("a pencil sketch", "a drawing in pencil", "a graphite drawing"),
    "a sepia photograph": ("an old sepia photo", "a sepia print", "a brown toned old photograph"),
    "a black and white photograph": ("a black and white photo", "a grayscale picture", "a monochrome photograph"),
    "a poster with few colors": ("a poster of flat colors", "a posterized print", "a screen print with few colors"),
    "an oil painting": ("a painting in oil", "an oil on canvas", "a painting with broad brush strokes"),
    "a mosaic of blocks": ("a pixelated picture", "a mosaic of square tiles", "a picture of coarse pixels"),
    "a negative": ("a photographic negative", "a picture with inverted colors", "a film negative"),
}


def restyle(picture: Tensor, styles: Sequence[str]) -> Tensor:
    """Pictures [B,3,H,W] each in a style of its own, by name in STYLES.

    Raises:
        ValueError: no float pictures of at least 16 x 16, a number of names other than B, or an unknown name.
    """
    _check(picture)
    unknown = sorted(set(styles) - set(STYLES))
    if unknown or len(styles) != len(picture):
        given = f"{len(styles)} names" + (f" with {', '.join(map(repr, unknown))}" if unknown else "")
        raise ValueError(f"{len(picture)} pictures need as many styles of {', '.join(STYLES)}; found {given}")
    result = torch.empty_like(picture)
    for name in dict.fromkeys(styles):
        rows = [row for row, style in enumerate(styles) if style == name]
        result[rows] = STYLES[name](picture[rows].clamp(0, 1))
    return result


def style_edit(picture: Tensor, generator: torch.Generator) -> tuple[Tensor, list[Words]]:
    """Pictures [B,3,H,W] in drawn styles, and for each the words of an instruction: `caption`, half of the time the
    style's name, else other words for it.

    Raises:
        ValueError: as `restyle`.
    """
    choose, names, words = Chooser(generator), [], []
    for _ in range(len(picture)):
        name = choose.pick(list(STYLES))
        names.append(name)
        words.append({"caption": name if choose.chance(0.5) else choose.pick(STYLE_WORDS[name])})
    return restyle(picture, names), words
