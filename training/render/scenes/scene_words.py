"""True sentences about scenes: captions from the parameters, referring expressions from parameters and labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .parameters import Scenes
from .renderer import Labels
from .vocabulary import (
    BACKDROP_NAMES,
    BACKGROUNDS,
    COLOR_NAMES,
    COUNTS,
    CUBE_WORDS,
    FIRST_SKY,
    GROUNDS,
    PLURALS,
    SHAPE_WORDS,
    SHAPES,
    SIZE_WORDS,
    SIZES,
    TEXTURES,
)

# A solid is referred to when it is seen this much; differences that a word rests on have these margins.
MIN_SHARE, MIN_SEEN = 0.008, 0.4
SIDE_MARGIN = 0.1  # of the picture's width, between the centres of the pixels of two solids
NEAR_MARGIN = 0.35  # metres, both between the axes and between the mean depths of the pixels of two solids
LARGE_MARGIN = 1.2  # factor, both in size and in pixels

# Mean columns that make a side true, from 0 left to 1 right; the gaps keep near misses out.
_SIDES = ((0.0, 0.36, "on the left"), (0.4, 0.6, "in the middle"), (0.64, 1.0, "on the right"))

_FLOORS = ("floor", "ground")
_ANY = ("object", "solid", "thing")


@dataclass(frozen=True)
class Solid:
    """One solid in words."""

    place: int  # k; its instance id is k + 1
    shape: str
    color: str
    size: str
    texture: str
    cubic: bool
    radius: float  # metres, half of the largest edge or diameter


class Chooser:
    """Random choices that depend on nothing but a torch.Generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def below(self, n: int) -> int:
        return int(torch.randint(n, (), generator=self.generator, device=self.generator.device))

    def pick(self, items: Sequence) -> Any:
        return items[self.below(len(items))]

    def chance(self, probability: float) -> bool:
        return float(torch.rand((), generator=self.generator, device=self.generator.device)) < probability

    def shuffled(self, items: Sequence) -> list:
        order = torch.randperm(len(items), generator=self.generator, device=self.generator.device)
        return [items[j] for j in order.tolist()]


def solids(scenes: Scenes, i: int) -> list[Solid]:
    """The solids of scene i in words, in the order of their places."""
    one = {name: value[i].tolist() for name, value in scenes.to_dict().items()}
    described = []
    for k in (k for k, present in enumerate(one["present"]) if present):
        half, height, depth = one["extent"][k]
        edges = (2 * half, height, 2 * depth)
        described.append(
            Solid(
                place=k,
                shape=SHAPES[one["shape"][k]],
                color=COLOR_NAMES[one["color"][k]],
                size=SIZES[one["size"][k]],
                texture=TEXTURES[one["texture"][k]],
                cubic=max(edges) - min(edges) < 1e-3,
                radius=max(edges) / 2,
            )
        )
    return described


def article(phrase: str) -> str:
    """A noun phrase with its indefinite article."""
    return f"an {phrase}" if phrase[0] in "aeiou" else f"a {phrase}"


def _shape_word(choose: Chooser, group: Sequence[Solid]) -> str:
    all_cubes = group[0].shape == "box" and all(solid.cubic for solid in group)
    return choose.pick(CUBE_WORDS if all_cubes else SHAPE_WORDS[group[0].shape])


def _noun(choose: Chooser, group: Sequence[Solid], size: bool, texture: bool) -> str:
    """As in "two small striped red balls" for solids that share every attribute that is said."""
    first, words = group[0], []
    if size:
        words.append(choose.pick(SIZE_WORDS[first.size]))
    if texture and first.texture != "plain":
        words.append(first.texture)
    words.append(first.color)
    word = _shape_word(choose, group)
    if len(group) == 1:
        return article(" ".join([*words, word]))
    return " ".join([COUNTS[len(group)], *words, PLURALS.get(word, f"{word}s")])


def describe(scenes: Scenes, i: int, place: int, generator: torch.Generator, *, full: bool) -> str:
    """The solid at a place of scene i as in "a blue cone"; full: with its size and its texture unless that is plain."""
    solid = next(solid for solid in solids(scenes, i) if solid.place == place)
    return _noun(Chooser(generator), [solid], size=full, texture=full)


def listed(phrases: Sequence[str]) -> str:
    """Phrases one after the other, the last one after "and"."""
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def _floor(scenes: Scenes, i: int, choose: Chooser) -> str:
    kind, word = GROUNDS[int(scenes.ground[i])], choose.pick(_FLOORS)
    first, second = (BACKDROP_NAMES[c] for c in scenes.ground_color[i].tolist())
    if kind in ("plain", "tiled"):  # the second colour is a tint or the joints only
        return f"{first} {word}" if kind == "plain" else choose.pick([f"tiled {word}", f"{first} tiled {word}"])
    return choose.pick([f"{kind} {word}", f"{first} and {second} {kind} {word}"])


