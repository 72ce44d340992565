"""The table of all tasks.

The label of restoration, painting, control, editing and generation is the picture itself; of control the map is what
the model is shown. Every control instruction names its map, because maps look alike (white edges on black) and mean
different things.
"""

from __future__ import annotations

from .codecs.box import BOX
from .codecs.depth import GRAY, RELATIVE, WALK
from .codecs.edge import EDGES, LINES
from .codecs.keypoint import KEYPOINT
from .codecs.mask import BINARY, OVERLAY
from .codecs.normal import NORMAL
from .codecs.palette import ADE20K, PALETTE
from .codecs.pose import POSE
from .task import Codec, Task

_NORMALS = "unit surface normal of every pixel (X right, Y up, Z to the viewer)"
_REFERRED = "mask of what a phrase names, laid over the picture in magenta"
_EDGES = {"edges": EDGES}
_LINES = {"lines": LINES, "edges": EDGES}
_DEPTHS = {"walk": WALK, "gray": GRAY, "relative": RELATIVE}
_TABLE = (
    Task("denoise", "restoration", "take sensor noise out of a picture"),
    Task("low_light", "restoration", "brighten a picture that was taken in too little light"),
    Task("derain", "restoration", "take rain streaks out of a picture"),
    Task("raindrop", "restoration", "take water drops off the lens or the window"),
    Task("demoire", "restoration", "take moire stripes out of a picture of a screen"),
    Task("dehaze", "restoration", "take haze and fog out of a picture"),
    Task("deblur", "restoration", "sharpen a picture that is out of focus or was shaken"),
    Task("desnow", "restoration", "take falling snow out of a picture"),
    Task("deshadow", "restoration", "take cast shadows out of a picture"),
    Task("flash_reflection", "restoration", "take flash glare and reflections off glass"),
    Task("face", "restoration", "restore a face in a bad picture"),
    Task("watermark", "restoration", "take overlaid marks and letters off a picture"),
    Task("super_resolution", "restoration", "make a low-resolution picture fine again"),
    Task("color_fade", "restoration", "bring faded colours back"),
    Task("inpaint", "painting", "fill the holes of a picture (black, white or grey areas)"),
    Task("outpaint", "painting", "continue a picture past its borders (a blank margin)"),
    Task("depth", "dense", "metric distance of every pixel, in metres", "depth", _DEPTHS),
    Task("normal", "dense", _NORMALS, "normal", {"normal": NORMAL}),
    Task("segmentation", "dense", "class of every pixel", "classes", {"palette": PALETTE, "ade20k": ADE20K}),
    Task("canny", "dense", "thin edges after Canny, white on black", "edges", _LINES),
    Task("hed", "dense", "soft object boundaries (HED), white on black", "edges", _EDGES),
    Task("sketch", "dense", "a rough sketch, white on black", "edges", _EDGES),
    Task("line_art", "dense", "clean line art, white on black", "edges", _EDGES),
    Task("pose", "dense", "body joints of every person as a skeleton on black", "pose", {"pose": POSE}),
    Task("canny_to_image", "control", "a picture that has the given Canny edges"),
    Task("hed_to_image", "control", "a picture that has the given soft (HED) boundaries"),
    Task("depth_to_image", "control", "a picture that has the given depth"),
    Task("sketch_to_image", "control", "a picture that follows the given sketch"),
    Task("pose_to_image", "control", "a picture of people in the given pose"),
    Task("segmentation_to_image", "control", "a picture that has the given class map"),
    Task("normal_to_image", "control", "a picture that has the given surface normals"),
    Task("line_art_to_image", "control", "a picture that follows the given line art"),
    Task("referring_segmentation", "grounding", _REFERRED, "mask", {"overlay": OVERLAY}),
    Task("referring_box", "grounding", "a red box around what a phrase names", "boxes", {"box": BOX}),
    Task(
        "referring_mask", "grounding", "binary mask of what a phrase names, white on black", "mask", {"binary": BINARY}
    ),
    Task("keypoint", "grounding", "a coloured disc on a joint of a person", "keypoints", {"keypoint": KEYPOINT}),
    Task("edit_remove", "editing", "take an object out of a picture"),
    Task("edit_recolor", "editing", "give an object another colour"),
    Task("edit_replace", "editing", "put another object in place of one"),
    Task("edit_add", "editing", "put a new object into a picture"),
    Task("edit_background", "editing", "put another background behind the objects"),
    Task("edit_style", "editing", "give the whole picture another style"),
    Task("edit_texture", "editing", "give an object another texture"),
    Task("edit_local", "editing", "change one object's size or form and nothing else"),
    Task("edit_global", "editing", "change the light of the whole scene"),
    Task("edit_text", "editing", "write letters into a picture"),
    Task("text_to_image", "generation", "a new picture from a description, on a blank canvas", needs_image=False),
)
TASKS: dict[str, Task] = {task.name: task for task in _TABLE}


def get_task(name: str) -> Task:
    """The task of a name.

    Raises:
        ValueError: no task of this name.
    """
    if name not in TASKS:
        raise ValueError(f"the tasks are {', '.join(TASKS)}, found {name!r}: choose one of them")
    return TASKS[name]


__all__ = ["TASKS", "Codec", "Task", "get_task"]
