"""Default guidance, number of grid points and what of the source is kept for each task, in one table.

A task whose answer is one picture (restoration, reading) needs no guidance: weights (1, 1) evaluate a single branch.
Restoration stops early on purpose: few steps stay near the posterior mean, which is what PSNR rewards, and what
depth, normals, lines, masks, marks and edits are nearest to; decoders read lines, masks and marks from it. Class maps
need more steps to become crisp. Most of these and what follows a map are averaged over patch grids, see `patch_grids`;
thin lines, boxes, dots, depth and edits of one thing are not, as it makes them no better. docs/defaults.md has what was
measured on the bundled model, by which these were chosen, by family and not by task where a sample so small says
little.
"""

from __future__ import annotations

from typing import NamedTuple


class Defaults(NamedTuple):
    """Default settings of a task.

    Attributes:
        guidance: weights (text, image).
        steps: points of the time grid.
        keep: largest difference that counts as no change, where the source stays as it is; what changed is carried to
            it (`pictures.change`), as it has what the autoencoder loses. 0 for answers that change everything; None
            for those that hold what the source has not, or must lose what it has, which are taken as they are.
        enlarged: of a larger picture the answer is enlarged; without, and with a `keep`, its change is carried there.
        grids: patch grids that velocities are averaged over.
    """

    guidance: tuple[float, float]
    steps: int
    keep: float | None = None
    enlarged: bool = False
    grids: int = 1


def _each(names: str, row: Defaults) -> dict[str, Defaults]:
    return dict.fromkeys(names.split(), row)


RESTORATION = "denoise deblur face super_resolution"
# Light and colours that lie over a picture wide and soft; and what is as fine in a large picture as in a small one.
VEILED, COVERED = "low_light dehaze deshadow flash_reflection color_fade", "derain raindrop desnow demoire"
CONTROL = (
    "canny_to_image hed_to_image depth_to_image sketch_to_image pose_to_image segmentation_to_image normal_to_image "
    "line_art_to_image"
)
LOCAL_EDITS = "edit_remove edit_recolor edit_replace edit_texture edit_local edit_text"
WHOLE_EDITS = "edit_style edit_global"

DEFAULTS: dict[str, Defaults] = {
    **_each(RESTORATION, Defaults((1.0, 1.0), 2, grids=4)),
    **_each(VEILED, Defaults((1.0, 1.0), 2, keep=0.0, grids=4)),
    **_each(COVERED, Defaults((1.0, 1.0), 2, keep=0.0, enlarged=True, grids=4)),
    **_each("watermark inpaint outpaint", Defaults((1.0, 1.0), 2, keep=0.05, grids=4)),
    **_each("normal canny hed", Defaults((1.0, 1.0), 2, grids=4)),
    **_each("depth sketch line_art referring_box keypoint", Defaults((1.0, 1.0), 2)),
    **_each("segmentation", Defaults((1.0, 1.0), 9)),
    **_each("pose referring_segmentation referring_mask", Defaults((1.0, 1.0), 2, grids=4)),
    **_each(LOCAL_EDITS, Defaults((1.0, 1.0), 2, keep=0.1)),
    **_each("edit_background", Defaults((1.0, 1.0), 2, keep=0.05)),
    # Without guidance the mean of all places where the new thing may stand is a faint stain.
    **_each("edit_add", Defaults((2.0, 1.0), 5, keep=0.1, grids=4)),
    **_each(WHOLE_EDITS, Defaults((1.0, 1.0), 2, keep=0.0, grids=4)),
    **_each(CONTROL, Defaults((3.0, 3.0), 9, grids=4)),
    # A skeleton says less of a picture than other maps.
    **_each("pose_to_image", Defaults((4.0, 3.0), 9, grids=4)),
    **_each("text_to_image", Defaults((4.0, 1.0), 9)),
}
# For instructions that resemble no task: most likely an edit in free words.
GENERAL = Defaults((2.0, 1.0), 17)
