"""`pixwizard eval tokens`: a picture of which image tokens each task chooses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass
class EvalTokens:
    """Draw which parts of a picture each task's token samplers keep, as bright as many layers keep them.

    Each layer keeps as many image tokens for every task; which ones depends on the task and on the picture (section 3.2
    of the paper, its Figure 3).
    """

    out: Annotated[Path, tyro.conf.Positional]
    """The picture to write, PNG."""
    model: str = "nano"
    """The bundled model, nano, or a folder."""
    photo: Path | None = None
    """A picture to look at; by default a rendered scene."""
    tasks: tuple[str, ...] = (
        "denoise", "dehaze", "low_light", "depth", "normal", "segmentation", "canny", "referring_mask", "edit_remove",
        "edit_recolor", "edit_background",
    )  # fmt: skip
    """Tasks to compare."""
    caption: str = "the sphere"
    """What sentences name, where a task needs a thing."""
    color: str = "red"
    """The colour that sentences name, where a task needs one."""
    seed: int = 0
    """Of the rendered scene."""
    json: Path | None = None
    """Write the tokens that each layer keeps, by task, to this file."""

    def run(self) -> int:
        """Write the picture and print how much of the choices tasks share.

        Raises:
            ValueError: no such model, picture or task, or a place that cannot be written.
        """
        from ..comfyui_pixwizard.files.safe_files import replaced, write_json
        from ..comfyui_pixwizard.pictures.images import open_picture, unit_to_image
        from ..comfyui_pixwizard.pipeline import PixWizardPipeline
        from ..training.evaluate.scene_samples import SceneSet
        from ..training.evaluate.token_choice import chosen_tokens, overlaps, sentence_of, sheet

        if self.out.suffix.lower() != ".png":
            raise ValueError(f"the picture is a .png file, found {self.out}: name one")
        if len(set(self.tasks)) < 2:
            raise ValueError(f"--tasks compares two tasks or more, found {len(set(self.tasks))}: name another")
        words = {"caption": self.caption, "color": self.color}
        instructions = [sentence_of(task, words) for task in self.tasks]
        if self.photo is None:
            picture = unit_to_image(SceneSet(1, 128, self.seed, "test").rendered.image[0])
        else:
            picture = open_picture(self.photo)
        kept = chosen_tokens(PixWizardPipeline.from_pretrained(self.model), picture, instructions)
        with replaced(self.out) as file:
            sheet(picture, self.tasks, instructions, kept).save(file, "PNG")
        if self.json is not None:
            told = {
                task: [row.nonzero()[:, 0].tolist() for row in one] for task, one in zip(self.tasks, kept, strict=True)
            }
            write_json(self.json, {"tokens": kept.shape[-1], "tasks": told})
        count, total = int(kept[0, 0].sum()), kept.shape[-1]
        common = overlaps(kept)
        others = (common.sum() - common.trace()) / (len(common) * (len(common) - 1))
        print(f"wrote {self.out}: each of {kept.shape[1]} layers keeps {count} of {total} tokens")
        print(f"two tasks have {float(others):.2f} of them in common, by chance it would be {count / total:.2f}")
        return 0
