"""Random poses: a stick figure of plausible proportions and joint angles in three dimensions.

World axes: X right as seen by the viewer, Y up, Z towards the viewer, metres; the floor is Y = 0. A figure that faces
the viewer has its own left side at +X, so its right joints lie on the viewer's left.
Shape suffixes: B figures, J = 18 joints in the order of `tasks.codecs.pose.JOINTS`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

LEGS = ("standing", "walking", "sitting")
STANDING, WALKING, SITTING = range(3)
ARMS = ("down", "hip", "raised", "out", "waving", "forward")
DOWN, HIP, RAISED, OUT, WAVING, FORWARD = range(6)
SIDES = (-1.0, 1.0)  # X of the figure's right and left in its own frame

_LEG_CHANCES = (0.5, 0.25, 0.25)
_ARM_CHANCES = (0.36, 0.12, 0.2, 0.12, 0.12, 0.08)
# Degrees, low and high: sideways and forward angle of the upper arm from hanging, bend of the elbow; then the direction
# that the forearm bends to (outward, up, forward).
_ARM_TABLE = (
    (4, 20, -12, 20, 3, 35, (-0.2, 0, 1)),
    (38, 46, -12, 2, 88, 100, (-1, 0, 0.15)),
    (135, 172, -5, 22, 2, 38, (-1, 0.2, 0.6)),
    (75, 100, -10, 12, 2, 28, (0, 0.5, 0.8)),
    (55, 92, -8, 12, 75, 105, (0, 1, 0.1)),
    (2, 25, 60, 88, 3, 30, (-0.4, 0.9, 0)),
)
# Degrees: sideways and forward angle of the thigh, bend of the knee. A walker's other leg has the second line.
_LEG_TABLE = (
    ((2, 13, -5, 8, 0, 9), (2, 13, -5, 8, 0, 9)),
    ((1, 5, 15, 32, 4, 16), (1, 5, -26, -12, 12, 42)),
    ((4, 20, 76, 94, 72, 98), (4, 20, 76, 94, 72, 98)),
)
ANKLE_HEIGHT = 0.085


@dataclass(frozen=True)
class Skeletons:
    """B figures. Frames have the figure's left, up and forward as columns."""

    joints: Tensor  # [B,J,3] metres
    pelvis_frame: Tensor  # [B,3,3]
    chest_frame: Tensor  # [B,3,3]
    head_frame: Tensor  # [B,3,3]
    head: Tensor  # [B,3] centre of the skull
    hips: Tensor  # [B,3] middle between the hip joints
    scale: Tensor  # [B] height over that of the standard figure of 1.75 m
    girth: Tensor  # [B] thickness of limbs and trunk, 1 is usual
    facing: Tensor  # [B] degrees about Y, positive is turned towards the viewer's right
    legs: Tensor  # [B] int64, into LEGS
    arms: Tensor  # [B,2] int64, into ARMS, of the right and the left arm

    def moved(self, offset: Tensor) -> Skeletons:
        """The same figures at other places, offset [B,3]."""
        return replace(self, joints=self.joints + offset[:, None], head=self.head + offset, hips=self.hips + offset)

    def __getitem__(self, index: Tensor) -> Skeletons:
        return Skeletons(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


def _uniform(generator: torch.Generator, low: float | Tensor, high: float | Tensor, *shape: int) -> Tensor:
    return low + (high - low) * torch.rand(*shape, generator=generator, device=generator.device)


def _normal(generator: torch.Generator, deviation: float, bound: float, *shape: int) -> Tensor:
    drawn = torch.randn(*shape, generator=generator, device=generator.device) * deviation
    return drawn.clamp(-bound, bound)


def _choice(generator: torch.Generator, chances: tuple[float, ...], *shape: int) -> Tensor:
    count = math.prod(shape)
    weights = torch.tensor(chances, device=generator.device)
    return torch.multinomial(weights, count, replacement=True, generator=generator).reshape(shape)


def rotation(axis: int, degrees: Tensor) -> Tensor:
    """Rotations [...,3,3] about an axis of the frame."""
    c, s = torch.deg2rad(degrees).cos(), torch.deg2rad(degrees).sin()
    one, zero = torch.ones_like(c), torch.zeros_like(c)
    rows = {
        0: (one, zero, zero, zero, c, -s, zero, s, c),
        1: (c, zero, s, zero, one, zero, -s, zero, c),
        2: (c, -s, zero, s, c, zero, zero, zero, one),
    }[axis]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def _apply(frame: Tensor, vector: Tensor) -> Tensor:
    return (frame @ vector[..., None])[..., 0]


def _limb(sideways: Tensor, forward: Tensor, side: float) -> Tensor:
    """Unit directions [B,3] of upper limbs in the trunk's frame, angles in degrees from hanging."""
    a, f = torch.deg2rad(sideways), torch.deg2rad(forward)
    return torch.stack((side * a.sin() * f.cos(), -a.cos() * f.cos(), f.sin()), -1)


def _bent(upper: Tensor, towards: Tensor, degrees: Tensor) -> Tensor:
    """Directions [B,3] of lower limbs: the upper ones bent by an angle to a side."""
    across = F.normalize(towards - (towards * upper).sum(-1, keepdim=True) * upper, dim=-1)
    angle = torch.deg2rad(degrees)[..., None]
    return angle.cos() * upper + angle.sin() * across


def _ranges(generator: torch.Generator, table: Tensor) -> list[Tensor]:
    """One uniform number for each pair of columns low, high of table [B,2R]."""
    low, high = table[:, 0::2], table[:, 1::2]
    return list(_uniform(generator, low, high, *low.shape).unbind(-1))


def _arm(generator: torch.Generator, kind: Tensor, swing: Tensor, side: float) -> tuple[Tensor, Tensor]:
    """Directions [B,3] of upper arm and forearm in the chest's frame; swing [B] degrees is added to hanging arms."""
    table = torch.tensor([row[:6] for row in _ARM_TABLE], device=kind.device)
    bend_to = torch.tensor([row[6] for row in _ARM_TABLE], device=kind.device)[kind]
    sideways, forward, elbow = _ranges(generator, table[kind])
    upper = _limb(sideways, forward + swing * (kind == DOWN), side)
    towards = bend_to * torch.tensor([side, 1.0, 1.0], device=kind.device)
    return upper, _bent(upper, towards, elbow)


def _leg(generator: torch.Generator, kind: Tensor, second: Tensor, side: float) -> tuple[Tensor, Tensor]:
    """Directions [B,3] of thigh and shin in the pelvis' frame; second [B] bool takes the table's second line."""
    table = torch.tensor(_LEG_TABLE, dtype=torch.float32, device=kind.device)
    sideways, forward, knee = _ranges(generator, table[kind, second.long()])
    thigh = _limb(sideways, forward, side)
    f = torch.deg2rad(forward)
    backward = torch.stack((torch.zeros_like(f), -f.sin(), -f.cos()), -1)
    return thigh, _bent(thigh, backward, knee)


def _facing(generator: torch.Generator, legs: Tensor) -> Tensor:
    """Mostly towards the viewer, a third turned up to 60 degrees; walkers are turned more often."""
    b = len(legs)
    slight = _normal(generator, 12, 25, b)
    wide = _uniform(generator, -60, 60, b)
    share = torch.where(legs == WALKING, 0.7, 0.3)
    return torch.where(torch.rand(b, generator=generator, device=legs.device) < share, wide, slight)


def sample_skeletons(count: int, generator: torch.Generator) -> Skeletons:
    """`count` figures that stand on the floor above the origin, on the generator's device."""
    b, device = count, generator.device
    legs, arms = _choice(generator, _LEG_CHANCES, b), _choice(generator, _ARM_CHANCES, b, 2)
    facing = _facing(generator, legs)
    lead = torch.rand(b, generator=generator, device=device) < 0.5
    zeros = torch.zeros(b, device=device)

    def size(length: float) -> Tensor:
        return length * _uniform(generator, 0.93, 1.07, b, 1)

    pelvis_frame = rotation(1, facing) @ rotation(2, _normal(generator, 2, 4, b))
    lean = rotation(0, _normal(generator, 4, 10, b) + 3) @ rotation(2, _normal(generator, 4, 9, b))
    chest_frame = pelvis_frame @ lean @ rotation(1, _normal(generator, 4, 9, b))
    nod = rotation(0, _normal(generator, 7, 15, b)) @ rotation(2, _normal(generator, 5, 12, b))
    look = (_normal(generator, 10, 22, b) + facing).clamp(-62, 62) - facing
    head_frame = chest_frame @ rotation(1, look) @ nod

    def at(start: Tensor, frame: Tensor, x: Tensor | float, y: Tensor | float, z: Tensor | float) -> Tensor:
        parts = [torch.as_tensor(p, device=device, dtype=torch.float32).reshape(-1).expand(b) for p in (x, y, z)]
        return start + _apply(frame, torch.stack(parts, -1))

    hips = torch.zeros(b, 3, device=device)
    neck = at(hips, chest_frame, 0, size(0.5)[:, 0], 0)
    head = at(at(neck, chest_frame, 0, 0.075, 0.0), head_frame, 0, 0.135, 0.02)
    joints = torch.zeros(b, 18, 3, device=device)
    joints[:, 0] = at(head, head_frame, 0, -0.012, 0.105)
    joints[:, 1] = neck
    shoulder, hip = size(0.185)[:, 0], size(0.098)[:, 0]
    lengths = [size(x) for x in (0.29, 0.25, 0.43, 0.42)]
    for k, side in enumerate(SIDES):
        forth = (lead if k == 0 else ~lead) & (legs == WALKING)
        swing = torch.where(legs == WALKING, torch.where(forth, -22.0, 22.0), zeros)
        lifted = (arms[:, k] == RAISED) * 0.035
        upper, fore = _arm(generator, arms[:, k], swing, side)
        thigh, shin = _leg(generator, legs, ~forth, side)
        first = 2 + 3 * k
        joints[:, first] = at(neck, chest_frame, side * (shoulder - lifted * 0.5), lifted, 0)
        joints[:, first + 1] = joints[:, first] + lengths[0] * _apply(chest_frame, upper)
        joints[:, first + 2] = joints[:, first + 1] + lengths[1] * _apply(chest_frame, fore)
        joints[:, first + 6] = at(hips, pelvis_frame, side * hip, 0, 0)
        joints[:, first + 7] = joints[:, first + 6] + lengths[2] * _apply(pelvis_frame, thigh)
        joints[:, first + 8] = joints[:, first + 7] + lengths[3] * _apply(pelvis_frame, shin)
        joints[:, 14 + k] = at(head, head_frame, side * 0.034, 0.022, 0.082)
        joints[:, 16 + k] = at(head, head_frame, side * 0.083, -0.004, -0.008)
    joints[:, 1] = (joints[:, 2] + joints[:, 5]) / 2

    scale = _uniform(generator, 0.86, 1.06, b)
    bare = Skeletons(
        joints * scale[:, None, None], pelvis_frame, chest_frame, head_frame, head * scale[:, None], hips,
        scale, _uniform(generator, 0.88, 1.25, b), facing, legs, arms,
    )  # fmt: skip
    lowest = torch.minimum(bare.joints[:, 10, 1], bare.joints[:, 13, 1])
    up = torch.stack((zeros, ANKLE_HEIGHT * scale - lowest, zeros), -1)
    return bare.moved(up)
