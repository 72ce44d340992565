"""Dense prediction: read depth, normals, classes, edges and drawings at every pixel, and the joints of people."""

from ..codecs.depth import GRAY, WALK
from ..codecs.edge import EDGES
from ..codecs.normal import NORMAL
from ..codecs.palette import ADE20K, PALETTE
from ..codecs.pose import POSE
from ..task import Task

DEPTH = Task(
    name="depth",
    domain="dense",
    summary="metric distance of every pixel, in metres",
    kind="depth",
    codecs={"walk": WALK, "gray": GRAY},
)

NORMAL_TASK = Task(
    name="normal",
    domain="dense",
    summary="unit surface normal of every pixel (X right, Y up, Z to the viewer)",
    kind="normal",
    codecs={"normal": NORMAL},
)

SEGMENTATION = Task(
    name="segmentation",
    domain="dense",
    summary="class of every pixel",
    kind="classes",
    codecs={"palette": PALETTE, "ade20k": ADE20K},
)

CANNY = Task(
    name="canny",
    domain="dense",
    summary="thin edges after Canny, white on black",
    kind="edges",
    codecs={"edges": EDGES},
)

HED = Task(
    name="hed",
    domain="dense",
    summary="soft object boundaries (HED), white on black",
    kind="edges",
    codecs={"edges": EDGES},
)

SKETCH = Task(
    name="sketch",
    domain="dense",
    summary="a rough sketch, white on black",
    kind="edges",
    codecs={"edges": EDGES},
)

LINE_ART = Task(
    name="line_art",
    domain="dense",
    summary="clean line art, white on black",
    kind="edges",
    codecs={"edges": EDGES},
)

POSE_TASK = Task(
    name="pose",
    domain="dense",
    summary="body joints of every person as a skeleton on black",
    kind="pose",
    codecs={"pose": POSE},
)

TASKS = (DEPTH, NORMAL_TASK, SEGMENTATION, CANNY, HED, SKETCH, LINE_ART, POSE_TASK)
