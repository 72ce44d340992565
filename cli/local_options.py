"""Options of `pixwizard run` for edits of one thing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    from ..comfyui_pixwizard.local_edits.edit import LocalEdit
    from ..comfyui_pixwizard.tasks import Task

WORDS = ("auto", "detector")


@dataclass(frozen=True)
class LocalOptions:
    """Edits of one thing."""

    local_mask: Annotated[str | None, tyro.conf.arg(metavar="auto|detector|FILE")] = None
    """Edit only a part of the picture and keep the rest as it is, bit for bit. auto: the model finds the thing that
    the instruction is about; detector: networks of your own find it; or a picture of the same shape, white where to
    edit."""
    local_form: Literal["best", "exact", "dilated", "box"] = "best"
    """Of the mask: as it is, larger with a soft edge, or its bounding box; best makes an answer of each and takes the
    one that follows the instruction best and changes least beside the thing."""
    local_thing: Annotated[str | None, tyro.conf.arg(metavar="WORDS")] = None
    """What auto and detector look for; taken from the instruction by default."""
    detector: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """With --local-mask detector: a folder of GroundingDINO in transformers' form, safetensors."""
    segmenter: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """With --local-mask detector: a folder of SAM in transformers' form, safetensors."""

    def edit(self, instruction: str, task: Task | None) -> LocalEdit | None:
        """What is asked for, with the thing of an instruction; None where nothing is.

        Raises:
            ValueError: options that do not go together, a mask that cannot be read, a thing that cannot be told.
            FileNotFoundError: no such mask.
        """
        from ..comfyui_pixwizard.files.digests import model_fingerprint
        from ..comfyui_pixwizard.files.safe_files import sha256_of
        from ..comfyui_pixwizard.local_edits.edit import DETECTOR, LocalEdit
        from ..comfyui_pixwizard.pictures.images import open_picture

        folders = {
            name: None if path is None else str(path.expanduser().absolute())
            for name, path in (("detector", self.detector), ("segmenter", self.segmenter))
        }
        if self.local_mask is None:
            others = [name for name in ("local_thing", *folders) if getattr(self, name) is not None]
            if self.local_form != LocalOptions.local_form:
                others.append("local_form")
            if others:
                raise ValueError(
                    f"--{others[0].replace('_', '-')} says how a part is edited, found no --local-mask beside it: add "
                    "--local-mask auto"
                )
            return None
        mask, digest = self.local_mask, None
        if mask not in WORDS:
            path = Path(mask).expanduser()
            open_picture(path)
            mask, digest = str(path.absolute()), sha256_of(path)
        detector, segmenter = folders["detector"], folders["segmenter"]
        if mask == DETECTOR and detector and segmenter:
            digest = " ".join(model_fingerprint(Path(folder)) for folder in (detector, segmenter))
        return LocalEdit(mask, self.local_form, self.local_thing, detector, segmenter, digest).about(instruction, task)
