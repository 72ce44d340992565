"""Random scenes: what stands where, seen from where, in what light. Only scenes whose solids are seen are kept.

Shape suffixes: N scenes, K places for solids, C candidate places.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .parameters import MAX_SOLIDS, Scenes
from .renderer import labels
from .vocabulary import (
    BACKDROPS,
    BACKGROUNDS,
    BOX,
    COLORS,
    CONE,
    CYLINDER,
    FIRST_SKY,
    GROUNDS,
    PLAIN,
    SHAPES,
    SIZE_RANGES,
    TEXTURES,
    is_held_out,
)

_CANDIDATES = 96
_CHECK_SIDE = 48  # pixels of the label pictures that decide whether solids are seen
_MIN_SHARE, _MIN_SEEN = 0.011, 0.5  # above the thresholds of `referring`, so that other sizes of picture agree
_MAX_ROUNDS = 60
# Half width over the radius that SIZE_RANGES speak of, by shape.
RADIUS_SHARE = (1.0, 0.85, 0.8, 1.0)
# Of textures: the second colour as a share of the first, and the width of a stripe as one of the height.
SHADES, STRIPES = (0.5, 0.68), (0.16, 0.28)


@dataclass
class Draw:
    """Random numbers of one generator, on its device."""

    generator: torch.Generator

    def uniform(self, *shape: int, low: float | Tensor = 0.0, high: float | Tensor = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=self.generator, device=self.generator.device)

    def integers(self, *shape: int, high: int) -> Tensor:
        return torch.randint(high, shape, generator=self.generator, device=self.generator.device)

    def choice(self, values: list[float], *shape: int) -> Tensor:
        """Indices with probabilities in proportion to `values`."""
        weights = torch.tensor(values, device=self.generator.device)
        return torch.multinomial(weights, math.prod(shape), True, generator=self.generator).reshape(shape)


def color_table(table: dict[str, list[float]], device: torch.device) -> Tensor:
    """[names,3] sRGB values in the order of the table."""
    return torch.tensor(list(table.values()), device=device)


def jitter_color(rgb: Tensor, generator: torch.Generator, amount: float = 1.0) -> Tensor:
    """A colour [...,3] that bears the same name: brightness by up to 10 %, channels by up to 0.03 (times amount)."""
    draw = Draw(generator)
    gain = draw.uniform(*rgb.shape[:-1], 1, low=1 - 0.1 * amount, high=1 + 0.1 * amount)
    return (rgb * gain + draw.uniform(*rgb.shape, low=-0.03 * amount, high=0.03 * amount)).clamp(0, 1)


def shade_of(rgb: Tensor, factor: Tensor) -> Tensor:
    """The darker second colour of a texture, which keeps the first one's name."""
    return rgb * factor


def _pairs(draw: Draw, n: int, test: bool) -> tuple[Tensor, Tensor]:
    """Shapes and colours [N,K]: in training none is held out; in test place 0 always is. Place 0's pair is unique."""
    every = [(color, shape) for color in range(len(COLORS)) for shape in range(len(SHAPES))]
    held = torch.tensor([is_held_out(*pair) for pair in every], device=draw.generator.device)
    pairs = torch.tensor(every, device=draw.generator.device)
    usual = torch.ones_like(held) if test else ~held
    weights = usual.float().expand(n, -1).clone()
    first = torch.multinomial((held if test else usual).float().expand(n, -1), 1, generator=draw.generator)
    others = torch.multinomial(
        weights.scatter(1, first, 0.0), MAX_SOLIDS - 1, replacement=True, generator=draw.generator
    )
    chosen = pairs[torch.cat((first, others), 1)]
    return chosen[..., 1], chosen[..., 0]


def extent_of(shape: int, radius: float) -> Tensor:
    """[3] half width, height and half depth of a solid of mean proportions (a box is a cube); radius in metres."""
    half = RADIUS_SHARE[shape] * radius
    height = {CYLINDER: 2.1 * radius, CONE: 2.3 * radius}.get(shape, 2 * half)
    return torch.tensor([half, height, half])


