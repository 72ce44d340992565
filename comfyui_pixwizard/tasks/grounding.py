"""Grounding: point at what a phrase means."""

from .codec_box import BOX
from .codec_keypoint import KEYPOINT
from .codec_mask import BINARY, OVERLAY
from .task import Task

REFERRING = Task(
    name="referring_segmentation",
    domain="grounding",
    summary="mask of what a phrase names, laid over the picture in magenta",
    instructions=(
        "Highlight {caption}.",
        "Highlight {caption} with a magenta overlay.",
        "Find {caption} and mark it.",
        "Show me where {caption} is.",
        "Lay a see-through color over {caption}.",
        "Mark all pixels of {caption}.",
        "Point out {caption} in this picture.",
        "Locate {caption} and tint it.",
        "Mask {caption} with a half-transparent color.",
        "Select {caption} in the picture.",
        "Put a magenta veil on {caption} and leave the rest alone.",
        "Which pixels show {caption}?",
    ),
    kind="mask",
    codecs={"overlay": OVERLAY},
)

BOX_TASK = Task(
    name="referring_box",
    domain="grounding",
    summary="a red box around what a phrase names",
    instructions=(
        "Draw a red box around {caption}.",
        "Put a red box around {caption}.",
        "Frame {caption} with a red box.",
        "Put {caption} in a red box.",
        "Give me the bounding box of {caption}.",
        "Detect {caption} and draw its bounding box.",
        "Enclose {caption} in a tight red frame.",
        "Outline {caption} with a red bounding box.",
        "Find {caption} and put a box around it.",
        "Surround {caption} with a red box.",
        "Show the box that holds {caption}.",
        "Which box bounds {caption}?",
    ),
    kind="boxes",
    codecs={"box": BOX},
)

MASK_TASK = Task(
    name="referring_mask",
    domain="grounding",
    summary="binary mask of what a phrase names, white on black",
    instructions=(
        "Make a binary mask of {caption}.",
        "Show {caption} in white and all the rest in black.",
        "Give me the black and white mask of {caption}.",
        "Paint {caption} white on a black ground.",
        "Cut {caption} out as a white silhouette.",
        "Segment {caption} as a binary mask.",
        "Turn everything black except {caption}.",
        "Draw the silhouette of {caption} on black.",
        "Predict the white mask of {caption}.",
        "Separate {caption} from all else in black and white.",
        "Produce a mask that is white only at {caption}.",
        "Which area is {caption}, as a binary mask?",
    ),
    kind="mask",
    codecs={"binary": BINARY},
)

KEYPOINT_TASK = Task(
    name="keypoint",
    domain="grounding",
    summary="a coloured disc on a joint of a person",
    instructions=(
        "Put a {color} dot on {caption}.",
        "Mark {caption} with a {color} dot.",
        "Place a {color} disc on {caption}.",
        "Draw a {color} circle over {caption}.",
        "Find {caption} and set a {color} point there.",
        "Point to {caption} with a {color} dot.",
        "Show the keypoint of {caption} as a {color} disc.",
        "Detect {caption} and pin a {color} disc on it.",
        "Locate {caption} with a {color} marker.",
        "Set a {color} keypoint on {caption}.",
        "Stick a {color} spot right on {caption}.",
        "Where is {caption}; answer with a {color} dot.",
    ),
    kind="keypoints",
    codecs={"keypoint": KEYPOINT},
)

TASKS = (REFERRING, BOX_TASK, MASK_TASK, KEYPOINT_TASK)
