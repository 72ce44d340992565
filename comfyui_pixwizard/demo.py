"""Examples of every task and what a model makes of them.

Photographs come inside scikit-image's wheel, the scenes are rendered: nothing is downloaded. Pictures are
[N, 3, H, W] in [0, 1] here, as in codecs, scenes and degradations.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from .images import open_picture, to_tensor, unit_to_image
from .labels import draw_label
from .pipeline import PixWizardPipeline
from .tasks import TASKS, Task

# Two of each, small enough to lie in the wheel; a centre and a side for the crop, as shares of the picture.
PHOTOGRAPHS: dict[str, tuple[tuple[str, float, float, float], ...]] = {
    "denoise": (("astronaut.png", 0.42, 0.25, 0.5), ("coffee.png", 0.5, 0.5, 1.0)),
    "low_light": (("coffee.png", 0.5, 0.5, 1.0), ("chelsea.png", 0.45, 0.5, 1.0)),
    "derain": (("rocket.jpg", 0.5, 0.5, 1.0), ("astronaut.png", 0.5, 0.5, 1.0)),
    "inpaint": (("chelsea.png", 0.45, 0.5, 1.0), ("motorcycle_left.png", 0.4, 0.55, 0.9)),
}
OPTIONS: dict[str, dict[str, Any]] = {"denoise": {"sigma": 50 / 255}, "inpaint": {"coverage": (0.15, 0.25)}}
DENSE = ("depth", "normal", "segmentation")
EACH = 2


@dataclass
class Example:
    """One question with its answer.

    Attributes:
        source: [3, H, W]; None for a blank canvas.
        truth: [3, H, W], the picture that a perfect answer is, or a scene that the words describe.
        truth_caption: what `truth` is.
        label: the true label, for tasks that have one.
        output, decoded: the answer [3, H, W] and its label.
        figures: how good it is, in words.
    """

    task: Task
    instruction: str
    source: Tensor | None
    truth: Tensor
    truth_caption: str
    label: Tensor | None = None
    output: Tensor = field(default_factory=lambda: torch.empty(0))
    decoded: Tensor | None = None
    figures: str = ""

    def tiles(self) -> list[tuple[str, Image.Image]]:
        """Captioned pictures, in reading order."""
        found = [] if self.source is None else [("input", unit_to_image(self.source))]
        found.append(("output", unit_to_image(self.output)))
        if self.decoded is not None and self.label is not None:
            found.append(("decoded", draw_label(self.task.kind, self.decoded, like=self.label)))
            found.append(("truth", draw_label(self.task.kind, self.label)))
        else:
            found.append((self.truth_caption, unit_to_image(self.truth)))
        return found


def training(module: str) -> Any:
    """A module of the training, which renders and degrades; by name, because the core must not import it."""
    return importlib.import_module(f"..training.{module}", __package__)


def photograph(name: str, x: float, y: float, share: float, size: int) -> Tensor:
    """A square crop of one of scikit-image's photographs: [3, size, size].

    Raises:
        ValueError: scikit-image is not installed.
    """
    try:
        import skimage.data
    except ImportError as error:
        raise ValueError(
            "the demo takes its photographs from scikit-image, which is not installed: pip install 'scikit-image>=0.24'"
        ) from error
    image = open_picture(Path(skimage.data.__file__).parent / name)
    side = round(min(image.size) * share)
    left = min(max(round(image.width * x - side / 2), 0), image.width - side)
    top = min(max(round(image.height * y - side / 2), 0), image.height - side)
    crop = image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS)
    return to_tensor(crop)[0] / 2 + 0.5


def restorations(size: int, generator: torch.Generator) -> Iterator[Example]:
    """Degraded photographs."""
    degradations = training("degradations").DEGRADATIONS
    for name, crops in PHOTOGRAPHS.items():
        for i, crop in enumerate(crops):
            clean = photograph(*crop, size)
            degraded = degradations[name](clean[None], generator, **OPTIONS.get(name, {}))[0]
            yield Example(TASKS[name], TASKS[name].instructions[i], degraded, clean, "clean")


def scene_examples(size: int, seed: int) -> Iterator[Example]:
    """Reading, grounding and editing on rendered scenes with colours and shapes that training never combined."""
    names = (*DENSE, "referring_segmentation", "edit_remove", "edit_recolor")
    scenes = training("evaluate.samples").SceneSet(EACH * len(names), size, seed, "test")
    for place, name in enumerate(names):
        samples = scenes.samples(name)
        for k in range(EACH):
            i = (place * EACH + k) % len(samples)
            task: Task = samples.task
            words = task.instructions[k] if name in DENSE else samples.instructions[i]
            label = None if task.kind == "image" else samples.label[i]
            yield Example(task, words, samples.source[i], samples.truth[i], "truth, rendered", label)


def generations(size: int, seed: int, generator: torch.Generator) -> Iterator[Example]:
    """Blank canvases."""
    module, task = training("scenes"), TASKS["text_to_image"]
    scenes = module.sample_scenes(EACH, torch.Generator().manual_seed(seed + 1), split="test")
    pictures = module.render(scenes, size).image
    for i in range(EACH):
        words = task.instructions[i].format(caption=module.caption(scenes, i, generator))
        yield Example(task, words, None, pictures[i], "one such scene, rendered")


def examples(size: int, scene_size: int, seed: int) -> list[Example]:
    """Two of every task, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return [
        *restorations(size, generator),
        *scene_examples(scene_size, seed),
        *generations(scene_size, seed, generator),
    ]


def answer(pipeline: PixWizardPipeline, example: Example, seed: int) -> None:
    """Fill in output, decoded label and figures."""
    task, height, width = example.task, *example.truth.shape[-2:]
    canvas = torch.ones(3, height, width)
    source = canvas if example.source is None else example.source
    output = pipeline.generate(
        source[None] * 2 - 1, [example.instruction], steps=task.steps, guidance=task.guidance, seeds=[seed]
    )[0]
    example.output = output / 2 + 0.5
    if example.label is not None:
        example.decoded = pipeline.read_label(task, output, source * 2 - 1)
    score = FIGURES.get(task.kind if example.label is not None else task.domain)
    example.figures = score(example) if score else ""


def _psnr(example: Example) -> str:
    assert example.source is not None
    psnr = training("evaluate.metrics").psnr
    before, after = (float(psnr(x[None], example.truth[None])[0]) for x in (example.source, example.output))
    return f"PSNR {before:.1f} dB before, {after:.1f} dB after"


def _depth(example: Example) -> str:
    error = training("evaluate.metrics").abs_rel(_one(example.decoded), _one(example.label))
    return f"mean relative error {float(error[0]):.1%}"


def _normal(example: Example) -> str:
    angle = training("evaluate.metrics").mean_angle(_one(example.decoded), _one(example.label))
    return f"mean angle to the truth {float(angle[0]):.1f}°"


def _classes(example: Example) -> str:
    return f"{float((_one(example.decoded) == _one(example.label)).float().mean()):.0%} of the pixels right"


def _mask(example: Example) -> str:
    found, true = _one(example.decoded), _one(example.label)
    union = int((found | true).sum())
    return f"intersection over union {int((found & true).sum()) / max(union, 1):.2f}"


def _one(label: Tensor | None) -> Tensor:
    assert label is not None
    return label[None]


FIGURES: dict[str, Callable[[Example], str]] = {
    "restoration": _psnr,
    "painting": _psnr,
    "depth": _depth,
    "normal": _normal,
    "classes": _classes,
    "mask": _mask,
}
