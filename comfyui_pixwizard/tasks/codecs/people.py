"""Joints to persons: the limbs between joints show which of them belong together.

Shape legend: C candidates; persons [P, J, 3] as x, y, visible; the map of limbs [H, W] holds a limb's number or less
than 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .clean_up import components

# Share of a line that must have the limb's colour; discs hide the rest of short limbs.
LEAST_LIMB = 0.5
SAMPLES = 24
# Least score of a joint that no limb links to another.
LEAST_LONE = 0.25
# Least share of the largest group's joints that makes a group a person of its own.
PERSON = 0.3
# Score of a limb that is all under its discs.
TOUCHING = 0.55
# A region beside one whose score is this many times its own may be that one's echo.
ECHO = 1.5


@dataclass(frozen=True)
class Candidates:
    """Regions that may be joints: kind [C] int64, place [C,2] x and y, score [C] in [0,1]."""

    kind: Tensor
    place: Tensor
    score: Tensor

    @classmethod
    def none(cls, like: Tensor) -> Candidates:
        """No candidate."""
        return cls(torch.zeros(0, dtype=torch.long, device=like.device), like.new_zeros(0, 2), like.new_zeros(0))


def _without_echoes(candidates: Candidates, radius: float) -> Candidates:
    """The candidates without echoes: small regions where a disc's edge, blurred into a limb, looks like another joint.

    Echoes lie on a disc with a much larger region; a disc that others nearly hide is kept if it is its kind's best.
    """
    if not len(candidates.kind):
        return candidates
    near = torch.cdist(candidates.place, candidates.place) < 2 * radius
    beside = (near & (candidates.score[None] > ECHO * candidates.score[:, None])).any(1)
    alike = (candidates.kind[:, None] == candidates.kind[None]) & (candidates.score[None] > candidates.score[:, None])
    kept = ~(beside & alike.any(1))
    return Candidates(candidates.kind[kept], candidates.place[kept], candidates.score[kept])


def _limb_share(limbs: Tensor, number: int, starts: Tensor, ends: Tensor, radius: float) -> Tensor:
    """Share of the line between each two discs that has the limb's colour: [A,2], [B,2] -> [A,B]."""
    height, width = limbs.shape
    at = torch.linspace(0, 1, SAMPLES, device=limbs.device)
    line = starts[:, None, None] + at[:, None] * (ends[None, :, None] - starts[:, None, None])
    column = line[..., 0].long().clamp(0, width - 1)
    row = line[..., 1].long().clamp(0, height - 1)
    length = (ends[None] - starts[:, None]).norm(dim=-1)[..., None]
    # Both ends lie under discs.
    counted = (at * length > radius) & ((1 - at) * length > radius)
    hits = ((limbs[row, column] == number) & counted).sum(-1)
    return torch.where(counted.any(-1), hits / counted.sum(-1).clamp_min(1), TOUCHING * (length[..., 0] < 3 * radius))


def _links(
    candidates: Candidates, limbs: Tensor, pairs: Sequence[tuple[int, int]], radius: float
) -> list[tuple[float, int, int]]:
    """Limbs between candidates, the surest first: (score, candidate, candidate)."""
    links = []
    for number, (a, b) in enumerate(pairs):
        first, second = ((candidates.kind == joint).nonzero()[:, 0] for joint in (a, b))
        if not len(first) or not len(second):
            continue
        share = _limb_share(limbs, number, candidates.place[first], candidates.place[second], radius)
        for i, j in (share >= LEAST_LIMB).nonzero().tolist():
            # Of equally covered lines the shorter one is the limb.
            length = float((candidates.place[first[i]] - candidates.place[second[j]]).norm())
            links.append((float(share[i, j]) - 1e-4 * length, int(first[i]), int(second[j])))
    return sorted(links, reverse=True)


def _groups(candidates: Candidates, links: Sequence[tuple[float, int, int]]) -> list[list[int]]:
    """Candidates joined by links, no kind twice in a group."""
    kind = candidates.kind.tolist()
    group = {i: [i] for i in range(len(kind))}
    for _, a, b in links:
        one, other = group[a], group[b]
        if one is other or {kind[i] for i in one} & {kind[i] for i in other}:
            continue
        one.extend(other)
        for i in other:
            group[i] = one
    unique = {id(members): members for members in group.values()}
    return sorted(unique.values(), key=lambda members: (-len(members), members[0]))


