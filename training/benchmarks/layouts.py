"""The layouts as inputs of `data build`: what judges a model and what teaches one is read by the same code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from ...comfyui_pixwizard.tasks import TASKS
from ...comfyui_pixwizard.tasks.codecs.marks import MARK_COLORS
from ...comfyui_pixwizard.tasks.codecs.pose import JOINTS
from ..data.build.drawing import drawn
from ..data.build.places import Drawn
from ..loop.seeding import seed_of, seeded
from .layout_dense import ade20k, nyuv2_depth
from .layout_editing import emu_edit, magicbrush
from .layout_keypoints import NECK, coco_keypoints
from .layout_pairs import two_folders
from .layout_refer import refer
from .question import Question, editing_task, named_once

# Sentences that are stored with a joint, whose colour they name; training draws one of them.
WORDINGS = 4
# Colours that hardly occur in photographs of people.
JOINT_COLORS = [name for name in MARK_COLORS if name not in ("white", "black")]


@dataclass(frozen=True)
class Layout:
    """One layout.

    Attributes:
        read: questions of a folder and a split for a task.
        splits: that it has; the first is the default.
        tasks: that its samples can be made for; the first is the default, "" lets each sample's words decide.
    """

    read: Callable[[Path, str, str], Iterator[Question]]
    splits: tuple[str, ...]
    tasks: tuple[str, ...]


def _refer(name: str, *splits: str) -> Layout:
    def read(root: Path, split: str, task: str) -> Iterator[Question]:
        yield from refer(root, split, name, "mask" if task == "referring_mask" else "overlay")

    return Layout(read, splits, ("referring_segmentation", "referring_mask"))


def _keypoints(root: Path, split: str, task: str) -> Iterator[Question]:
    """Skeletons, or a disc on each joint of those who are alone in their picture."""
    for question in coco_keypoints(root, split):
        if task == "pose" or question.fault:
            yield question
        else:
            yield from _joints(question)


def _joints(question: Question) -> Iterator[Question]:
    if not isinstance(question.target, Drawn) or question.source is None:
        return
    people = json.loads(question.target.drawn)["people"]
    if len(people) != 1:
        return
    for number, (x, y, visible) in enumerate(people[0]):
        if visible and number != NECK:  # COCO's people have no neck
            color = JOINT_COLORS[seed_of("joint", question.name, number) % len(JOINT_COLORS)]
            words = {"caption": f"the {JOINTS[number]} of the person", "color": color}
            target = drawn(question.source, "joint", point=[x, y], color=color)
            yield Question(f"{question.name}_{number:02d}", question.source, target, "keypoint", words=words)


def _pairs(root: Path, split: str, task: str) -> Iterator[Question]:
    yield from two_folders(task, "input", "target")(root, split)


LAYOUTS: dict[str, Layout] = {
    "pairs": Layout(_pairs, ("",), tuple(TASKS)),
    "refcoco": _refer("refcoco", "train", "val", "testA", "testB"),
    "refcoco+": _refer("refcoco+", "train", "val", "testA", "testB"),
    "refcocog": _refer("refcocog", "train", "val", "test"),
    "grefcoco": _refer("grefcoco", "train", "val", "testA", "testB"),
    "ade20k": Layout(lambda root, split, task: ade20k(root, split), ("training", "validation"), ("segmentation",)),
    "nyuv2-depth": Layout(lambda root, split, task: nyuv2_depth(root, split), ("train", "test"), ("depth",)),
    "coco-keypoints": Layout(_keypoints, ("train2017", "val2017"), ("pose", "keypoint")),
    "emu-edit": Layout(lambda root, split, task: emu_edit(root, split), ("validation", "test"), ("",)),
    "magicbrush": Layout(lambda root, split, task: magicbrush(root, split), ("train", "dev"), ("",)),
}


def layout_samples(name: str, root: Path, split: str, task: str) -> Iterator[Question]:
    """Samples of a layout, with tasks and words; those of one picture and one answer have their captions together.

    Raises:
        ValueError: an unknown layout, split or task, or a folder that is not in the layout.
    """
    if name not in LAYOUTS:
        raise ValueError(f"the layouts are {', '.join(LAYOUTS)}, found {name!r}: choose one of them")
    layout = LAYOUTS[name]
    split, task = split or layout.splits[0], task or layout.tasks[0]
    for what, value, known in (("split", split, layout.splits), ("task", task, layout.tasks)):
        if value not in known:
            told = ", ".join(filter(None, known)) or "none"
            raise ValueError(f"layout {name} has the {what}s {told}, found {value!r}: choose one or leave it out")
    told_apart = groupby(named_once(layout.read(root, split, task)), lambda q: (q.source, q.target, q.fault, q.task))
    for (_, target, fault, _), group in told_apart:
        questions = list(group)
        if fault or target is None:
            yield from (replace(one, fault=one.fault or "no target") for one in questions)
        elif questions[0].words:
            yield replace(questions[0], captions=tuple(one.words["caption"] for one in questions))
        else:
            yield from (replace(one, task=one.task or editing_task(one.instruction)) for one in questions)


def sentences_of(question: Question) -> tuple[str, ...]:
    """What is stored as instructions: the data set's own, or some that name what training cannot know, a colour.

    Where a caption is all that the task's templates need, nothing: training words it anew each time.
    """
    if question.instruction:
        return (question.instruction,)
    if set(question.words) <= {"caption"}:
        return ()
    task = TASKS[question.task]
    return tuple(task.instruction(seeded("layout", question.name, i), **question.words) for i in range(WORDINGS))
