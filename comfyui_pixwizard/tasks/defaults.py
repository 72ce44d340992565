"""Default guidance and number of grid points for each task, in one table.

A task whose answer is one picture (restoration, reading) needs no guidance: weights (1, 1) evaluate a single branch.
Restoration stops early on purpose: few steps stay near the posterior mean, which is what PSNR rewards. Answers in flat
colours and thin shapes (class maps, masks, boxes, joints) need more steps to become crisp. These are starting values,
to be adjusted after a sweep over 2, 3, 5 and 9 steps on the bundled model (`pixwizard eval nano --n 24 --steps N`).
"""

from __future__ import annotations

from typing import NamedTuple


class Defaults(NamedTuple):
    """guidance: weights (text, image); steps: points of the time grid; keep: threshold below which a change is none,
    and the source is pasted back (`preserve.keep_unchanged`), None for answers that change everything.
    """

    guidance: tuple[float, float]
    steps: int
    keep: float | None = None


def _each(names: str, *, guidance: tuple[float, float], steps: int, keep: float | None = None) -> dict[str, Defaults]:
    return {name: Defaults(guidance, steps, keep) for name in names.split()}


RESTORATION = (
    "denoise low_light derain raindrop demoire dehaze deblur desnow deshadow flash_reflection face watermark "
    "super_resolution color_fade"
)
CONTROL = (
    "canny_to_image hed_to_image depth_to_image sketch_to_image pose_to_image segmentation_to_image normal_to_image "
    "line_art_to_image"
)
LOCAL_EDITS = "edit_remove edit_recolor edit_replace edit_add edit_background edit_texture edit_local edit_text"
WHOLE_EDITS = "edit_style edit_global"
FLAT = "segmentation pose referring_segmentation referring_box referring_mask keypoint"

DEFAULTS: dict[str, Defaults] = {
    **_each(f"{RESTORATION} inpaint outpaint", guidance=(1.0, 1.0), steps=3),
    **_each("depth normal canny hed sketch line_art", guidance=(1.0, 1.0), steps=3),
    **_each(FLAT, guidance=(1.0, 1.0), steps=9),
    **_each(LOCAL_EDITS, guidance=(1.0, 1.0), steps=9, keep=0.06),
    **_each(WHOLE_EDITS, guidance=(1.0, 1.0), steps=9),
    **_each(CONTROL, guidance=(2.0, 1.0), steps=17),
    **_each("text_to_image", guidance=(3.0, 1.0), steps=25),
}
