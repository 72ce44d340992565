"""Skeletons that fit a smudged pose best, where no discs and limbs are drawn.

A model that is unsure where a joint lies draws the mean of the skeletons that may be right: smudges whose hues run from
one joint's into the next one's, and discs no brighter than limbs. No joint can be read from that alone, the tree of all
can (pictorial structures, Felzenszwalb and Huttenlocher 2005): each may lie anywhere, the line to its parent shows the
colours of a blurred skeleton, and bodies have proportions. Dynamic programming finds the best tree; what it explains is
wiped off before the next one is looked for.

Shape legend: J = 18 joints, L = 17 limbs, A places; poses [P, J, 3] as x, y, visible; maps [H, W].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from .clean_up import box_mean
from .marks import paint

Draw = Callable[[Tensor, tuple[int, int]], Tensor]
Limbs = tuple[tuple[int, int], ...]

# The shorter side at which smudges are read; lengths below without another unit are pixels of it.
SIDE = 128
ROOT = 1
# Somebody who stands and looks at us, from the neck, in lengths of the torso. Order of joints as in `pose`.
BODY = (
    (0, -0.41), (0, 0), (-0.35, 0.02), (-0.5, 0.55), (-0.58, 1), (0.35, 0.02), (0.5, 0.55), (0.58, 1),
    (-0.15, 0.98), (-0.18, 1.75), (-0.2, 2.55), (0.15, 0.98), (0.18, 1.75), (0.2, 2.55),
    (-0.08, -0.46), (0.08, -0.46), (-0.18, -0.44), (0.18, -0.44),
)  # fmt: skip
# How far a joint strays from there, seen from its parent, across and along the torso: arms most, across less.
_ARM, _HAND, _LEG, _TRUNK, _EYE = (0.25, 0.9), (0.4, 0.9), (0.25, 0.35), (0.12, 0.12), (0.1, 0.1)
SPREAD = (
    (0.1, 0.1), _TRUNK, _TRUNK, _ARM, _HAND, _TRUNK, _ARM, _HAND, _TRUNK, _LEG, _LEG, _TRUNK, _LEG, _LEG,
    _EYE, _EYE, _EYE, _EYE,
)  # fmt: skip
# Joints whose limbs look shorter when they point at us, but never longer.
LIMBER = (3, 4, 6, 7, 9, 10, 12, 13)
# What a body may be: length of its torso in shares of the side, lean in degrees, and seen from before (1) or behind.
TORSOS, LEANS, SIDES = (0.15, 0.185, 0.22, 0.26, 0.31), (-15, 0, 15), (1, -1)
# Pixels between two places, and how many of these there are at most.
STRIDE, MOST_PLACES, FEWEST_PLACES = 4.0, 500, 10
# Darker places are not lit; and what a line loses where it is dark.
LIT, DARK = 0.04, 0.04
# Cosine between a colour and the one that is looked for at which it says nothing.
NEAR = 0.9
SAMPLES = 7
BLUR, SMOOTH = 5, 2
# Weights against what a line gains: of a disc, of proportions, of lengths; and what a joint may cost and still be kept.
DISC, PROPORTION, LENGTH, LOSS = 0.12, 0.08, 0.3, 0.03
MOST_PEOPLE, LEAST_SCORE, LEAST_SHARE, WIPED = 3, 0.1, 0.35, 7.0
REFINED, REACH = (1.5, 0.75), 2


@dataclass(frozen=True)
class _Body:
    """Length of the torso in pixels, lean in degrees, and 1 or -1 for seen from before or behind."""

    torso: float
    lean: float
    side: int


@dataclass(frozen=True)
class _Places:
    """Where joints may lie.

    Attributes:
        at: [J or 1, A, 2]; 1: the same places for all joints.
        discs: [J, A], what a joint's disc gains there.
        lines: [L, A, A], what the pixels of a line from a limb's first joint to its second gain together.
        moves: [L or 1, 5, A * A], of x and y from the first to the second: x^2, xy, y^2, x, y.
        lengths: [L or 1, A, A].
    """

    at: Tensor
    discs: Tensor
    lines: Tensor
    moves: Tensor
    lengths: Tensor


@lru_cache(maxsize=4)
def _tree(limbs: Limbs) -> tuple[tuple[int, int, int], ...]:
    """(joint, parent, limb), parents first."""
    found, known = [], [ROOT]
    for parent in known:
        for number, (a, b) in enumerate(limbs):
            if a == parent and b not in known:
                known.append(b)
                found.append((b, a, number))
    return tuple(found)


@lru_cache(maxsize=4)
def _colors(draw: Draw, limbs: Limbs) -> Tensor:
    """Colours of unit length that blurred joints and lines have: [J + L * SAMPLES, 3]."""
    torso = 28.0
    at = torch.tensor(BODY) * torso + torch.tensor([SIDE / 2, 30.0])
    picture = draw(torch.cat([at, torch.ones(len(BODY), 1)], dim=1)[None], (SIDE, SIDE))
    for _ in range(3):
        picture = box_mean(picture, BLUR)
    places = torch.cat([at, *(_line(at[a], at[b]) for a, b in limbs)]).long()
    return F.normalize(picture[:, places[:, 1], places[:, 0]].T, dim=1)


def _line(start: Tensor, end: Tensor) -> Tensor:
    """[2], [2] -> [SAMPLES, 2] between them."""
    return start + ((torch.arange(SAMPLES) + 0.5) / SAMPLES)[:, None] * (end - start)


def _gains(picture: Tensor, colors: Tensor) -> Tensor:
    """What every pixel says for each colour: [3,H,W], [C,3] -> [C,H,W]; less than 0 where it is dark or another hue."""
    smooth = box_mean(picture, SMOOTH)
    light = smooth.norm(dim=0)
    cosine = torch.einsum("kc,chw->khw", colors, smooth / light.clamp_min(1e-4))
    return light * ((cosine - NEAR) / (1 - NEAR)).clamp_min(-1) - DARK


def _pixels(at: Tensor, width: int, height: int) -> Tensor:
    """Numbers of the pixels at places [...,2], row by row."""
    return at[..., 1].int().clamp(0, height - 1) * width + at[..., 0].int().clamp(0, width - 1)


def _places(gains: Tensor, at: Tensor, limbs: Limbs) -> _Places:
    """What the joints and limbs gain at places [J or 1, A, 2]."""
    height, width = gains.shape[1:]
    first, second = (at, at) if len(at) == 1 else (torch.stack([at[limb[end]] for limb in limbs]) for end in (0, 1))
    joints, shown = gains[: len(BODY)].flatten(1), gains[len(BODY) :].reshape(len(limbs), SAMPLES, -1)
    discs = joints.gather(1, _pixels(at, width, height).long().expand(len(BODY), -1))
    lines = torch.zeros(len(limbs), at.shape[1] ** 2, device=at.device)
    for i in range(SAMPLES):
        share = (i + 0.5) / SAMPLES
        between = _pixels((1 - share) * first[:, :, None] + share * second[:, None], width, height).flatten(1)
        lines += shown[:, i].gather(1, between.long().expand(len(limbs), -1)) / SAMPLES
    x, y = (second[:, None] - first[:, :, None]).unbind(-1)
    lengths = torch.hypot(x, y)
    moves = torch.stack([x * x, x * y, y * y, x, y], dim=1).flatten(2)
    return _Places(at, DISC * discs, lines.reshape(len(limbs), *lengths.shape[1:]) * lengths, moves, lengths)


def _gained(places: _Places, torso: float, limbs: Limbs) -> Tensor:
    """What limbs gain between each two places, less what their length costs, for one size of bodies: [L,A,A]."""
    gained = places.lines / torso
    for number, (a, b) in enumerate(limbs):
        if b in LIMBER:
            full = torso * math.hypot(BODY[b][0] - BODY[a][0], BODY[b][1] - BODY[a][1])
            share = places.lengths[min(number, len(places.lengths) - 1)] / full
            long, short = (share - 1.1).clamp_min(0), (0.7 - share).clamp_min(0)
            gained[number] -= LENGTH * (8 * long.square() + short.square() / 2)
    return gained


def _strayed(places: _Places, body: _Body, limbs: Limbs) -> Tensor:
    """What it costs that a joint is not where its body has it, half the square of its distance in SPREADs: [L,A,A].

    The square is a polynomial in the move from the parent, whose powers `moves` holds for all bodies.
    """
    cos, sin = math.cos(math.radians(body.lean)), math.sin(math.radians(body.lean))
    rows, constants = [], []
    for a, b in limbs:
        x, y = body.side * (BODY[b][0] - BODY[a][0]) * body.torso, (BODY[b][1] - BODY[a][1]) * body.torso
        across, along = ((body.torso * spread) ** -2 for spread in SPREAD[b])
        rows.append(
            (
                cos * cos * across + sin * sin * along,
                2 * cos * sin * (across - along),
                sin * sin * across + cos * cos * along,
                2 * (sin * y * along - cos * x * across),
                -2 * (sin * x * across + cos * y * along),
            )
        )
        constants.append(x * x * across + y * y * along)
    factors, moves = places.moves.new_tensor(rows), places.moves
    squares = factors @ moves[0] if len(moves) == 1 else torch.einsum("lk,lkp->lp", factors, moves)
    squares = squares + squares.new_tensor(constants)[:, None]
    return PROPORTION / 2 * squares.reshape(len(limbs), *places.lines.shape[1:])


def _best_tree(places: _Places, scores: Tensor, limbs: Limbs, allowed: Sequence[bool]) -> tuple[float, Tensor]:
    """Score and pose [J,3] of the best tree; a joint that costs more than LOSS is left out with what hangs on it.

    Args:
        scores: [L,A,A], of each limb between each two places.
        allowed: the joints that may be there.
    """
    value = list(places.discs)
    chosen = {}
    for joint, parent, limb in reversed(_tree(limbs)):
        if allowed[joint]:
            best, index = (scores[limb] + value[joint][None]).max(1)
            chosen[joint] = index, best > -LOSS
            value[parent] = value[parent] + best.clamp_min(-LOSS)
    pose, taken = places.at.new_zeros(len(BODY), 3), {ROOT: int(value[ROOT].argmax())}
    for joint, parent, _ in _tree(limbs):
        if parent in taken and joint in chosen and bool(chosen[joint][1][taken[parent]]):
            taken[joint] = int(chosen[joint][0][taken[parent]])
    own = places.at.expand(len(BODY), -1, -1)
    for joint, index in taken.items():
        pose[joint] = torch.cat([own[joint, index], own.new_ones(1)])
    return float(value[ROOT].max()), pose


def _refined(gains: Tensor, pose: Tensor, body: _Body, limbs: Limbs) -> Tensor:
    """The pose with every joint moved to the best of the places round it, at falling steps."""
    for step in REFINED:
        moves = torch.cartesian_prod(*[torch.arange(-REACH, REACH + 1, device=pose.device) * step] * 2)
        places = _places(gains, pose[:, None, :2] + moves, limbs)
        scores = _gained(places, body.torso, limbs) - _strayed(places, body, limbs)
        pose = _best_tree(places, scores, limbs, (pose[:, 2] > 0).tolist())[1]
    return pose


def best_skeletons(picture: Tensor, limbs: Limbs, draw: Draw) -> Tensor:
    """Poses [P,J,3] in a smudged picture [3,H,W], from left to right; P = 0 where nothing is like one.

    Args:
        limbs: the two joints of each, that nearer to the neck first.
        draw: draws poses [P,J,3] in a picture of a height and width.
    """
    height, width = picture.shape[-2:]
    shrunk = SIDE / min(height, width)
    size = (max(round(height * shrunk), 1), max(round(width * shrunk), 1))
    left = F.interpolate(picture[None], size, mode="area" if shrunk < 1 else "bilinear")[0]
    colors, found, first = _colors(draw, limbs).to(picture), list[Tensor](), LEAST_SCORE / LEAST_SHARE
    while len(found) < MOST_PEOPLE:
        at = _lit_places(left)
        if len(at) < FEWEST_PLACES:
            break
        gains = _gains(left, colors)
        places, everything = _places(gains, at[None], limbs), [True] * len(BODY)
        best: tuple[float, Tensor, _Body] | None = None
        for torso in TORSOS:
            gained = _gained(places, torso * SIDE, limbs)
            for lean, side in product(LEANS, SIDES):
                body = _Body(torso * SIDE, lean, side)
                score, pose = _best_tree(places, gained - _strayed(places, body, limbs), limbs, everything)
                # In lengths of the torso a smaller body gains more of the same smudge, in pixels a larger one.
                score *= math.sqrt(torso)
                if best is None or score > best[0]:
                    best = score, pose, body
        assert best is not None
        if best[0] < LEAST_SHARE * first:
            break
        first = first if found else best[0]
        found.append(_refined(gains, best[1], best[2], limbs))
        left = _wiped(left, found[-1], limbs)
    poses = torch.stack(found) if found else picture.new_zeros(0, len(BODY), 3)
    poses = poses * torch.tensor([width / size[1], height / size[0], 1.0], device=picture.device)
    middle = poses[..., 0].sum(1) / poses[..., 2].sum(1)
    return poses[middle.argsort()]


def _lit_places(picture: Tensor) -> Tensor:
    """A grid of places [A,2] where the picture is lit, so coarse that they are not too many."""
    smooth = box_mean(picture, SMOOTH)
    chroma, (height, width) = smooth.amax(0) - smooth.amin(0), picture.shape[1:]
    step = STRIDE
    while True:
        y, x = (torch.arange(step / 2, side, step, device=picture.device) for side in (height, width))
        at = torch.cartesian_prod(x, y)
        at = at[chroma.flatten()[_pixels(at, width, height)] > LIT]
        if len(at) <= MOST_PLACES:
            return at
        step *= 1.1


def _wiped(picture: Tensor, pose: Tensor, limbs: Limbs) -> Tensor:
    """The picture with what lies round a pose [J,3] made black."""
    picture = picture.clone()
    for a, b in limbs:
        if bool(pose[a, 2] > 0) and bool(pose[b, 2] > 0):
            paint(picture, pose[a, :2], pose[b, :2], WIPED, pose.new_zeros(3))
    return picture
