"""Words that the guess of a task knows beside those of the templates: colours, names of maps, examples, endings."""

from __future__ import annotations

from functools import lru_cache

_COLOR_NAMES = """
    red orange yellow green cyan blue purple magenta violet pink brown black white gray gold golden silver turquoise
    teal beige crimson navy olive lime maroon
"""
COLORS = frozenset(_COLOR_NAMES.split())
# Names of maps: answers of the reading tasks and sources of the control tasks.
_MAP_NAMES = """
    depth normal normals segmentation semantic class classes canny hed edge edges boundaries soft sketch scribble doodle
    pose skeleton skeletons joints lineart line art drawing map maps condition outlines
"""
# Examples of what some placeholders stand for, where such words show which task is meant.
EXAMPLES: dict[str, tuple[str, ...]] = {
    "depth": ("relative depth", "relative distance", "relative to"),
    "edit_recolor": ("turn {caption} {color}",),
    "edit_local": ("larger", "smaller", "bigger", "taller", "tiny", "huge", "twice the size", "shrink"),
    "edit_texture": ("striped", "checkered", "wooden", "wood", "dotted", "metal", "marble", "brick", "made of"),
    "edit_global": (
        "at night", "at dusk", "at dawn", "at sunset", "at sunrise", "at noon", "in the evening", "in the morning",
        "in winter", "in summer", "in autumn", "in warm light", "golden hour", "it night", "it sunset",
    ),
    "edit_style": (
        "an oil painting", "a watercolor", "a watercolour", "pencil drawing", "a cartoon", "a comic", "a mosaic",
        "a poster", "sepia", "black and white photograph", "negative", "anime",
    ),
    "edit_add": ("{caption} on the left", "{caption} in front", "{caption} next to"),
    "text_to_image": (
        "{caption} on the {caption}", "{caption} in the {caption}", "{caption} with {caption}", "{caption} at night",
    ),
    "keypoint": ("elbow", "knee", "nose", "eye", "ear", "wrist", "shoulder", "hip", "ankle", "neck"),
}  # fmt: skip
# Words that captions are full of, so that they say nothing about the task.
_CAPTION_WORDS = """
    left right front top bottom big small large little wall sky grass sand ground floor hill street house roof man woman
    his her he she near next two three under above below beside between far farthest nearest arm arms and
"""
_ENDINGS = "ation ator ate ments ment ings ing ions ion ers ed er ly al s y e"
_WHOLE = frozenset({"canny", "carry", "class", "drawing", "glass", "lens", "pass", "less", "ball", "wall"})
_LEAST_LETTERS = 3


@lru_cache(1 << 14)
def stem(word: str) -> str:
    """A word without its endings: "deblurring", "deblurred" and "deblur" are one."""
    if word in _WHOLE:
        return word
    ending = next(
        (
            end
            for end in _ENDINGS.split()
            if word.endswith(end) and len(word) - len(end) >= _LEAST_LETTERS + (len(end) == 1)
        ),
        None,
    )
    if ending is None:
        return word
    short = word[: -len(ending)]
    if len(short) > _LEAST_LETTERS and short[-1] == short[-2] and short[-1] not in "aeiouls":
        short = short[:-1]
    return stem(short)


CAPTION = frozenset(stem(word) for word in _CAPTION_WORDS.split())
MAP = frozenset(stem(word) for word in _MAP_NAMES.split())
