"""What a score looks at, and what a score is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class Judged:
    """A sample before it is one.

    Attributes:
        target, source: RGB pictures of any size; no source where none is stored.
        captions: of the target; of an edit the input's and the result's, where both are known.
        instructions: given sentences, of a pair.
        task: what the pair counts as, "" for none.
    """

    target: Image.Image
    source: Image.Image | None = None
    captions: Sequence[str] = ()
    instructions: Sequence[str] = ()
    task: str = ""


# None where it does not apply to a sample, which it then lets through.
Score = Callable[[Judged], float | None]
