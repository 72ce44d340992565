"""Dense prediction: read depth, surface normals and classes at every pixel."""

from .codec_depth import GRAY, WALK
from .codec_normal import NORMAL
from .codec_palette import PALETTE
from .task import Task

DEPTH = Task(
    name="depth",
    domain="dense",
    summary="metric distance of every pixel, in metres",
    instructions=(
        "Estimate the depth of this picture.",
        "Make a depth map of this picture.",
        "Show how far away everything is.",
        "Encode the distance to the camera at each pixel as a color.",
        "Measure how far each pixel lies from the lens.",
        "Predict the metric depth of the scene.",
        "Turn this picture into its depth map.",
        "Tell near from far with a depth map.",
        "Give me the distance of all visible surfaces.",
        "Produce a dense depth picture of what the camera sees.",
        "Which depth does each point have?",
        "Recover the scene's depth from this single view.",
    ),
    kind="depth",
    codecs={"walk": WALK, "gray": GRAY},
)

NORMAL_TASK = Task(
    name="normal",
    domain="dense",
    summary="unit surface normal of every pixel (X right, Y up, Z to the viewer)",
    instructions=(
        "Estimate the surface normals of this picture.",
        "Make a normal map of this picture.",
        "Show which way each surface faces.",
        "Encode the orientation of every surface as a color.",
        "Predict the normal vector at each pixel.",
        "Turn this picture into its normal map.",
        "Give me the surface orientation of the whole scene.",
        "Compute a normal map from this view.",
        "Work out how the surfaces are tilted.",
        "Draw the direction each surface points to.",
        "Which direction does each surface face?",
        "Recover the surface normals seen by the camera.",
    ),
    kind="normal",
    codecs={"normal": NORMAL},
)

SEGMENTATION = Task(
    name="segmentation",
    domain="dense",
    summary="class of every pixel",
    instructions=(
        "Segment this picture by class.",
        "Make a semantic segmentation of this picture.",
        "Color each pixel by its category.",
        "Label all the regions with their class colors.",
        "Split the scene into semantic classes.",
        "Give every kind of object its own color.",
        "Show a segmentation map of the picture.",
        "Assign a class to each pixel.",
        "Predict the semantic map of this scene.",
        "Turn this picture into a map of categories.",
        "Which class does each pixel belong to?",
        "Parse the scene into labelled regions.",
    ),
    kind="classes",
    codecs={"palette": PALETTE},
)

TASKS = (DEPTH, NORMAL_TASK, SEGMENTATION)