def _add_ends(
    pose: Tensor, candidates: Candidates, limbs: Tensor, pairs: Sequence[tuple[int, int]], radius: float
) -> None:
    """Put missing joints, in place, at the far ends of limbs that start at a joint of the person.

    A limb is only drawn with both of its joints; one of them may have lost its colour to what lies beside it.
    """
    for person in pose:
        for number, (a, b) in enumerate(pairs):
            if bool(person[a, 2] > 0) == bool(person[b, 2] > 0):
                continue
            start, missing = (a, b) if bool(person[a, 2] > 0) else (b, a)
            pixels = _limb_pixels(candidates, limbs, number, radius)
            regions = components(pixels)
            row, column = pixels.nonzero(as_tuple=True)
            place = torch.stack([column, row], dim=1) + 0.5
            distance = (place - person[start, :2]).norm(dim=1)
            if not len(distance) or float(distance.min()) > 2.5 * radius:
                continue
            own = regions[row, column] == regions[row, column][distance.argmin()]
            reach = float(distance[own].max())
            if int(own.sum()) < 2 * radius**2 or reach < 3 * radius:
                continue
            tip = place[own & (distance > reach - radius)].mean(0) - person[start, :2]
            end = person[start, :2] + tip * (reach + 0.6 * radius) / tip.norm()
            person[missing] = torch.cat([end, end.new_ones(1)])


def _limb_pixels(candidates: Candidates, limbs: Tensor, number: int, radius: float) -> Tensor:
    """Where a limb shows [H,W] bool, without the dark rims of discs of the same hue."""
    pixels = limbs == number
    y = torch.arange(limbs.shape[0], device=limbs.device)[:, None] + 0.5
    x = torch.arange(limbs.shape[1], device=limbs.device) + 0.5
    for joint in candidates.place[candidates.kind == number]:
        pixels = pixels & (torch.hypot(x - joint[0], y - joint[1]) > 1.8 * radius)
    return pixels


def assemble(
    candidates: Candidates, limbs: Tensor, pairs: Sequence[tuple[int, int]], joints: int, radius: float
) -> Tensor:
    """Persons [P,J,3] from left to right.

    Joints linked by a limb of the right colour belong together. There are as many persons as large groups have the same
    joint; what is left over joins the nearest person who lacks it, and ends of limbs stand in for missing joints.

    Args:
        limbs: [H,W] number of the limb that a pixel shows, less than 0 for none.
        pairs: the two joints of each limb.
    """
    if not len(candidates.kind):
        return candidates.place.new_zeros(0, joints, 3)
    candidates = _without_echoes(candidates, radius)
    groups = _groups(candidates, _links(candidates, limbs, pairs, radius))
    kind = candidates.kind.tolist()
    # A lone small region beside a whole person is noise or the rest of a hidden disc.
    groups = [g for g in groups if len(g) > 1 or float(candidates.score[g[0]]) > LEAST_LONE] or groups
    # Fewer joints than that are a part of somebody.
    whole = [g for g in groups if len(g) >= PERSON * len(groups[0])]
    persons = max(sum(joint in {kind[i] for i in g} for g in whole) for joint in set(kind))
    people, rest = groups[:persons], groups[persons:]
    for members in rest:
        free = [p for p in people if not {kind[i] for i in p} & {kind[i] for i in members}]
        if free:
            place = candidates.place[members]
            min(free, key=lambda p: float(torch.cdist(candidates.place[p], place).min())).extend(members)
    pose = candidates.place.new_zeros(len(people), joints, 3)
    for person, members in enumerate(people):
        pose[person, candidates.kind[members], :2] = candidates.place[members]
        pose[person, candidates.kind[members], 2] = 1
    _add_ends(pose, candidates, limbs, pairs, radius)
    middle = [float(p[p[:, 2] > 0, 0].mean()) for p in pose]
    return pose[sorted(range(len(people)), key=middle.__getitem__)]
