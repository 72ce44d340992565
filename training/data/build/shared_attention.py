"""Two pictures of two captions that share attention, so that the second is the first with what the words changed.

After prompt-to-prompt (Hertz et al., arXiv 2208.01626): in a share of the flow's time the second sample attends as the
first does, to itself and to the words that both captions have; and outside of where the changed words attend, its
prediction is the first one's (their local blending). The two are sampled together, from the same noise.
Shapes: B rows, of which the first half is before and the second after, P = B/2 pairs, C latent channels, h w latent
sides, L tokens of the picture, T of the text, H query heads, g key heads, e channels of a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ....comfyui_pixwizard.attention import Attend, Attention
from ....comfyui_pixwizard.evaluator import Branch, Eager, Step
from ....comfyui_pixwizard.scaling import PLAIN, Scaling
from ....comfyui_pixwizard.transformer import PixWizardTransformer

# The branch of guidance that reads the captions.
READS = "full"
# From where on, between the least and the most that tokens attend to the changed words, one counts as changed.
ATTENDED = 0.4
ROUNDING = 1e-5


@dataclass(frozen=True)
class Sharing:
    """In which share of the flow's time, from the noise on, what is shared.

    Attributes:
        own: attention of the picture to itself.
        words: attention to the words that both captions have.
        blend: from this time on all but the place of the changed words is the first picture's; 1 blends nothing.

    Raises:
        ValueError: a share that is not in 0 to 1.
    """

    own: float = 0.4
    words: float = 0.8
    blend: float = 0.3

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is a share from 0 to 1, found {value}: take {getattr(Sharing, name)}")


def same_words(before: Sequence[int], after: Sequence[int]) -> list[tuple[int, int]]:
    """Places of the tokens that two captions have in common, in their order."""
    blocks = SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    return [(block.a + i, block.b + i) for block in blocks for i in range(block.size)]


class Alignment:
    """Which words of the second captions are which of the first.

    Args:
        before, after: token ids of P captions each.
    """

    def __init__(self, before: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> None:
        length = max(len(ids) for ids in (*before, *after))
        self.same = torch.zeros(len(before), length, length)
        self.changed = torch.zeros(len(before), length)
        for row, (one, other) in enumerate(zip(before, after, strict=True)):
            pairs = same_words(one, other)
            for i, j in pairs:
                self.same[row, i, j] = 1
            kept = {j for _, j in pairs}
            self.changed[row, [j for j in range(len(other)) if j not in kept]] = 1

    def of(self, length: int) -> tuple[Tensor, Tensor]:
        """Matrix [P, T, T] of the same words and [P, T] of the changed ones, for so many columns."""
        more = max(0, length - self.changed.shape[1])
        same, changed = F.pad(self.same, (0, more, 0, more)), F.pad(self.changed, (0, more))
        return same[:, :length, :length], changed[:, :length]


class SharedAttend:
    """In place of an `Attention`'s own `attend`, while two captions are sampled together.

    Attributes:
        own, words: whether attention to itself, and to the words, is shared now.
        attended: where the changed words were attended to, [P, L], summed over layers; None before the first.
    """

    def __init__(self, attend: Attend, alignment: Alignment) -> None:
        self.attend, self.alignment = attend, alignment
        self.own, self.words, self.reads = False, False, False
        self.attended: Tensor | None = None

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, *masks: Any, **named: Any) -> Tensor:
        # `Attention.forward` gives the mask of itself by place, that of the text by name, and none for the image.
        if named:
            return self._to_words(query, key, value, named["mask"]) if self.reads else self.attend(
                query, key, value, **named
            )  # fmt: skip
        if masks and self.own:
            query, key = (torch.cat((one.chunk(2)[0],) * 2) for one in (query, key))
        return self.attend(query, key, value, *masks)

    def _to_words(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        groups = query.shape[1] // key.shape[1]
        key, value = (one.repeat_interleave(groups, dim=1) for one in (key, value))
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        weights = scores.softmax(-1)
        before, after = weights.chunk(2)
        same, changed = (one.to(weights) for one in self.alignment.of(weights.shape[-1]))
        looked = (after * changed[:, None, None]).sum(-1).mean(1)
        self.attended = looked if self.attended is None else self.attended + looked
        if self.words:
            # What no word of the first caption stands for keeps its own weight.
            known = same.sum(1)[:, None, None]
            shared = before @ same[:, None] + after * (1 - known)
            after = shared / shared.sum(-1, keepdim=True).clamp_min(1e-6)
        return torch.cat((before, after)) @ value


class PairEvaluator:
    """Evaluates two captions together, see `evaluator.Evaluator`; the network as PyTorch runs it."""

    name, reason = "eager", "attention is shared between two samples"

    def __init__(self, alignment: Alignment, sharing: Sharing) -> None:
        self.alignment, self.sharing = alignment, sharing

    def start(
        self,
        transformer: PixWizardTransformer,
        branches: Mapping[str, Branch],
        times: Sequence[float],
        scaling: Scaling = PLAIN,
    ) -> PairStep:
        return PairStep(transformer, Eager().start(transformer, branches, times, scaling), self.alignment, self.sharing)


class PairStep:
    """A prepared sampling of pairs."""

    def __init__(self, transformer: PixWizardTransformer, step: Step, alignment: Alignment, sharing: Sharing) -> None:
        self.layers = [module for module in transformer.modules() if isinstance(module, Attention)]
        self.step, self.alignment, self.sharing = step, alignment, sharing
        self.attended: Tensor | None = None

    def __call__(self, x: Tensor, t: float, branches: Sequence[str]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for name in branches:
            # One branch after the other: only one of them reads the captions.
            with self._shared(t, reads=name == READS) as attends:
                found |= self.step(x, t, [name])
            for attend in attends:
                if attend.attended is not None:
                    self.attended = attend.attended if self.attended is None else self.attended + attend.attended
        # At the end of the grid, where some solvers look too, the picture is what it is.
        if self.attended is None or not self.sharing.blend <= t < 1 - ROUNDING or self.sharing.blend == 1:
            return found
        place = changed_place(self.attended, x.shape[-2], x.shape[-1])
        return {name: blended(velocity, x, t, place) for name, velocity in found.items()}

    @contextmanager
    def _shared(self, t: float, reads: bool) -> Iterator[list[SharedAttend]]:
        before = [layer.attend for layer in self.layers]
        attends = [SharedAttend(attend, self.alignment) for attend in before]
        for layer, attend in zip(self.layers, attends, strict=True):
            attend.reads, attend.own, attend.words = reads, t < self.sharing.own, t < self.sharing.words
            layer.attend = attend
        try:
            yield attends
        finally:
            for layer, attend_before in zip(self.layers, before, strict=True):
                layer.attend = attend_before


def changed_place(attended: Tensor, height: int, width: int) -> Tensor:
    """Where the changed words are looked for: [P, L] to [P, 1, h, w] of 0 and 1, a token wider than they attend."""
    rows = height * width // attended.shape[1]
    side = round(rows**0.5)
    grid = rearrange(attended, "p (y x) -> p 1 y x", y=height // side)
    low, high = grid.amin((2, 3), keepdim=True), grid.amax((2, 3), keepdim=True)
    place = (grid >= low + ATTENDED * (high - low)).float()
    return F.interpolate(F.max_pool2d(place, 3, 1, 1), (height, width), mode="nearest")


def blended(velocity: Tensor, x: Tensor, t: float, place: Tensor) -> Tensor:
    """Velocities [B, C, h, w] whose second half predicts the first half's picture outside of a place [P, 1, h, w]."""
    image = x + (1 - t) * velocity
    before, after = image.chunk(2)
    kept = before.lerp(after, place.to(image))
    # Where nothing is kept the velocity is left as it is, to the bit.
    changed = (kept - x.chunk(2)[1]) / (1 - t)
    own = velocity.chunk(2)
    return torch.cat((own[0], torch.where(place.to(image) == 1, own[1], changed)))
