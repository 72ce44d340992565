"""More tokens than a model was trained on: how positions and attention are scaled then.

Source: Lumina-Next's sampling (arXiv 2406.18583), docs/mathematics.md sections 6 and 7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .attention import proportional_scale
from .pictures.buckets import CELL, Size
from .rope import scale_factors

# Flow time up to which positions are scaled linearly, from where on by NTK: Lumina-Next's.
WATERSHED = 0.3


@dataclass(frozen=True)
class Scaling:
    """How positions and attention are scaled.

    Attributes:
        rope_scale: of positions; 1 leaves them.
        rope_watershed: flow time up to which they are scaled linearly, from where on by NTK.
        base_tokens: tokens of the trained size, for proportional attention; None leaves attention.

    Raises:
        ValueError: a scale that is not positive, a watershed outside of 0 to 1, fewer than two base_tokens.
    """

    rope_scale: float = 1.0
    rope_watershed: float = WATERSHED
    base_tokens: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.rope_scale < math.inf:
            raise ValueError(f"the RoPE scale must be a positive number, found {self.rope_scale:g}: 1 scales nothing")
        if not 0 <= self.rope_watershed <= 1:
            raise ValueError(
                f"the RoPE watershed is a flow time from 0 to 1, found {self.rope_watershed:g}: take {WATERSHED:g}"
            )
        if self.base_tokens is not None and self.base_tokens < 2:
            raise ValueError(
                f"proportional attention needs a trained size of two tokens or more, found {self.base_tokens}: "
                "turn it off"
            )

    def factors(self, t: float) -> tuple[float, float]:
        """(linear, NTK) factors of positions at a flow time."""
        return (1.0, 1.0) if self.rope_scale == 1 else scale_factors(self.rope_scale, self.rope_watershed, t)

    def attention_scale(self, tokens: int) -> float | None:
        """Factor on self-attention's 1/sqrt(e) for so many tokens; None for 1."""
        return None if self.base_tokens is None else proportional_scale(tokens, self.base_tokens)


PLAIN = Scaling()


def scaling_for(
    size: Size,
    max_size: int,
    rope_scale: float | None = None,
    rope_watershed: float | None = None,
    proportional: bool | None = None,
) -> Scaling:
    """The scaling of a picture of a size (width, height) in pixels.

    Where the picture has more pixels than the largest square that the model was trained for, positions are scaled by
    the square root of that ratio and attention is proportional; else nothing is.

    Args:
        max_size: side of that square in pixels.
        rope_scale, rope_watershed, proportional: instead of the rule's own, where not None.

    Raises:
        ValueError: as `Scaling`.
    """
    tokens, trained = (width // CELL * (height // CELL) for width, height in (size, (max_size, max_size)))
    beyond = tokens > trained
    scale = math.sqrt(tokens / trained) if beyond else 1.0
    on = beyond if proportional is None else proportional
    return Scaling(
        scale if rope_scale is None else rope_scale,
        WATERSHED if rope_watershed is None else rope_watershed,
        trained if on else None,
    )
