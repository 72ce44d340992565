"""Poses as pictures: OpenPose's skeleton of 18 joints on black, limbs as dark capsules and joints as bright discs.

Colours go round the circle of hues in 18 steps of 20 degrees: joint k has hue k at full value, limb k the same hue at
value 0.6, as ControlNet draws them. Lines are thicker here than there, for small pictures.

Shape legend: P persons [P, 18, 3] as x, y in pixels (see `marks`) and visible (1 or 0); one picture [3, H, W].
"""

from __future__ import annotations

import colorsys
import math
from typing import Any

import torch
from torch import Tensor

from ..task import Codec
from .clean_up import box_mean, components, hue_saturation_value
from .marks import check_one, disc_windows, fit_discs, paint, region_sums
from .people import Candidates, assemble
from .skeletons import best_skeletons

JOINTS = (
    "nose", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist",
    "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle",
    "right eye", "left eye", "right ear", "left ear",
)  # fmt: skip
LIMB_JOINTS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
    (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
LIMB_VALUE = 0.6


def _hue(step: int, value: float) -> tuple[float, float, float]:
    return colorsys.hsv_to_rgb(step / len(JOINTS), 1.0, value)


JOINT_COLORS = tuple(_hue(k, 1.0) for k in range(len(JOINTS)))
LIMBS = tuple((a, b, _hue(k, LIMB_VALUE)) for k, (a, b) in enumerate(LIMB_JOINTS))

# As shares of a picture's side: half of the limbs' width, and radii of discs. Discs of the body are wide enough to
# outlive an autoencoder at 128 px and joints that are a few pixels off: the mean of skeletons whose joints scatter by
# 3 of 128 pixels is read with a PCK of 0.57, of discs a quarter smaller with 0.40, while larger ones hide each other.
# Those of the face, which lie close together, are smaller, and a fit lies between.
LIMB_RADIUS, BODY_RADIUS, FACE_RADIUS, FIT_RADIUS = 5 / 256, 7.5 / 256, 5 / 256, 6 / 256
FACE = (0, 14, 15, 16, 17)
LEAST_AREA = 0.15
# Darker pixels are the black ground; halfway to a limb.
DARK = 0.3
# Less saturated pixels are no line's; half of the noise of a picture of noise.
PALE = 0.4
# Quantile of the values of lit pixels at which discs lie, which are a tenth of these pixels.
BRIGHTEST = 0.97
MOST_CANDIDATES = 8
# Discs that redraw less than this share of what is lit are not what was drawn.
SMUDGED = 0.3


def pose_radius(height: int, width: int, share: float = FIT_RADIUS) -> float:
    """A share of the shorter side in pixels, at least 1.5."""
    return max(min(height, width) * share, 1.5)


def _check_pose(label: Any) -> Tensor:
    pose = torch.as_tensor(label).float()
    if pose.ndim != 3 or pose.shape[1:] != (len(JOINTS), 3) or not bool(pose.isfinite().all()):
        raise ValueError(
            f"a pose is [P, {len(JOINTS)}, 3] of x, y, visible, found {tuple(pose.shape)}: finite, one row a joint"
        )
    return pose


def encode_pose(label: Any, source: Any = None, *, size: tuple[int, int] | None = None) -> Tensor:
    """Skeletons on black: [P,18,3] -> [3,H,W]. Discs lie on top of all limbs.

    Args:
        source: a picture of the wanted size.
        size: height and width instead.

    Raises:
        ValueError: not [P,18,3] finite numbers, neither source nor size, or an empty size.
    """
    pose = _check_pose(label)
    if source is not None:
        height, width = check_one(source, "source").shape[-2:]
        size = (height, width)
    if size is None or min(size) < 1:
        raise ValueError(f"a skeleton needs a size, found {size}: pass source=<picture> or size=(height, width)")
    canvas = torch.zeros(3, *size, device=pose.device)
    radius = pose_radius(*size, LIMB_RADIUS)
    for person in pose:
        for a, b, color in LIMBS:
            if bool((person[[a, b], 2] > 0.5).all()):
                paint(canvas, person[a, :2], person[b, :2], radius, pose.new_tensor(color))
    for person in pose:
        for k, (joint, color) in enumerate(zip(person, JOINT_COLORS, strict=True)):
            if float(joint[2]) > 0.5:
                radius = pose_radius(*size, FACE_RADIUS if k in FACE else BODY_RADIUS)
                paint(canvas, joint[:2], joint[:2], radius, pose.new_tensor(color))
    return canvas


def _marks(picture: Tensor) -> Tensor:
    """What every pixel shows [H,W] int64: 0 nothing, 1 to 18 joints, 19 to 36 limbs.

    The hue gives the number. Pixels brighter than halfway between limbs (most of the lit pixels) and discs (the
    brightest) are joints. Both values are measured, because a blur darkens small discs and thin limbs.
    """
    hue, saturation, value = hue_saturation_value(picture)
    lit = (value > DARK) & (saturation > PALE)
    marks = torch.zeros(picture.shape[-2:], dtype=torch.long, device=picture.device)
    if not bool(lit.any()):
        return marks
    levels = torch.quantile(value[lit][:: 1 + int(lit.sum()) // 2**20], value.new_tensor([0.5, BRIGHTEST]))
    # Where discs hide most of the limbs, or there are none, the drawn value is the better guess.
    limb, disc = min(float(levels[0]), LIMB_VALUE), float(levels[1])
    number = (hue * len(JOINTS)).round().long() % len(JOINTS)
    marks[lit] = (number + 1 + len(JOINTS) * (value < (limb + disc) / 2))[lit]
    return marks


def _discs(picture: Tensor, marks: Tensor, radius: float) -> Candidates:
    """Regions of a joint's colour, each with the centre of the disc that fits best."""
    joints = torch.where(marks <= len(JOINTS), marks, 0)
    regions = components(joints)
    if not bool(regions.any()):
        return Candidates.none(picture)
    area, center = region_sums(regions, (joints > 0).float())
    kind = torch.zeros(len(area), dtype=torch.long, device=picture.device)
    kind[regions[joints > 0] - 1] = joints[joints > 0] - 1
    full = math.pi * radius**2
    enough = area >= max(LEAST_AREA * full, 3)
    kept = []
    for joint in range(len(JOINTS)):
        mine = (enough & (kind == joint)).nonzero()[:, 0]
        kept.append(mine[area[mine].argsort(descending=True, stable=True)[:MOST_CANDIDATES]])
    chosen = torch.cat(kept)
    kinds, place = kind[chosen], center[chosen]
    maps = torch.cat([picture, joints[None], regions[None], torch.ones_like(picture[:1])])
    of_face = torch.isin(kinds, kinds.new_tensor(FACE))
    for mine, share in ((of_face, FACE_RADIUS), (~of_face, BODY_RADIUS)):
        disc = pose_radius(picture.shape[-2], picture.shape[-1], share)
        place[mine] = _fitted(maps, chosen[mine] + 1, kinds[mine], place[mine], disc)
    return Candidates(kinds, place, (area[chosen] / full).clamp(max=1))


def _fitted(maps: Tensor, region: Tensor, kind: Tensor, center: Tensor, radius: float) -> Tensor:
    """Centres [K,2] of discs of a radius that fit regions (numbers [K], joints [K]) best, from their own [K,2].

    maps [6,H,W]: the picture, joints and regions by number, and ones, for the windows hold zeros beyond the border.
    """
    windows = disc_windows(maps, center, radius)
    own = windows[:, 4] == region[:, None, None]
    colors = maps.new_tensor(JOINT_COLORS)[kind]
    # A pixel halfway to black or to a limb is half of the disc.
    share = (1.25 - (windows[:, :3] - colors[:, :, None, None]).norm(dim=1) / 0.6).clamp(0, 1)
    known = windows[:, 5] * ((windows[:, 3] == 0) | own)
    return fit_discs(share * (box_mean(own.float()) > 0), known, center, radius)


def decode_pose(picture: Any, source: Any = None) -> Tensor:
    """Persons [P,18,3] from left to right; P = 0 when nothing is drawn, and x = y = visible = 0 for missing joints.

    Hue and value tell joints and limbs apart. Regions of a joint's colour are fitted with a disc; limbs between
    them tell which belong to one person. Where what they draw is hardly what is there, whole skeletons are fitted.

    Raises:
        ValueError: not one float picture.
    """
    one = check_one(picture)
    marks = _marks(one)
    radius = pose_radius(*one.shape[-2:])
    pose = assemble(_discs(one, marks, radius), marks - len(JOINTS) - 1, LIMB_JOINTS, len(JOINTS), radius)
    if _agreement(one, pose) > SMUDGED:
        return pose
    fitted = best_skeletons(one, LIMB_JOINTS, _drawn)
    return fitted if len(fitted) else pose


def _drawn(pose: Tensor, size: tuple[int, int]) -> Tensor:
    return encode_pose(pose, size=size)


def _agreement(picture: Tensor, pose: Tensor) -> float:
    """How much a picture [3,H,W] agrees with persons drawn again, over the pixels that either lights; 0 for nobody."""
    if not len(pose):
        return 0.0
    again = _drawn(pose, (picture.shape[-2], picture.shape[-1]))
    lit = (picture.amax(0) > DARK) | (again.amax(0) > DARK)
    return float((1 - (picture - again).norm(dim=0)[lit] / DARK).clamp_min(0).mean())


def pose_confidence(picture: Any, source: Any = None) -> float:
    """How much the picture agrees with the decoded skeleton drawn again, over the pixels that either lights; 0 for
    no person."""
    one = check_one(picture)
    return _agreement(one, decode_pose(one))


POSE = Codec("pose", encode_pose, decode_pose, pose_confidence)
