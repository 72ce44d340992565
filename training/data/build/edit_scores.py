"""Scores of edits that look at the scene: depth that must stay, and things that must be gone, be there, or stay.

Source: Emu Edit (Sheynin et al., 2023), section 4.2: depth maps compared by L1, detectors for presence and absence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ....comfyui_pixwizard.tasks.language.said import said
from ...render.scenes import COLOR_NAMES
from .depth_annotator import depth_annotator
from .detectors import Found, detector_of
from .judged import Judged
from .notes import Annotator, Note
from .recipe import AnnotatorSettings, Filter

# Boxes that overlap so much, by intersection over union, are of a thing that nothing was done to; and of one that may
# have become another, larger or smaller.
SAME, NEAR = 0.6, 0.15
# Edits after which a thing that is named is gone, another is there, or it is still there.
OBJECT_TASKS = ("edit_remove", "edit_add", "edit_replace", "edit_recolor", "edit_texture", "edit_local")


class DepthGap:
    """Mean absolute difference of the depths of source and target, in shares of the source's range: 0 where an edit
    kept the shape of everything.

    Metric depth is compared as it is, other depth in its own range.

    Raises:
        ValueError: no model is named, or none is there.
    """

    def __init__(self, told: Filter):
        self.annotator = _annotator(told.model, json.dumps(told.options, sort_keys=True))

    def __call__(self, judged: Judged) -> float | None:
        if judged.source is None:
            return None
        notes = [Note(), Note()]
        self.annotator([judged.source, judged.target.resize(judged.source.size, Image.Resampling.BILINEAR)], notes)
        before, after = (depth_of(note) for note in notes)
        span = (before.max() - before.min()).clamp_min(1e-6)
        return float((before - after).abs().mean() / span)


@lru_cache(maxsize=1)
def _annotator(model: str, options: str) -> Annotator:
    """The annotator "depth"; filters of several tasks share it."""
    return depth_annotator(AnnotatorSettings("depth", model, json.loads(options)))


def depth_of(note: Note) -> Tensor:
    """The depth map of a note [H,W]: metres where it has bounds, else 0 to 1."""
    unit = torch.from_numpy(np.asarray(note.maps["depth"]).astype(np.float32)) / 65535
    facts = note.facts["depth"]
    return unit * (facts["high"] - facts["low"]) + facts["low"] if facts["kind"] == "metric" else unit


class Presence:
    """How surely the things that an edit's instruction names are gone, there or still there, as it asks: 0 to 1.

    What was removed was there and is gone; what was added is there and was not; in the place of what was replaced the
    new thing is, and was not, as is a thing in its new colour; what has another texture or size is still there. Of
    several sentences the least counts.
    None where no detector can tell, and where the instruction's words are not those of its task.

    Raises:
        ValueError: no detector is named, or none is there.
    """

    def __init__(self, told: Filter):
        self.find = detector_of(told.model, **told.options)

    def __call__(self, judged: Judged) -> float | None:
        if judged.source is None or judged.task not in OBJECT_TASKS:
            return None
        found = [words for text in judged.instructions if (words := said(judged.task, text))]
        if not found:
            return None
        return min(self._done(judged.task, words, judged.source, judged.target) for words in found)

    def _done(self, task: str, words: dict[str, str], source: Image.Image, target: Image.Image) -> float:
        if task == "edit_add":
            new = words["caption"]
            return appeared(self.find(source, new), self.find(target, new))
        old = words["caption"]
        before = self.find(source, old)
        if task == "edit_remove":
            return appeared(self.find(target, old), before)
        if task in ("edit_texture", "edit_local"):
            return stayed(before, self.find(target, old))
        new = words["class"] if task == "edit_replace" else recolored(old, words["color"])
        came = self.find(target, new)
        # Where the detector did not know what was there, the new thing may be anywhere.
        there = [one for one in came if not before or any(overlap(one, other) > NEAR for other in before)]
        return appeared(self.find(source, new), there)


def appeared(before: Sequence[Found], after: Sequence[Found]) -> float:
    """How surely one of the things after was not there before, in its place."""
    return max((one.score * (1 - _likest(one, before, SAME)) for one in after), default=0.0)


def stayed(before: Sequence[Found], after: Sequence[Found]) -> float:
    """How surely one of the things before is still there, in its place."""
    return max((one.score * _likest(one, after, NEAR) for one in before), default=0.0)


def _likest(one: Found, others: Sequence[Found], least: float) -> float:
    """The score of what is in the same place, 0 where nothing is."""
    return max((other.score for other in others if overlap(one, other) > least), default=0.0)


def overlap(one: Found, other: Found) -> float:
    """Intersection over union of two boxes."""
    a, b = torch.tensor(one.box), torch.tensor(other.box)
    inside = F.relu(torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).prod()
    total = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inside
    return float(inside / total.clamp_min(1e-9))


def recolored(phrase: str, color: str) -> str:
    """A phrase with another colour, as in "the blue ball" from "the red ball" or "the ball"."""
    named = re.search(rf"\b({'|'.join(COLOR_NAMES)})\b", phrase)
    if named:
        return phrase[: named.start()] + color + phrase[named.end() :]
    article = re.match(r"(the|an?) ", phrase)
    return f"{article[0]}{color} {phrase[article.end() :]}" if article else f"{color} {phrase}"
