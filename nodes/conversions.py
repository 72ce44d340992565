"""Shared by the nodes: pictures and conditionings between the host's forms and the core's.

The host's IMAGE is [B, H, W, 3] in [0, 1]; the core's pictures are [B, 3, H, W] in [-1, 1].
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from functools import cache, wraps
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from comfy_api.latest import io
from einops import rearrange
from torch import Tensor

from ..comfyui_pixwizard.pictures.buckets import Size
from ..comfyui_pixwizard.pictures.images import resized, to_tensor, unit_to_image
from .arrivals import check_inputs, on_cpu

# Folders of the page's menu: `purpose` of a node is one below it.
CATEGORY = "PixWizard"
WORDS = Path(__file__).parents[1] / "locales" / "en" / "nodeDefs.json"
# An input that the page may fold away.
ADVANCED = {"advanced": True}
# The host's key of the task vector; ours of the name of the task, by which a MODEL with a task table is told.
POOLED, TASK = "pooled_output", "pixwizard_task"


@cache
def english() -> dict[str, Any]:
    """What the page says of every node, by its id: display_name, description, inputs by id, outputs by number."""
    return json.loads(WORDS.read_text(encoding="utf-8"))


def schema(
    node_id: str, purpose: str, aliases: list[str], inputs: list[Any], outputs: dict[str, Any], **values: Any
) -> io.Schema:
    """A node's schema, its words taken from `english`; other words to find it by reach hosts that know them.

    Args:
        purpose: folder of the page's menu, a key of nodeCategories in locales/*/main.json.
        outputs: type of each, by name.
    """
    words = english()[node_id]
    for item in inputs:
        item.tooltip = words["inputs"][item.id]["tooltip"]
    made = [
        kind.Output(display_name=name, tooltip=words["outputs"][str(number)]["tooltip"])
        for number, (name, kind) in enumerate(outputs.items())
    ]
    known = {field.name for field in fields(io.Schema)}
    values |= {"search_aliases": aliases} if "search_aliases" in known else {}
    about = {name: words[name] for name in ("display_name", "description")}
    category = f"{CATEGORY}/{purpose}"
    return io.Schema(node_id=node_id, category=category, inputs=inputs, outputs=made, **about, **values)


class Node(io.ComfyNode):
    """A node that checks what arrives, see `arrivals`, and works on pictures and masks on the CPU.

    The host's loaders put them there; with --gpu-only its VAE leaves them on the GPU.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = cls.__dict__.get("execute")
        # The host runs a node as a subclass with a copy of its attributes.
        if own is not None and not hasattr(own.__func__, "__wrapped__"):
            cls.execute = classmethod(_checked(own.__func__))  # type: ignore[method-assign, assignment]


def _checked(execute: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(execute)
    def checked(cls: type[Node], **given: Any) -> Any:
        check_inputs(cls.SCHEMA, given)
        return execute(cls, **on_cpu(cls.SCHEMA, given))

    return checked


def to_core(image: Tensor) -> Tensor:
    """IMAGE to pictures on the CPU; transparency is dropped.

    Raises:
        ValueError: no IMAGE.
    """
    if image.ndim != 4 or image.shape[-1] not in (3, 4):
        raise ValueError(f"an IMAGE is [B, H, W, 3], found {list(image.shape)}: connect a node that gives IMAGE")
    return rearrange(image[..., :3].cpu().float(), "b h w c -> b c h w") * 2 - 1


def to_host(pictures: Tensor) -> Tensor:
    """Pictures to IMAGE."""
    return rearrange(pictures.float().cpu() / 2 + 0.5, "b c h w -> b h w c").clamp(0, 1)


def from_pillow(pictures: list[Any]) -> Tensor:
    """Pillow pictures of one size to IMAGE."""
    return to_host(torch.cat([to_tensor(picture) for picture in pictures]))


def at_size(image: Tensor, size: Size) -> Tensor:
    """IMAGE at (width, height), by Lanczos over 8 bits as the pipeline does it; itself when it has that size."""
    if (image.shape[2], image.shape[1]) == size:
        return image[..., :3]
    pictures = rearrange(image[..., :3], "b h w c -> b c h w")
    return from_pillow([resized(unit_to_image(picture), size) for picture in pictures])


def sized_as(image: Tensor, other: Tensor) -> Tensor:
    """IMAGE at the size of another."""
    return at_size(image, (other.shape[2], other.shape[1]))


def to_host_where_changed(pictures: Tensor, before: Tensor) -> Tensor:
    """Pictures [B, 3, H, W] made of the IMAGE `before` to IMAGE; what equals it is taken from it, bit for bit.

    Back and forth between the two ranges rounds.
    """
    same = rearrange(pictures == to_core(before), "b c h w -> b h w c")
    return torch.where(same, before.float(), to_host(pictures))


def resized_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """MASK [B, h, w] at another size; itself when it has that size."""
    if mask.ndim == 2:
        mask = mask[None]
    if tuple(mask.shape[1:]) == (height, width):
        return mask.float()
    return F.interpolate(mask[:, None].float(), size=(height, width), mode="bilinear", antialias=True)[:, 0]


def with_values(conditioning: list[Any], values: dict[str, Any]) -> list[Any]:
    """A copy of a CONDITIONING with more entries."""
    return [[features, options | values] for features, options in conditioning]


def one_for_each(values: Tensor, count: int, name: str, others: str) -> Tensor:
    """A batch as long as another one, a single entry repeated.

    Raises:
        ValueError: lengths that do not match.
    """
    if len(values) not in (1, count):
        raise ValueError(
            f"{name} must come once or once for each of {count} {others}, found {len(values)}: pick or repeat with the "
            "host's batch nodes"
        )
    return values.expand(count, *values.shape[1:])


def matching_source(image: Tensor, source: Tensor) -> Tensor:
    """The source IMAGE for every picture of an answer, of which it has the size.

    Raises:
        ValueError: another size, or a number that does not match.
    """
    if source.shape[1:3] != image.shape[1:3]:
        raise ValueError(
            f"answer and source must have one size, found {list(image.shape[1:3])} and {list(source.shape[1:3])} px: "
            "connect the source output of Image Conditioning"
        )
    return one_for_each(source[..., :3], len(image), "a source", "answers")