def _behind(scenes: Scenes, i: int, choose: Chooser) -> str:
    """Where the background shows above the ground in the middle of a square picture: its words, else ""."""
    height, pitch, focal = scenes.camera[i]
    up = 0.5 / focal
    slope = (up * pitch.cos() - pitch.sin()) / (up * pitch.sin() + pitch.cos())
    if float(height + slope * scenes.wall[i, 0]) < 0.4:
        return ""
    name = BACKGROUNDS[int(scenes.background[i])]
    if int(scenes.background[i]) >= FIRST_SKY:
        return f" under {article(name)}"
    color = BACKDROP_NAMES[int(scenes.background_color[i, 0])]
    if name in ("plain wall", "tiled wall"):
        name = (
            choose.pick(["wall", f"{color} wall"]) if name == "plain wall" else choose.pick([name, f"{color} {name}"])
        )
    return f" in front of {article(name)}"


def caption(scenes: Scenes, i: int, generator: torch.Generator) -> str:
    """A true sentence part about scene i: its solids in random order, mostly with the ground and the background.

    Every solid is counted; sizes and textures are said for all or for none, so that equal phrases can be joined.
    """
    choose = Chooser(generator)
    size, texture = choose.chance(0.5), choose.chance(0.5)
    groups: dict[tuple, list[Solid]] = {}
    for solid in choose.shuffled(solids(scenes, i)):
        key = (solid.color, solid.shape, solid.size if size else "", solid.texture if texture else "")
        groups.setdefault(key, []).append(solid)
    floor, behind = _floor(scenes, i, choose), _behind(scenes, i, choose)
    if not choose.chance(0.6):
        behind = ""
    if not groups:
        return article(f"empty {floor}{behind}")
    things = listed([_noun(choose, group, size, texture) for group in groups.values()])
    return things + (f" on {article(floor)}" if choose.chance(0.8) else "") + behind


@dataclass(frozen=True)
class _Seen:
    """A solid as the picture shows it."""

    solid: Solid
    pixels: int
    clear: bool  # seen enough to be referred to
    x: float  # mean column of its pixels, 0 left to 1 right
    depth: float  # mean z-depth of its pixels, metres
    axis_depth: float  # z-depth of its middle, metres


def _seen(scenes: Scenes, labels: Labels, i: int) -> list[_Seen]:
    """What shows at least one pixel, in the order of places."""
    instance, depth = labels.instance[i], labels.depth[i]
    height, pitch, _ = scenes.camera[i].tolist()
    columns = (torch.arange(instance.shape[1], device=instance.device) + 0.5) / instance.shape[1]
    result = []
    for solid in solids(scenes, i):
        mask = instance == solid.place + 1
        pixels = int(mask.sum())
        if not pixels:
            continue
        enough = pixels >= MIN_SHARE * mask.numel() and pixels >= MIN_SEEN * int(labels.footprint[i, solid.place])
        z, middle = float(scenes.position[i, solid.place, 1]), float(scenes.extent[i, solid.place, 1]) / 2
        axis = (height - middle) * torch.tensor(pitch).sin() - z * torch.tensor(pitch).cos()
        x = float((mask * columns).sum()) / pixels
        result.append(_Seen(solid, pixels, enough, x, float(depth[mask].mean()), float(axis)))
    return result


def _is_leftmost(one: _Seen, others: Sequence[_Seen]) -> bool:
    return all(one.x < other.x - SIDE_MARGIN for other in others)


def _is_rightmost(one: _Seen, others: Sequence[_Seen]) -> bool:
    return all(one.x > other.x + SIDE_MARGIN for other in others)


def _is_nearest(one: _Seen, others: Sequence[_Seen]) -> bool:
    return all(max(one.depth - o.depth, one.axis_depth - o.axis_depth) < -NEAR_MARGIN for o in others)


def _is_farthest(one: _Seen, others: Sequence[_Seen]) -> bool:
    return all(min(one.depth - o.depth, one.axis_depth - o.axis_depth) > NEAR_MARGIN for o in others)


def _is_largest(one: _Seen, others: Sequence[_Seen]) -> bool:
    return all(
        one.solid.radius > LARGE_MARGIN * o.solid.radius and one.pixels > LARGE_MARGIN * o.pixels for o in others
    )


def _is_smallest(one: _Seen, others: Sequence[_Seen]) -> bool:
    return all(
        LARGE_MARGIN * one.solid.radius < o.solid.radius and LARGE_MARGIN * one.pixels < o.pixels for o in others
    )