def _extents(draw: Draw, shape: Tensor) -> tuple[Tensor, Tensor]:
    """Sizes [N,K] and extents [N,K,3]; half of the boxes are exact cubes."""
    n = shape.shape[0]
    size = draw.choice([0.5, 0.5], n, MAX_SOLIDS)
    ranges = torch.tensor(SIZE_RANGES, device=shape.device)[size]
    r = draw.uniform(n, MAX_SOLIDS, low=ranges[..., 0], high=ranges[..., 1])
    cube = draw.uniform(n, MAX_SOLIDS) < 0.5
    stretch = [torch.where(cube, 1.0, draw.uniform(n, MAX_SOLIDS, low=0.8, high=1.25)) for _ in range(2)]
    height = 2 * r
    height = torch.where(shape == BOX, 2 * 0.85 * r * stretch[0], height)
    height = torch.where(shape == CYLINDER, r * draw.uniform(n, MAX_SOLIDS, low=1.6, high=2.6), height)
    height = torch.where(shape == CONE, r * draw.uniform(n, MAX_SOLIDS, low=1.9, high=2.7), height)
    half = torch.where(shape == BOX, 0.85 * r, torch.where(shape == CYLINDER, 0.8 * r, r))
    depth = torch.where(shape == BOX, half * stretch[1], half)
    return size, torch.stack((half, height, depth), -1)


def _camera(draw: Draw, n: int) -> tuple[Tensor, Tensor]:
    """Camera [N,3] and the z-depth [N] of the ground at the lower edge of a square picture, 1.5 to 2.4 m."""
    half_view = draw.uniform(n, low=math.radians(20), high=math.radians(27))
    pitch = draw.uniform(n, low=math.radians(12), high=math.radians(26))
    near = draw.uniform(n, low=1.5, high=2.4)
    height = near * (pitch + half_view).sin() / half_view.cos()
    return torch.stack((height, pitch, 0.5 / half_view.tan()), -1), near


def _footing(extent: Tensor, shape: Tensor) -> Tensor:
    """The radius of the disc on the ground that a solid needs."""
    return torch.where(shape == BOX, torch.hypot(extent[..., 0], extent[..., 2]), extent[..., 0])


def _candidates(draw: Draw, camera: Tensor, near: Tensor, wall: Tensor, radius: Tensor) -> Tensor:
    """[N,C,2] places X, Z, spread evenly over the picture's width and over the logarithm of depth."""
    n, device = len(camera), camera.device
    height, pitch, focal = (part[:, None] for part in camera.unbind(-1))
    far = torch.minimum(wall[:, :1] - radius[:, None], torch.tensor(7.5, device=device))
    low = (near[:, None] + radius[:, None]).log()
    depth = draw.uniform(n, _CANDIDATES, low=low, high=torch.maximum(low, far.log())).exp()
    x = draw.uniform(n, _CANDIDATES, low=-0.5, high=0.5) * depth / focal
    z = -(depth + (radius[:, None] - height) * pitch.sin()) / pitch.cos()
    return torch.stack((x, z), -1)


def _discs(camera: Tensor, place: Tensor, extent: Tensor) -> tuple[Tensor, Tensor]:
    """Image discs around solids: centre, radius [...,3] in units of the shorter side, and z-depth [...]."""
    height, pitch, focal = camera.unbind(-1)
    x, z = place.unbind(-1)
    y = extent[..., 1] / 2 - height
    depth = -y * pitch.sin() - z * pitch.cos()
    up = y * pitch.cos() - z * pitch.sin()
    radius = torch.maximum(extent[..., 0], extent[..., 1] / 2).expand_as(x)
    return torch.stack((x, up, radius), -1) * (focal / depth)[..., None], depth


def has_room(scene: Scenes, k: int) -> bool:
    """Whether solid k of a batch of length 1 lies in the frame, clear of the other solids and before the wall.

    The rules are those by which `sample_scenes` finds places, with margins a little smaller.
    """
    radius, place, wall = _footing(scene.extent, scene.shape)[0], scene.position[0], scene.wall[0]
    disc, _ = _discs(scene.camera[0], place[k], scene.extent[0, k])
    in_frame = (disc[:2].abs() + 0.8 * disc[2]).amax() < 0.5 and disc[2] > 0.06
    to_wall = place[k, 0] * wall[1].sin() + (place[k, 1] + wall[0]) * wall[1].cos()
    apart = (place - place[k]).norm(dim=-1) > radius + radius[k] + 0.02
    apart[k] = True
    return bool(in_frame and to_wall > radius[k] + 0.05 and (apart | ~scene.present[0]).all())


