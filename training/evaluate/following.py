"""Open language: does the model do the right task when the words share no pattern with its training?

The answer to an unseen paraphrase is compared with the true picture of its task, and with the true pictures of all
other tasks that the same source could come with; the instruction was followed when its own is nearest. The source
itself is among the others, so that changing nothing does not count as following.
Shape legend: N samples, H, W pixels.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...comfyui_pixwizard.tasks.task import fill
from ..loop.seeding import seeded
from .runner import Advance, Answerer, EvaluationSettings, Row, answers, ceiling
from .samples import Samples

FLOOR, TARGET = 0.8, 0.97
# Truths of one source with a smaller mean difference are taken as equal.
SAME = 1 / 255
LOW_PASS = 5
# Tasks whose truths differ from their sources in detail, which a low-pass would hide.
SHARP = ("restoration", "painting")

# Instructions of each task that training never shows, see there.
UNSEEN: dict[str, tuple[str, ...]] = {
    task: tuple(sentences)
    for task, sentences in tomllib.loads(Path(__file__).with_name("unseen.toml").read_text(encoding="utf-8")).items()
}

Rivals = Callable[[Samples, int], list[Tensor]]


def paraphrased(samples: Samples, templates: Sequence[str], seed: int) -> Samples:
    """The same questions in the words of the unseen templates."""
    instructions = []
    for i, words in zip(samples.index, samples.words, strict=True):
        chosen = int(torch.randint(len(templates), (), generator=seeded("eval", seed, "unseen", samples.task.name, i)))
        instructions.append(fill(templates[chosen], words))
    return replace(samples, instructions=instructions, reference=None)


def distance(picture: Tensor, truth: Tensor, *, low_pass: bool) -> float:
    """How unlike two pictures [3,H,W] in [0,1] are: sum |a - b| / sum (a + b), in [0,1] (Bray-Curtis).

    Relative to what the pictures hold, or the emptiest of several line drawings would be near to everything.
    """
    a, b = (x.clamp(0, 1) for x in (picture, truth))
    if low_pass:
        a, b = (F.avg_pool2d(x[None], LOW_PASS, stride=1, padding=LOW_PASS // 2)[0] for x in (a, b))
    return float((a - b).abs().sum() / (a + b).sum().clamp_min(1e-6))


class Truths:
    """The true pictures of all tasks, by the scene, figure or photograph that they are about.

    Args:
        questions: samples of every task whose truths may be taken for one another, all about one set of scenes,
            figures or photographs.
        also: further pictures that an answer could be, by the same numbers (`Samples.index`).
    """

    def __init__(self, questions: Mapping[str, Samples], also: Mapping[int, Sequence[Tensor]] | None = None):
        self.also = also or {}
        self.by_index: dict[int, list[tuple[str, Tensor, Tensor]]] = defaultdict(list)
        for name, samples in questions.items():
            for row, i in enumerate(samples.index):
                self.by_index[i].append((name, samples.source[row], samples.truth[row]))

    def rivals(self, samples: Samples, row: int) -> list[Tensor]:
        """Pictures of other answers to a sample's source: the source, and other tasks' truths of the same source."""
        source, truth = samples.source[row], samples.truth[row]
        pictures = [source, *self.also.get(samples.index[row], ())]
        for name, other_source, other in self.by_index[samples.index[row]]:
            alike = samples.task.domain in SHARP or torch.equal(other_source, source)
            if name != samples.task.name and alike:
                pictures.append(other)
        return [other for other in pictures if float((other - truth).abs().mean()) > SAME]


def followed(samples: Samples, pictures: Tensor, rivals: Rivals) -> list[bool]:
    """Whether each picture [N,3,H,W] is nearer to its own task's truth than to every rival."""
    low_pass, hits = samples.task.domain not in SHARP, []
    for row, picture in enumerate(pictures):
        own = distance(picture, samples.truth[row], low_pass=low_pass)
        others = [distance(picture, other, low_pass=low_pass) for other in rivals(samples, row)]
        hits.append(all(own < other for other in others))
    return hits


def follow(
    pipeline: Answerer,
    groups: Sequence[tuple[Mapping[str, Samples], Mapping[int, Sequence[Tensor]]]],
    unseen: Mapping[str, Sequence[str]],
    settings: EvaluationSettings,
    advance: Advance,
) -> Row:
    """The line of the table: the share of unseen paraphrases that are followed, and the same by family and by task.

    Args:
        groups: samples by task, and further pictures that answers could be (see Truths); tasks of one group are about
            the same scenes, figures or photographs.
        unseen: templates by task.
    """
    by_task: dict[str, list[bool]] = {}
    by_family: dict[str, list[bool]] = defaultdict(list)
    best: list[bool] = []
    for questions, also in groups:
        truths = Truths(questions, also)
        for name, samples in questions.items():
            rephrased = paraphrased(samples, unseen[name], settings.seed)
            output = answers(pipeline, rephrased, settings, advance)
            by_task[name] = followed(rephrased, output, truths.rivals)
            by_family[rephrased.task.domain] += by_task[name]
            best += followed(rephrased, ceiling(pipeline, rephrased, settings), truths.rivals)
    every = [one for hits in by_task.values() for one in hits]
    value = sum(every) / len(every)
    return {
        "metric": "task-following rate",
        "value": value,
        "baseline": 0.0,
        "ceiling": sum(best) / len(best),
        "n": len(every),
        "floor": FLOOR,
        "target": TARGET,
        "holds": value >= FLOOR,
        "lower_is_better": False,
        "families": {name: sum(hits) / len(hits) for name, hits in by_family.items()},
        "tasks": {name: sum(hits) / len(hits) for name, hits in by_task.items()},
    }
