"""What a task is: its words, its picture code and its defaults.

Shape legend: H, W pixels; labels and pictures may carry leading batch axes, `[..., H, W]` and `[..., 3, H, W]`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .defaults import DEFAULTS
from .language.paraphrase import paraphrase, raised
from .language.templates import PLACEHOLDER, PLURAL_OF, Form, Templates, plural, read_forms


@dataclass(frozen=True)
class Codec:
    """An invertible map between a label and a picture, with a measure of trust.

    encode(label, source, **options) -> picture [...,3,H,W] in [0,1]
    decode(picture, source, **options) -> label
    confidence(picture, source, **options) -> float in [0,1], 1 when the picture is exactly what encode makes
    kind: of the label that decode returns, where it is not the task's
    """

    name: str
    encode: Callable[..., Tensor]
    decode: Callable[..., Any]
    confidence: Callable[..., float]
    kind: str | None = None


def check_picture(picture: Any, name: str = "picture") -> Tensor:
    """The picture as a float tensor [...,3,H,W].

    Raises:
        ValueError: integer values or no channel axis of size 3.
    """
    tensor = torch.as_tensor(picture)
    if tensor.ndim < 3 or tensor.shape[-3] != 3 or not tensor.is_floating_point():
        shape = f"{tuple(tensor.shape)} {tensor.dtype}"
        raise ValueError(
            f"a {name} is a float tensor [..., 3, H, W] in [0, 1], found {shape}: divide bytes by 255, channels first"
        )
    return tensor.float()


def check_source(source: Any, like: Tensor, why: str) -> Tensor:
    """The source picture, which this codec cannot do without, broadcast against a [...,H,W] shape.

    Raises:
        ValueError: no source, or one of another size.
    """
    if source is None:
        raise ValueError(f"{why} needs the source picture, found none: pass source=<picture [..., 3, H, W]>")
    tensor = check_picture(source, "source")
    if tensor.shape[-2:] != like.shape[-2:]:
        sizes = f"{tuple(tensor.shape[-2:])} and {tuple(like.shape[-2:])}"
        raise ValueError(f"{why} needs a source of the same size, found {sizes}: resize one of them first")
    return tensor


def _same(picture: Any, source: Any = None) -> Tensor:
    return check_picture(picture)


IDENTITY = Codec("picture", _same, _same, lambda picture, source=None: 1.0)


@dataclass(frozen=True)
class Task:
    """One thing that the model can be asked to do.

    Attributes:
        name: key in TASKS.
        domain: one of the seven domains of the paper (section 3.1).
        summary: one line for a list of tasks.
        codecs: picture codes by name; the first one is the default.
        kind: what the default codec's decode returns, one of "image", "depth", "normal", "classes", "mask", "boxes",
            "keypoints", "pose", "edges".
        needs_image: False when the task starts from a blank canvas.
    """

    name: str
    domain: str
    summary: str
    kind: str = "image"
    codecs: Mapping[str, Codec] = field(default_factory=lambda: {"picture": IDENTITY})
    needs_image: bool = True

    @property
    def guidance(self) -> tuple[float, float]:
        """Default guidance weights (text, image)."""
        return DEFAULTS[self.name].guidance

    @property
    def steps(self) -> int:
        """Default number of points of the time grid."""
        return DEFAULTS[self.name].steps

    @property
    def keep(self) -> float | None:
        """Threshold below which a change is none and the source stays; see `defaults.Defaults`."""
        return DEFAULTS[self.name].keep

    @property
    def enlarged(self) -> bool:
        """Whether a larger picture gets the answer enlarged, and not the change."""
        return DEFAULTS[self.name].enlarged

    @property
    def fills(self) -> bool:
        """Whether its answer fills holes, outside of which the source stays; see `pictures.filling`."""
        return self.domain == "painting"

    @cached_property
    def forms(self) -> Mapping[Form, Templates]:
        """Sentences in our own words by the words that fill them; of the usual form, the first, at least thirty."""
        return read_forms(self.name)

    @property
    def instructions(self) -> tuple[str, ...]:
        """The templates of the usual form that training draws from; the first is the one to show."""
        return self.forms[self.words].drawn

    @property
    def held_out(self) -> tuple[str, ...]:
        """The templates of the usual form that training never draws."""
        return self.forms[self.words].held_out

    @cached_property
    def words(self) -> Form:
        """Placeholders of the usual form, sorted."""
        return next(iter(self.forms))

    def instruction(self, generator: torch.Generator | None = None, **words: str) -> str:
        """One instruction: a drawn template of the form that takes these words, paraphrased.

        Without a generator it is the first template of the form as it stands.

        Raises:
            ValueError: a word that a template of the form needs is missing or empty, or no form takes the words.
        """
        return self._worded(generator, words, held_out=False)

    def held_out_instruction(self, generator: torch.Generator | None = None, **words: str) -> str:
        """The same in wordings that training never draws: other templates, and other synonyms and polite forms."""
        return self._worded(generator, words, held_out=True)

    def _worded(self, generator: torch.Generator | None, words: Mapping[str, str], *, held_out: bool) -> str:
        form = tuple(sorted(words)) if tuple(sorted(words)) in self.forms else self.words
        missing = [name for name in form if not str(words.get(name) or "").strip()]
        if missing:
            needs = ", ".join(form)
            raise ValueError(
                f"task {self.name} needs the words {needs}; missing: {', '.join(missing)}: pass {missing[0]}='…'"
            )
        unknown = sorted(set(words) - set(form))
        if unknown:
            takes = ", ".join(form) or "no words"
            raise ValueError(f"task {self.name} takes {takes}, found {', '.join(unknown)}: leave it out")
        templates = self.forms[form].held_out if held_out else self.forms[form].drawn
        if generator is None:
            return fill(templates[0], words)
        index = int(torch.randint(len(templates), (), generator=generator, device=generator.device))
        return fill(paraphrase(templates[index], generator, held_out=held_out), words)

    def codec(self, name: str | None = None) -> Codec:
        """The codec of a name, by default the first.

        Raises:
            ValueError: the task has no codec of this name.
        """
        if name is None:
            return next(iter(self.codecs.values()))
        if name not in self.codecs:
            raise ValueError(
                f"task {self.name} has the codecs {', '.join(self.codecs)}, found {name!r}: choose one of them"
            )
        return self.codecs[name]

    def label_kind(self, codec: str | None = None) -> str:
        """What decode returns with this codec: the task's kind, or the codec's own, as "relative" for depth."""
        return self.codec(codec).kind or self.kind

    def encode(self, label: Any, source: Any = None, *, codec: str | None = None, **options: Any) -> Tensor:
        """Picture [...,3,H,W] in [0,1] that stands for a label; errors as the codec's."""
        return self.codec(codec).encode(label, source, **options)

    def decode(self, image: Any, source: Any = None, *, codec: str | None = None, **options: Any) -> Any:
        """Label that a picture stands for, however noisy the picture; errors as the codec's."""
        return self.codec(codec).decode(image, source, **options)

    def confidence(self, image: Any, source: Any = None, *, codec: str | None = None, **options: Any) -> float:
        """How much a picture looks like one of this task's code, in [0,1]; of an empty mask, that it is one."""
        return self.codec(codec).confidence(image, source, **options)

    def trust(self, image: Any, source: Any = None, *, codec: str | None = None, **options: Any) -> float:
        """`confidence`, given the options of `decode`, some of which change nothing about it."""
        known = inspect.signature(self.codec(codec).confidence).parameters
        kept = {name: value for name, value in options.items() if name in known}
        return self.confidence(image, source, codec=codec, **kept)


def fill(template: str, words: Mapping[str, str]) -> str:
    """Put the words in place of the placeholders, without their closing full stop; `a {color}` can be `an orange`."""

    def word(match: re.Match[str]) -> str:
        name = match.group(2)
        text = str(words[PLURAL_OF.get(name, name)]).strip().rstrip(".")
        text = plural(text) if name in PLURAL_OF else text
        # A caption that opens with a capital article sits inside a sentence here.
        text = text[0].lower() + text[1:] if re.match(r"(A|An|The|Two|Three|Four|One) ", text) else text
        article = match.group(1) or ""
        return f"{article.strip()}n {text}" if article and text[0] in "aeiou" else article + text

    text = PLACEHOLDER.sub(word, template)
    return raised(text) if template[0].isupper() or template[0] == "{" else text
