"""Controllable generation: a picture that obeys a map. The label is the picture; the map is the source.

Every instruction names its map, because maps look alike (white edges on black) and mean different things.
"""

from ..task import Task

CANNY = Task(
    name="canny_to_image",
    domain="control",
    summary="a picture that has the given Canny edges",
)

HED = Task(
    name="hed_to_image",
    domain="control",
    summary="a picture that has the given soft (HED) boundaries",
)

DEPTH = Task(
    name="depth_to_image",
    domain="control",
    summary="a picture that has the given depth",
)

SKETCH = Task(
    name="sketch_to_image",
    domain="control",
    summary="a picture that follows the given sketch",
)

POSE = Task(
    name="pose_to_image",
    domain="control",
    summary="a picture of people in the given pose",
)

SEGMENTATION = Task(
    name="segmentation_to_image",
    domain="control",
    summary="a picture that has the given class map",
)

NORMAL = Task(
    name="normal_to_image",
    domain="control",
    summary="a picture that has the given surface normals",
)

LINE_ART = Task(
    name="line_art_to_image",
    domain="control",
    summary="a picture that follows the given line art",
)

TASKS = (CANNY, HED, DEPTH, SKETCH, POSE, SEGMENTATION, NORMAL, LINE_ART)
