"""Predictions in overlapping windows and over patch grids, by the host's batching; the mathematics is the core's.

Shapes: B samples, C latent channels, h, w latent pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import comfy.samplers
import comfy.utils
import torch
from torch import Tensor

from ..comfyui_pixwizard.patch_grids import SHIFTS, Shift, mean_over_grids, shifted
from ..comfyui_pixwizard.windows import Window, Windows

# Of a conditioning that acts on a part of the picture; their places are the whole picture's.
PARTS = {"area", "mask"}

Conds = Sequence[list[dict[str, Any]] | None]


def predicted(
    model: Any, conds: Conds, x: Tensor, timestep: Tensor, options: dict[str, Any], side: int, grids: int = 1
) -> list[Tensor]:
    """The host's predictions [B, C, h, w] of the picture, one for each conditioning; zeros for None.

    Args:
        model: the host's.
        conds: as samplers have them, processed.
        x: noisy latents [B, C, h, w].
        timestep: sigmas [B].
        side: of the windows in pixels, see `Windows`; 0 predicts the whole at once.
        grids: patch grids, a key of SHIFTS.

    Raises:
        ValueError: a side that is none, latents of an odd side, conditioning of a part of the picture.
    """
    if grids > 1:
        each = []
        for shift in SHIFTS[grids]:
            moved = [None if cond is None else [_moved(entry, shift) for entry in cond] for cond in conds]
            each.append(predicted(model, moved, shifted(x, shift), timestep, options, side))
        return [mean_over_grids(values) for values in zip(*each, strict=True)]
    if not side:
        whole: list[Tensor] = comfy.samplers.calc_cond_batch(model, list(conds), x, timestep, options)
        return whole
    windows = Windows(x.shape[-2], x.shape[-1], side)
    found: list[list[Tensor]] = [[] for _ in conds]
    for group in windows.together():
        shown = [None if cond is None else [_shown(entry, group, len(x)) for entry in cond] for cond in conds]
        parts, times = torch.cat([window.of(x) for window in group]), timestep.repeat(len(group))
        outputs = comfy.samplers.calc_cond_batch(model, shown, parts, times, options)
        for values, output in zip(found, outputs, strict=True):
            values += output.split(len(x))
    return [windows.mean(values) for values in found]


def _shown(entry: dict[str, Any], group: Sequence[Window], batch: int) -> dict[str, Any]:
    """One entry of a conditioning for windows that are predicted together, each with its part of the source."""

    def seen(source: Tensor) -> Tensor:
        whole = comfy.utils.repeat_to_batch_size(source, batch)
        return torch.cat([window.of(whole) for window in group])

    return _with_source(entry, seen, "windows take", "window_size to 0")


def _moved(entry: dict[str, Any], shift: Shift) -> dict[str, Any]:
    """One entry of a conditioning for a patch grid."""
    return _with_source(entry, lambda source: shifted(source, shift), "patch grids take", "patch_grids to 1")


def _with_source(entry: dict[str, Any], change: Callable[[Tensor], Tensor], who: str, off: str) -> dict[str, Any]:
    limited = sorted(PARTS & set(entry))
    if limited:
        raise ValueError(
            f"{who} conditioning of the whole picture, found one with its own {limited[0]}: take the node that "
            f"sets it out, or set {off}"
        )
    source = entry["model_conds"]["c_concat"]
    seen = type(source)(change(source.cond))
    return entry | {"model_conds": entry["model_conds"] | {"c_concat": seen}}
