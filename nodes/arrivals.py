"""What arrives at a node is what the node's schema says, wherever it comes from.

The host checks the types of links and what stands in a widget; what arrives by a link it hands over as it is.
Shapes: B pictures or latents, H W pixels, h w latent rows and columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from comfy_api.latest import io
from torch import Tensor


class Kind(NamedTuple):
    """What values of a type of the host are; wrong: what is found in their place, or nothing."""

    words: str
    wrong: Callable[[Any], str]


class TaskVector(NamedTuple):
    """What kind of task is asked for: a vector [1,P] of CLIP's text tower, and the task's name, if it is one that has a
    name, which a task table may have a row for."""

    vector: Tensor
    task: str | None


def check_inputs(wanted: io.Schema, given: Mapping[str, Any]) -> None:
    """Refuse numbers beyond the limits of their widgets or that are no numbers, and what is not of its input's type.

    Raises:
        ValueError: the first of them.
    """
    for item in wanted.inputs:
        value, low, high = given.get(item.id), getattr(item, "min", None), getattr(item, "max", None)
        if low is not None and high is not None and isinstance(value, int | float) and not low <= value <= high:
            raise ValueError(
                f"{wanted.display_name}: {item.id} lies in {low} to {high}, found {value}: change the widget or the "
                "node that is linked to it"
            )
    for item in wanted.inputs:
        kind, value = KINDS.get(item.get_io_type()), given.get(item.id)
        if kind is None or value is None:
            continue
        if found := kind.wrong(value):
            raise ValueError(
                f"{wanted.display_name}: {item.id} takes {kind.words}, found {found}: change the node that is linked "
                "to it"
            )


def on_cpu(wanted: io.Schema, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values with those of IMAGE and MASK inputs on the CPU; the very same tensors where they are there."""
    names = {item.id for item in wanted.inputs if item.get_io_type() in ("IMAGE", "MASK")}
    return {name: v.cpu() if name in names and isinstance(v, Tensor) else v for name, v in given.items()}


def _type_of(value: Any) -> str:
    return f"a value of type {type(value).__name__}"


def _tensor(ranks: tuple[int, ...], channels: tuple[int, ...] = ()) -> Callable[[Any], str]:
    def wrong(value: Any) -> str:
        if not isinstance(value, Tensor):
            return _type_of(value)
        shape = f"{list(value.shape)}"
        if value.ndim not in ranks or 0 in value.shape or (channels and value.shape[-1] not in channels):
            return shape
        if not (value.is_floating_point() or value.dtype == torch.bool):
            return f"{shape} of {str(value.dtype).removeprefix('torch.')}"
        return "" if value.isfinite().all() else f"{shape} with values that are not finite"

    return wrong


def _task(value: Any) -> str:
    return _tensor((2,))(value.vector) if isinstance(value, TaskVector) else _type_of(value)


def _latent(value: Any) -> str:
    samples = value.get("samples") if isinstance(value, dict) else None
    return "one without samples" if samples is None else _tensor((3, 4, 5))(samples)


def _conditioning(value: Any) -> str:
    if not isinstance(value, list) or not value:
        return "an empty one" if isinstance(value, list) else _type_of(value)
    for entry in value:
        if len(entry) != 2 or not isinstance(entry[1], dict):
            return "an entry of another form"
        if fault := _tensor((2, 3))(entry[0]):
            return f"features {fault}"
    return ""


def _with(*names: str) -> Callable[[Any], str]:
    def wrong(value: Any) -> str:
        return "" if all(hasattr(value, name) for name in names) else _type_of(value)

    return wrong


KINDS = {
    "IMAGE": Kind("pictures [B, H, W, 3]", _tensor((4,), (3, 4))),
    "MASK": Kind("masks [B, H, W]", _tensor((2, 3))),
    "LATENT": Kind("latents [B, C, h, w]", _latent),
    "CONDITIONING": Kind("what a text encoder gives", _conditioning),
    "PIXWIZARD_TASK": Kind("a task vector [1, P]", _task),
    "MODEL": Kind("a MODEL", _with("model")),
    "CLIP": Kind("a CLIP", _with("tokenize")),
    "CLIP_VISION": Kind("a CLIP_VISION", _with("encode_image")),
    "VAE": Kind("a VAE", _with("encode", "decode")),
    "STRING": Kind("text", lambda value: "" if isinstance(value, str) else _type_of(value)),
}
