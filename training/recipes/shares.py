"""What the bundled model is shown, how often, and how fast its parts move."""

from __future__ import annotations

from ...comfyui_pixwizard.tasks import TASKS
from ..data.feed.mixture import GENERATION
from ..data.rendered.builders import Builder
from ..data.rendered.marked_pictures import marked_pictures
from ..degradations import DEGRADATIONS
from .initialization import SUMMED_BIASES

# Restorations of fine detail, which move slowly.
FINE = ("deblur", "super_resolution", "face", "raindrop", "watermark")
# How often a task is drawn at 128 px, the rest being 1. Of what the last weights were below their floors in, first what
# is nearest to them and what others lean on: reading a scene, finding a thing, changing its colour alone; then what
# moves slowly however often it is drawn, the restorations of fine detail.
OFTEN = {
    6.0: ("keypoint",),
    5.0: ("depth", "normal", "edit_recolor", "edit_add"),
    4.0: ("pose", "edit_replace", "edit_local", "edit_remove", "inpaint"),
    3.0: ("segmentation", "canny_to_image", "referring_mask", "referring_box", *FINE),
    2.0: ("referring_segmentation", "edit_texture", "low_light", "canny"),
}
# What is far above its floor, and what few samples teach.
SELDOM = {
    0.5: ("hed", "sketch", "line_art", "depth_to_image", "normal_to_image", "line_art_to_image", "edit_global"),
    0.3: ("denoise", "derain", "dehaze", "desnow", "flash_reflection", "outpaint"),
}
WEIGHTS = dict.fromkeys(TASKS, 1.0) | {task: w for w, tasks in (OFTEN | SELDOM).items() for task in tasks}
# At 256 px mostly what works on photographs, of it less of what is learned and more of what leaves most of a picture.
LARGE_WEIGHTS = (
    dict.fromkeys(TASKS, 0.12)
    | dict.fromkeys(DEGRADATIONS, 1.0)
    | dict.fromkeys(("derain", "dehaze", "desnow", "flash_reflection", "color_fade"), 0.5)
    | dict.fromkeys(("inpaint", *FINE), 2.0)
)
# The paper's share of text-to-image in stage 2 is 0.5; a model of this size forgets how to read with it.
GENERATION_SHARE, LARGE_GENERATION_SHARE = 0.1, 0.02
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
