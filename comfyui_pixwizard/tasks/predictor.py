"""Which task a sentence asks for, or none: a small network on the sentence's features and the model's own task vector.

Shapes: B sentences, P task vector, w width, K tasks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .language.sentence_features import Features, features
from .registry import TASKS

BUCKETS, WIDTH, HIDDEN = 2**14, 64, 128
# A task with a smaller probability is none.
LEAST = 0.2
# Without a picture a task that needs none is taken with this probability already.
LEAST_ALONE = 0.1


class TaskPredictor(nn.Module):
    """Probabilities of tasks, and of none of them.

    Args:
        names: of the K tasks.
        words: stems that it knows, see `language.sentence_features`.
        pooled: P, width of the task vectors.

    Raises:
        ValueError: no tasks, or one twice.
    """

    def __init__(
        self,
        names: Sequence[str],
        words: Sequence[str],
        pooled: int,
        buckets: int = BUCKETS,
        width: int = WIDTH,
        hidden: int = HIDDEN,
    ) -> None:
        super().__init__()
        if not names or len(set(names)) < len(names):
            found = ", ".join(names) or "none"
            raise ValueError(f"a predictor knows tasks, each once, found {found}: leave others out")
        self.names, self.words, self.buckets = tuple(names), tuple(words), buckets
        self.known = frozenset(words)
        self.bag = nn.EmbeddingBag(buckets, width, mode="sum")
        nn.init.normal_(self.bag.weight, std=0.1)
        self.pooled = nn.Sequential(nn.LayerNorm(pooled), nn.Linear(pooled, width))
        self.head = nn.Sequential(
            nn.LayerNorm(2 * width), nn.Dropout(0.2), nn.Linear(2 * width, hidden), nn.GELU(), nn.Dropout(0.2),
            nn.Linear(hidden, len(names) + 1),
        )  # fmt: skip

    @property
    def width(self) -> int:
        """P, width of the task vectors that it reads."""
        first = self.pooled[1]
        assert isinstance(first, nn.Linear)
        return first.in_features

    def forward(self, found: Sequence[Features], vectors: Tensor) -> Tensor:
        """Logits [B, K + 1] of features and task vectors [B, P]; the last is "none of these"."""
        place = self.bag.weight.device
        lengths = [0, *(len(one.buckets) for one in found[:-1])]
        offsets = torch.tensor(lengths, device=place).cumsum(0)
        buckets = torch.tensor([bucket for one in found for bucket in one.buckets], device=place)
        weights = torch.tensor([weight for one in found for weight in one.weights], device=place)
        read = self.bag(buckets, offsets, per_sample_weights=weights.to(self.bag.weight.dtype))
        vectors = vectors.to(place, self.bag.weight.dtype)
        return self.head(torch.cat((read, self.pooled(vectors)), dim=1))

    @torch.no_grad()
    def probabilities(self, sentences: Sequence[str], vectors: Tensor) -> Tensor:
        """[B, K + 1], float32 on the CPU.

        Args:
            vectors: the model's task vectors of the sentences [B, P].

        Raises:
            ValueError: vectors of another model.
        """
        if list(vectors.shape) != [len(sentences), self.width]:
            raise ValueError(
                f"task vectors must be {[len(sentences), self.width]} for this predictor, found "
                f"{list(vectors.shape)}: train one on this model with pixwizard train predictor"
            )
        found = [features(sentence, self.known, self.buckets) for sentence in sentences]
        return self(found, vectors).float().softmax(dim=1).cpu()

    def predict(self, sentences: Sequence[str], vectors: Tensor, *, has_image: bool = True) -> list[str | None]:
        """The task of each sentence, None for "none of these" and where none is likely.

        Args:
            vectors: see `probabilities`.
            has_image: without a picture, a task that needs none comes first.
        """
        if not sentences:
            return []
        chosen: list[str | None] = []
        for sentence, row in zip(sentences, self.probabilities(sentences, vectors), strict=True):
            alone = [] if has_image else [i for i, name in enumerate(self.names) if not TASKS[name].needs_image]
            likely = [i for i in alone if float(row[i]) >= LEAST_ALONE]
            best = max(likely, key=lambda i: float(row[i])) if likely else int(row.argmax())
            said = any(letter.isalnum() for letter in sentence)
            none = best == len(self.names) or not said or (not likely and float(row[best]) < LEAST)
            chosen.append(None if none else self.names[best])
        return chosen
