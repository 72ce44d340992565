"""Whether a picture changed in the direction that an instruction asks for, by a model's own small towers.

CLIP's direction compares the change of a picture with the change of its caption; who edits has an instruction and no
captions. So the two sides here are the instruction's task vector and what changed in the picture's image tokens, and
two linear maps bring both to a space in which they vary together over rendered edits; they are fitted by
`pixwizard train direction` and lie in the model's folder.
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
# Side in pixels at which pictures are compared: the tower's own resizing is none for large ones.
SIDE = 128
# What towers are told from others by, and how far, relative, its values may be off for another precision.
PROBE_WORDS, PRECISION = "Make the ball red.", 0.1


@dataclass(frozen=True)
class Direction:
    """Two affine maps into a common space.

    Attributes:
        asked_weight, asked_bias: [k, w] and [k], of `asked_features`.
        change_weight, change_bias: [k, 3 v] and [k], of `change_features`.
        probe: what the towers that it was fitted to make of one sentence and one picture, see `probe_of`.
    """

    asked_weight: Tensor
    asked_bias: Tensor
    change_weight: Tensor
    change_bias: Tensor
    probe: Tensor

    def agreement(self, asked: Tensor, change: Tensor) -> Tensor:
        """Cosine [B] of the change that sentences ask for and the one that pictures show.

        Args:
            asked: [B, w], of `asked_features`.   change: [B, 3 v], of `change_features`.
        """
        one = F.linear(asked, self.asked_weight, self.asked_bias)
        other = F.linear(change, self.change_weight, self.change_bias)
        return F.cosine_similarity(one, other, dim=1)

    def save(self, folder: str | Path) -> None:
        """Write DIRECTION_FILE into a model's folder.

        Raises:
            ValueError: the place cannot be written.
        """
        values = asdict(self)
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

    def check(self, tokens: Tensor, task_vectors: Tensor | None = None) -> None:
        """Refuse the towers of another model.

        Args:
            tokens: of `probe_picture` [1, N, v].
            task_vectors: of PROBE_WORDS [1, w]; None where only the image tower is at hand.

        Raises:
            ValueError: it was fitted to others.
        """
        width = self.asked_weight.shape[1]
        parts = [(self.probe[width:], _normed_mean(tokens))]
        parts += [] if task_vectors is None else [(self.probe[:width], asked_features(task_vectors)[0])]
        for wanted, found in parts:
            if found.shape != wanted.shape or (found - wanted).norm() > PRECISION * wanted.norm():
                raise ValueError(
                    f"{DIRECTION_FILE} was fitted to other encoders than this model has: fit it again with pixwizard "
                    "train direction"
                )


def asked_features(task_vectors: Tensor) -> Tensor:
    """Task vectors [B, w], normed."""
    return F.layer_norm(task_vectors.float(), task_vectors.shape[-1:])


def change_features(before: Tensor, after: Tensor) -> Tensor:
    """What changed between image tokens [B, N, v]: what was and is where most changed, and on the whole, [B, 3 v]."""
    before, after = before.float(), after.float()
    change = after - before
    weight = change.norm(dim=-1, keepdim=True)
    weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-6)
    return torch.cat(((before * weight).sum(1), (after * weight).sum(1), change.mean(1)), dim=1)


def shown_small(pictures: Tensor) -> Tensor:
    """Pictures [B, 3, H, W] at the size at which they are compared, [B, 3, SIDE, SIDE]."""
    if pictures.shape[-2:] == (SIDE, SIDE):
        return pictures
    small = F.interpolate(pictures, (SIDE, SIDE), mode="bicubic", align_corners=False, antialias=True)
    return small.clamp(-1, 1)


@torch.inference_mode()
def tokens_of(image_encoder: Any, pictures: Tensor) -> Tensor:
    """Image tokens [B, N, v] float32 on the CPU of pictures [B, 3, H, W] in [-1, 1]."""
    weight = next(image_encoder.parameters())
    return image_encoder.encode(shown_small(pictures).to(weight.device, weight.dtype)).float().cpu()


@torch.inference_mode()
def vectors_of(task_encoder: Any, sentences: list[str]) -> Tensor:
    """Task vectors [B, w] float32 on the CPU."""
    return task_encoder.encode(sentences).float().cpu()


def probe_picture() -> Tensor:
    """One picture [1, 3, SIDE, SIDE]: three ramps."""
    ramp = torch.linspace(-1, 1, SIDE)
    return torch.stack((ramp.expand(SIDE, -1), ramp[:, None].expand(-1, SIDE), -ramp * ramp[:, None]))[None]


def probe_of(task_vectors: Tensor, tokens: Tensor) -> Tensor:
    """What two towers make of PROBE_WORDS [1, w] and of `probe_picture` [1, N, v], [w + v]."""
    return torch.cat((asked_features(task_vectors)[0], _normed_mean(tokens)))


def _normed_mean(tokens: Tensor) -> Tensor:
    mean = tokens.float().mean(1)
    return F.layer_norm(mean, mean.shape[-1:])[0]
