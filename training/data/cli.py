"""`pixwizard data`: look at what a model is trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass
class Data:
    """Draw training pairs as a picture: for each task what the model sees, what it should make of it, the sentence.

    The material is rendered for it in small (about a minute), or taken from the pools of a run.
    """

    action: Annotated[Literal["preview"], tyro.conf.Positional]
    """What to do: preview writes a contact sheet."""
    task: tuple[str, ...] = ("all",)
    """Tasks to show; all by default."""
    out: Path = Path("preview.jpg")
    """The picture, JPEG or PNG."""
    pairs: int = 2
    """Pairs of each task."""
    size: int = 128
    """Side of the pictures, 128 or 256."""
    scenes: int = 24
    """Scenes to render; the number of people and faces follows."""
    seed: int = 0
    """Seed of the pairs."""

    def run(self) -> int:
        """Write the contact sheet. Raises ValueError for unknown tasks or sizes."""
        from tqdm import tqdm

        from ...comfyui_pixwizard.safe_files import replaced
        from .builders import BUILDERS
        from .preview import contact_sheet, small_material

        names = list(BUILDERS) if self.task == ("all",) else list(self.task)
        unknown = [name for name in names if name not in BUILDERS]
        if unknown:
            raise ValueError(f"--task takes all, or some of {', '.join(BUILDERS)}; found {unknown[0]}: leave it out")
        if self.size not in (128, 256) or self.pairs < 1 or self.scenes < 8:
            found = f"{self.size}, {self.pairs} and {self.scenes}"
            raise ValueError(f"--size is 128 or 256, --pairs at least 1, --scenes at least 8; found {found}: change it")
        if self.out.suffix.lower() not in (".jpg", ".jpeg", ".png"):
            raise ValueError(f"--out is a .jpg or .png file, found {self.out}: name one")
        material = small_material(self.size, self.scenes, self.seed)
        sheet = contact_sheet(material, tqdm(names, unit="task"), self.pairs, self.seed)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        with replaced(self.out) as file:
            sheet.save(file, "PNG" if self.out.suffix.lower() == ".png" else "JPEG", quality=90)
        print(f"wrote {self.out}: {len(names)} tasks, {self.pairs} pairs each (left what the model sees)")
        return 0
