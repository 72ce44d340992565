"""Which image tokens each task chooses of one picture, as numbers and drawn over it (Figure 3 of the paper).

Shape legend: T tasks, R layers, N image tokens, g tokens a side, k kept ones.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ...comfyui_pixwizard.pictures.images import resized, to_tensor
from ...comfyui_pixwizard.tasks import TASKS

# Brightness of a place that no layer keeps, where one that all layers keep has 1.
DIM = 0.12
SIDE, GAP, TEXT, ACROSS = 176, 8, 28, 4
LETTER = 6  # pixels of a letter of Pillow's own font, about


def sentence_of(task: str, words: dict[str, str]) -> str:
    """The task's first instruction, its placeholders filled from `words`.

    Raises:
        ValueError: an unknown task, or one that needs a word that is not there.
    """
    if task not in TASKS:
        raise ValueError(f"the tasks are {', '.join(TASKS)}, found {task!r}: choose among them")
    found = TASKS[task]
    return found.instruction(None, **{name: words[name] for name in found.words if name in words})


@torch.no_grad()
def chosen_tokens(pipeline: Any, picture: Image.Image, instructions: Sequence[str]) -> Tensor:
    """Whether each layer keeps each token of a picture, [T,R,N] bool, as in use: without noise, with the task table.

    Args:
        pipeline: a `PixWizardPipeline`; its encoders and its transformer lie on one device.
    """
    place = pipeline.transformer.pad_token.device
    tokens = pipeline.image_encoder.encode(to_tensor(picture).to(place))
    tokens = tokens.expand(len(instructions), -1, -1)
    features, mask = pipeline.text_encoder.encode(list(instructions))
    task, rows = pipeline.task_encoder.encode(list(instructions)), pipeline.task_rows(instructions, None)
    selected = pipeline.transformer.encode_conditions(features, mask, task, tokens, task_rows=rows).selected
    return kept_of(selected, tokens.shape[1])


def kept_of(selected: Tensor, count: int) -> Tensor:
    """Whether each layer keeps each of `count` tokens, [B,R,N] bool, of the indices [R,B,k] of those that it keeps."""
    kept = torch.zeros(*selected.shape[:2], count, dtype=torch.bool, device=selected.device)
    return kept.scatter_(-1, selected, True).movedim(0, 1).cpu()


def overlaps(kept: Tensor) -> Tensor:
    """Share of a task's tokens that another one keeps too, the mean of the layers: [T,T] of kept [T,R,N].

    Two choices of k among N by chance have k / N in common.
    """
    one = kept.double()
    return (torch.einsum("irn,jrn->ijr", one, one) / one.sum(-1)[:, None]).mean(-1)


def sheet(picture: Image.Image, names: Sequence[str], notes: Sequence[str], kept: Tensor) -> Image.Image:
    """The picture, and for each task the picture with its tokens as bright as many layers keep them.

    Args:
        names, notes: two lines over each: a task and its sentence.
        kept: [T,R,N]; of one task by layers it is [R,1,N].
    """
    share = SIDE / max(picture.size)
    width, height = (max(1, round(side * share)) for side in picture.size)
    small = resized(picture, (width, height))
    across = min(ACROSS, len(names) + 1)
    rows = -(-(len(names) + 1) // across)
    cell = (SIDE + GAP, height + TEXT + GAP)
    whole = Image.new("RGB", (across * cell[0] + GAP, rows * cell[1] + GAP), "white")
    draw = ImageDraw.Draw(whole)
    tiles = [("the picture", "", small)]
    tiles += [(name, note, dimmed(small, one)) for name, note, one in zip(names, notes, kept, strict=True)]
    for i, (name, note, shown) in enumerate(tiles):
        left, top = GAP + i % across * cell[0], GAP + i // across * cell[1]
        draw.text((left, top), name, fill="black")
        draw.text((left, top + TEXT // 2 - 1), textwrap.shorten(note, SIDE // LETTER, placeholder="…"), fill="gray")
        whole.paste(shown, (left, top + TEXT))
    return whole


def dimmed(picture: Image.Image, kept: Tensor) -> Image.Image:
    """A picture with its tokens as bright as many layers keep them, of kept [R,N]."""
    bright = brightness(kept, picture.size)
    return Image.fromarray((np.asarray(picture).astype(np.float64) * bright[..., None]).round().astype(np.uint8))


def brightness(kept: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Of every pixel of a picture of a size (width, height), from DIM to 1: [H,W] of kept [R,N]."""
    side = math.isqrt(kept.shape[-1])
    shares = DIM + (1 - DIM) * kept.double().mean(0).reshape(side, side).numpy()
    columns, rows = (np.arange(length) * side // length for length in size)
    return shares[rows[:, None], columns[None]]
