"""Surface normals as a picture: (n + 1) / 2, with X right, Y up and Z towards the viewer in R, G and B."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..task import Codec, check_picture


def encode_normal(normal: Any, source: Any = None) -> Tensor:
    """Unit normals [...,3,H,W] to a picture [...,3,H,W]; any length is accepted and divided out.

    Raises:
        ValueError: not a float map with three channels.
    """
    vector = check_picture(normal, "normal map")
    return (_unit(vector) + 1) / 2


def decode_normal(picture: Any, source: Any = None) -> Tensor:
    """Picture [...,3,H,W] to unit normals [...,3,H,W]; mid-grey, which has no direction, faces the viewer.

    Raises:
        ValueError: not a float picture.
    """
    return _unit(check_picture(picture) * 2 - 1)


def normal_confidence(picture: Any, source: Any = None) -> float:
    """1 when all vectors have unit length, less the more they differ from it."""
    length = (check_picture(picture) * 2 - 1).norm(dim=-3)
    return float((1 - (length - 1).abs() * 2).clamp_min(0).mean())


def _unit(vector: Tensor) -> Tensor:
    length = vector.norm(dim=-3, keepdim=True)
    forward = torch.tensor([0.0, 0.0, 1.0], device=vector.device)[:, None, None].expand_as(vector)
    return torch.where(length > 1e-3, vector / length.clamp_min(1e-6), forward)


NORMAL = Codec("normal", encode_normal, decode_normal, normal_confidence)
