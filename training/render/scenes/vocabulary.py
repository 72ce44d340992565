"""Names that scenes are made of: colours, shapes, textures, backdrops, classes and the held-out combinations."""

SHAPES = ("sphere", "box", "cylinder", "cone")
SPHERE, BOX, CYLINDER, CONE = range(4)

CLASS_NAMES = ("ignore", "ground", "background", *SHAPES)
# Metres that no surface of a scene lies outside of.
DEPTH_RANGE = (1.0, 13.0)
GROUND_CLASS, BACKGROUND_CLASS, FIRST_SHAPE_CLASS = 1, 2, 3

# sRGB values. Far enough apart to be told from one another after shading and the jitter of `sample_scenes`.
COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.82, 0.10, 0.10),
    "green": (0.14, 0.62, 0.18),
    "blue": (0.12, 0.24, 0.85),
    "yellow": (0.96, 0.87, 0.13),
    "orange": (0.97, 0.50, 0.06),
    "purple": (0.48, 0.15, 0.68),
    "cyan": (0.12, 0.80, 0.85),
    "pink": (0.98, 0.55, 0.74),
    "white": (0.95, 0.95, 0.94),
    "gray": (0.50, 0.50, 0.51),
    "brown": (0.43, 0.25, 0.12),
}
COLOR_NAMES = tuple(COLORS)

# 7 of 44 (16 %): every held-out colour and shape still occurs in training, only never together.
HELD_OUT: frozenset[tuple[str, str]] = frozenset(
    {
        ("red", "cylinder"),
        ("green", "cone"),
        ("blue", "sphere"),
        ("yellow", "box"),
        ("purple", "cylinder"),
        ("orange", "sphere"),
        ("cyan", "box"),
    }
)

SIZES = ("small", "large")
# Radius (sphere, cylinder, cone) or half width (box) in metres; the gap makes the two words unambiguous.
SIZE_RANGES = ((0.28, 0.38), (0.52, 0.75))

TEXTURES = ("plain", "striped", "checkered")
PLAIN, STRIPED, CHECKERED = range(3)

GROUNDS = ("plain", "checkered", "striped", "tiled", "mottled")
BACKGROUNDS = ("plain wall", "striped wall", "tiled wall", "mottled wall", "clear sky", "cloudy sky")
FIRST_SKY = 4  # from here on a background gives its own light and takes neither shading nor shadow

# Colours of ground and walls, weaker than those of the solids so that no caption has two readings.
BACKDROPS: dict[str, tuple[float, float, float]] = {
    "light gray": (0.72, 0.72, 0.73),
    "dark gray": (0.30, 0.30, 0.32),
    "beige": (0.84, 0.77, 0.63),
    "tan": (0.66, 0.53, 0.39),
    "pale blue": (0.62, 0.73, 0.86),
    "pale green": (0.66, 0.80, 0.64),
    "pale pink": (0.88, 0.74, 0.75),
    "dark green": (0.20, 0.34, 0.23),
    "dark blue": (0.18, 0.24, 0.40),
}
BACKDROP_NAMES = tuple(BACKDROPS)

# What a caption or an expression may call a shape; "cube" is added where all edges of a box are equal.
SHAPE_WORDS: dict[str, tuple[str, ...]] = {
    "sphere": ("sphere", "ball"),
    "box": ("box", "block"),
    "cylinder": ("cylinder",),
    "cone": ("cone",),
}
CUBE_WORDS = ("cube", "box", "block")
SIZE_WORDS: dict[str, tuple[str, ...]] = {"small": ("small", "little"), "large": ("large", "big")}
PLURALS = {"box": "boxes"}
COUNTS = ("no", "one", "two", "three", "four")


def is_held_out(color: int, shape: int) -> bool:
    """Whether the pair of indices (into COLOR_NAMES and SHAPES) is kept out of the training split."""
    return (COLOR_NAMES[color], SHAPES[shape]) in HELD_OUT
