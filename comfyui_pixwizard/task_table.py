"""The task table: for each task a learned vector beside the task vector, and one learned token beside the text.

Both begin at zero, where the network answers exactly as it does without a table. Source: Emu Edit (Sheynin et al.
2023), section 4.2, where the embedding of a task is added to that of the time and is one more token to attend to.

Shapes: K tasks, B batch, D conditioning width, T text tokens, F text features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import PixWizardConfig


class TaskRows(NamedTuple):
    """What a batch is given of a table.

    Attributes:
        vector: [B, D], added to the task's part of the conditioning vector, which also ranks the image tokens.
        token: [B, F], one more text token, in the space of normed features: no norm comes after it, so that its effect
            grows from nothing as it does.
        given: bool [B], rows that have a task; of others vector and token are zero.
    """

    vector: Tensor
    token: Tensor
    given: Tensor

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> TaskRows:
        """Moves, and casts vector and token."""
        return TaskRows(self.vector.to(device, dtype), self.token.to(device, dtype), self.given.to(device))

    def check(self, batch: int, config: PixWizardConfig) -> None:
        """Refuse rows of another batch or another network.

        Raises:
            ValueError: shapes that do not fit.
        """
        found = [list(part.shape) for part in self]
        wanted = [[batch, config.conditioning_dim], [batch, config.cap_feat_dim], [batch]]
        if found != wanted:
            raise ValueError(
                f"rows of a task table must be {wanted} for this network, found {found}: use a table or a task file "
                "that was trained on it"
            )


class TokenPlace(NamedTuple):
    """Where the task's token stands: place bool [B, T + 1], token [B, F]."""

    place: Tensor
    token: Tensor

    def put(self, features: Tensor) -> Tensor:
        """Normed features [B, T + 1, F] with the token in its place."""
        return torch.where(self.place[..., None], self.token[:, None].to(features.dtype), features)


def with_rows(
    rows: TaskRows | None, config: PixWizardConfig, embedding: Tensor, features: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor, Tensor, TokenPlace | None]:
    """Task embedding [B, D], text features [B, T, F] and mask [B, T] with rows of a task table, and the token's place.

    Raises:
        ValueError: rows of another batch or network.
    """
    if rows is None:
        return embedding, features, mask, None
    rows.check(len(features), config)
    return embedding + rows.vector, *with_token(features, mask, rows, all_rows=torch.is_grad_enabled())


def with_token(
    features: Tensor, mask: Tensor, rows: TaskRows, *, all_rows: bool
) -> tuple[Tensor, Tensor, TokenPlace | None]:
    """Text features [B, T, F] and mask [B, T] with room for a task's token behind the last valid one, and its place.

    Args:
        all_rows: a token of zeros is attended to as well, as in training, where it is to move; without, it is masked,
            and where all are the text is as it was, so that a table of zeros changes nothing.
    """
    seen = rows.given if all_rows else rows.given & rows.token.ne(0).any(dim=1)
    if not all_rows and not bool(seen.any()):
        return features, mask, None
    number = torch.arange(mask.shape[1] + 1, device=mask.device)
    behind = (mask * number[1:]).amax(dim=1)
    place = (number == behind[:, None]) & seen[:, None]
    return F.pad(features, (0, 0, 0, 1)), F.pad(mask, (0, 1)) | place, TokenPlace(place, rows.token)


class TaskTable(nn.Module):
    """Vectors [K, D] and tokens [K, F] by the names of tasks.

    Args:
        names: of the tasks, each once.
        width: D.   features: F.

    Raises:
        ValueError: a name twice, or none.
    """

    def __init__(self, names: Sequence[str], width: int, features: int) -> None:
        super().__init__()
        if not names or len(set(names)) < len(names):
            raise ValueError(f"a task table names each task once, found {', '.join(names) or 'none'}: leave others out")
        self.names = tuple(names)
        self.vectors = nn.Parameter(torch.zeros(len(names), width))
        self.tokens = nn.Parameter(torch.zeros(len(names), features))

    @classmethod
    def of(cls, config: PixWizardConfig, names: Sequence[str], begun: TaskTable | None = None) -> TaskTable:
        """A table for a network: the rows of one that was begun, and zeros."""
        table = cls(names, config.conditioning_dim, config.cap_feat_dim)
        if begun is not None:
            with torch.no_grad():
                rows = begun.rows(begun.places(names))
                table.vectors.copy_(rows.vector)
                table.tokens.copy_(rows.token)
        return table

    def fits(self, config: PixWizardConfig) -> bool:
        """Whether its widths are a network's."""
        return (self.vectors.shape[1], self.tokens.shape[1]) == (config.conditioning_dim, config.cap_feat_dim)

    def places(self, tasks: Sequence[str | None]) -> Tensor:
        """Numbers [B] of the rows of some tasks; -1 for None, and for a task that the table does not have."""
        known = {name: number for number, name in enumerate(self.names)}
        return torch.tensor([-1 if task is None else known.get(task, -1) for task in tasks], device=self.vectors.device)

    def rows(self, places: Tensor) -> TaskRows:
        """The rows of some numbers [B], with gradients where they are enabled; -1 is none."""
        given = places >= 0
        at, kept = places.clamp(min=0), given[:, None]
        return TaskRows(self.vectors[at] * kept, self.tokens[at] * kept, given)
