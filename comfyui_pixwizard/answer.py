"""What is asked for, by which task its answer is read, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from torch import Tensor

from .pictures.change import REFERENCES, ROUND_TRIP, Change
from .pictures.filling import Filling
from .pictures.images import resized, to_image, to_tensor
from .task_reader import TaskReader
from .tasks import TASKS, Task, get_task

# Domains of the paper whose answers are their source, changed; those of others are pictures of another kind.
SAME_PICTURE = {"restoration", "painting", "editing"}


@dataclass(frozen=True)
class Keeping:
    """Where the source is kept in an answer.

    Attributes:
        threshold: mean change, as a share of full scale, up to which nothing changed (`change.changed_share`); None
            takes the task's own, where it has one; that may be 0, see `tasks.defaults`.
        reference: a change from what: the "round-trip" of the source through the autoencoder, or the "source".

    Raises:
        ValueError: another reference, or a threshold that is not in 0 to 1.
    """

    threshold: float | None = None
    reference: str = ROUND_TRIP

    def __post_init__(self) -> None:
        if self.reference not in REFERENCES:
            raise ValueError(f"the reference is round-trip or source, found {self.reference!r}: take round-trip")
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise ValueError(f"the threshold lies above 0 and up to 1, found {self.threshold}: take 0.03")

    def threshold_for(self, task: Task | None) -> float | None:
        """The threshold for a task's answer, or for that to an instruction which fits no task; None changes all."""
        if task is None:
            return self.threshold
        given = self.threshold if task.domain in SAME_PICTURE else None
        return task.keep if given is None else given

    def told(self) -> dict[str, Any]:
        """What is not as usual, by name."""
        return {name: value for name, value in vars(self).items() if value != getattr(Keeping, name)}


@dataclass
class Result:
    """What a call returns.

    Attributes:
        image: the answer, at the input's size or, with keep_size=False, at the model's.
        label: what the answer stands for at the model's size (tensors: depth [H, W] metres, relative depth [H, W] from
            0 farthest to 1 nearest, normals [3, H, W], class ids [H, W], mask [H, W]); None unless asked for.
        seconds: "load", "encode", "denoise" and "decode"; of a local edit also "local", for the mask and the choice.
        settings: everything that is needed to make it again.
        change: what an edit changed or filled, where the rest of the picture is to be kept; None where the answer is a
            new one, or no larger picture can want it.
        label_kind: what the label is, see `pictures.labels`: "depth" is in metres, "relative" is not; None without one.
        mask: of a local edit [H, W] bool, where it happened, at the model's size.
        notes: what the model could not take in, in words.
    """

    image: Image.Image
    label: Any
    seconds: dict[str, float]
    settings: dict[str, Any] = field(default_factory=dict)
    change: Change | Filling | None = None
    label_kind: str | None = None
    mask: Tensor | None = None
    notes: tuple[str, ...] = ()

    def at_size_of(self, source: Image.Image) -> Image.Image:
        """The answer at the size of the source as it was before the model's size: a change is carried to it."""
        if self.change is None or self.image.size == source.size:
            return resized(self.image, source.size)
        return to_image(self.change.onto(to_tensor(source))[0])


def choose_task(instruction: str, task: str | None, has_image: bool, read: TaskReader | None = None) -> Task | None:
    """The named task, or the one that the instruction asks for, if any.

    Args:
        read: finds it; None guesses.

    Raises:
        ValueError: an empty instruction, an unknown task, or one that needs a picture when there is none.
    """
    if not instruction.strip():
        raise ValueError("an instruction must say what to do, found an empty one: for example 'Remove the noise'")
    name = task or (read or TaskReader())([instruction], has_image=has_image)[0]
    chosen = None if name is None else get_task(name)
    if chosen is not None and chosen.needs_image and not has_image:
        raise ValueError(
            f"task {chosen.name} needs a picture, found none: give one, or name task text_to_image to draw one"
        )
    return chosen if chosen is not None or has_image else TASKS["text_to_image"]


def choose_reader(chosen: Task | None, decode: bool | str | None) -> Task | None:
    """The task by which an answer is read, if it is to be: a named one, or the chosen one for True.

    Raises:
        ValueError: an unknown task, or True without a chosen one.
    """
    if isinstance(decode, str):
        return get_task(decode)
    if decode and chosen is None:
        raise ValueError(
            f"decode needs to know the task, found none that fits the instruction: name one of {', '.join(TASKS)}"
        )
    return chosen if decode else None
