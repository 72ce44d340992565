"""Finds the task of a sentence: by a model's predictor, or by `guess_task` where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .encoders.offload import brought
from .tasks import guess_task
from .tasks.predictor import TaskPredictor


class TaskReader:
    """What says which tasks sentences ask for.

    Args:
        predictor: the model's; None for the guess.
        encoder: the model's task encoder, which a predictor reads.

    Raises:
        ValueError: a predictor of another model.
    """

    def __init__(self, predictor: TaskPredictor | None = None, encoder: Any = None) -> None:
        if predictor is not None and predictor.width != encoder.features:
            raise ValueError(
                f"task_predictor must read task vectors of width {encoder.features} for this model, found "
                f"{predictor.width}: train one on it with pixwizard train predictor"
            )
        self.predictor, self.encoder = predictor, encoder

    @torch.inference_mode()
    def __call__(self, sentences: Sequence[str], *, has_image: bool = True) -> list[str | None]:
        """The task of each sentence, None where it asks for none of them.

        Args:
            has_image: without a picture, a task that needs none comes first.
        """
        if self.predictor is None or not sentences:
            return [guess_task(sentence, has_image=has_image) for sentence in sentences]
        with brought(self.encoder, self.predictor.bag.weight.device):
            vectors = self.encoder.encode(list(sentences))
        return self.predictor.predict(sentences, vectors, has_image=has_image)
