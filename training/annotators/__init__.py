"""Edge pictures of photographs and renderings: `ANNOTATORS[name](image, generator=None)`.

Every annotator takes image [B,3,H,W] in [0,1] and returns strengths [B,H,W] float32 in [0,1], 1 on a line and 0 beside
it. Each is a classical filter of few milliseconds a picture that stands in for the network or program after which it
is named, so that training needs no other model's weights:

    canny      hard lines of one pixel by OpenCV's detector
    hed        thick soft boundaries of things, textures left out
    sketch     the strokes of a hand that follows the main boundaries
    line_art   thin clean lines with the details, as drawn in ink

With a `torch.Generator` (on the picture's device) canny and sketch draw their strength for each sample; hed and
line_art have one. A new one is a function in a module beside this and a line in the table below.
"""

from collections.abc import Callable

from .canny import canny
from .hed import hed
from .line_art import line_art
from .sketch import sketch

ANNOTATORS: dict[str, Callable] = {
    "canny": canny,
    "hed": hed,
    "sketch": sketch,
    "line_art": line_art,
}
