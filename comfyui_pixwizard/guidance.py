"""Dual classifier-free guidance: one scale for the instruction, one for the image, and when they act.

Source: paper section 3.5, docs/mathematics.md section 10; the interval: Kynkäänniemi et al., arXiv 2404.07724.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .latents import Latents

BRANCHES = ("full", "image", "none")
ALWAYS = (0.0, 1.0)
# Times are float32 sums: a time that was meant to be an end of the interval counts as inside.
ROUNDING = 1e-6


@dataclass(frozen=True)
class DualGuidance:
    """v = none + image*(v_image - v_none) + text*(v_full - v_image), written as one weight per branch.

    Branches: "full" sees image and instruction, "image" the image and an empty instruction, "none" the null image,
    noise as source and an empty instruction.

    Args:
        text: scale of the instruction, s_txt.
        image: scale of the image, s_img.
        guided_channels: guide only that many leading channels and keep the raw "full" prediction in the others
            (3 is what the released code does); None guides all.
        interval: flow times (low, high) in which the scales act; outside of it both are 1, which needs "full" alone.

    Raises:
        ValueError: a scale that is not finite, `guided_channels` below 1, an interval that is not 0 <= low < high <= 1.
    """

    text: float = 4.0
    image: float = 1.0
    guided_channels: int | None = None
    interval: tuple[float, float] = ALWAYS

    def __post_init__(self) -> None:
        for name, scale in (("text", self.text), ("image", self.image)):
            if not math.isfinite(scale):
                raise ValueError(f"guidance must be a finite number, found {name} {scale}: take 1 for none")
        if self.guided_channels is not None and self.guided_channels < 1:
            raise ValueError(
                f"guided_channels must be None or at least 1, found {self.guided_channels}: take None or 3"
            )
        if len(self.interval) != 2 or not 0 <= self.interval[0] < self.interval[1] <= 1:
            found = ", ".join(f"{end:g}" for end in self.interval)
            raise ValueError(
                f"the guidance interval must be 0 <= low < high <= 1 in flow time, found ({found}): "
                "take (0, 1) for all times, or (0.2, 0.9)"
            )

    def at(self, t: float) -> "DualGuidance":
        """The guidance at a flow time: `branches` and `combine` of what it returns are those of that time."""
        if self.interval == ALWAYS:
            return self
        low, high = self.interval
        if low - ROUNDING <= t <= high + ROUNDING:
            return replace(self, interval=ALWAYS)
        return DualGuidance(text=1.0, image=1.0)

    @property
    def weights(self) -> dict[str, float]:
        """Weight of every branch; they sum to 1."""
        return {"full": self.text, "image": self.image - self.text, "none": 1 - self.image}

    def branches(self) -> list[str]:
        """The branches to evaluate at one time or another.

        Those with a weight, and "full" where unguided channels or times need it.
        """
        needed = [name for name, weight in self.weights.items() if weight != 0]
        if (self.guided_channels is not None or self.interval != ALWAYS) and "full" not in needed:
            needed.insert(0, "full")
        return needed

    def combine(self, velocities: Mapping[str, Latents]) -> Latents:
        """The guided velocity.

        Args:
            velocities: one of each needed branch, [B, C, h, w] or lists of [C, h, w]; others are ignored.

        Raises:
            ValueError: a needed branch is missing.
        """
        missing = [name for name in self.branches() if name not in velocities]
        if missing:
            raise ValueError(f"combine needs the branches {self.branches()}, found {sorted(velocities)}: add {missing}")
        parts = {name: velocities[name] for name in self.branches()}
        first = next(iter(parts.values()))
        if isinstance(first, Tensor):
            return self._combine(parts)  # type: ignore[arg-type]
        return [self._combine({name: part[i] for name, part in parts.items()}) for i in range(len(first))]

    def _combine(self, parts: Mapping[str, Tensor]) -> Tensor:
        terms = [(weight, parts[name]) for name, weight in self.weights.items() if weight != 0]
        guided = terms[0][1] if len(terms) == 1 else sum(weight * velocity for weight, velocity in terms)
        assert isinstance(guided, Tensor), "weights sum to 1, so at least one is not 0"
        if self.guided_channels is None:
            return guided
        head, tail = guided.narrow(-3, 0, min(self.guided_channels, guided.shape[-3])), parts["full"]
        rest = tail.shape[-3] - head.shape[-3]
        return torch.cat((head, tail.narrow(-3, head.shape[-3], rest)), dim=-3)