def _place(draw: Draw, camera: Tensor, near: Tensor, wall: Tensor, shape: Tensor, extent: Tensor, wanted: Tensor):  # type: ignore[no-untyped-def]
    """Positions [N,K,2] and which solids found one [N,K]: in the frame, apart, before the wall, not hidden."""
    n = len(camera)
    radius = _footing(extent, shape)
    position, placed = torch.zeros(n, MAX_SOLIDS, 2, device=camera.device), torch.zeros_like(wanted)
    for k in range(MAX_SOLIDS):
        place = _candidates(draw, camera, near, wall, radius[:, k])
        disc, depth = _discs(camera[:, None], place, extent[:, None, k])
        good = (disc[..., :2].abs() + 0.8 * disc[..., 2:]).amax(-1) < 0.5
        good &= disc[..., 2] > 0.06
        to_wall = place[..., 0] * wall[:, 1:].sin() + (place[..., 1] + wall[:, :1]) * wall[:, 1:].cos()
        good &= to_wall > radius[:, k, None] + 0.1
        for j in range(k):
            other, other_depth = _discs(camera, position[:, j], extent[:, j])
            apart = (place - position[:, None, j]).norm(dim=-1) > radius[:, k, None] + radius[:, j, None] + 0.05
            between = (disc[..., :2] - other[:, None, :2]).norm(dim=-1)
            behind = depth > other_depth[:, None]
            front = torch.where(behind, other[:, None, 2], disc[..., 2])
            back = torch.where(behind, disc[..., 2], other[:, None, 2])
            good &= (apart & (between > front + 0.1 * back)) | ~placed[:, j, None]
        first = good.float().argmax(1)
        position[:, k] = place[torch.arange(n, device=camera.device), first]
        placed[:, k] = wanted[:, k] & good.any(1)
    return position, placed


