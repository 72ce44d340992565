"""The metric of each task, the figures that it must reach, and whether higher or lower is better: one table."""

from __future__ import annotations

from dataclasses import dataclass

from . import scores
from .scores import Scorer

# Restoration aims at the autoencoder's ceiling less this many dB: its target is known only when the ceiling is.
BELOW_CEILING = 2.0


@dataclass(frozen=True)
class Measure:
    """The metric of one task and its limits.

    Attributes:
        metric: name, with its unit.
        score: see `scores`.
        floor: what this version must reach.
        target: what a later version aims at; None is the ceiling less BELOW_CEILING.
        lower_is_better: direction of value, floor and target.
        reads: the task as which the model itself reads the answers before they are scored; "" scores them as they are.
    """

    metric: str
    score: Scorer
    floor: float
    target: float | None = None
    lower_is_better: bool = False
    reads: str = ""

    def holds(self, value: float) -> bool:
        """Whether a value reaches the floor; NaN never does."""
        return value <= self.floor if self.lower_is_better else value >= self.floor

    def aim(self, ceiling: float) -> float:
        """The target as a number."""
        return ceiling - BELOW_CEILING if self.target is None else self.target


def _restoration(floor: float = 2.0) -> Measure:
    return Measure("PSNR gain over the input, dB", scores.psnr_gain, floor)


def _extracted(name: str, floor: float = 0.35, target: float = 0.6) -> Measure:
    return Measure("F1 of re-extracted edges, exact", scores.extracted_edges(name), floor, target)


_SPOILED = (
    "derain raindrop demoire dehaze deblur desnow deshadow flash_reflection face watermark super_resolution color_fade"
)
_EDGES = Measure("F1 of edges, 1 px", scores.edge_score, 0.5, 0.8)
_EDIT = Measure("L1 share of copying the input", scores.edit_error, 0.6, 0.3, lower_is_better=True)

MEASURES: dict[str, Measure] = {
    "denoise": _restoration(8.0),
    "low_light": _restoration(12.0),
    **dict.fromkeys(_SPOILED.split(), _restoration()),
    "inpaint": _restoration(7.0),
    "outpaint": _restoration(),
    "depth": Measure("AbsRel", scores.depth_error, 0.10, 0.04, lower_is_better=True),
    "normal": Measure("mean angle, degrees", scores.normal_error, 9.0, 5.0, lower_is_better=True),
    "segmentation": Measure("mIoU", scores.segmentation_iou, 0.65, 0.85),
    **dict.fromkeys(("canny", "hed", "sketch", "line_art"), _EDGES),
    "pose": Measure("PCK at 0.05 of the side", scores.pose_pck, 0.5, 0.8),
    "canny_to_image": _extracted("canny"),
    # A copy of thick lines shows thick lines: it scores 0.36.
    "hed_to_image": _extracted("hed", 0.5, 0.75),
    "sketch_to_image": _extracted("sketch"),
    "line_art_to_image": _extracted("line_art"),
    "depth_to_image": Measure(
        "AbsRel re-estimated by the model", scores.depth_error, 0.2, 0.1, lower_is_better=True, reads="depth"
    ),
    "normal_to_image": Measure(
        "degrees re-estimated by the model", scores.normal_error, 18.0, 10.0, lower_is_better=True, reads="normal"
    ),
    "segmentation_to_image": Measure(
        "mIoU re-estimated by the model", scores.segmentation_iou, 0.4, 0.7, reads="segmentation"
    ),
    "pose_to_image": Measure("PCK re-estimated by the model", scores.pose_pck, 0.35, 0.6, reads="pose"),
    "referring_segmentation": Measure("cIoU", scores.referring_iou, 0.6, 0.8),
    "referring_mask": Measure("cIoU", scores.referring_iou, 0.6, 0.8),
    "referring_box": Measure("accuracy at IoU 0.5", scores.box_accuracy, 0.6, 0.85),
    "keypoint": Measure("PCK at 0.05 of the side", scores.keypoint_pck, 0.5, 0.8),
    **dict.fromkeys(("edit_remove", "edit_recolor", "edit_replace"), _EDIT),
    "edit_add": Measure("added where asked, judged", scores.object_added, 0.6, 0.8),
    **dict.fromkeys(["edit_background", "edit_style", "edit_texture", "edit_local", "edit_global", "edit_text"], _EDIT),
    "text_to_image": Measure("asked objects present, judged", scores.objects_present, 0.6, 0.9),
}
