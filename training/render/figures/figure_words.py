"""True sentences about pictures of people, and names for their joints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ....comfyui_pixwizard.tasks.codecs.pose import JOINTS
from ..scenes.scene_words import Chooser
from ..scenes.vocabulary import BACKDROP_NAMES, COLOR_NAMES
from .camera import Camera
from .outfit import BALD, BUN, HAIR_NAMES, HAIR_STYLES, LONG, Outfits
from .room import FLOORS, Rooms
from .skeleton import ARMS, LEGS, Skeletons

_SIDE_NAMES = ("right", "left")
_PLACES = ("on the left", "on the right")
# What one arm and what both arms do; hanging arms are mentioned only where both hang.
_ONE_ARM = {
    "raised": "the {side} arm raised",
    "hip": "the {side} hand on the hip",
    "out": "the {side} arm stretched out to the side",
    "waving": "the {side} hand up",
    "forward": "the {side} arm stretched forward",
}
_BOTH_ARMS = {
    "raised": "both arms raised",
    "hip": "both hands on the hips",
    "out": "both arms stretched out",
    "waving": "both hands up",
    "forward": "both arms stretched forward",
    "down": "both arms down",
}


@dataclass(frozen=True)
class Person:
    """One figure in words; what does not show in the picture is an empty string."""

    shirt: str
    trousers: str
    hair: str
    legs: str
    stool: str
    arms: tuple[str, str]  # right, left
    frontal: bool

    @classmethod
    def of(cls, people: Skeletons, outfits: Outfits, pose: Tensor, b: int) -> Person:
        """Figure b of a batch; pose [J,3] says what of it shows."""
        seen = pose[:, 2].tolist()
        hips, knees = seen[8] and seen[11], seen[9] and seen[12]
        legs = LEGS[int(people.legs[b])] if hips and knees else ""
        lower = "shorts" if bool(outfits.shorts[b]) else "trousers"
        trousers = f"{COLOR_NAMES[int(outfits.trousers[b])]} {lower}"
        arms = [ARMS[int(kind)] for kind in people.arms[b]]
        shown = [all(seen[first : first + 3]) for first in (2, 5)]
        return cls(
            shirt=f"{COLOR_NAMES[int(outfits.shirt[b])]} shirt" if seen[1] else "",
            trousers=trousers if hips and (knees or lower == "trousers") else "",
            hair=_hair(outfits, b) if seen[0] and seen[14] and seen[15] else "",
            legs=legs,
            stool=f"{COLOR_NAMES[int(outfits.stool[b])]} stool" if legs == "sitting" else "",
            arms=(arms[0] if shown[0] else "", arms[1] if shown[1] else ""),
            frontal=abs(float(people.facing[b])) < 12,
        )


def _hair(outfits: Outfits, b: int) -> str:
    style, color = int(outfits.hair_style[b]), HAIR_NAMES[int(outfits.hair[b])]
    if style == BALD:
        return "a bald head"
    if style == BUN:
        return f"{color} hair in a bun"
    return f"long {color} hair" if style == LONG else f"{HAIR_STYLES[style]} {color} hair"


def _article(phrase: str) -> str:
    return f"an {phrase}" if phrase[0] in "aeiou" else f"a {phrase}"


def _clothes(person: Person) -> str:
    worn = [_article(person.shirt)] if person.shirt else []
    worn += [person.trousers] if person.trousers else []
    return f" in {' and '.join(worn)}" if worn else ""


def _arms(person: Person) -> str:
    """As in " with the right arm raised"; empty where nothing is to be said."""
    right, left = person.arms
    if right == left:
        return f" with {_BOTH_ARMS[right]}" if right else ""
    said = [
        _ONE_ARM[kind].format(side=side)
        for side, kind in zip(_SIDE_NAMES, person.arms, strict=True)
        if kind in _ONE_ARM
    ]
    return f" with {' and '.join(said)}" if said else ""


def _describe(person: Person, choose: Chooser, place: str = "") -> str:
    """As in "a person with short brown hair in a red shirt sitting on a blue stool with both arms raised".

    place: words that follow the noun, given where two people share a picture; each then gets fewer words.
    """
    alone = not place
    words = f"a person{place}"
    if person.hair and choose.chance(0.25 if alone else 0.1):
        words += f" with {person.hair}"
    words += _clothes(person)
    if person.legs and choose.chance(0.6 if alone else 0.3):
        words += f" {person.legs}"
        if person.legs == "sitting":
            words += f" on {_article(person.stool) if choose.chance(0.6) else 'a stool'}"
    elif person.frontal and choose.chance(0.15):
        words += " facing the viewer"
    if choose.chance(0.75 if alone else 0.35):
        words += _arms(person)
    return words


def _place(rooms: Rooms, i: int, seen: tuple[bool, bool], choose: Chooser) -> str:
    """As in " on a beige floor in front of a tan wall"; only what shows is said."""
    floor, wall = (BACKDROP_NAMES[c] for c in rooms.color[i].tolist())
    kind, words = FLOORS[int(rooms.floor[i])], ""
    if seen[0] and choose.chance(0.6):
        pattern = "" if kind == "plain" else f"{kind} "
        words += f" on {_article(f'{floor} {pattern}floor')}"
    if seen[1] and choose.chance(0.4):
        words += f" in front of {_article(f'{wall} wall')}"
    return words


def backdrop_seen(rooms: Rooms, camera: Camera, size: int) -> list[tuple[bool, bool]]:
    """For each picture whether floor and wall take a good part of its middle column."""
    zero = torch.zeros_like(rooms.wall)
    foot = torch.stack((zero, zero, -rooms.wall), -1)
    line = camera.project(foot)[0][:, 1] / size
    return list(zip((line < 0.85).tolist(), (line > 0.15).tolist(), strict=True))


def captions(
    people: Sequence[Sequence[Person]],
    rooms: Rooms | None,
    seen: Sequence[tuple[bool, bool]],
    generator: torch.Generator,
    count: int = 4,
) -> list[list[str]]:
    """`count` true captions of each picture; rooms None says nothing of the place."""
    choose, by_picture = Chooser(generator), []
    for i, group in enumerate(people):
        texts = []
        for _ in range(count):
            if len(group) == 1:
                text = _describe(group[0], choose)
            else:
                each = [_describe(person, choose, f" {side}") for person, side in zip(group, _PLACES, strict=True)]
                text = choose.pick(("", "two people: ")) + " and ".join(each)
            place = "" if rooms is None else _place(rooms, i, seen[i], choose)
            texts.append(f"{text}{place}")
        by_picture.append(texts)
    return by_picture


def joint_expressions(pose: Tensor) -> list[tuple[str, int, int]]:
    """Names of the visible joints of one picture, each with its person and joint number.

    Sides are the person's own. Where two people are in the picture the name says whose joint it is.

    Args:
        pose: [P,18,3] x, y, visible; people from left to right, as `Figures.pose` has them.

    Returns:
        As in [("the left elbow of the person on the right", 1, 6), ...].
    """
    people = [p for p in range(len(pose)) if bool(pose[p].any())]
    expressions = []
    for p in people:
        whose = "" if len(people) == 1 else f" of the person {_PLACES[p]}"
        expressions += [(f"the {JOINTS[j]}{whose}", p, j) for j in range(len(JOINTS)) if bool(pose[p, j, 2] > 0.5)]
    return expressions
