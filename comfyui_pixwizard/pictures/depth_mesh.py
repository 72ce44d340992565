"""A depth map as a surface in space, for viewers that turn it round.

Axes are those of glTF and of this project's normals: X right, Y up, Z towards the viewer, whose eye is the origin.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor


def depth_mesh(depth: Tensor, field_of_view: float, tear: float, points: int) -> tuple[Tensor, Tensor]:
    """Surface of a depth map through a pinhole.

    Args:
        depth: [H, W] in metres along the view, positive.
        field_of_view: angle in degrees that the width of the map spans.
        tear: a triangle is left out where its farthest corner is more than this share farther than its nearest: there
            two things overlap, and nothing is known of what lies between.
        points: of the longer side at most; of larger maps every n-th is taken, since a mean of two depths is neither.

    Returns:
        Corners [V, 3] in metres, row by row, and triangles [F, 3] of their numbers, turned to the viewer.

    Raises:
        ValueError: a depth that is not positive and finite, or a map of one row or column.
    """
    if not bool((depth > 0).all()) or not bool(depth.isfinite().all()):
        raise ValueError(f"a surface needs depth in metres above 0, found {float(depth.min()):g}: use metres")
    step = max(1, math.ceil(max(depth.shape) / points))
    rows, columns = (torch.arange(step // 2, side, step) for side in depth.shape)
    if min(len(rows), len(columns)) < 2:
        raise ValueError(f"a surface needs two rows and two columns, found a map of {list(depth.shape)}: take a larger")
    z = depth[rows][:, columns].float()
    height, width = depth.shape
    focal = width / 2 / math.tan(math.radians(field_of_view) / 2)
    x = (columns + 0.5 - width / 2) / focal * z
    y = (height / 2 - rows - 0.5)[:, None] / focal * z
    corners = rearrange(torch.stack((x, y, -z)), "c h w -> (h w) c")
    number = torch.arange(len(corners)).reshape(len(rows), len(columns))
    quads = (number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:])
    one, right, below, across = (part.flatten() for part in quads)
    triangles = torch.cat((torch.stack((one, below, right), -1), torch.stack((right, below, across), -1)))
    of_corners = z.flatten()[triangles]
    return corners, triangles[of_corners.amax(-1) <= of_corners.amin(-1) * (1 + tear)]
