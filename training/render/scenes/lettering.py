"""Words written on any picture, with true results.

Shape legend: B pictures, H, W pixels; pictures are [B,3,H,W] in [0,1]. Sizes follow the shorter side.
"""

from __future__ import annotations

import string
from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .scene_words import Chooser
from .vocabulary import COLORS

INKS = COLORS | {"black": [0.04, 0.04, 0.05], "white": [0.98, 0.98, 0.97]}
# Middle of the line of letters, as a share of the height from the top.
PLACES: dict[str, float] = {"top": 0.16, "middle": 0.5, "bottom": 0.84}
_WORDS = """
HELLO OPEN STOP SALE NORTH SOUTH EAST WEST SUMMER WINTER SPRING MUSIC COFFEE TEA BREAD HOTEL TAXI BUS TRAIN PLANE
EXIT ENTER PARK ZOO SHOP BOOK NEWS LOVE HOME HOPE PEACE DREAM LIGHT NIGHT MOON SUN STAR SKY SEA LAKE RIVER HILL
TREE ROSE BIRD CAT DOG FOX WOLF BEAR LION FISH RED BLUE GREEN GOLD YES NO WAIT START END NEW FREE
"""
WORDS = tuple(_WORDS.split())
_LETTER_HEIGHT, _MOST_WIDTH = 0.2, 0.86  # of the shorter side, of the width


def _checked(word: str) -> str:
    if not (1 <= len(word) <= 12 and set(word) <= set(string.ascii_uppercase)):
        raise ValueError(f"a word to write has 1 to 12 capital letters A to Z, found {word!r}: pass one like 'HELLO'")
    return word


def _masks(word: str, height: int, width: int, middle: float) -> tuple[Tensor, Tensor]:
    """Coverage [H,W] of the letters and of letters with outline; the word is centred at `middle` of the height."""
    # The font is drawn at a large size and scaled, so that every width is met exactly.
    font = ImageFont.load_default(96)
    left, top, right, bottom = (int(edge) for edge in font.getbbox(word))
    pad = 12
    size = (right - left + 2 * pad, bottom - top + 2 * pad)
    scale = min(_LETTER_HEIGHT * min(height, width) / (bottom - top), _MOST_WIDTH * width / (right - left))
    target = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    masks = []
    for stroke in (3, 9):  # bold, so that thin lines survive small pictures; then the outline
        sheet = Image.new("L", size)
        draw = ImageDraw.Draw(sheet)
        draw.text((pad - left, pad - top), word, fill=255, font=font, stroke_width=stroke, stroke_fill=255)
        page = Image.new("L", (width, height))
        page.paste(
            sheet.resize(target, Image.Resampling.BOX),
            ((width - target[0]) // 2, round(middle * height - target[1] / 2)),
        )
        masks.append(torch.frombuffer(bytearray(page.tobytes()), dtype=torch.uint8).reshape(height, width) / 255)
    return masks[0], masks[1]


def contrasting(picture: Tensor, area: Tensor) -> str:
    """Black or white, whichever stands out more from the mean colour of a picture [3,H,W] under an area [H,W]."""
    mean = (picture * area).sum((-2, -1)) / area.sum().clamp(min=1e-6)
    return "white" if float(mean.mean()) < 0.5 else "black"


def write(picture: Tensor, word: str, place: str = "bottom", color: str | None = None) -> Tensor:
    """The picture [3,H,W] with a word of capital letters on it, in one ink with a thin outline, dark or light.

    place: in PLACES. color: in INKS; by default the one that stands out most. Errors: ValueError for other values.
    """
    _checked(word)
    for value, table, name in ((place, PLACES, "place"), (color, INKS, "color")):
        if value is not None and value not in table:
            raise ValueError(f"{name} must be one of {', '.join(table)}, found {value!r}: choose one of these")
    letters, outlined = (
        mask.to(picture.device) for mask in _masks(word, picture.shape[-2], picture.shape[-1], PLACES[place])
    )
    ink = torch.tensor(INKS[color or contrasting(picture, outlined)], device=picture.device)
    border = torch.full_like(ink, 0.0 if float(ink.mean()) > 0.45 else 1.0)
    result = picture + outlined * (border[:, None, None] - picture)
    return result + letters * (ink[:, None, None] - result)


def text_edit(
    picture: Tensor, generator: torch.Generator, places: Sequence[str] = ("bottom",)
) -> tuple[Tensor, list[dict[str, str]]]:
    """Pictures [B,3,H,W] with a drawn word on each, and the words of an instruction: `caption`, the letters.

    Most are words of WORDS, some 2 to 6 random letters. Ink and size follow from the picture and the word, so that
    the instruction leaves nothing open unless several `places` are drawn from.
    Errors: ValueError as `write`, or for a picture that is not float [B,3,H,W].
    """
    if picture.ndim != 4 or picture.shape[1] != 3 or not picture.is_floating_point():
        shape = f"{tuple(picture.shape)} {picture.dtype}"
        raise ValueError(f"words are written on float pictures [B,3,H,W] in [0,1], found {shape}: convert it first")
    choose, results, words = Chooser(generator), [], []
    for one in picture:
        word = choose.pick(WORDS)
        if choose.chance(0.3):
            word = "".join(choose.pick(string.ascii_uppercase) for _ in range(2 + choose.below(5)))
        results.append(write(one, word, choose.pick(places)))
        words.append({"caption": word})
    return torch.stack(results), words
