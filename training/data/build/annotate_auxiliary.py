"""Annotators by controlnet-aux: poses and HED's own network."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from PIL import Image

from ....comfyui_pixwizard.optional import required
from .notes import Note

PACKAGE = "controlnet_aux"


class Auxiliary:
    """A detector of controlnet-aux: its picture is stored as it is drawn, at the size of what it was drawn from.

    Raises:
        ValueError: the package is not installed, or the folder is not what the detector reads.
    """

    def __init__(self, name: str, detector: str, folder: str, **options: Any):
        module = required(PACKAGE, f"annotator {name} needs controlnet-aux", "pip install controlnet-aux")
        if not folder:
            raise ValueError(f"annotator {name} needs a folder of weights, found none: set model")
        self.name = name
        try:
            self.detect: Any = getattr(module, detector).from_pretrained(folder)
        except Exception as error:  # the package raises whatever its reader does
            found = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"annotator {name} cannot use {folder}: {found}; give the folder of its weights"
            ) from error
        taken = inspect.signature(self.detect.__call__).parameters
        self.options = {key: value for key, value in options.items() if key in taken}
        if unknown := sorted(set(options) - set(taken)):
            raise ValueError(f"annotator {name} takes {', '.join(taken)}, found {unknown[0]!r}: leave it out")

    def __call__(self, pictures: Sequence[Image.Image], notes: Sequence[Note]) -> None:
        for picture, note in zip(pictures, notes, strict=True):
            drawn = self.detect(picture, output_type="pil", **self.options)
            note.maps[self.name] = drawn.convert("RGB").resize(picture.size, Image.Resampling.BILINEAR)
