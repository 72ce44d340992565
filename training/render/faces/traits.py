"""What makes one drawn face differ from another: random numbers and colours.

Shape legend: N faces; numbers are [N,1,1] and colours [N,3,1,1] in linear light, ready to meet maps [N,S,S].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

HAIR_STYLES = ("short", "parted", "long", "curly", "bun", "bald")
SHORT, PARTED, LONG, CURLY, BUN, BALD = range(6)

# Lengths in half sides of the picture (head_height, head_x, head_y, shoulder) or in half heights and widths of the
# head (everything on the face, y downwards from its middle); angles in radians.
RANGES: dict[str, tuple[float, float]] = {
    "head_height": (0.54, 0.68),
    "head_slim": (0.70, 0.80),
    "head_x": (-0.10, 0.10),
    "head_y": (-0.16, 0.0),
    "roll": (-0.16, 0.16),
    "yaw": (-0.5, 0.5),
    "pitch": (-0.16, 0.16),
    "jaw": (0.18, 0.34),
    "eye_x": (0.37, 0.43),
    "eye_y": (-0.03, 0.06),
    "eye_width": (0.155, 0.195),
    "eye_open": (0.30, 0.52),
    "eye_tilt": (-0.12, 0.16),
    "iris": (0.058, 0.068),
    "gaze_x": (-0.035, 0.035),
    "gaze_y": (-0.012, 0.014),
    "brow_rise": (0.15, 0.21),
    "brow_arch": (0.02, 0.07),
    "brow_thick": (0.022, 0.05),
    "brow_slope": (-0.06, 0.14),
    "nose_width": (0.10, 0.145),
    "nose_tip": (0.30, 0.38),
    "mouth_y": (0.55, 0.61),
    "mouth_width": (0.22, 0.31),
    "lip": (0.035, 0.065),
    "smile": (-0.03, 0.09),
    "blush": (0.0, 0.5),
    "hairline": (0.50, 0.68),
    "part": (-0.4, 0.4),
    "strands": (0.25, 0.5),
    "volume": (0.05, 0.16),
    "shoulder": (0.72, 0.95),
    "light_x": (-0.75, 0.75),
    "light_y": (-0.75, -0.15),
    "ambient": (0.35, 0.55),
    "freckles": (-1.5, 1.0),
    "shade_beard": (-1.6, 1.0),
    "glasses": (-3.0, 1.0),
    "open": (-1.2, 1.0),
}

SKINS = (
    (0.97, 0.85, 0.77),
    (0.94, 0.77, 0.67),
    (0.89, 0.70, 0.56),
    (0.80, 0.60, 0.45),
    (0.66, 0.46, 0.33),
    (0.52, 0.35, 0.25),
    (0.40, 0.27, 0.20),
)
HAIRS = (
    (0.08, 0.07, 0.07),
    (0.20, 0.13, 0.09),
    (0.36, 0.22, 0.13),
    (0.80, 0.63, 0.36),
    (0.58, 0.25, 0.12),
    (0.62, 0.61, 0.60),
    (0.88, 0.88, 0.87),
)
IRISES = ((0.24, 0.14, 0.08), (0.36, 0.24, 0.12), (0.28, 0.38, 0.22), (0.30, 0.46, 0.62), (0.45, 0.50, 0.54))


@dataclass(frozen=True)
class Traits:
    """N faces in numbers."""

    number: dict[str, Tensor]  # by the names of RANGES
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

    def pick(colors: tuple[tuple[float, float, float], ...], jitter: float) -> Tensor:
        index = torch.randint(len(colors), (n,), generator=generator, device=device)
        chosen = torch.tensor(colors, device=device)[index]
        return to_linear(chosen * (1 + jitter * (2 * uniform(3) - 1)) + 0.02 * uniform(1))[..., None, None]

    number = {name: low + (high - low) * uniform(1, 1) for name, (low, high) in RANGES.items()}
    # Most look towards the viewer.
    for name in ("yaw", "pitch", "roll"):
        number[name] = number[name] * uniform(1, 1)
    weights = torch.tensor((0.24, 0.22, 0.24, 0.14, 0.08, 0.08), device=device)
    style = torch.multinomial(weights, n, replacement=True, generator=generator)[:, None, None]
    skin = pick(SKINS, 0.04)
    gray = 0.1 + 0.75 * uniform(1, 1, 1)
    tinted = gray + (uniform(3, 1, 1) - 0.5) * 0.6 * uniform(1, 1, 1)
    patches = 0.5 * (uniform(1, 5, 5) - 0.5) + 0.16 * (uniform(3, 5, 5) - 0.5)
    return Traits(
        number=number,
        style=style,
        skin=skin,
        hair=pick(HAIRS, 0.05),
        iris=pick(IRISES, 0.15),
        lips=skin * torch.tensor((0.80, 0.40, 0.42), device=device)[:, None, None] * (0.75 + 0.45 * uniform(1, 1, 1)),
        shirt=to_linear(0.06 + 0.86 * uniform(3, 1, 1)),
        backdrop=to_linear((tinted + patches).clamp(0.02, 0.98)),
        blurred=uniform(1, 1) < 0.6,
    )
