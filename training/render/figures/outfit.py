"""What figures wear: clothes in named colours, skin, hair and shoes.

Shape suffixes: B figures.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from ..scenes.vocabulary import COLOR_NAMES, COLORS

# Parts of a figure that have a colour of their own.
PARTS = ("skin", "face", "hair", "shirt", "trousers", "shoes", "stool")
SKIN, FACE, HAIR, SHIRT, TROUSERS, SHOES, STOOL = range(7)

HAIR_STYLES = ("short", "long", "bun", "bald")
SHORT, LONG, BUN, BALD = range(4)

_TABLES = tomllib.loads(Path(__file__).with_name("outfit.toml").read_text(encoding="utf-8"))
SKINS, _SHOES = _TABLES["skins"], _TABLES["shoes"]
HAIRS: dict[str, list[float]] = _TABLES["hairs"]
HAIR_NAMES = tuple(HAIRS)
# Shirt and trousers that are never worn together in the training split.
HELD_OUT: frozenset[tuple[str, str]] = frozenset(_TABLES["held_out"].items())


@dataclass(frozen=True)
class Outfits:
    """B outfits."""

    shirt: Tensor  # [B] int64, into COLOR_NAMES
    trousers: Tensor  # [B] int64, into COLOR_NAMES
    stool: Tensor  # [B] int64, into COLOR_NAMES
    hair: Tensor  # [B] int64, into HAIR_NAMES
    hair_style: Tensor  # [B] int64, into HAIR_STYLES
    long_sleeves: Tensor  # [B] bool
    shorts: Tensor  # [B] bool
    rgb: Tensor  # [B,PARTS,3] sRGB after jitter

    def __getitem__(self, index: Tensor) -> Outfits:
        return Outfits(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


def _table(colors: object, device: torch.device) -> Tensor:
    return torch.tensor(colors, dtype=torch.float32, device=device)


def _pairs(count: int, generator: torch.Generator, held_out: bool) -> tuple[Tensor, Tensor]:
    """Colours of shirt and trousers [B]: different ones, all from HELD_OUT or none from it."""
    names = COLOR_NAMES
    weights = [float(a != b and ((a, b) in HELD_OUT) == held_out) for a in names for b in names]
    table = torch.tensor(weights, device=generator.device)
    drawn = torch.multinomial(table, count, replacement=True, generator=generator)
    return drawn // len(names), drawn % len(names)


def sample_outfits(count: int, generator: torch.Generator, split: str = "train") -> Outfits:
    """`count` outfits on the generator's device; those of split "test" are all combinations from HELD_OUT."""
    device = generator.device

    def below(n: int) -> Tensor:
        return torch.randint(n, (count,), generator=generator, device=device)

    def chance(probability: float) -> Tensor:
        return torch.rand(count, generator=generator, device=device) < probability

    shirt, trousers = _pairs(count, generator, split == "test")
    stool, hair, skin, shoes = below(len(COLORS)), below(len(HAIRS)), below(len(SKINS)), below(len(_SHOES))
    styles = torch.tensor((0.45, 0.3, 0.15, 0.1), device=device)
    style = torch.multinomial(styles, count, replacement=True, generator=generator)
    colors = _table(list(COLORS.values()), device)
    complexion, tresses = _table(SKINS, device)[skin], _table(list(HAIRS.values()), device)[hair]
    parts = [complexion, complexion, tresses, colors[shirt], colors[trousers], _table(_SHOES, device)[shoes]]
    rgb = torch.stack([*parts, colors[stool]], 1)
    gain = 1 + 0.08 * (2 * torch.rand(count, len(PARTS), 1, generator=generator, device=device) - 1)
    shift = 0.03 * (2 * torch.rand(count, len(PARTS), 3, generator=generator, device=device) - 1)
    rgb = (rgb * gain + shift).clamp(0.02, 1)
    rgb[:, FACE] = rgb[:, SKIN]
    return Outfits(shirt, trousers, stool, hair, style, chance(0.5), chance(0.25), rgb)