def _light(draw: Draw, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """A light from the viewer's side of the wall, 30 to 65 degrees high, and ambient light; total about 1."""
    azimuth = draw.uniform(n, low=math.radians(-85), high=math.radians(85))
    height = draw.uniform(n, low=math.radians(30), high=math.radians(65))
    towards = torch.stack((azimuth.sin() * height.cos(), height.sin(), azimuth.cos() * height.cos()), -1)
    ambient = draw.uniform(n, 1, low=0.2, high=0.45)
    direct = draw.uniform(n, 1, low=0.95, high=1.2) - ambient
    tint = draw.uniform(n, 3, low=0.94, high=1.06)
    return towards, direct * tint * 1.1, ambient * (2 - tint)


def _frames(draw: Draw, kind: Tensor, low: float, high: float, turned: bool) -> Tensor:
    n = len(kind)
    angle = draw.uniform(n, low=-math.pi, high=math.pi) * turned
    offset = draw.uniform(n, 2, low=0.0, high=32.0)
    return torch.cat((draw.uniform(n, 1, low=low, high=high), angle[:, None], offset), -1)


def backdrop_colors(draw: Draw, n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Two different backdrop colours a scene: indices [N,2] and jittered sRGB [N,2,3]."""
    first = draw.integers(n, high=len(BACKDROPS))
    second = (first + 1 + draw.integers(n, high=len(BACKDROPS) - 1)) % len(BACKDROPS)
    color = torch.stack((first, second), -1)
    return color, jitter_color(color_table(BACKDROPS, device)[color], draw.generator, 0.6)


def sky_colors(draw: Draw, n: int) -> Tensor:
    """[N,2,3]: zenith blue and the white of horizon and clouds."""
    device = draw.generator.device
    base = torch.tensor([[0.36, 0.58, 0.90], [0.90, 0.94, 0.98]], device=device).expand(n, 2, 3)
    return jitter_color(base, draw.generator)


def _backdrops(draw: Draw, n: int) -> dict[str, Tensor]:
    device = draw.generator.device
    ground = draw.integers(n, high=len(GROUNDS))
    background = draw.integers(n, high=len(BACKGROUNDS))
    ground_color, ground_rgb = backdrop_colors(draw, n, device)
    background_color, background_rgb = backdrop_colors(draw, n, device)
    is_sky = background >= FIRST_SKY
    background_rgb = torch.where(is_sky[:, None, None], sky_colors(draw, n), background_rgb)
    # A sky is a far upright plane; walls are nearer and may stand at an angle.
    distance = torch.where(is_sky, draw.uniform(n, low=10.0, high=11.5), draw.uniform(n, low=5.0, high=9.0))
    yaw = torch.where(is_sky, 0.0, draw.uniform(n, low=-0.3, high=0.3))
    return {
        "ground": ground,
        "ground_color": ground_color,
        "ground_rgb": ground_rgb,
        "ground_frame": _frames(draw, ground, 0.45, 1.1, turned=True),
        "background": background,
        "background_color": background_color,
        "background_rgb": background_rgb,
        "background_frame": _frames(draw, background, 0.5, 1.2, turned=False),
        "wall": torch.stack((distance, yaw), -1),
    }


def _draw_scenes(draw: Draw, n: int, test: bool) -> Scenes:
    device = draw.generator.device
    shape, color = _pairs(draw, n, test)
    size, extent = _extents(draw, shape)
    camera, near = _camera(draw, n)
    backdrops = _backdrops(draw, n)
    count = draw.choice([0.15, 0.2, 0.25, 0.4], n)
    wanted = torch.arange(MAX_SOLIDS, device=device) <= count[:, None]
    position, present = _place(draw, camera, near, backdrops["wall"], shape, extent, wanted)
    rgb = jitter_color(color_table(COLORS, device)[color], draw.generator)
    shade = draw.uniform(n, MAX_SOLIDS, 1, low=SHADES[0], high=SHADES[1])
    light, light_rgb, ambient_rgb = _light(draw, n)
    yaw = draw.uniform(n, MAX_SOLIDS, low=-math.pi, high=math.pi)
    texture = draw.choice([0.6] + [0.4 / (len(TEXTURES) - 1)] * (len(TEXTURES) - 1), n, MAX_SOLIDS)
    stripe = draw.uniform(n, MAX_SOLIDS, low=STRIPES[0], high=STRIPES[1])
    # What a plain solid does not show is as usual, so that what an edit makes of it follows from the picture.
    plain = texture == PLAIN
    shade = torch.where(plain[..., None], sum(SHADES) / 2, shade)
    stripe = torch.where(plain, sum(STRIPES) / 2, stripe)
    yaw = torch.where(plain & (shape != BOX), 0.0, yaw)
    return Scenes(
        present=present,
        shape=shape,
        color=color,
        rgb=rgb,
        size=size,
        extent=extent,
        position=position,
        yaw=yaw,
        texture=texture,
        texture_rgb=shade_of(rgb, shade),
        texture_scale=extent[..., 1] * stripe,
        specular=draw.uniform(n, MAX_SOLIDS, low=0.0, high=0.35),
        camera=camera,
        light=light,
        light_rgb=light_rgb,
        ambient_rgb=ambient_rgb,
        held_out=torch.full((n,), test, device=device),
        **backdrops,
    )


def _seen(scenes: Scenes) -> Tensor:
    """[N,K] bool: solids that are large enough in the picture and not mostly hidden."""
    label_maps = labels(scenes, _CHECK_SIDE)
    visible = label_maps.visible()
    return (visible > _MIN_SHARE * _CHECK_SIDE**2) & (visible > _MIN_SEEN * label_maps.footprint)


def sample_scenes(n: int, generator: torch.Generator, split: str = "train") -> Scenes:
    """n random scenes of one to four solids, on the generator's device; equal generators give equal scenes.

    Every solid is seen: at least 1.1 % of a square picture and half of its outline. Place 0 always holds one, and its
    colour and shape occur once in the scene, so that it can be referred to. split: "train" never shows a held-out
    (colour, shape) pair; "test" shows one at place 0. Errors: ValueError for another split or n < 1.
    """
    if split not in ("train", "test"):
        raise ValueError(f'split must be "train" or "test", found {split!r}; choose one of the two')
    if n < 1:
        raise ValueError(f"the number of scenes must be at least 1, found {n}; ask for one or more")
    draw, kept, missing = Draw(generator), [], n
    for _ in range(_MAX_ROUNDS):
        scenes = _draw_scenes(draw, math.ceil(missing * 1.3) + 1, split == "test")
        present = scenes.present & _seen(scenes)
        kept.append(scenes.replace(present=present)[torch.nonzero(present[:, 0])[:, 0]][:missing])
        missing -= len(kept[-1])
        if not missing:
            return Scenes.cat(kept)
    raise AssertionError(f"{missing} of {n} scenes found no visible solid in {_MAX_ROUNDS} rounds")
