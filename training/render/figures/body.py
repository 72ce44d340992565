"""Flesh on skeletons: every figure as tapered capsules and ellipsoids.

Shape suffixes: B figures, C capsules and E ellipsoids of each; world axes as in `skeleton`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .outfit import BALD, BUN, FACE, HAIR, LONG, SHIRT, SHOES, SKIN, STOOL, TROUSERS, Outfits
from .skeleton import SITTING, Skeletons

Number = float | Tensor


@dataclass(frozen=True)
class Body:
    """Solids of B figures; a solid with radius 0 is absent."""

    start: Tensor  # [B,C,3]
    end: Tensor  # [B,C,3]
    radius: Tensor  # [B,C,2] at start and end
    split: Tensor  # [B,C] share of the length from which on the second part's colour is worn
    capsule_part: Tensor  # [B,C,2] int64, into PARTS
    center: Tensor  # [B,E,3]
    axes: Tensor  # [B,E,3,3] half axes as columns; zero where absent
    ellipsoid_part: Tensor  # [B,E] int64, into PARTS


class _Builder:
    """Collects solids of one batch of figures, lengths in metres of a figure of scale 1."""

    def __init__(self, figures: Skeletons) -> None:
        self.scale = figures.scale
        self.capsules: list[tuple[Tensor, ...]] = []
        self.ellipsoids: list[tuple[Tensor, ...]] = []

    def each(self, value: Number) -> Tensor:
        """[B] of a number for all or one for each."""
        return torch.as_tensor(value, dtype=torch.float32, device=self.scale.device).expand(len(self.scale))

    def offset(self, origin: Tensor, frame: Tensor, x: Number, y: Number, z: Number) -> Tensor:
        """origin [B,3] moved along the axes of its frame."""
        local = torch.stack([self.each(part) for part in (x, y, z)], -1) * self.scale[:, None]
        return origin + (frame @ local[..., None])[..., 0]

    def capsule(
        self, start: Tensor, end: Tensor, radii: tuple[Number, Number], parts: tuple[int, int], split: Number = 1.0
    ) -> None:
        radius = torch.stack([self.each(r) * self.scale for r in radii], -1)
        part = torch.tensor(parts, device=start.device).expand(len(start), 2)
        self.capsules.append((start, end, radius, self.each(split), part))

    def ellipsoid(self, center: Tensor, frame: Tensor, half: Sequence[Number], part: int) -> None:
        axes = torch.stack([self.each(h) for h in half], -1) * self.scale[:, None]
        self.ellipsoids.append((center, frame * axes[:, None], self.each(part).long()))

    def body(self) -> Body:
        capsules = [torch.stack(column, 1) for column in zip(*self.capsules, strict=True)]
        return Body(*capsules, *[torch.stack(column, 1) for column in zip(*self.ellipsoids, strict=True)])


def _trunk(build: _Builder, figures: Skeletons) -> None:
    girth, frame = figures.girth, figures.chest_frame
    neck, hips = figures.joints[:, 1], figures.hips
    wide = 0.5 + 0.5 * girth
    belly, waist = torch.lerp(hips, neck, 0.5), torch.lerp(hips, neck, 0.14)
    build.ellipsoid(belly, frame, (0.13 * wide, 0.25, 0.092 * girth), SHIRT)
    build.ellipsoid(torch.lerp(hips, neck, 0.68), frame, (0.15 * wide, 0.16, 0.097 * wide), SHIRT)
    for side, hip in ((-1, 8), (1, 11)):
        top = build.offset(neck, frame, side * 0.082, -0.085, 0)
        low = build.offset(waist, frame, side * 0.058 * girth, 0, 0)
        build.capsule(top, low, (0.09 * wide, 0.086 * girth), (SHIRT, SHIRT))
        build.capsule(torch.lerp(hips, figures.joints[:, hip], 0.5), figures.joints[:, hip],
                      (0.106 * girth, 0.098 * girth), (TROUSERS, TROUSERS))  # fmt: skip
    for joint in (2, 5):
        inner = torch.lerp(neck, figures.joints[:, joint], 0.25)
        build.capsule(inner, figures.joints[:, joint], (0.066, 0.06 * wide), (SHIRT, SHIRT))
    top = build.offset(figures.head, figures.head_frame, 0, -0.06, -0.02)
    build.capsule(build.offset(neck, frame, 0, -0.01, -0.005), top, (0.056 * wide, 0.05), (SKIN, SKIN))


def _limbs(build: _Builder, figures: Skeletons, outfits: Outfits) -> None:
    joints, girth = figures.joints, figures.girth
    long, shorts = outfits.long_sleeves, outfits.shorts
    loose, trouser_end = torch.where(shorts, 1.0, 1.15), torch.where(shorts, -1.0, 0.96)
    for first in (2, 5):
        shoulder, elbow, wrist = joints[:, first], joints[:, first + 1], joints[:, first + 2]
        sleeve = torch.where(long, 1.12, 1.0)
        build.capsule(
            shoulder, elbow, (0.056 * girth, 0.043 * girth * sleeve), (SHIRT, SKIN), torch.where(long, 2.0, 0.5)
        )
        build.capsule(
            elbow, wrist, (0.042 * girth * sleeve, 0.03 * girth * sleeve), (SHIRT, SKIN), torch.where(long, 0.9, -1.0)
        )
        axis = (wrist - elbow) / (wrist - elbow).norm(dim=-1, keepdim=True)
        tip = wrist + axis * 0.115 * build.scale[:, None]
        build.capsule(wrist, torch.lerp(wrist, tip, 0.55), (0.034, 0.043), (SKIN, SKIN))
        build.capsule(torch.lerp(wrist, tip, 0.55), tip, (0.04, 0.024), (SKIN, SKIN))
        hip, knee, ankle = joints[:, first + 6], joints[:, first + 7], joints[:, first + 8]
        build.capsule(
            hip, knee, (0.09 * girth, 0.062 * girth * loose), (TROUSERS, SKIN), torch.where(shorts, 0.82, 2.0)
        )
        build.capsule(
            knee,
            ankle,
            (0.06 * girth * loose, 0.042 * girth * loose),
            (TROUSERS, SKIN),
            trouser_end,
        )
        _foot(build, figures, ankle)


def _foot(build: _Builder, figures: Skeletons, ankle: Tensor) -> None:
    """A shoe that lies flat on or along the floor, turned as the pelvis is."""
    forward = figures.pelvis_frame[:, :, 2] * torch.tensor([1.0, 0.0, 1.0], device=ankle.device)
    scale = build.scale[:, None]
    down = torch.tensor([0.0, -0.045, 0.0], device=ankle.device) * scale
    heel, toe = ankle + down - 0.03 * forward * scale, ankle + down + 0.15 * forward * scale
    build.capsule(
        heel, toe - torch.tensor([0.0, 0.008, 0.0], device=ankle.device) * scale, (0.042, 0.036), (SHOES,) * 2
    )


def _head(build: _Builder, figures: Skeletons, outfits: Outfits) -> None:
    head, frame, style = figures.head, figures.head_frame, outfits.hair_style
    covered = (style != BALD).float()
    build.ellipsoid(head, frame, (0.083, 0.12, 0.1), FACE)
    build.ellipsoid(
        build.offset(head, frame, 0, 0.034, -0.028), frame, [covered * h for h in (0.092, 0.1, 0.096)], HAIR
    )
    for side in (-1, 1):
        build.ellipsoid(build.offset(head, frame, side * 0.083, -0.004, -0.008), frame, (0.014, 0.028, 0.019), SKIN)
    build.ellipsoid(build.offset(head, frame, 0, -0.012, 0.098), frame, (0.013, 0.021, 0.016), SKIN)
    bun, long = (style == BUN).float(), (style == LONG).float()
    build.ellipsoid(build.offset(head, frame, 0, 0.135, -0.05), frame, [bun * h for h in (0.048, 0.045, 0.048)], HAIR)
    build.ellipsoid(build.offset(head, frame, 0, -0.06, -0.06), frame, [long * h for h in (0.108, 0.175, 0.07)], HAIR)


def _stool(build: _Builder, figures: Skeletons) -> None:
    seated = (figures.legs == SITTING).float()
    frame = torch.eye(3, device=seated.device).expand(len(seated), 3, 3)
    ahead = figures.pelvis_frame[:, :, 2] * torch.tensor([1.0, 0.0, 1.0], device=seated.device)
    seat = figures.hips + (ahead * 0.03 - torch.tensor([0.0, 0.125, 0.0], device=seated.device)) * build.scale[:, None]
    build.ellipsoid(seat, frame, [seated * h for h in (0.24, 0.055, 0.24)], STOOL)
    foot = seat * torch.tensor([1.0, 0.0, 1.0], device=seated.device)
    build.capsule(seat, foot, (seated * 0.06, seated * 0.06), (STOOL, STOOL))
    build.ellipsoid(foot, frame, [seated * h for h in (0.2, 0.04, 0.2)], STOOL)


def build_body(figures: Skeletons, outfits: Outfits) -> Body:
    """The solids of figures in their outfits, in world coordinates."""
    build = _Builder(figures)
    _trunk(build, figures)
    _limbs(build, figures, outfits)
    _head(build, figures, outfits)
    _stool(build, figures)
    return build.body()
