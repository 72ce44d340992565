"""Names that scenes are made of: colours, shapes, textures, backdrops, classes and the held-out combinations."""

import tomllib
from pathlib import Path

SHAPES = ("sphere", "box", "cylinder", "cone")
SPHERE, BOX, CYLINDER, CONE = range(4)

CLASS_NAMES = ("ignore", "ground", "background", *SHAPES)
# Metres that no surface of a scene lies outside of.
DEPTH_RANGE = (1.0, 13.0)
GROUND_CLASS, BACKGROUND_CLASS, FIRST_SHAPE_CLASS = 1, 2, 3

_TABLES = tomllib.loads(Path(__file__).with_name("vocabulary.toml").read_text(encoding="utf-8"))
# sRGB values, of solids, and of ground and walls.
COLORS: dict[str, list[float]] = _TABLES["colors"]
COLOR_NAMES = tuple(COLORS)
BACKDROPS: dict[str, list[float]] = _TABLES["backdrops"]
BACKDROP_NAMES = tuple(BACKDROPS)
# Colour and shape: every held-out one of both still occurs in training, only never together.
HELD_OUT: frozenset[tuple[str, str]] = frozenset(_TABLES["held_out"].items())

SIZES = ("small", "large")
# Radius (sphere, cylinder, cone) or half width (box) in metres; the gap makes the two words unambiguous.
SIZE_RANGES = ((0.28, 0.38), (0.52, 0.75))

TEXTURES = ("plain", "striped", "checkered")
PLAIN, STRIPED, CHECKERED = range(3)

GROUNDS = ("plain", "checkered", "striped", "tiled", "mottled")
BACKGROUNDS = ("plain wall", "striped wall", "tiled wall", "mottled wall", "clear sky", "cloudy sky")
FIRST_SKY = 4  # from here on a background gives its own light and takes neither shading nor shadow

# What a caption or an expression may call a shape.
SHAPE_WORDS: dict[str, list[str]] = _TABLES["shape_words"]
# Where all edges of a box are equal.
CUBE_WORDS = ("cube", "box", "block")
SIZE_WORDS: dict[str, tuple[str, ...]] = {"small": ("small", "little"), "large": ("large", "big")}
PLURALS = {"box": "boxes"}
COUNTS = ("no", "one", "two", "three", "four")


def is_held_out(color: int, shape: int) -> bool:
    """Whether the pair of indices (into COLOR_NAMES and SHAPES) is kept out of the training split."""
    return (COLOR_NAMES[color], SHAPES[shape]) in HELD_OUT
