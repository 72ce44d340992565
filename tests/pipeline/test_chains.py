"""Edits one after the other: `pixwizard run` with several instructions, its files, its page, and the drift it stops."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pixwizard.cli import batch
from pixwizard.cli.jobs import RunSettings, chain_files
from pixwizard.cli.main import main
from pixwizard.comfyui_pixwizard.pictures.images import metadata_of
from pixwizard.comfyui_pixwizard.pipeline import PixWizardPipeline

SIDE = 96
# What every step of the stand-in for a model does beside its edit, of full scale 2: below the threshold.
NOISE = 0.02
COLOR = (255, 0, 255)


def photo(path: Path, size: tuple[int, int] = (SIDE, SIDE)) -> Path:
    """A picture of soft waves and a little grain, far from the edit's colour."""
    x, y = np.meshgrid(np.linspace(0, 9, size[0]), np.linspace(0, 7, size[1]))
    waves = np.stack([np.sin(x + y), np.cos(x - y), np.sin(2 * x) * 0.2], -1) * 50 + 128
    grain = np.random.default_rng(0).integers(-6, 7, waves.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((waves + grain).astype(np.uint8)).save(path)
    return path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.fixture
def stand_in(fresh_tiny: Callable[[], PixWizardPipeline], monkeypatch: pytest.MonkeyPatch) -> PixWizardPipeline:
    """A model whose step k paints a square at place k and, as an autoencoder does, disturbs every pixel a little."""
    pipeline, steps = fresh_tiny(), []

    def edited(picture: Tensor, instructions: list[str], *_: Any) -> Tensor:
        steps.append(instructions[0])
        noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(len(steps)))
        answer = picture + NOISE * noise
        left = 16 * (len(instructions[0]) % 5)
        answer[..., 8:24, left : left + 16] = torch.tensor(COLOR)[:, None, None] / 127.5 - 1
        return answer.clamp(-1, 1)

    monkeypatch.setattr(pipeline, "_generate", edited)

    def load(settings: RunSettings) -> PixWizardPipeline:
        return pipeline

    monkeypatch.setattr(batch, "load", load)
    return pipeline


def chain(source: Path, out: Path, model: Path, *more: object, edits: int = 3) -> int:
    """Edits whose places go from left to right."""
    words = [word for step in range(edits) for word in ("-i", "Recolor it." + "!" * step)]
    options = ["-o", str(out), "--model", str(model), "--task", "edit_recolor", *map(str, more)]
    return main(["run", str(source), *words, *options])


