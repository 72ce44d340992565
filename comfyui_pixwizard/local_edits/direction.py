"""Whether a picture changed in the direction that an instruction asks for, by a model's own small towers.

CLIP's direction compares the change of a picture with the change of its caption; who edits has an instruction and no
captions. So the two sides here are the instruction's task vector and the change of the picture's mean image token, and
the common space is the one in which both vary together over rendered edits (`training.recipes.direction_fit`).
Shapes: B pictures, w width of task vectors, N image tokens of width v, k dimensions of the common space.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..files.safe_files import Spec, read_tensors, write_safetensors

DIRECTION_FILE = "direction.safetensors"
# What the towers of a probe were given, and how far, relative, its values may be off for another precision.
PROBE_WORDS, PROBE_SIDE, PRECISION = "Make the ball red.", 96, 0.1


@dataclass(frozen=True)
class Direction:
    """Two linear maps into a common space.

    Attributes:
        words, words_mean: [k, w] and [w], of normed task vectors.
        picture, picture_mean: [k, v] and [v], of changes of mean image tokens.
        probe: what the towers that it was fitted to make of one sentence and one picture, see `probe_of`.
    """

    words: Tensor
    words_mean: Tensor
    picture: Tensor
    picture_mean: Tensor
    probe: Tensor

    def agreement(self, task_vectors: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Cosine [B] of the change that sentences ask for and the one that pictures show.

        Args:
            task_vectors: [B, w].   before, after: image tokens [B, N, v].
        """
        asked = (of_words(task_vectors) - self.words_mean.to(task_vectors.device)) @ self.words.T.to(task_vectors)
        shown = (of_change(before, after) - self.picture_mean.to(before.device)) @ self.picture.T.to(before)
        return F.cosine_similarity(asked, shown.to(asked), dim=1)

    def save(self, folder: str | Path) -> None:
        """Write DIRECTION_FILE into a model's folder."""
        values = {name: value.float().cpu().contiguous() for name, value in asdict(self).items()}
        specs = {name: Spec(torch.float16, tuple(value.shape)) for name, value in values.items()}
        write_safetensors(Path(folder) / DIRECTION_FILE, specs, lambda names: {n: values[n] for n in names}, {})

    @classmethod
    def read(cls, folder: str | Path) -> Direction | None:
        """That of a model's folder; None where it has none.

        Raises:
            ValueError: the file is broken or something else.
        """
        path = Path(folder) / DIRECTION_FILE
        if not path.is_file():
            return None
        values = {name: value.float() for name, value in read_tensors(path).items()}
        wanted = {field.name for field in fields(cls)}
        if set(values) != wanted:
            raise ValueError(
                f"{path} should hold {', '.join(sorted(wanted))}, found {', '.join(sorted(values))}: fit it again with "
                "pixwizard train direction"
            )
        return cls(**values)

    def check(self, task_encoder: Any, image_encoder: Any) -> None:
        """Refuse the towers of another model.

        Raises:
            ValueError: it was fitted to others.
        """
        found, wanted = probe_of(task_encoder, image_encoder), self.probe
        if found.shape != wanted.shape or (found - wanted).norm() > PRECISION * wanted.norm():
            raise ValueError(
                f"{DIRECTION_FILE} was fitted to other encoders than this model has: fit it again with pixwizard train "
                "direction"
            )


def of_words(task_vectors: Tensor) -> Tensor:
    """Task vectors [B, w], normed."""
    return F.layer_norm(task_vectors.float(), task_vectors.shape[-1:])


def of_change(before: Tensor, after: Tensor) -> Tensor:
    """Change [B, v] of the mean of image tokens [B, N, v]."""
    return after.float().mean(1) - before.float().mean(1)


@torch.inference_mode()
def probe_of(task_encoder: Any, image_encoder: Any) -> Tensor:
    """What two towers make of one sentence and one picture, [w + v], by which others are told from them."""
    ramp = torch.linspace(-1, 1, PROBE_SIDE)
    picture = torch.stack((ramp.expand(PROBE_SIDE, -1), ramp[:, None].expand(-1, PROBE_SIDE), -ramp * ramp[:, None]))
    weight = next(image_encoder.parameters())
    tokens = image_encoder.encode(picture[None].to(weight.device, weight.dtype))
    words = of_words(task_encoder.encode([PROBE_WORDS]))[0]
    return torch.cat((words.cpu(), F.layer_norm(tokens.float().mean(1), tokens.shape[-1:])[0].cpu()))
