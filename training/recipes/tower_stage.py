"""The stage before all others: text towers learn what sentences say, text and vision towers to match.

A tower that is trained by the flow's loss alone hears of "red" only through pixels of things that happen to be asked
for; after half a million samples "remove the red ball" and "remove the blue ball" still were one to it. What a sentence
says is known, so it can be asked for: minutes are enough.
Shapes: B sentences, P pictures, w tower width, c label channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...comfyui_pixwizard.tasks import TASKS
from ..data.feed.ahead import DrawsAhead
from ..data.rendered.facts import FACTS, ONE_THING, UNKNOWN, sentences
from ..data.rendered.pale_scenes import without_hints
from ..data.rendered.patch_labels import CHANNELS
from ..data.rendered.sources import RenderedSources, below
from ..loop.logs import Records
from .sight_stage import said_by
from .teachers import label_losses, labels_by_token
from .towers import NanoModel

WIDTH = 128  # of what sentences and pictures are compared by
# Share of people among the pictures that are matched, and of plain captions among their sentences.
PEOPLE, BARE = 0.15, 0.5
CENTRING = 3.0


@dataclass
class Lesson:
    """B sentences with their facts [B, len(FACTS)], P pictures [P,3,S,S] in [-1,1] with a sentence each, what is known
    of their patches [P,c,g,g] and of which [P].
    """

    sentences: list[str]
    facts: Tensor
    pictures: Tensor
    captions: list[str]
    labels: Tensor
    known: Tensor

    def __len__(self) -> int:
        return len(self.sentences) + len(self.captions)


class TowerHeads(nn.Module):
    """The towers of a model, with heads that only this stage has.

    `picture` and `words` bring both sides of a match to one space; with the towers they are a small CLIP of the
    project's own.
    """

    def __init__(self, model: NanoModel) -> None:
        super().__init__()
        self.text, self.task, self.vision = model.text, model.task, model.vision
        values = sum(FACTS.values())
        self.of_text, self.of_task = nn.Linear(model.text.features, values), nn.Linear(model.task.features, values)
        self.words, self.picture = nn.Linear(model.task.features, WIDTH), nn.Linear(model.vision.features, WIDTH)
        self.patches = nn.Linear(model.vision.features, CHANNELS)
        self.sharpness = nn.Parameter(torch.tensor(2.5))

    def said(self, texts: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of all facts [B, sum of FACTS] from the last token of the text features and from the task vector, and
        the task vector, normed, [B,w].
        """
        features, mask = self.text.encode(texts)
        last = features[torch.arange(len(texts), device=mask.device), mask.sum(1) - 1]
        last = F.rms_norm(last.float(), last.shape[-1:])
        task = F.layer_norm(self.task.encode(texts).float(), (self.task.features,))
        return self.of_text(last), self.of_task(task), task

    def matches(self, pictures: Tensor, captions: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Likeness of pictures and captions [P,P], times a learned factor; logits of patches [P,c,n,n]; and the mean
        image token, normed, [P,w].
        """
        tokens = self.vision.encode(pictures).float()
        patches = said_by(self.patches, tokens)
        words = F.layer_norm(self.task.encode(captions).float(), (self.task.features,))
        pair = F.normalize(self.picture(tokens.mean(1)), dim=1), F.normalize(self.words(words), dim=1)
        whole = F.layer_norm(tokens.mean(1), tokens.shape[-1:])
        return pair[0] @ pair[1].T * self.sharpness.exp(), patches, whole


def off_centre(vectors: Tensor) -> Tensor:
    """Mean square, over channels, of the mean of normed vectors [B,w]: 1 where all are one, 0 for no common part.

    What all sentences, or all pictures, have in common says nothing, and in the network it is a bias that every step of
    Adam moves by the steps of a whole row of weights.
    """
    return vectors.mean(0).square().mean()


class TowerStage(DrawsAhead):
    """Facts of sentences, matches of captions and pictures, labels of patches.

    Args:
        rendered: pools.   each: B, and P.
    """

    name = "towers"

    def __init__(
        self, model: NanoModel, rendered: RenderedSources, each: tuple[int, int] = (96, 48), bfloat16: bool = False
    ):
        self.model = TowerHeads(model)
        self.rendered, self.each, self.bfloat16 = rendered, each, bfloat16

    def batch(self, generator: torch.Generator) -> Lesson:
        return self.drawn(generator)

    def draw(self, generator: torch.Generator) -> Lesson:
        """A lesson; a function of the generator's state alone."""
        count, pairs = self.each
        usual, bound = list(TASKS), sorted(ONE_THING)
        tasks = [usual[i] for i in below(len(usual), count // 2, generator)]
        tasks += [bound[i] for i in below(len(bound), count - count // 2, generator)]
        said, known = sentences(tasks, self.rendered, generator)
        return Lesson(said, known, *self._pairs(pairs, generator))

    def _pairs(self, n: int, generator: torch.Generator) -> tuple[Tensor, list[str], Tensor, Tensor]:
        scenes, figures = self.rendered.scenes, self.rendered.figures
        people = round(PEOPLE * n)
        persons = torch.tensor(below(len(figures), people, generator), dtype=torch.int64)
        index = torch.tensor(below(len(scenes), n - people, generator), dtype=torch.int64)
        texts = [scenes.captions[i] for i in index.tolist()] + [figures.captions[i] for i in persons.tolist()]
        captions = [found[below(len(found), 1, generator)[0]] for found in texts]
        bare = (torch.rand(n, generator=generator) < BARE).tolist()
        drawn = TASKS["text_to_image"]
        captions = [
            caption if plain else drawn.instruction(generator, caption=caption)
            for caption, plain in zip(captions, bare, strict=True)
        ]
        pictures = torch.cat((scenes.picture(index), figures.picture(persons))) * 2 - 1
        labels = without_hints(scenes.patches[index].float(), torch.zeros(len(index), dtype=torch.bool))
        labels = torch.cat((labels, labels.new_zeros(people, *labels.shape[1:])))
        return pictures, captions, labels, torch.arange(n) < n - people

    def loss(self, batch: Lesson, generator: torch.Generator) -> tuple[Tensor, Records]:
        """Sum of the losses, and each with the shares of facts and matches that are right."""
        place = self.model.sharpness.device
        wanted, labels = batch.facts.to(place), batch.labels.to(place)
        with torch.autocast(place.type, torch.bfloat16, enabled=self.bfloat16):
            *said, task = self.model.said(batch.sentences)
            likeness, patches, picture = self.model.matches(batch.pictures.to(place), batch.captions)
        records: Records = {}
        common = off_centre(task.float()), off_centre(picture.float())
        total = CENTRING * sum(common)
        records |= {"common/task": (float(common[0].detach()), 1), "common/picture": (float(common[1].detach()), 1)}
        for tower, logits in zip(("text", "task"), said, strict=True):
            for (name, _), part, value in zip(
                FACTS.items(), logits.float().split(list(FACTS.values()), 1), wanted.T, strict=True
            ):
                asked = value != UNKNOWN
                if not bool(asked.any()):
                    continue
                total = total + F.cross_entropy(part, value, ignore_index=UNKNOWN)
                right = (part.argmax(1) == value) & asked
                records[f"{tower}/{name}"] = (float(right.sum()), int(asked.sum()))
        own = torch.arange(len(likeness), device=place)
        likeness = likeness.float()
        total = total + F.cross_entropy(likeness, own) + F.cross_entropy(likeness.T, own)
        records["match"] = (float((likeness.argmax(1) == own).sum()), len(own))
        seen = label_losses(patches.float(), labels_by_token(labels, patches.shape[-1]), batch.known.to(place))
        for name, value in seen.items():
            total = total + value.mean()
            records[f"patch/{name}"] = (float(value.detach().sum()), int(batch.known.sum()))
        return total, records


@torch.no_grad()
def likeness(model: NanoModel, first: str, second: str) -> float:
    """Cosine between the task vectors of two sentences."""
    one, other = model.task.encode([first, second])
    return float(F.cosine_similarity(one, other, dim=0))
