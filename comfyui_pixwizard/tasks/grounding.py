"""Grounding: point at what a phrase means."""

from .codec_mask import OVERLAY
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

TASKS = (REFERRING,)
