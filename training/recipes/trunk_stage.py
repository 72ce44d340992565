"""The network's first blocks alone: what each patch shows, what the sentence names, what will change.

All that changes one thing, or marks it, begins with finding it. In the whole network the teachers' losses are a small
part of the gradient, and half of the samples have no labels; this stage has nothing else, in two thirds of the time of
a step.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from ..data.feed.mixture import Batch
from ..loop.logs import Records
from ..loop.velocity import Drawing, Dropout
from .mixture_stage import Aids, MixtureStage
from .teachers import BLOCK

if TYPE_CHECKING:  # slow, and not needed by the other stages
    from ..data.feed.mixture import Mixture
    from .towers import NanoModel

M = TypeVar("M", bound=nn.Module)
NOTHING_LOST = Dropout(0.0, 0.0, 0.0)
# All but additions and letters have labels; of these the patches say what changes. Where a joint lies that words name
# is told by nothing else: with an equal share, in eight hours, the third block put 25 of 100 within 6 of 128 px.
LABELLED = {"keypoint": 4.0} | dict.fromkeys(
    (
        "depth", "normal", "segmentation", "pose", "referring_segmentation", "referring_mask", "referring_box",
        "edit_remove", "edit_recolor", "edit_replace", "edit_add", "edit_texture", "edit_local", "edit_text",
    ),
    1.0,
)  # fmt: skip


class TrunkStage(MixtureStage):
    """The teachers' losses alone."""

    name = "trunk"

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Records]:
        """Sum of the losses, each by its weight; see `teachers.Teachers`."""
        _, draws, target = self.answers(batch)
        return self.taught(batch, draws, target)


def first_blocks(model: NanoModel) -> NanoModel:
    """A model up to the block that its teachers look at: the same modules, so that training one trains the other."""
    part, transformer = _same_parts(model), _same_parts(model.transformer)
    transformer.layers = nn.ModuleList(transformer.blocks[:BLOCK])
    part.transformer = transformer
    return part


def trunk_stage(model: NanoModel, mixture: Mixture, batch_size: int, drawing: Drawing, bfloat16: bool) -> TrunkStage:
    """The stage of a model with teachers."""
    aids = Aids(dropout=(NOTHING_LOST, NOTHING_LOST), balance=False)
    return TrunkStage(first_blocks(model), [(1.0, batch_size, mixture)], drawing, bfloat16, aids)


def _same_parts(module: M) -> M:
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    return twin
