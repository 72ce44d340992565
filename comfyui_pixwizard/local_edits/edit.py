"""One thing of a picture edited and nothing else: a candidate for each form of a mask, the best of them chosen.

Outside of the mask every step's latents are the source's, on its way from the sampling's own noise (`sampling.Held`),
so the answer fits into the picture that is kept round it; then the picture's own pixels stand there.
After Emu Edit (arXiv 2311.10089), which makes its data so: a candidate a form, the best by CLIP.
Shapes: n candidates, H, W pixels; pictures [n, 3, H, W] in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..answer import SAME_PICTURE, Keeping, Result
from ..evaluator import Branch
from ..pictures.buckets import Size
from ..pictures.change import SOURCE, Change, find_change
from ..pictures.images import Picture, to_tensor
from ..sampling import Held
from ..tasks import Task, get_task
from ..tasks.language.things import thing_of
from .direction import (
    DIRECTION_FILE,
    PROBE_WORDS,
    Direction,
    asked_features,
    change_features,
    probe_picture,
    tokens_of,
    vectors_of,
)
from .forms import FORMS, LATENT_PIXEL, in_form, latent_share
from .masks import read_mask

AUTO, DETECTOR, BEST = "auto", "detector", "best"
CHOICES = (BEST, *FORMS)
# Of the share of a candidate's change that lies outside of the exact mask, beside the direction's cosine.
OUTSIDE_WEIGHT = 0.5


@dataclass(frozen=True)
class LocalEdit:
    """How a local edit is asked for.

    Attributes:
        mask: where: "auto" has the model itself find the thing (its task referring_mask), "detector" has networks of
            the user's own find it; else a picture, a file, an array or a tensor, white or true where to edit, see
            `masks.read_mask`.
        form: one of `forms.FORMS`; "best" makes a candidate of each and takes the one of the highest score.
        thing: what "auto" and "detector" look for; None takes it from the instruction.
        detector, segmenter: folders of the networks, see `detector.Finder`.
        digest: of the mask's file, or of the networks; it changes no answer, but tells those of one mask from those of
            another.
        shape: (width, height) of the picture that the mask is of; None for that of the picture that is edited.

    Raises:
        ValueError: another form, a detector without its folders or folders without it, a thing beside a mask.
    """

    mask: Any = AUTO
    form: str = BEST
    thing: str | None = None
    detector: str | None = None
    segmenter: str | None = None
    digest: str | None = None
    shape: Size | None = None

    def __post_init__(self) -> None:
        folders = [folder for folder in (self.detector, self.segmenter) if folder is not None]
        if len(folders) != (2 if self._asks(DETECTOR) else 0):
            raise ValueError(
                "a detector is asked for as mask 'detector' with the folders of a detector and a segmenter (--detector "
                f"DIR --segmenter DIR), found {', '.join(folders) or 'none'}: name both, or take mask 'auto'"
            )
        if self.thing is not None and not self.looks:
            raise ValueError(
                f"a thing is looked for where no mask is given, found {self.thing!r} beside a mask: leave one out"
            )
        if self.form not in CHOICES:
            raise ValueError(f"a local edit has the form {', '.join(CHOICES)}, found {self.form!r}: choose one of them")

    @property
    def forms(self) -> tuple[str, ...]:
        """Those of the candidates."""
        return FORMS if self.form == BEST else (self.form,)

    @property
    def looks(self) -> bool:
        """Whether the thing has to be found."""
        return self._asks(AUTO) or self._asks(DETECTOR)

    def _asks(self, word: str) -> bool:
        return isinstance(self.mask, str) and self.mask == word

    def find(self, model: Editor, picture: Image.Image, seed: int) -> Tensor:
        """The mask [h, w] bool of the thing in a picture.

        Raises:
            ValueError: nothing is found, or no detector in its folder.
        """
        thing = str(self.thing)
        if self._asks(AUTO):
            return find_thing(model, picture, thing, seed)
        from .detector import Finder

        found = Finder.shared(self.detector, self.segmenter)(picture, thing)
        return _checked(found, "detector", thing)

    def about(self, instruction: str, task: Task | None) -> LocalEdit:
        """The same with the thing that an instruction is about, where it has to be found.

        Raises:
            ValueError: the task makes another picture, or no thing can be told from the instruction.
        """
        if task is not None and task.domain not in SAME_PICTURE:
            raise ValueError(
                f"a local edit changes a part of a picture, found task {task.name}, which makes a new one: leave the "
                "mask out"
            )
        if not self.looks or self.thing is not None:
            return self
        thing = thing_of(instruction)
        if thing is None:
            raise ValueError(
                f"the thing to edit is taken from the instruction, found none in {instruction!r}: name it "
                "(--local-thing 'the red ball'), or give a mask"
            )
        return replace(self, thing=thing)


class Editor(Protocol):
    """What a local edit needs of a pipeline."""

    task_encoder: Any
    image_encoder: Any

    @property
    def direction(self) -> Direction | None:
        """By which candidates are compared."""

    def __call__(self, *arguments: Any, **options: Any) -> Result:
        """Do what an instruction says."""

    def round_trip(self, pictures: Tensor) -> Tensor:
        """Pictures through the autoencoder and back."""


@dataclass(frozen=True)
class Candidates:
    """What was made of a mask, one a form.

    Attributes:
        mask: [H, W] bool.
        pictures: finished, [n, 3, H, W].
        change: of all of them.
        scores: by form; empty where there was nothing to choose.
        best: number of the chosen one.
    """

    mask: Tensor
    forms: tuple[str, ...]
    pictures: Tensor
    change: Change
    scores: dict[str, float]
    best: int

    @property
    def picture(self) -> Tensor:
        """The chosen one, [1, 3, H, W]."""
        return self.pictures[self.best : self.best + 1]

    @property
    def chosen_change(self) -> Change:
        """Its change, for a larger picture."""
        one = slice(self.best, self.best + 1)
        return Change(self.change.answer[one], self.change.reference, self.change.share[one])

    def told(self) -> dict[str, Any]:
        """For the settings of a result."""
        scores = ", ".join(f"{form} {score:.3f}" for form, score in self.scores.items())
        return {"local_form": self.forms[self.best], **({"local_scores": scores} if scores else {})}


def make_candidates(
    source: Tensor,
    mask: Tensor,
    forms: tuple[str, ...],
    answers: Callable[[Tensor], Tensor],
    reference: Tensor,
    threshold: float | None,
    score: Callable[[Tensor], Tensor] | None,
) -> Candidates:
    """A candidate for each form, and the best of them.

    Args:
        source: [1, 3, H, W].   mask: [H, W] bool.
        answers: makes of shares [n, 1, H, W] of pixels as many answers.
        reference, threshold: where an answer changed nothing, see `change.find_change`; None takes all of it.
        score: of finished pictures [n, 3, H, W], [n], the higher the better; None where there is one form.
    """
    shares = torch.cat([in_form(mask, form) for form in forms])
    made = answers(shares).to(source)
    change = Change(made, reference, find_change(made, reference, threshold).share * shares)
    pictures = change.onto(source.expand(len(made), -1, -1, -1))
    if score is None:
        return Candidates(mask, forms, pictures, change, {}, 0)
    values = (score(pictures).to(source) - OUTSIDE_WEIGHT * outside_share(source, pictures, mask)).tolist()
    return Candidates(mask, forms, pictures, change, dict(zip(forms, values, strict=True)), values.index(max(values)))


def outside_share(source: Tensor, pictures: Tensor, mask: Tensor) -> Tensor:
    """The share [n] of what pictures [n, 3, H, W] change that lies outside of a mask [H, W]; 0 where none changes."""
    change = (pictures - source).abs().mean(1)
    outside = change * ~mask
    return outside.sum((1, 2)) / change.sum((1, 2)).clamp_min(1e-6)


def edit_locally(
    model: Editor,
    local: LocalEdit,
    picture: Image.Image | None,
    instruction: str,
    task: Task | None,
    keeping: Keeping | None,
    seed: int,
    answers: Callable[[Tensor, Tensor], Tensor],
) -> Candidates:
    """An edit of a picture that has the model's size.

    Args:
        keeping: where the source is kept inside of the mask too; None takes all of an answer there.
        seed: for finding the thing.
        answers: makes of sources [n, 3, H, W] and shares [n, 1, H, W] of their pixels as many answers.

    Raises:
        ValueError: no picture, no mask that can be used, or no thing to find.
    """
    if picture is None:
        raise ValueError("a local edit needs a picture, found a blank canvas: give one, or leave the mask out")
    local, source = local.about(instruction, task), to_tensor(picture)
    score = direction_score(model, source, instruction) if len(local.forms) > 1 else None
    if local.looks:
        found = local.find(model, picture, seed)
        mask = read_mask(found, picture.size, (found.shape[1], found.shape[0]))
    else:
        mask = read_mask(local.mask, picture.size, local.shape)
    compared = source if keeping is not None and keeping.reference == SOURCE else model.round_trip(source)
    threshold = None if keeping is None else keeping.threshold_for(task)
    return make_candidates(
        source, mask, local.forms, lambda shares: answers(source.expand(len(shares), -1, -1, -1), shares),
        compared.to(source), threshold, score,
    )  # fmt: skip


def find_thing(model: Editor, picture: Picture, thing: str, seed: int = 0) -> Tensor:
    """Mask [H, W] bool of what words name, at the model's size for the picture, by its task referring_mask.

    Raises:
        ValueError: nothing is found.
    """
    sentence = get_task("referring_mask").instruction(caption=thing)
    found = model(picture, sentence, task="referring_mask", seed=seed, keep_size=False, decode=True).label
    return _checked(found, "model", thing)


def _checked(found: Tensor, finder: str, thing: str) -> Tensor:
    if not bool(found.any()):
        raise ValueError(
            f"the {finder} finds nothing of {thing!r} in the picture: name the thing in other words (--local-thing), "
            "or give a mask"
        )
    return found


def direction_score(model: Editor, source: Tensor, instruction: str) -> Callable[[Tensor], Tensor]:
    """How well pictures [n, 3, H, W] follow an instruction about a source [1, 3, H, W], [n] in [-1, 1].

    Raises:
        ValueError: the model has no direction, or one of other encoders.
    """
    direction = needed(model.direction)
    words = vectors_of(model.task_encoder, [PROBE_WORDS, instruction])
    tokens = partial(tokens_of, model.image_encoder)
    direction.check(tokens(probe_picture()), words[:1])
    return partial(agreement_of, direction, tokens, words[1:], source)


def needed(direction: Direction | None) -> Direction:
    """A model's direction.

    Raises:
        ValueError: it has none.
    """
    if direction is None:
        raise ValueError(
            f"the best of several forms is chosen by the model's {DIRECTION_FILE}, found none in its folder: make it "
            f"with pixwizard train direction, or name a form ({', '.join(FORMS)})"
        )
    return direction


def agreement_of(
    direction: Direction, tokens: Callable[[Tensor], Tensor], asked: Tensor, source: Tensor, pictures: Tensor
) -> Tensor:
    """`Direction.agreement` [n] of pictures [n, 3, H, W] made of a source [1, 3, H, W].

    Args:
        tokens: image tokens of pictures.   asked: task vector [1, w] of the instruction.
    """
    seen = tokens(torch.cat((source, pictures)))
    change = change_features(seen[:1].expand(len(pictures), -1, -1), seen[1:])
    return direction.agreement(asked_features(asked).expand(len(pictures), -1), change)


def held_part(branches: Mapping[str, Branch], shares: Tensor) -> Held:
    """What a sampling leaves as the source's.

    Args:
        branches: of guidance.   shares: [B, 1, H, W] of the picture's pixels, before it is padded to whole tokens.

    Raises:
        ValueError: no branch sees the picture.
    """
    seen = next((branch.source for name, branch in branches.items() if name != "none"), None)
    if seen is None:
        raise ValueError(
            "a local edit keeps the picture that the model sees, found guidance that shows it none: raise the text or "
            "image guidance above 0"
        )
    rows, columns = seen.shape[-2] * LATENT_PIXEL, seen.shape[-1] * LATENT_PIXEL
    padded = F.pad(shares, (0, columns - shares.shape[-1], 0, rows - shares.shape[-2]), mode="replicate")
    return Held(seen.float(), latent_share(padded.to(seen.device, torch.float32)))
