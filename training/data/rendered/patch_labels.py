"""What the renderer knows of each patch of a picture, for teachers that training has and the network has not.

Shapes: N scenes or pictures of people, J = JOINTS, B samples, c = CHANNELS, S side in pixels, g = S/16 patches and
G = S/4 cells a side.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor

from ....comfyui_pixwizard.tasks.codecs.keypoint import disc_radius
from ....comfyui_pixwizard.tasks.codecs.palette import palette
from ....comfyui_pixwizard.tasks.codecs.pose import JOINTS as JOINT_NAMES
from ...render import scenes as S

PATCH = 16
# Cells of a patch, a side: what words name is told of each, so that its outline within a patch is told too.
CELLS = 4
# ground, background and the shapes; "ignore" never occurs.
CLASSES = len(S.CLASS_NAMES) - 1
COLORS = len(S.COLOR_NAMES)
# Channels of `patch_labels`.
PARTS = {
    "classes": slice(0, CLASSES),
    "colors": slice(CLASSES, CLASSES + COLORS),
    "depth": slice(CLASSES + COLORS, CLASSES + COLORS + 1),
    "normal": slice(CLASSES + COLORS + 1, CLASSES + COLORS + 4),
}
CHANNELS = CLASSES + COLORS + 4
# Of the classes: all but ground and background.
SOLIDS = slice(2, CLASSES)
JOINTS = len(JOINT_NAMES)


class Truth(NamedTuple):
    """What is known of the patches of B samples.

    labels [B,c,g,g] and known [B], see `patch_labels`, with -1 for colours and for classes where these are not known;
    classes [B,CLASSES,G,G], the share of each in a cell, -1 where not known;
    named [B,G,G], the share of cells that the sentence names, and asked [B]; joints [B,J,G,G] and posed [B], see
    `joint_cells`.
    """

    labels: Tensor
    known: Tensor
    classes: Tensor
    named: Tensor
    asked: Tensor
    joints: Tensor
    posed: Tensor

    def to(self, place: torch.device) -> Truth:
        """On a device."""
        return Truth(*(part.to(place) for part in self))


def pooled(picture: Tensor, side: int = PATCH) -> Tensor:
    """Means over patches, or squares of another side: [N, c, S, S] -> [N, c, S/side, S/side]."""
    return reduce(picture, "n c (h p) (w q) -> n c h w", "mean", p=side, q=side)


def in_cells(picture: Tensor) -> Tensor:
    """Means over the cells of patches: [N, S, S] -> [N, G, G]."""
    return pooled(picture[:, None], PATCH // CELLS)[:, 0]


def class_cells(coded: Tensor) -> Tensor:
    """Share of each class in each cell [N,CLASSES,G,G] of class maps [N,3,S,S], coded as bytes."""
    colors = palette(CLASSES + 1)[1:].to(coded)
    shown = (coded[:, None] == colors[:, :, None, None]).all(2)
    return pooled(shown.float(), PATCH // CELLS)


def each_cell(patches: Tensor) -> Tensor:
    """What holds of patches [...,g,g], of each of their cells [...,G,G]."""
    return patches.repeat_interleave(CELLS, -2).repeat_interleave(CELLS, -1)


def patch_labels(scenes: S.Scenes, render: S.Labels) -> Tensor:
    """[N, CHANNELS, g, g] in half precision: the share of each class, the share of solids of each colour, the depth
    between 0 (near) and 1 (far) in logarithms, the mean normal.
    """
    classes = rearrange(F.one_hot(render.classes - 1, CLASSES), "n h w c -> n c h w").float()
    # Row 0 stands for no solid, and is left out.
    color_of = F.pad(scenes.color + 1, (1, 0))
    color = color_of.gather(1, rearrange(render.instance, "n h w -> n (h w)")).view_as(render.instance)
    colors = rearrange(F.one_hot(color, COLORS + 1), "n h w c -> n c h w")[:, 1:].float()
    near, far = (torch.tensor(value).log() for value in S.DEPTH_RANGE)
    depth = ((render.depth.log() - near) / (far - near))[:, None]
    return pooled(torch.cat([classes, colors, depth, render.normal], dim=1)).half()


def disc_cells(points: Tensor, radius: float, side: int) -> Tensor:
    """Share of each cell that discs round points cover, about: [...,K,3] (x, y in pixels, visible) -> [...,K,G,G]."""
    cell = PATCH // CELLS
    middles = (torch.arange(side // cell) + 0.5) * cell
    x, y, visible = points[..., None, None].unbind(-3)
    distance = torch.hypot(middles - x, middles[:, None] - y)
    return ((radius - distance) / cell + 0.5).clamp(0, 1) * (visible > 0.5)


def joint_cells(pose: Tensor, side: int) -> Tensor:
    """Share of each cell [N,J,G,G] that dots on the joints of people [N,P,J,3] (x, y in pixels, visible) cover."""
    return disc_cells(pose, disc_radius(side, side), side).amax(1)
