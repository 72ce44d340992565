"""Dense prediction: read depth, normals, classes, edges and drawings at every pixel, and the joints of people."""

from .codec_depth import GRAY, WALK
from .codec_edge import EDGES
from .codec_normal import NORMAL
from .codec_palette import ADE20K, PALETTE
from .codec_pose import POSE
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
    codecs={"palette": PALETTE, "ade20k": ADE20K},
)

CANNY = Task(
    name="canny",
    domain="dense",
    summary="thin edges after Canny, white on black",
    instructions=(
        "Find the Canny edges of this picture.",
        "Make a Canny edge map of this picture.",
        "Run the Canny detector on this picture.",
        "Show the thin Canny edges in white on black.",
        "Turn this picture into Canny edges.",
        "Detect edges the Canny way.",
        "Give me the Canny map of the scene.",
        "Mark each strong gradient with a Canny line.",
        "Extract hard binary edges with Canny.",
        "Strip the picture down to its Canny edges.",
        "Compute the Canny edges; they should be one pixel wide.",
        "Which pixels are Canny edges?",
    ),
    kind="edges",
    codecs={"edges": EDGES},
)

HED = Task(
    name="hed",
    domain="dense",
    summary="soft object boundaries (HED), white on black",
    instructions=(
        "Estimate the HED edges of this picture.",
        "Make a HED boundary map of this picture.",
        "Show the soft edges of this picture.",
        "Turn this picture into soft HED boundaries.",
        "Give me the HED map of the scene.",
        "Detect the holistic boundaries of the objects.",
        "Draw soft object boundaries in white on black.",
        "Predict a soft boundary map.",
        "Extract the HED boundaries; weak ones should glow faintly.",
        "Compute how likely each pixel lies on a boundary.",
        "Find the soft boundaries that people see.",
        "Which soft boundaries does HED see?",
    ),
    kind="edges",
    codecs={"edges": EDGES},
)

SKETCH = Task(
    name="sketch",
    domain="dense",
    summary="a rough sketch, white on black",
    instructions=(
        "Make a sketch of this picture.",
        "Turn this picture into a rough sketch.",
        "Sketch this scene with a few strokes.",
        "Give me a hand-drawn sketch of the picture.",
        "Redraw the scene as a loose scribble.",
        "Show the picture as a quick sketch in white on black.",
        "Scribble the main shapes of this picture.",
        "Extract a sketch from this picture.",
        "Convert the picture to sketch strokes.",
        "Boil this scene down to rough strokes; a sketch is enough.",
        "Compute a sketch map of this view.",
        "How does this picture look as a sketch?",
    ),
    kind="edges",
    codecs={"edges": EDGES},
)

LINE_ART = Task(
    name="line_art",
    domain="dense",
    summary="clean line art, white on black",
    instructions=(
        "Make line art of this picture.",
        "Turn this picture into line art.",
        "Extract the line art of the scene.",
        "Trace this picture with clean ink lines.",
        "Give me a line drawing of the picture.",
        "Show the picture as line art in white on black.",
        "Convert the scene to a clean line drawing.",
        "Ink the outlines of all objects.",
        "Compute the line art of this view.",
        "Redraw the picture with fine pen lines.",
        "Simplify this picture to line art; no shading.",
        "What is the line art of this scene?",
    ),
    kind="edges",
    codecs={"edges": EDGES},
)

POSE_TASK = Task(
    name="pose",
    domain="dense",
    summary="body joints of every person as a skeleton on black",
    instructions=(
        "Estimate the pose of each person.",
        "Draw the body skeleton of each person on black.",
        "Make a pose map of this picture.",
        "Detect the human pose.",
        "Turn this picture into its pose skeleton.",
        "Show how the people stand as colored skeletons.",
        "Find the body joints and connect them with limbs.",
        "Give me the skeletons of the people.",
        "Predict the body pose of the person.",
        "Extract the human skeleton from this picture.",
        "Recover the posture of each figure as colored sticks.",
        "Which pose does the person hold?",
    ),
    kind="pose",
    codecs={"pose": POSE},
)

TASKS = (DEPTH, NORMAL_TASK, SEGMENTATION, CANNY, HED, SKETCH, LINE_ART, POSE_TASK)