def test_every_step_works_on_the_one_before_and_keeps_the_rest(
    tiny_folder: Path, tmp_path: Path, stand_in: PixWizardPipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = photo(tmp_path / "in.png"), tmp_path / "out" / "a.png"
    assert chain(source, out, tiny_folder) == 0
    files = chain_files(out, 3)
    assert [path.name for path in files] == ["a_step1.png", "a_step2.png", "a.html"]
    assert {path.name for path in out.parent.iterdir()} == {"a.png", *(path.name for path in files)}
    told = capsys.readouterr().out
    assert all(f"wrote {path}" in told for path in (out, *files))

    pictures = [pixels(path) for path in (source, *files[:2], out)]
    for step, (before, after) in enumerate(pairwise(pictures)):
        left = 16 * ((len("Recolor it.") + step) % 5)
        assert np.abs(after[10:22, left + 2 : left + 14] - COLOR).max() <= 20
        assert np.array_equal(after[48:], before[48:]), "below all edits every bit is kept"
    assert np.array_equal(pictures[3][48:], pictures[0][48:])

    page = files[-1].read_text()
    assert page.count("data:image/jpeg;base64,") == 9 and page.count("% of the pixels kept") == 3
    assert re.findall(r'href="([^"]+)"', page) == ["a_step1.png", "a_step2.png", "a.png"]
    assert all(
        words in page for words in ("“Recolor it.”", "“Recolor it.!”", "“Recolor it.!!”", "step 3: edit_recolor")
    )
    made = metadata_of(out)
    assert (made["threshold"], made["reference"]) == ("0.03", "source")
    assert '"Recolor it.!"' in made["chain"] and made["instruction"] == "Recolor it.!!"
    assert "chain" not in metadata_of(files[0])


def drift(source: Path, out: Path) -> float:
    """Mean absolute difference below all edits, of 255."""
    return float(np.abs(pixels(out) - pixels(source))[48:].mean())


def test_ten_steps_drift_at_most_a_third_of_what_they_do_without(
    tiny_folder: Path, tmp_path: Path, stand_in: PixWizardPipeline
) -> None:
    source = photo(tmp_path / "in.png")
    for name, more in (("with", ()), ("without", ("--whole-answer",))):
        assert chain(source, tmp_path / f"{name}.png", tiny_folder, *more, edits=10) == 0
    without = drift(source, tmp_path / "without.png")
    assert without > 3 and drift(source, tmp_path / "with.png") <= without / 3
    assert (tmp_path / "with_step01.png").is_file() and (tmp_path / "with_step09.png").is_file()


def test_a_chain_is_made_again_where_anything_of_it_differs(
    tiny_folder: Path, tmp_path: Path, stand_in: PixWizardPipeline
) -> None:
    source, out = photo(tmp_path / "in.png"), tmp_path / "a.png"

    def again(*more: object, edits: int = 3) -> bool:
        before = out.stat().st_mtime_ns if out.exists() else 0
        assert chain(source, out, tiny_folder, *more, edits=edits) == 0
        return out.stat().st_mtime_ns != before

    assert again() and not again()
    assert again("--threshold", 0.05) and not again("--threshold", 0.05) and again()
    assert again("--reference", "round-trip") and again()
    for path in chain_files(out, 3):
        path.unlink()
        assert again() and not again()
    # A step that another run wrote and then stopped.
    shutil.copy(source, tmp_path / "a_step2.png")
    assert again() and not again()
    assert again(edits=2) and again(edits=3)


def test_in_the_pictures_own_size_the_changes_of_all_steps_are_carried(
    tiny_folder: Path, tmp_path: Path, stand_in: PixWizardPipeline
) -> None:
    source, out = photo(tmp_path / "in.png", (400, 400)), tmp_path / "a.png"
    assert chain(source, out, tiny_folder, "--size", f"{SIDE}x{SIDE}", edits=2) == 0
    first, last, own = pixels(tmp_path / "a_step1.png"), pixels(out), pixels(source)
    assert first.shape == last.shape == own.shape
    assert np.array_equal(last[200:], own[200:]) and np.array_equal(first[200:], own[200:])
    middle = {step: slice(70 * step + 20, 70 * step + 40) for step in (1, 2)}
    assert np.abs(first[50:80, middle[1]] - COLOR).mean() < 30 > np.abs(last[50:80, middle[1]] - COLOR).mean()
    assert np.abs(last[50:80, middle[2]] - COLOR).mean() < 30 < np.abs(first[50:80, middle[2]] - COLOR).mean()


def test_an_edit_on_a_large_picture_leaves_the_files_pixels(
    tiny_folder: Path, tmp_path: Path, stand_in: PixWizardPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = photo(tmp_path / "in.png", (400, 400)), tmp_path / "a.png"
    options = ("--size", f"{SIDE}x{SIDE}", "--reference", "source")
    assert chain(source, out, tiny_folder, *options, edits=1) == 0
    assert chain_files(out, 1) == () and not out.with_suffix(".html").exists()
    found, own = pixels(out), pixels(source)
    assert np.array_equal(found[200:], own[200:]) and not np.array_equal(found[:120], own[:120])

    def another(job: Any, settings: Any, real: Any = batch.prepare) -> Any:
        return replace(real(job, settings), digest="of other bytes")

    monkeypatch.setattr(batch, "prepare", another)
    assert chain(source, out, tiny_folder, *options, "--again", edits=1) == 2, "it is another picture by now"


def test_reading_a_picture_is_a_step_too_and_the_last_one_is_decoded(tiny_folder: Path, tmp_path: Path) -> None:
    source, out = photo(tmp_path / "in.png"), tmp_path / "a.png"
    words = ["-i", "Remove the noise", "-i", "Estimate the depth of this picture."]
    options = ["--steps", "2", "--decode", "--model", str(tiny_folder)]
    assert main(["run", str(source), *words, "-o", str(out), *options]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"in.png", "a.png", "a_step1.png", "a.html", "a_depth.png", "a_depth.npy"}
    # The same by hand: reading pastes nothing back.
    pipeline = PixWizardPipeline.from_pretrained(tiny_folder)
    first = pipeline(source, words[1], steps=2, threshold=0.03, reference="source")
    depth = pipeline(first.image, words[3], steps=2, threshold=0.03, reference="source")
    assert np.array_equal(pixels(tmp_path / "a_step1.png"), np.asarray(first.image))
    assert np.array_equal(pixels(out), np.asarray(depth.image)) and depth.change is None
    assert np.array_equal(np.asarray(depth.image), np.asarray(pipeline(first.image, words[3], steps=2).image))
