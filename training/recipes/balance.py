"""One measure for the losses of unlike tasks.

An edit that copies nearly everything has a loss of some hundredths, a picture from words of about one: added up, half
of a batch's gradient belongs to what cannot be learned and a fiftieth to object edits. Dividing each loss by what is
usual for its task and time gives all samples about one voice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

T_BINS = 4


def t_bins(t: Tensor) -> Tensor:
    """The quarter of t that times [B] lie in, as indices."""
    return (t * T_BINS).long().clamp(max=T_BINS - 1)


class Balance:
    """Running means of the loss by task and quarter of t, and the factors that they give.

    Args:
        tasks: names.
        decay: of the running means, by occurrence.
        most: bound of the factors, and of their inverse.
    """

    def __init__(self, tasks: Sequence[str], decay: float = 0.99, most: float = 8.0) -> None:
        self.rows = {task: row for row, task in enumerate(tasks)}
        self.decay, self.most = decay, most
        self.total = torch.zeros(len(tasks), T_BINS, dtype=torch.double)
        self.count = torch.zeros(len(tasks), T_BINS, dtype=torch.double)

    def factors(self, tasks: Sequence[str], t: Tensor, losses: Tensor) -> Tensor:
        """What to multiply losses [B] by: the mean over all places, over the mean of each one's own place.

        The losses are counted first, so a place that was never seen has a factor from the start. What is multiplied may
        be another loss: with emphasis a sample whose news is still wrong has more than one voice.
        """
        row = torch.tensor([self.rows[task] for task in tasks])
        part = t_bins(t.detach().cpu())
        found = losses.detach().cpu().double()
        for r, p, value in zip(row.tolist(), part.tolist(), found.tolist(), strict=True):
            self.total[r, p] = self.decay * self.total[r, p] + (1 - self.decay) * value
            self.count[r, p] = self.decay * self.count[r, p] + (1 - self.decay)
        seen = self.count > 0
        means = self.total / self.count.clamp_min(1e-12)
        usual = means[seen].mean()
        factor = (usual / means[row, part].clamp_min(1e-12)).clamp(1 / self.most, self.most)
        return factor.to(losses.device, losses.dtype)

    def state(self) -> dict[str, Any]:
        """Plain values that `load` takes."""
        return {
            "tasks": list(self.rows),
            "total": self.total.tolist(),
            "count": self.count.tolist(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Continue from there; tasks that it does not know begin anew."""
        for task, total, count in zip(state["tasks"], state["total"], state["count"], strict=True):
            if task in self.rows:
                self.total[self.rows[task]] = torch.tensor(total, dtype=torch.double)
                self.count[self.rows[task]] = torch.tensor(count, dtype=torch.double)
