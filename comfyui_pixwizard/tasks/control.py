"""Controllable generation: a picture that obeys a map. The label is the picture; the map is what the model is shown.

Every instruction names its map, because maps look alike (white edges on black) and mean different things.
"""

from .task import Task

CANNY = Task(
    name="canny_to_image",
    domain="control",
    summary="a picture that has the given Canny edges",
    instructions=(
        "Turn these Canny edges into a picture of {caption}.",
        "Generate {caption} from this Canny edge map.",
        "Follow the Canny edges and paint {caption}.",
        "Use this Canny map to create {caption}.",
        "Color in the Canny edges; they show {caption}.",
        "The Canny edges are given; make a picture of {caption}.",
        "Render {caption} along the Canny edges.",
        "A picture of {caption}, made from Canny edges.",
        "Fill this Canny edge map with {caption}.",
        "Make {caption} so that its Canny edges match these.",
        "Draw a full picture of {caption} over the Canny edges.",
        "From Canny edges, synthesise {caption}.",
    ),
)

HED = Task(
    name="hed_to_image",
    domain="control",
    summary="a picture that has the given soft (HED) boundaries",
    instructions=(
        "Turn these soft HED boundaries into a picture of {caption}.",
        "Generate {caption} from this HED map.",
        "Follow the soft boundaries and paint {caption}.",
        "Use this HED boundary map to create {caption}.",
        "Color in the HED boundaries; they show {caption}.",
        "The soft boundaries are given; make a picture of {caption}.",
        "Render {caption} along the HED boundaries.",
        "A picture of {caption}, made from a HED map.",
        "Fill this soft boundary map with {caption}.",
        "Make {caption} so that its soft boundaries match these.",
        "Draw a full picture of {caption} over the HED map.",
        "From soft HED boundaries, synthesise {caption}.",
    ),
)

DEPTH = Task(
    name="depth_to_image",
    domain="control",
    summary="a picture that has the given depth",
    instructions=(
        "Turn this depth map into a picture of {caption}.",
        "Generate {caption} from this depth map.",
        "Follow the given depth and paint {caption}.",
        "Use this depth map to create {caption}.",
        "Color in the depth map; it shows {caption}.",
        "The depth is given; make a picture of {caption}.",
        "Render {caption} with the distances of this depth map.",
        "A picture of {caption}, made from a depth map.",
        "Dress this depth map up as {caption}.",
        "Make {caption} so that its depth matches this map.",
        "Draw a full picture of {caption} over the depth map.",
        "From near and far in this depth map, synthesise {caption}.",
    ),
)

SKETCH = Task(
    name="sketch_to_image",
    domain="control",
    summary="a picture that follows the given sketch",
    instructions=(
        "Turn this sketch into a picture of {caption}.",
        "Generate {caption} from this rough sketch.",
        "Follow the sketch and paint {caption}.",
        "Use this scribble to create {caption}.",
        "Color in the sketch; it shows {caption}.",
        "The sketch is given; make a picture of {caption}.",
        "Render {caption} along the strokes of this sketch.",
        "A picture of {caption}, made from a sketch.",
        "Finish this rough sketch as {caption}.",
        "Make {caption} so that it fits the sketch.",
        "Draw a full picture of {caption} over the scribble.",
        "From these sketch strokes, synthesise {caption}.",
    ),
)

POSE = Task(
    name="pose_to_image",
    domain="control",
    summary="a picture of people in the given pose",
    instructions=(
        "Turn this skeleton into a picture of {caption}.",
        "Generate {caption} from this pose map.",
        "Follow the skeleton and paint {caption}.",
        "Use this human skeleton to create {caption}.",
        "Put flesh on the skeleton; it shows {caption}.",
        "The pose is given; make a picture of {caption}.",
        "Render {caption} in the pose of this skeleton.",
        "A picture of {caption}, made from a pose.",
        "Dress this stick figure up as {caption}.",
        "Make {caption} so that the pose matches this skeleton.",
        "Draw a full picture of {caption} over the skeleton.",
        "From these colored limbs, synthesise {caption}.",
    ),
)

SEGMENTATION = Task(
    name="segmentation_to_image",
    domain="control",
    summary="a picture that has the given class map",
    instructions=(
        "Turn this segmentation map into a picture of {caption}.",
        "Generate {caption} from this segmentation map.",
        "Follow the class map and paint {caption}.",
        "Use this semantic map to create {caption}.",
        "Give each class region real texture; it shows {caption}.",
        "The segmentation is given; make a picture of {caption}.",
        "Render {caption} along the regions of this class map.",
        "A picture of {caption}, made from a segmentation.",
        "Fill the class regions with {caption}.",
        "Make {caption} so that its segmentation matches this map.",
        "Draw a full picture of {caption} over the semantic map.",
        "From these class colors, synthesise {caption}.",
    ),
)

NORMAL = Task(
    name="normal_to_image",
    domain="control",
    summary="a picture that has the given surface normals",
    instructions=(
        "Turn this normal map into a picture of {caption}.",
        "Generate {caption} from this normal map.",
        "Follow the surface normals and paint {caption}.",
        "Use this normal map to create {caption}.",
        "Color in the normal map; it shows {caption}.",
        "The surface normals are given; make a picture of {caption}.",
        "Render {caption} with the surface orientation of this normal map.",
        "A picture of {caption}, made from a normal map.",
        "Dress these surface normals up as {caption}.",
        "Make {caption} so that its normals match this map.",
        "Draw a full picture of {caption} over the normal map.",
        "From the way these normals point, synthesise {caption}.",
    ),
)

LINE_ART = Task(
    name="line_art_to_image",
    domain="control",
    summary="a picture that follows the given line art",
    instructions=(
        "Turn this line art into a picture of {caption}.",
        "Generate {caption} from this line drawing.",
        "Follow the line art and paint {caption}.",
        "Use this line art to create {caption}.",
        "Color in the line art; it shows {caption}.",
        "The line art is given; make a picture of {caption}.",
        "Render {caption} along the ink lines.",
        "A picture of {caption}, made from line art.",
        "Finish this clean line drawing as {caption}.",
        "Make {caption} so that it fits the line art.",
        "Draw a full picture of {caption} over the line art.",
        "From these ink lines, synthesise {caption}.",
    ),
)

TASKS = (CANNY, HED, DEPTH, SKETCH, POSE, SEGMENTATION, NORMAL, LINE_ART)
