"""`pixwizard demo`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass
class Demo:
    """Run every task on examples and write a page and a contact sheet.

    Restoration is shown on photographs that come with scikit-image, the rest on rendered scenes whose combinations of
    colour and shape training never showed. Nothing is downloaded.
    """

    out: Path = Path("demo")
    """A folder: index.html, images/ and contact_sheet.png."""
    seed: int = 0
    """Of scenes, degradations and noise."""
    size: int = 256
    """Side of the photographs, a multiple of 16."""
    scene_size: int = 128
    """Side of the scenes, a multiple of 16."""
    model: str = "nano"
    """The bundled model, nano, or a folder."""

    def run(self) -> int:
        """Write the page.

        Raises:
            ValueError: no such model, a size that cannot be used, an unwritable folder, scikit-image missing.
        """
        import time

        from tqdm import tqdm

        from ..comfyui_pixwizard.pictures.sizes import check_size
        from ..comfyui_pixwizard.pipeline import PixWizardPipeline
        from ..training.evaluate.examples import answer, examples
        from ..training.evaluate.samples import unmeasured_tasks
        from .demo_page import write_page, write_sheet

        start = time.perf_counter()
        check_size(self.size)
        check_size(self.scene_size)
        pipeline = PixWizardPipeline.from_pretrained(self.model)
        found = examples(self.size, self.scene_size, self.seed, pipeline.declared)
        with tqdm(found, unit="picture", leave=False) as bar:
            for example in bar:
                bar.set_description(example.task.name)
                answer(pipeline, example, self.seed)
        parameters = sum(p.numel() for part in pipeline.parts.values() for p in part.parameters())
        about = f"Model {self.model}, {parameters / 1e6:.1f} million parameters, on a CPU. Same seed, same pictures."
        page, sheet = write_page(self.out, found, about), write_sheet(self.out, found)
        for name, reason in unmeasured_tasks(pipeline.declared).items():
            print(f"{name} not shown: {reason}")
        print(f"wrote {page} and {sheet} ({len(found)} examples, {time.perf_counter() - start:.0f} s)")
        return 0
