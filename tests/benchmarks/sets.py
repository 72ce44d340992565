"""Small data sets in the layouts of the real ones, and answers to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pixwizard.cli.main import main
from pixwizard.training.benchmarks.answering import source_of
from pixwizard.training.benchmarks.catalogue import BENCHMARKS
from pixwizard.training.benchmarks.options import Options
from pixwizard.training.benchmarks.pixel_judge import target_of
from pixwizard.training.benchmarks.question import Question


def picture(seed: int, size: tuple[int, int] = (48, 32)) -> Image.Image:
    """Smooth colours with something to see in them, width and height."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def noisy(image: Image.Image, seed: int, sigma: float = 20) -> Image.Image:
    """A picture with noise of a strength in bytes."""
    pixels = np.asarray(image).astype(np.float64)
    noise = np.random.default_rng(seed).normal(0, sigma, pixels.shape)
    return Image.fromarray((pixels + noise).round().clip(0, 255).astype(np.uint8))


def save(image: Image.Image, path: Path) -> Path:
    """Write a picture, its folders made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def noise_of(image: Image.Image, seed: int) -> Image.Image:
    """Nothing but noise, of a picture's size."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (image.height, image.width, 3), np.uint8))


def questions(name: str, data: Path, **options: Any) -> list[Question]:
    """What a benchmark asks."""
    return list(BENCHMARKS[name].read(data, Options(**options)))


def truth(question: Question) -> Image.Image:
    """The right answer."""
    return target_of(question)


def copied(question: Question) -> Image.Image:
    """What the model was shown."""
    source = source_of(question)
    assert source is not None
    return source


def random(question: Question) -> Image.Image:
    """Noise of the answer's size."""
    return noise_of(truth(question), sum(map(ord, question.name)))


def answered(asked: list[Question], folder: Path, how: Callable[[Question], Image.Image]) -> Path:
    """A folder of answers."""
    for question in asked:
        save(how(question), folder / f"{question.name}.png")
    return folder


def judged(name: str, data: Path, answers: Path, *arguments: str) -> dict[str, Any]:
    """What --json writes, by the command line."""
    place = answers.parent / f"{answers.name}.json"
    command = ["eval", "benchmark", name, "--data", str(data), "--answers", str(answers), "--json", str(place)]
    assert main([*command, *arguments]) == 0
    found: dict[str, Any] = json.loads(place.read_text())
    assert set(found) >= {"benchmark", "n", "metrics", "settings", "counts"}
    return found


def ladder(
    name: str, data: Path, tmp_path: Path, *arguments: str, n: int | None = None, **options: Any
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Metrics of the truth, of the input and of noise."""
    asked = questions(name, data, **options)[:n]
    kinds = {"truth": truth, "copied": copied, "random": random}
    found = [
        judged(name, data, answered(asked, tmp_path / kind, how), *arguments)["metrics"] for kind, how in kinds.items()
    ]
    return found[0], found[1], found[2]
