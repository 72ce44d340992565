"""Edits of one solid of a scene. Each gets a batch of length 1, the solid's place and the words so far.

They return the changed scene, or None where the change has no room, and add the words that only they know. What neither
the picture shows nor the words say has its usual value: the shade of a colour, how a box is turned that stands where
something round stood; `sample` sees to what plain solids hide. Otherwise one of many right answers would be the truth.
"""

import torch

from .parameters import Scenes
from .renderer import labels
from .sample import RADIUS_SHARE, extent_of, has_room
from .scene_words import Chooser, addition, describe
from .vocabulary import COLOR_NAMES, COLORS, PLAIN, SHAPES, TEXTURES, is_held_out

Words = dict[str, str]
CHECK_SIDE = 96  # pixels of the labels that words are checked on when the caller brings none

# Factors far enough apart to be seen, and such that every result is either below or above SIZE_LIMIT by its old word.
GROWTH = {"larger": 1.65, "smaller": 0.6}
SIZE_LIMIT = 0.455  # metres, the radius from which a solid is called large


def _at(tensor: torch.Tensor, place: int, value: float | torch.Tensor) -> torch.Tensor:
    """A copy of [1,K,...] with another value at one place."""
    copy = tensor.clone()
    copy[0, place] = value
    return copy


def _named_color(rgb: torch.Tensor, color: int) -> torch.Tensor:
    return torch.tensor(COLORS[COLOR_NAMES[color]], device=rgb.device)


def remove(scene: Scenes, place: int, words: Words, generator: torch.Generator) -> Scenes:
    """The scene without the solid."""
    return scene.replace(present=_at(scene.present, place, False))


def add(scene: Scenes, place: int, words: Words, generator: torch.Generator) -> Scenes | None:
    """The scene before the solid was added: what an addition starts from. `new` is the thing and where it comes."""
    words["new"] = addition(scene, labels(scene, CHECK_SIDE), 0, place, generator)
    return remove(scene, place, words, generator) if words["new"] else None


def recolor(scene: Scenes, place: int, words: Words, generator: torch.Generator) -> Scenes:
    """Another named colour, `new_color`; the texture's second colour keeps its ratio to the first."""
    shape, old = int(scene.shape[0, place]), int(scene.color[0, place])
    free = bool(scene.held_out[0])
    choices = [c for c in range(len(COLOR_NAMES)) if c != old and (free or not is_held_out(c, shape))]
    color = Chooser(generator).pick(choices)
    words["new_color"] = COLOR_NAMES[color]
    rgb = _at(scene.rgb, place, _named_color(scene.rgb, color))
    ratio = scene.texture_rgb[0, place].sum() / scene.rgb[0, place].sum()
    second = _at(scene.texture_rgb, place, rgb[0, place] * ratio)
    return scene.replace(color=_at(scene.color, place, color), rgb=rgb, texture_rgb=second)


def replace(scene: Scenes, place: int, words: Words, generator: torch.Generator) -> Scenes | None:
    """A plain solid of another shape and colour and of the same size stands there instead; `new` names it."""
    old_shape, old_color, free = int(scene.shape[0, place]), int(scene.color[0, place]), bool(scene.held_out[0])
    choices = [
        (shape, color)
        for shape in range(len(SHAPES))
        for color in range(len(COLOR_NAMES))
        if shape != old_shape and color != old_color and (free or not is_held_out(color, shape))
    ]
    shape, color = Chooser(generator).pick(choices)
    radius = float(scene.extent[0, place, 0]) / RADIUS_SHARE[old_shape]
    rgb = _at(scene.rgb, place, _named_color(scene.rgb, color))
    turned = SHAPES[old_shape] == "box" or SHAPES[shape] != "box"
    edited = scene.replace(
        shape=_at(scene.shape, place, shape),
        color=_at(scene.color, place, color),
        rgb=rgb,
        texture=_at(scene.texture, place, PLAIN),
        texture_rgb=_at(scene.texture_rgb, place, rgb[0, place] * 0.6),
        extent=_at(scene.extent, place, extent_of(shape, radius).to(rgb.device)),
        yaw=scene.yaw if turned else _at(scene.yaw, place, 0.0),
    )
    words["new"] = describe(edited, 0, place, generator, full=False)
    return edited if has_room(edited, place) else None


def texture(scene: Scenes, place: int, words: Words, generator: torch.Generator) -> Scenes:
    """Another texture in the same colours; `new` is its name."""
    old = int(scene.texture[0, place])
    chosen = Chooser(generator).pick([t for t in range(len(TEXTURES)) if t != old])
    words["new"] = TEXTURES[chosen]
    return scene.replace(texture=_at(scene.texture, place, chosen))


def local(scene: Scenes, place: int, words: Words, generator: torch.Generator) -> Scenes | None:
    """The same solid on the same spot, larger or smaller by a fixed factor; `new` is "larger" or "smaller"."""
    words["new"] = Chooser(generator).pick(list(GROWTH))
    factor = GROWTH[words["new"]]
    extent = _at(scene.extent, place, scene.extent[0, place] * factor)
    radius = float(extent[0, place, 0]) / RADIUS_SHARE[int(scene.shape[0, place])]
    edited = scene.replace(
        extent=extent,
        size=_at(scene.size, place, int(radius > SIZE_LIMIT)),
        texture_scale=_at(scene.texture_scale, place, scene.texture_scale[0, place] * factor),
    )
    return edited if has_room(edited, place) else None