_EXTREMES = (
    (_is_leftmost, ("the leftmost {}", "the {} on the left", "the {} furthest to the left")),
    (_is_rightmost, ("the rightmost {}", "the {} on the right", "the {} furthest to the right")),
    (_is_nearest, ("the nearest {}", "the {} closest to the camera", "the {} in front")),
    (_is_farthest, ("the farthest {}", "the {} farthest from the camera", "the {} at the back")),
    (_is_largest, ("the largest {}", "the biggest {}")),
    (_is_smallest, ("the smallest {}",)),
)


def side(phrase: str) -> tuple[float, float]:
    """The columns, from 0 left to 1 right, that an addition's words allow for the middle of the added solid."""
    return next(((low, high) for low, high, words in _SIDES if words in phrase), (0.0, 1.0))


def addition(scenes: Scenes, render: Labels, i: int, place: int, generator: torch.Generator) -> str:
    """The solid at a place of scene i as something to add, as in "a small red ball on the left at the back".

    Sides are thirds of the picture's width by the mean column; "at the back" and "in front" compare with all other
    solids and with the camera. "" where no place can be said or too little of the solid is seen. render: labels of
    all of `scenes`.
    """
    choose, seen = Chooser(generator), _seen(scenes, render, i)
    one = next((one for one in seen if one.solid.place == place), None)
    if one is None or not one.clear:
        return ""
    others = [other for other in seen if other is not one]
    across = [words for low, high, words in _SIDES if low < one.x < high]
    along = []
    if one.depth > 4.0 and _is_farthest(one, others):
        along.append("at the back")
    if one.depth < 3.2 and _is_nearest(one, others):
        along.append("in front")
    if across and along and choose.chance(0.4):
        where = f"{across[0]} {along[0]}"
    elif across or along:
        where = choose.pick(across + along)
    else:
        return ""
    return f"{describe(scenes, i, place, generator, full=True)} {where}"


def _nouns(choose: Chooser, solid: Solid) -> list[tuple[tuple[str, ...], str]]:
    """Ways to name a solid: the attributes that a rival must share to be meant as well, and the words."""
    shape, any_word = _shape_word(choose, [solid]), choose.pick(_ANY)
    size = choose.pick(SIZE_WORDS[solid.size])
    nouns = [
        (("color", "shape"), f"{solid.color} {shape}"),
        (("shape",), shape),
        (("color",), f"{solid.color} {any_word}"),
        (("size", "shape"), f"{size} {shape}"),
        (("size", "color"), f"{size} {solid.color} {any_word}"),
        (("size", "color", "shape"), f"{size} {solid.color} {shape}"),
    ]
    if solid.texture != "plain":
        nouns.append((("texture", "shape"), f"{solid.texture} {shape}"))
        nouns.append((("texture", "color", "shape"), f"{solid.texture} {solid.color} {shape}"))
    return nouns


def referring(scenes: Scenes, render: Labels, i: int, generator: torch.Generator) -> list[tuple[str, int]]:
    """Expressions that mean exactly one solid of scene i, with its instance id (place + 1), in random order.

    render: labels or pictures of all of `scenes`. Named: solids that cover at least 0.8 % of the picture and show at
    least 40 % of their outline. Rivals: every solid that shows a pixel. Comparisons hold by the margins above.
    """
    if len(render) != len(scenes):
        raise ValueError(
            f"labels must belong to the scenes: {len(scenes)} scenes, {len(render)} pictures; pass both whole"
        )
    choose, seen = Chooser(generator), _seen(scenes, render, i)
    expressions: list[tuple[str, int]] = []
    for one in (one for one in seen if one.clear):
        others = [other for other in seen if other is not one]
        place = one.solid.place + 1
        for attributes, noun in _nouns(choose, one.solid):
            same = [o for o in others if all(getattr(o.solid, a) == getattr(one.solid, a) for a in attributes)]
            if not same:
                # Who is called small must not look larger than one of the same kind that is called large.
                alike = [o for o in others if all(getattr(o.solid, a) == getattr(one.solid, a) for a in attributes[1:])]
                if attributes[0] != "size" or _is_largest(one, alike) or _is_smallest(one, alike):
                    expressions.append((f"the {noun}", place))
            elif "size" not in attributes:  # "the left red ball" of several
                expressions += [
                    (choose.pick(forms).format(noun), place) for test, forms in _EXTREMES if test(one, same)
                ]
        if others:
            noun = choose.pick(_ANY)
            expressions += [(choose.pick(forms).format(noun), place) for test, forms in _EXTREMES if test(one, others)]
    return choose.shuffled(list(dict.fromkeys(expressions)))
