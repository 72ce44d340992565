"""The model between two of one training: every weight on the line from one's to the other's.

A run whose rate falls ends beside what the runs before it had found, each a little to one side. What lies between them
is often better than both (model soups, Wortsman et al., arXiv 2203.05482, for models that began from the same weights).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ...comfyui_pixwizard.pipeline import PixWizardPipeline


def average(first: nn.Module, second: nn.Module, share: float) -> None:
    """Move the weights of the first to the second's by a share, in place.

    Raises:
        ValueError: weights of other names or shapes.
    """
    own, other = first.state_dict(), second.state_dict()
    shapes = [{name: tuple(value.shape) for name, value in state.items()} for state in (own, other)]
    if shapes[0] != shapes[1]:
        odd = sorted(name for name, _ in shapes[0].items() ^ shapes[1].items())[0]
        raise ValueError(f"average takes two models of one shape, found {odd} in one or otherwise: name two of one run")
    with torch.no_grad():
        for name, value in own.items():
            if value.is_floating_point():
                value.lerp_(other[name].to(value), share)


@dataclass
class AverageRecipe:
    """Write the model between two of one training, such as the one it began with and the one it ended with.

    `pixwizard train direction --model OUT` then fits its direction anew, which is no weight of this kind.
    """

    other: Path
    """The folder of the second model."""
    model: str = "nano"
    """The first model: nano, or a folder."""
    share: float = 0.5
    """How far to go from the first to the second, from 0 to 1."""
    out: Path = Path("runs/average")
    """The folder to write."""

    def run(self) -> bool:
        """Average and write.

        Raises:
            ValueError: no such model, models of other parts or shapes, a share that is none, an unwritable place.
        """
        if not 0 <= self.share <= 1:
            raise ValueError(f"--share is a number from 0 to 1, found {self.share:g}: take 0.5 for the middle")
        first, second = (PixWizardPipeline.from_pretrained(model) for model in (self.model, self.other))
        odd = sorted(first.parts.keys() ^ second.parts.keys())
        if odd:
            raise ValueError(f"average takes two models of the same parts, found {odd[0]} in one only: add or drop it")
        for name, part in first.parts.items():
            average(part, second.parts[name], self.share)
        # No folder, no direction: it was fitted to other encoders.
        first.folder, first.provenance = None, second.provenance | {"share": self.share}
        first.save_pretrained(self.out)
        print(f"wrote {self.out}")
        return True
