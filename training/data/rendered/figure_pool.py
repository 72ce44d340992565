"""Pools of rendered people with their poses, and of drawn faces (see `pools` for why there are pools).

Shape legend: N pictures, S side in pixels, B batch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ....comfyui_pixwizard.tasks import TASKS
from ...render.faces import draw_faces
from ...render.figures import joint_expressions, render_figures
from .pools import Pictures, cached, of_text, to_text
from .scene_pool import to_bytes

Draw = Callable[[int, int, torch.Generator], Tensor]
CHUNK = 40
_SPLIT_SEEDS = {"train": 0, "test": 500_000_003}


class FigurePool(Pictures):
    """Rendered people.

    Attributes:
        image: [N,3,S,S] uint8.   pose: [N,2,18,3] float, x, y in pixels and visible; zero for absent people.
        instance: [N,S,S] uint8: 0 backdrop, 1 and 2 the people of `pose`, 3 a stool.
        captions: per picture some captions.
        joints: per picture (expression, person, joint number) of every visible joint.

    Args:
        backdrop: draws pictures that half of the people stand in front of; without, all stand in rooms.
    """

    def __init__(
        self, folder: Path, count: int, size: int, seed: int = 3, split: str = "train", backdrop: Draw | None = None
    ):
        if split not in _SPLIT_SEEDS:
            raise ValueError(f'split must be "train" or "test", found {split!r}; choose one of the two')
        self.split = split
        place = "" if backdrop is None else "-backdrops"
        path = folder / f"figures-{split}-{count}-{size}-{seed}{place}.safetensors"
        data = cached(path, lambda: self._build(count, size, seed, split, backdrop))
        super().__init__(data["image"])
        self.pose, self.instance = data["pose"], data["instance"]
        self.captions: list[list[str]] = of_text(data["texts"])
        self.joints = [joint_expressions(pose) for pose in self.pose]

    @staticmethod
    def _build(count: int, size: int, seed: int, split: str, backdrop: Draw | None) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + size + _SPLIT_SEEDS[split])
        parts = []
        for first in tqdm(range(0, count, CHUNK), desc=f"figures {size}px", unit="chunk"):
            n = min(CHUNK, count - first)
            before = 0 if backdrop is None else n // 2
            parts.append(render_figures(n - before, size, generator, split=split))
            if backdrop is not None and before:
                parts.append(render_figures(before, size, generator, backdrop(before, size, generator), split))
        return {
            "image": torch.cat([to_bytes(part.image) for part in parts]),
            "pose": torch.cat([part.pose for part in parts]),
            "instance": torch.cat([part.instance for part in parts]),
            "texts": to_text([captions for part in parts for captions in part.captions]),
        }


def skeletons(pose: Tensor, side: int) -> Tensor:
    """Pictures [n,3,side,side] of poses [n,P,18,3]."""
    return torch.stack([TASKS["pose"].encode(people, size=(side, side)) for people in pose])


class FacePool(Pictures):
    """Drawn portraits.

    Attributes:
        image: [N,3,S,S] uint8.
    """

    def __init__(self, folder: Path, count: int, size: int, seed: int = 4):
        path = folder / f"faces-{count}-{size}-{seed}.safetensors"
        super().__init__(cached(path, lambda: self._build(count, size, seed))["image"])

    @staticmethod
    def _build(count: int, size: int, seed: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + size)
        chunks = tqdm(range(0, count, CHUNK), desc=f"faces {size}px", unit="chunk")
        drawn = [to_bytes(draw_faces(min(CHUNK, count - first), size, generator)) for first in chunks]
        return {"image": torch.cat(drawn)}
