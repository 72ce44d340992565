"""Edits of a whole scene: its background, and its light. Same form as in `solid_edits`; the place has no meaning."""

from dataclasses import dataclass

import torch

from .parameters import Scenes
from .sample import Draw, backdrop_colors, sky_colors
from .scene_words import Chooser, article
from .vocabulary import BACKDROP_NAMES, BACKGROUNDS, FIRST_SKY

Words = dict[str, str]
RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Lighting:
    """Light of a time of day; the direction, and with it every shadow, stays that of the scene."""

    direct: RGB  # linear
    ambient: RGB  # linear
    zenith: RGB  # sRGB, of skies
    horizon: RGB  # sRGB, of skies and their clouds


LIGHTS: dict[str, Lighting] = {
    "at night": Lighting((0.075, 0.10, 0.21), (0.03, 0.04, 0.085), (0.02, 0.03, 0.09), (0.10, 0.12, 0.22)),
    "in warm evening light": Lighting((1.0, 0.52, 0.17), (0.24, 0.15, 0.10), (0.42, 0.38, 0.55), (1.0, 0.66, 0.36)),
    "in cold morning light": Lighting((0.28, 0.48, 0.84), (0.16, 0.27, 0.44), (0.36, 0.54, 0.84), (0.66, 0.80, 0.97)),
    "in bright noon light": Lighting((1.5, 1.46, 1.36), (0.45, 0.45, 0.47), (0.22, 0.50, 0.98), (1.0, 1.0, 1.0)),
    "in dim light": Lighting((0.19, 0.19, 0.19), (0.09, 0.09, 0.09), (0.17, 0.27, 0.42), (0.42, 0.44, 0.46)),
}


def _behind(kind: int, color: list[int], choose: Chooser) -> str:
    """A background in words; where a wall's colours are not said, any will do."""
    name = BACKGROUNDS[kind]
    if kind >= FIRST_SKY:
        return article(name)
    first, second = (BACKDROP_NAMES[c] for c in color)
    pattern = name.removesuffix(" wall")
    if pattern == "plain":
        return article(f"{first} wall")
    if choose.chance(0.25):
        return article(name)
    return article(f"{first} {name}" if pattern == "tiled" else f"{first} and {second} {name}")


def background(scene: Scenes, place: int, words: Words, generator: torch.Generator) -> Scenes:
    """A wall or sky of another kind and other colours on the same upright plane; `new` names it.

    The plane stays, so that nothing but its own pixels changes; its pattern is scaled by its distance.
    """
    choose, draw, device = Chooser(generator), Draw(generator), scene.wall.device
    old, old_color = int(scene.background[0]), int(scene.background_color[0, 0])
    kind = choose.pick([k for k in range(len(BACKGROUNDS)) if k != old])
    color, rgb = backdrop_colors(draw, 1, device)
    while int(color[0, 0]) == old_color:
        color, rgb = backdrop_colors(draw, 1, device)
    is_sky = kind >= FIRST_SKY
    usual = 10.5 if is_sky else 7.0  # metres, the mean distance of sampled skies and walls
    scale = draw.uniform(1, low=0.5, high=1.2) * scene.wall[:, 0] / usual
    frame = torch.cat((scale[:, None], torch.zeros_like(scale)[:, None], scene.background_frame[:, 2:]), -1)
    words["new"] = _behind(kind, color[0].tolist(), choose)
    return scene.replace(
        background=torch.full_like(scene.background, kind),
        background_color=color,
        background_rgb=sky_colors(draw, 1) if is_sky else rgb,
        background_frame=frame,
    )


def light(scene: Scenes, place: int, words: Words, generator: torch.Generator) -> Scenes:
    """The same scene in other light, sky included; `new` says which."""
    words["new"] = Chooser(generator).pick(list(LIGHTS))
    chosen, device = LIGHTS[words["new"]], scene.light.device
    edited = scene.replace(
        light_rgb=torch.tensor([chosen.direct], device=device),
        ambient_rgb=torch.tensor([chosen.ambient], device=device),
    )
    if int(scene.background[0]) < FIRST_SKY:
        return edited
    return edited.replace(background_rgb=torch.tensor([[chosen.zenith, chosen.horizon]], device=device))
