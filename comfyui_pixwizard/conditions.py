"""Everything of a velocity evaluation that depends neither on x nor on t, computed once.

Shapes: R layers, B batch, T text tokens, N image tokens, k kept ones, g key/value heads, e head channels,
D conditioning width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .token_sampler import choose_tokens, exponential_draws, gather_tokens


@dataclass(frozen=True)
class Conditions:
    """What `PixWizardTransformer.encode_conditions` caches for `velocity`.

    Args:
        text_keys, text_values: [R, B, g, T, e], keys normed.
        text_mask: bool [B, T], true where valid; None when every entry is.
        image_keys, image_values: chosen tokens [R, B, g, k, e]; zeros in null rows (they then contribute exactly
            nothing), and of length 0 instead of k when every row is null.
        selected: int64 [R, B, k], ascending indices of the chosen image tokens; -1 in null rows.
        scores: [R, B, N], the ranker's output before noise, detached; zeros in null rows.
        task_embedding, global_embedding: [B, D], the task's and the image's part of the conditioning vector.
        is_null: bool [B], rows whose image tokens were all zero.
        all_keys, all_values: [R, B, g, N, e], kept only by an encoding with Gumbel noise and without gradients,
            so that `redraw` can choose again.
    """

    text_keys: Tensor
    text_values: Tensor
    text_mask: Tensor | None
    image_keys: Tensor
    image_values: Tensor
    selected: Tensor
    scores: Tensor
    task_embedding: Tensor
    global_embedding: Tensor
    is_null: Tensor
    all_keys: Tensor | None = None
    all_values: Tensor | None = None

    @classmethod
    def of_keys(
        cls, text_keys: Tensor, text_values: Tensor, text_mask: Tensor | None, image_keys: Tensor, image_values: Tensor
    ) -> "Conditions":
        """Only what `PixWizardTransformer.denoise` reads; the mask may be additive. The rest is empty."""
        nothing = text_keys.new_zeros(0)
        return cls(
            text_keys, text_values, text_mask, image_keys, image_values, nothing, nothing, nothing, nothing, nothing
        )

    def __len__(self) -> int:
        return len(self.task_embedding)

    @property
    def vector(self) -> Tensor:
        """The part of the conditioning vector that does not depend on t, [B, D]."""
        return self.task_embedding + self.global_embedding

    def __getitem__(self, rows: int | slice | Sequence[int] | Tensor) -> "Conditions":
        """The conditions of some rows of the batch; an int keeps the batch axis."""
        if isinstance(rows, int):
            rows = slice(rows, rows + 1 or None)
        index = rows if isinstance(rows, (slice, Tensor)) else list(rows)
        return self._map(lambda name, value: value[index] if name in BATCH_FIRST else value[:, index])

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Conditions":
        """Moves, and casts the floating-point members."""
        return self._map(lambda _, value: value.to(device, dtype if value.is_floating_point() else None))

    def redraw(self, gumbel: torch.Generator | Tensor) -> "Conditions":
        """Chooses the image tokens again with fresh noise, reusing scores, keys and values.

        Args:
            gumbel: a generator or recorded exponential draws [R, B, N].

        Raises:
            ValueError: the encoding kept no keys of all tokens.
        """
        if self.all_keys is None or self.all_values is None:
            raise ValueError(
                "redraw needs the keys of all image tokens, found only the chosen ones: "
                "encode with gumbel given and under torch.no_grad()"
            )
        layers, _, tokens = self.scores.shape
        draws = exponential_draws(gumbel, layers, ~self.is_null, tokens)
        selected, _ = choose_tokens(self.scores, draws, self.selected.shape[-1])
        if not self.image_keys.shape[-2]:
            return self
        per_head = selected.unsqueeze(2).expand(-1, -1, self.all_keys.shape[2], -1)
        return replace(
            self,
            image_keys=gather_tokens(self.all_keys, per_head),
            image_values=gather_tokens(self.all_values, per_head),
            selected=selected.masked_fill(self.is_null[:, None], -1),
        )

    @staticmethod
    def cat(parts: Sequence["Conditions"]) -> "Conditions":
        """Concatenates on the batch; shorter texts are padded (and masked), image-free parts filled with null rows.

        Raises:
            ValueError: nothing to concatenate, or parts of different models or numbers of image tokens.
        """
        if not parts:
            raise ValueError("Conditions.cat needs at least one part, found none: pass the encoded branches")
        if len(parts) == 1:
            return parts[0]
        shapes = [(*part.text_keys.shape[::2], part.selected.shape[-1], part.scores.shape[-1]) for part in parts]
        if len(set(shapes)) > 1:
            raise ValueError(
                f"parts must agree in layers, heads, kept and image tokens, found {shapes}: encode with one model"
            )
        text = max(part.text_keys.shape[-2] for part in parts)
        image = max(part.image_keys.shape[-2] for part in parts)
        return _cat_equal([part._padded(text, image) for part in parts])

    def _padded(self, text: int, image: int) -> "Conditions":
        missing = text - self.text_keys.shape[-2]
        mask = self.text_mask
        if missing:
            if mask is None:
                mask = torch.ones(len(self), text - missing, dtype=torch.bool, device=self.text_keys.device)
            mask = F.pad(mask, (0, missing))
        absent = image - self.image_keys.shape[-2]
        assert absent in (0, image), "parts keep either k image tokens or none"
        return replace(
            self,
            text_keys=_lengthened(self.text_keys, missing),
            text_values=_lengthened(self.text_values, missing),
            text_mask=mask,
            image_keys=_lengthened(self.image_keys, absent),
            image_values=_lengthened(self.image_values, absent),
        )

    def _map(self, function: Callable[[str, Tensor], Tensor]) -> "Conditions":
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: function(name, value) for name, value in values.items() if value is not None})


BATCH_FIRST = {"text_mask", "task_embedding", "global_embedding", "is_null"}


def _lengthened(keys: Tensor, by: int) -> Tensor:
    return F.pad(keys, (0, 0, 0, by)) if by else keys


def _cat_equal(parts: list[Conditions]) -> Conditions:
    def joined(name: str) -> Any:
        values: list[Tensor | None] = [getattr(part, name) for part in parts]
        if name == "text_mask" and any(value is not None for value in values):
            values = [
                torch.ones(len(part), part.text_keys.shape[-2], dtype=torch.bool, device=part.text_keys.device)
                if value is None
                else value
                for part, value in zip(parts, values, strict=True)
            ]
        present = [value for value in values if value is not None]
        if len(present) < len(values):
            return None
        return torch.cat(present, dim=0 if name in BATCH_FIRST else 1)

    return Conditions(**{field.name: joined(field.name) for field in fields(Conditions)})
