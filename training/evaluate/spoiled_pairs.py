"""Rendered edit pairs of which some are spoiled in known ways, to judge filters of edit data.

Shape legend: S side in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.build.small_pair import worsened
from ..loop.seeding import seeded
from .scene_samples import EDIT_TASKS, PICTURE_EDITS, SceneSet

TASKS = (*EDIT_TASKS, *PICTURE_EDITS)
# Edits of one thing, which must be gone, be there or be another after them.
OF_A_THING = ("edit_remove", "edit_add", "edit_replace", "edit_recolor")
SIZE = 128


@dataclass(frozen=True)
class EditPair:
    """A pair as a collection stores it: pictures [3,S,S] in [0,1], a sentence, a task; and of which scene it is."""

    source: Tensor
    target: Tensor
    sentence: str
    task: str
    scene: int


Spoil = Callable[[EditPair, Sequence[EditPair], torch.Generator], EditPair | None]


def _any(pairs: Sequence[EditPair], generator: torch.Generator) -> EditPair | None:
    return pairs[int(torch.randint(len(pairs), (), generator=generator))] if pairs else None


def wrong_sentence(pair: EditPair, others: Sequence[EditPair], generator: torch.Generator) -> EditPair | None:
    """The sentence, and the task, of a pair of another scene."""
    other = _any([one for one in others if one.scene != pair.scene], generator)
    return replace(pair, sentence=other.sentence, task=other.task) if other else None


def same_target(pair: EditPair, others: Sequence[EditPair], generator: torch.Generator) -> EditPair:
    """Nothing was done."""
    return replace(pair, target=pair.source)


def other_target(pair: EditPair, others: Sequence[EditPair], generator: torch.Generator) -> EditPair | None:
    """The target of another scene."""
    other = _any([one for one in others if one.scene != pair.scene], generator)
    return replace(pair, target=other.target) if other else None


def other_structure(pair: EditPair, others: Sequence[EditPair], generator: torch.Generator) -> EditPair:
    """The edit was made, but everything stands elsewhere: the target mirrored, or its middle enlarged."""
    if float(torch.rand((), generator=generator)) < 0.5:
        return replace(pair, target=pair.target.flip(-1))
    side = pair.target.shape[-1]
    edge = side // 8
    middle = pair.target[None, :, edge : side - edge, edge : side - edge]
    return replace(pair, target=F.interpolate(middle, (side, side), mode="bilinear", align_corners=False)[0])


def other_thing(pair: EditPair, others: Sequence[EditPair], generator: torch.Generator) -> EditPair | None:
    """The thing is still there, or not there: something else was done to the same picture."""
    if pair.task not in OF_A_THING:
        return None
    same = [one for one in others if one.scene == pair.scene and one.task in OF_A_THING and one.task != pair.task]
    other = _any([one for one in same if torch.equal(one.source, pair.source)], generator)
    return replace(pair, target=other.target) if other else None


def poor_target(pair: EditPair, others: Sequence[EditPair], generator: torch.Generator) -> EditPair:
    """The edit was made badly: blurred, noisy or full of blocks."""
    return replace(pair, target=worsened(pair.target[None], generator)[0])


def wrong_task(pair: EditPair, others: Sequence[EditPair], generator: torch.Generator) -> EditPair:
    """Stored under another task."""
    wrong = [task for task in TASKS if task != pair.task]
    return replace(pair, task=wrong[int(torch.randint(len(wrong), (), generator=generator))])


SPOILS: dict[str, Spoil] = {
    "wrong sentence": wrong_sentence,
    "identical target": same_target,
    "unrelated target": other_target,
    "structure changed": other_structure,
    "object not gone or not there": other_thing,
    "poor target": poor_target,
    "wrong task": wrong_task,
}


def spoiled_pairs(n: int, spoiled: int, seed: int, size: int = SIZE) -> list[tuple[EditPair, str]]:
    """n pairs, of all edits, each with the way in which it is spoiled, "" for the good ones; the same for the same
    arguments.

    Raises:
        ValueError: fewer than two scenes, or more spoiled ones than there are.
    """
    scenes = -(-n // len(TASKS))
    if scenes < 2 or not 0 <= spoiled <= n:
        found = f"{n} with {spoiled} spoiled"
        raise ValueError(
            f"pairs are more than {len(TASKS)}, and as many or fewer of them spoiled, found {found}: raise it"
        )
    shown, pairs = SceneSet(scenes, size, seed, "train"), []
    for task in TASKS:
        asked = shown.samples(task)
        parts = zip(asked.source, asked.truth, asked.instructions, asked.index, strict=True)
        pairs += [EditPair(source, target, text, task, index) for source, target, text, index in parts]
    order = torch.randperm(len(pairs), generator=seeded("spoiled", seed)).tolist()[:n]
    chosen = [pairs[at] for at in order]
    made: list[tuple[EditPair, str]] = [(pair, "") for pair in chosen]
    ways = list(SPOILS)
    left = list(range(len(chosen)))
    for number in range(spoiled):
        # The ways in turn, each on the next pair that can be spoiled so; where none can, the way after it.
        for way in (ways[(number + step) % len(ways)] for step in range(len(ways))):
            results = ((at, SPOILS[way](chosen[at], pairs, seeded("spoiled", seed, number))) for at in left)
            found_at = next(((at, result) for at, result in results if result is not None), None)
            if found_at is not None:
                made[found_at[0]] = found_at[1], way
                left.remove(found_at[0])
                break
    return made
