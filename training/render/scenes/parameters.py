"""The parameters of a batch of scenes: one dataclass of tensors that can be sliced, joined, moved and saved.

World axes: X right, Y up, Z towards the viewer, metres; the ground is Y = 0 and the camera stands at (0, height, 0)
and looks along -Z, tilted down by `pitch`. Shape suffixes: N scenes, K = MAX_SOLIDS places for solids.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

MAX_SOLIDS = 4


@dataclass(frozen=True)
class Scenes:
    """N scenes. Every field is a tensor whose first axis is N; the unused places of K have `present` False."""

    present: Tensor  # [N,K] bool
    shape: Tensor  # [N,K] int64, into SHAPES
    color: Tensor  # [N,K] int64, into COLOR_NAMES
    rgb: Tensor  # [N,K,3] sRGB after jitter
    size: Tensor  # [N,K] int64, into SIZES
    extent: Tensor  # [N,K,3] half width or radius, height, half depth; metres
    position: Tensor  # [N,K,2] X and Z of the axis
    yaw: Tensor  # [N,K] radians about Y
    texture: Tensor  # [N,K] int64, into TEXTURES
    texture_rgb: Tensor  # [N,K,3] second colour of the texture
    texture_scale: Tensor  # [N,K] metres
    specular: Tensor  # [N,K] strength of the highlight
    camera: Tensor  # [N,3] height in metres, pitch down in radians, focal length over the shorter image side
    light: Tensor  # [N,3] unit vector towards the light
    light_rgb: Tensor  # [N,3] linear
    ambient_rgb: Tensor  # [N,3] linear
    ground: Tensor  # [N] int64, into GROUNDS
    ground_color: Tensor  # [N,2] int64, into BACKDROP_NAMES
    ground_rgb: Tensor  # [N,2,3]
    ground_frame: Tensor  # [N,4] scale in metres, angle, offset, offset
    background: Tensor  # [N] int64, into BACKGROUNDS
    background_color: Tensor  # [N,2] int64, into BACKDROP_NAMES (no meaning for a sky)
    background_rgb: Tensor  # [N,2,3]
    background_frame: Tensor  # [N,4]
    wall: Tensor  # [N,2] distance along -Z in metres, yaw in radians
    held_out: Tensor  # [N] bool: the scene may show held-out combinations (split "test")

    def __len__(self) -> int:
        return self.present.shape[0]

    def __getitem__(self, key: int | slice | Tensor) -> "Scenes":
        """A batch again, also for an int (of length 1); a tensor holds indices or a mask."""
        if isinstance(key, int):
            if not -len(self) <= key < len(self):
                raise IndexError(f"scene {key} of {len(self)}")
            key = slice(key % len(self), key % len(self) + 1)
        return Scenes(**{name: value[key] for name, value in self.to_dict().items()})

    def index(self, i: int) -> "Scenes":
        """The batch of length 1 that holds scene i."""
        return self[i]

    def replace(self, **changes: Tensor) -> "Scenes":
        """A copy with other tensors in the named fields; what is not named is shared, never written to."""
        return replace(self, **changes)

    def to(self, device: torch.device | str) -> "Scenes":
        """The same scenes on another device."""
        return Scenes(**{name: value.to(device) for name, value in self.to_dict().items()})

    def to_dict(self) -> dict[str, Tensor]:
        """Tensors by field name, as torch.save or safetensors take them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_dict(cls, tensors: Mapping[str, Tensor]) -> "Scenes":
        """The inverse of `to_dict`; ValueError where a field is missing or unknown."""
        names = {field.name for field in fields(cls)}
        if names != set(tensors):
            raise ValueError(
                f"Scenes need exactly the fields they were saved with: missing {sorted(names - set(tensors))}, "
                f"unknown {sorted(set(tensors) - names)}; render the scenes again with this version"
            )
        return cls(**tensors)

    @classmethod
    def cat(cls, parts: Sequence["Scenes"]) -> "Scenes":
        """One batch of all scenes of `parts`, in order."""
        if not parts:
            raise ValueError("Scenes.cat needs at least one batch, found none")
        dicts = [part.to_dict() for part in parts]
        return cls(**{name: torch.cat([d[name] for d in dicts]) for name in dicts[0]})
