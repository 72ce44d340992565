"""What makes one drawn face differ from another: random numbers and colours, drawn from the ranges of traits.toml.

Shape legend: N faces; numbers are [N,1,1] and colours [N,3,1,1] in linear light, ready to meet maps [N,S,S].
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

HAIR_STYLES = ("short", "parted", "long", "curly", "bun", "bald")
SHORT, PARTED, LONG, CURLY, BUN, BALD = range(6)

_TABLES = tomllib.loads(Path(__file__).with_name("traits.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Traits:
    """N faces in numbers."""

    number: dict[str, Tensor]  # by the names of the ranges in traits.toml
    style: Tensor  # [N,1,1] int64, into HAIR_STYLES
    skin: Tensor  # [N,3,1,1], as are the other colours
    hair: Tensor
    iris: Tensor
    lips: Tensor
    shirt: Tensor
    backdrop: Tensor  # [N,3,5,5] colours of patches of the background
    blurred: Tensor  # [N,1,1] bool: the background has patches

    def __getitem__(self, name: str) -> Tensor:
        return self.number[name]

    def rows(self, rows: slice) -> Traits:
        """Some of the faces."""
        number = {name: value[rows] for name, value in self.number.items()}
        return Traits(number, **{k: v[rows] for k, v in vars(self).items() if k != "number"})


def to_linear(rgb: Tensor) -> Tensor:
    """sRGB in [0,1] as light, by the plain power law."""
    return rgb.clamp(0, 1) ** 2.2


def draw_traits(n: int, generator: torch.Generator) -> Traits:
    """n random faces on the generator's device."""
    device = generator.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(n, *shape, generator=generator, device=device)

    def pick(colors: list[list[float]], jitter: float) -> Tensor:
        index = torch.randint(len(colors), (n,), generator=generator, device=device)
        chosen = torch.tensor(colors, device=device)[index]
        return to_linear(chosen * (1 + jitter * (2 * uniform(3) - 1)) + 0.02 * uniform(1))[..., None, None]

    number = {name: low + (high - low) * uniform(1, 1) for name, (low, high) in _TABLES["ranges"].items()}
    # Most look towards the viewer.
    for name in ("yaw", "pitch", "roll"):
        number[name] = number[name] * uniform(1, 1)
    weights = torch.tensor((0.24, 0.22, 0.24, 0.14, 0.08, 0.08), device=device)
    style = torch.multinomial(weights, n, replacement=True, generator=generator)[:, None, None]
    skin = pick(_TABLES["skins"], 0.04)
    gray = 0.1 + 0.75 * uniform(1, 1, 1)
    tinted = gray + (uniform(3, 1, 1) - 0.5) * 0.6 * uniform(1, 1, 1)
    patches = 0.5 * (uniform(1, 5, 5) - 0.5) + 0.16 * (uniform(3, 5, 5) - 0.5)
    return Traits(
        number=number,
        style=style,
        skin=skin,
        hair=pick(_TABLES["hairs"], 0.05),
        iris=pick(_TABLES["irises"], 0.15),
        lips=skin * torch.tensor((0.80, 0.40, 0.42), device=device)[:, None, None] * (0.75 + 0.45 * uniform(1, 1, 1)),
        shirt=to_linear(0.06 + 0.86 * uniform(3, 1, 1)),
        backdrop=to_linear((tinted + patches).clamp(0.02, 0.98)),
        blurred=uniform(1, 1) < 0.6,
    )
