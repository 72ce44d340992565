"""Names of the kinds of latents that the network takes."""

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor

# One size [B, C, h, w], or a ragged batch of [C, h_i, w_i].
Latents = Tensor | list[Tensor]
SameLatents = TypeVar("SameLatents", Tensor, list[Tensor])
# What is called in place of a block, see `PixWizardTransformer.denoise`.
Around = Callable[[int, Callable[[Tensor, Tensor | None], Tensor], Tensor, Tensor | None], Tensor]
