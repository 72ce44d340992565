"""What the bundled model is shown, how often, and how fast its parts move."""

from __future__ import annotations

from ...comfyui_pixwizard.tasks import TASKS
from ..data.feed.mixture import GENERATION
from ..data.rendered.builders import Builder
from ..data.rendered.marked_pictures import marked_pictures
from ..degradations import DEGRADATIONS
from .initialization import SUMMED_BIASES

# What is hardest: to read, to point and to change one thing that words name.
HARD = (
    "depth", "normal", "segmentation", "pose", "keypoint", "referring_segmentation", "referring_mask", "referring_box",
    "edit_remove", "edit_recolor", "edit_replace", "edit_add", "edit_texture", "edit_local", "edit_text",
)  # fmt: skip
# Of these the two whose answers have another form than before (see `codecs.box`, `codecs.keypoint`).
ANEW = "keypoint", "referring_box"
# Restorations that few samples teach.
QUICK = "denoise", "derain", "dehaze", "desnow", "flash_reflection", "outpaint"
# Other tasks that are near their floors.
NEAR = (
    "low_light", "demoire", "deshadow", "color_fade", "inpaint", "canny", "canny_to_image", "hed_to_image",
    "sketch_to_image",
)  # fmt: skip
# Stage 2, at 128 px: what is far from its floor, or serves many, more often than what is nearly free.
WEIGHTS = (
    dict.fromkeys(TASKS, 1.0)
    | dict.fromkeys(HARD, 3.0)
    | dict.fromkeys(ANEW, 5.0)
    | dict.fromkeys(NEAR, 1.5)
    | dict.fromkeys(QUICK, 0.3)
)
# At 256 px mostly what works on photographs.
LARGE_WEIGHTS = dict.fromkeys(TASKS, 0.12) | dict.fromkeys(DEGRADATIONS, 1.0) | {"inpaint": 2.0}
# The paper's share of text-to-image in stage 2 is 0.5; a model of this size forgets how to read with it.
GENERATION_SHARE, LARGE_GENERATION_SHARE = 0.08, 0.02
# The pretraining adaptation: text-to-image alone, of pictures with marks.
MARKED: dict[str, Builder] = {GENERATION: marked_pictures}
ADAPTED = {GENERATION: 1.0}, {GENERATION: 1.0}
EDITS_OF_A_SCENE = 3
# Lines, dots, letters and fine patterns, which an autoencoder of pictures alone loses; twice what it loses most.
TWICE = "pose", "edit_texture"
MARKS = (*TWICE, *TWICE, "keypoint", "referring_box", "edit_text", "canny", "line_art", "sketch")
# Gates and the weights of norms move faster than matrices. What makes the conditioning vector moves slower: its parts
# are added up, and their inputs are far from zero mean (the ramps of the time embedding always positive), so that every
# step of Adam moves the sum by the steps of all weights of a row. The text towers, which know what they need from a
# stage of their own, move slowest: at 0.3 they forget it in two hundred steps. The vision tower, which has two stages,
# stays, as its gradient would take a tenth of a step. A row of the task table meets few samples.
VECTOR_LR = 6.0
RATES = (
    {f"*{name}": 0.1 for name in SUMMED_BIASES}
    | {"*t_embedder.*": 0.1, "*task_embedder.*": 0.3, "*global_semantic_embedder.*": 0.3}
    | dict.fromkeys(("text.*", "task.*"), 0.03)
    | {"vision.*": 0.0, "table.*": 5.0}
)
