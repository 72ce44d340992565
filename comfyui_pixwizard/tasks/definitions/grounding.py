"""Grounding: point at what a phrase means."""

from ..codecs.box import BOX
from ..codecs.keypoint import KEYPOINT
from ..codecs.mask import BINARY, OVERLAY
from ..task import Task

REFERRING = Task(
    name="referring_segmentation",
    domain="grounding",
    summary="mask of what a phrase names, laid over the picture in magenta",
    kind="mask",
    codecs={"overlay": OVERLAY},
)

BOX_TASK = Task(
    name="referring_box",
    domain="grounding",
    summary="a red box around what a phrase names",
    kind="boxes",
    codecs={"box": BOX},
)

MASK_TASK = Task(
    name="referring_mask",
    domain="grounding",
    summary="binary mask of what a phrase names, white on black",
    kind="mask",
    codecs={"binary": BINARY},
)

KEYPOINT_TASK = Task(
    name="keypoint",
    domain="grounding",
    summary="a coloured disc on a joint of a person",
    kind="keypoints",
    codecs={"keypoint": KEYPOINT},
)

TASKS = (REFERRING, BOX_TASK, MASK_TASK, KEYPOINT_TASK)
