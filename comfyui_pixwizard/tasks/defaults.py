"""Default guidance and number of grid points for each task, in one table.

A task whose answer is one picture (restoration, reading) needs no guidance: weights (1, 1) evaluate a single branch.
Restoration stops early on purpose: few steps stay near the posterior mean, which is what PSNR rewards. The steps of
the tasks with one answer are the best of 2, 3, 5 and 9 on the bundled model (`pixwizard eval nano --n 24 --steps N`).
"""

from __future__ import annotations

from typing import NamedTuple


class Defaults(NamedTuple):
    """guidance: weights (text, image); steps: points of the time grid."""

    guidance: tuple[float, float]
    steps: int


DEFAULTS: dict[str, Defaults] = {
    "denoise": Defaults((1.0, 1.0), 3),
    "low_light": Defaults((1.0, 1.0), 5),
    "derain": Defaults((1.0, 1.0), 3),
    "inpaint": Defaults((1.0, 1.0), 3),
    "depth": Defaults((1.0, 1.0), 3),
    "normal": Defaults((1.0, 1.0), 3),
    "segmentation": Defaults((1.0, 1.0), 9),
    "referring_segmentation": Defaults((1.0, 1.0), 9),
    "edit_remove": Defaults((2.0, 1.0), 17),
    "edit_recolor": Defaults((2.0, 1.0), 17),
    "text_to_image": Defaults((4.0, 1.0), 25),
}
