"""Large pictures: sampled in windows, encoded in pieces, measured."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pixwizard.bench.large import Large, seam_of
from pixwizard.cli.main import main
from pixwizard.comfyui_pixwizard import PixWizardPipeline
from pixwizard.comfyui_pixwizard.encoders import tiled_decoding
from pixwizard.comfyui_pixwizard.evaluator import Branch
from pixwizard.comfyui_pixwizard.pictures.images import metadata_of, to_image, to_tensor
from pixwizard.comfyui_pixwizard.scaling import PLAIN, Scaling
from pixwizard.comfyui_pixwizard.windows import OVERLAP, Windows


def photo(width: int, height: int) -> Image.Image:
    return to_image(torch.rand(3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1)


@pytest.mark.parametrize(("height", "width", "side"), [(500, 376, 256), (32, 32, 256), (16, 40, 128), (34, 32, 256)])
def test_windows_cover_all_with_overlap_and_their_mean_is_the_whole(height: int, width: int, side: int) -> None:
    windows = Windows(height, width, side)
    assert windows.size == (min(height, side // 8), min(width, side // 8))
    for axis, length in enumerate((height, width)):
        ends = sorted({(window[axis].start, window[axis].stop) for window in windows.all})
        assert ends[0][0] == 0 and ends[-1][1] == length and all(start % 2 == 0 for start, _ in ends)
        assert all(end - start >= OVERLAP * windows.size[axis] - 2 for (_, end), (start, _) in pairwise(ends))
    whole = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(windows.mean([window.of(whole) for window in windows.all]), whole)
    assert [window for group in windows.together() for window in group] == windows.all


@pytest.mark.parametrize("side", [0, 48, 100])
def test_windows_that_cannot_be(side: int) -> None:
    with pytest.raises(ValueError, match=rf"windows have a side of a multiple of 16 .* found {side}: take"):
        Windows(64, 64, side)


class Pointwise:
    """An evaluator whose velocity at a pixel depends on this pixel alone; keeps the shapes that it sees."""

    name, reason = "pointwise", "for a test"

    def __init__(self) -> None:
        self.shapes: set[tuple[int, ...]] = set()

    def start(
        self, transformer: Any, branches: Mapping[str, Branch], times: Sequence[float], scaling: Scaling = PLAIN
    ) -> Any:
        def step(x: Tensor, t: float, names: Sequence[str]) -> dict[str, Tensor]:
            self.shapes.add(tuple(x.shape[-2:]))
            assert all(len(branches[name].conditions) == len(x) for name in names)
            return {name: branches[name].source - x + t for name in names}

        return step


def test_windows_see_their_part_of_source_and_noise(fresh_tiny: Any) -> None:
    pipeline = fresh_tiny()
    pipeline.max_size, pipeline.evaluator = 64, Pointwise()
    source = to_tensor(photo(160, 96)).repeat(2, 1, 1, 1)
    options: dict[str, Any] = dict(steps=4, seeds=[1, 2], guidance=(2.0, 1.5))
    windows, whole = (
        pipeline.generate(source, ["Remove the noise", "Derain"], windows=w, **options) for w in (True, False)
    )
    torch.testing.assert_close(windows, whole, atol=1e-5, rtol=1e-5)
    assert pipeline.evaluator.shapes == {(8, 8), (12, 20)}


def test_one_window_is_the_whole_and_any_size_comes_back(tiny: PixWizardPipeline) -> None:
    options: dict[str, Any] = dict(task="denoise", steps=3)
    alone, whole = (tiny(photo(96, 64), "Remove the noise", windows=w, **options) for w in (True, False))
    assert np.array_equal(np.asarray(alone.image), np.asarray(whole.image))
    odd = tiny(photo(301, 45), "Remove the noise", windows=True, **options)
    assert odd.image.size == (301, 45) and odd.settings["size"] == "301x45" and odd.settings["windows"]
    other = tiny(photo(301, 45), "Remove the noise", windows=True, size=64, keep_size=False, **options)
    assert other.image.size == (128, 32)


def test_pictures_encoded_in_pieces_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    autoencoder, pictures = PixWizardPipeline.from_pretrained("nano").autoencoder, to_tensor(photo(896, 64))
    with torch.inference_mode():
        whole = autoencoder.encode(pictures)
        monkeypatch.setattr(tiled_decoding, "ENCODED_WHOLE", 16)
        pieces = tiled_decoding.encode_pictures(autoencoder, pictures, [None])
    torch.testing.assert_close(pieces, whole, atol=1e-4, rtol=1e-4)


def test_the_program_takes_a_picture_at_its_own_size(tiny_folder: Path, tmp_path: Path) -> None:
    photo(333, 100).save(tmp_path / "a.png")
    line = ["run", str(tmp_path / "a.png"), "-i", "Remove the noise", "-o", str(tmp_path / "b.png"), "--windows"]
    assert main([*line, "--model", str(tiny_folder), "--steps", "2"]) == 0
    found = metadata_of(tmp_path / "b.png")
    assert (found["windows"], found["size"]) == ("True", "333x100")
    with Image.open(tmp_path / "b.png") as image:
        assert image.size == (333, 100)


def test_a_seam_is_found() -> None:
    clean = photo(512, 384)
    smooth = to_tensor(clean) * 0.9
    assert 0.8 < seam_of(to_image(smooth[0]), clean, 256) < 1.2
    smooth[..., Windows(48, 64, 256).all[1].columns.start * 8 :] += 0.3
    assert seam_of(to_image(smooth[0]), clean, 256) > 1.2


def test_in_windows_the_bundled_model_denoises_better_and_without_seams(capsys: pytest.CaptureFixture[str]) -> None:
    assert not any(side % 16 for side in Large().whole), "what it takes by default it also accepts"
    assert Large(side=448, whole=()).run() == 0
    rows = re.findall(r"^\| (in windows|whole at 256 px) \| ([\d.]+) \| ([\d.]*) \|", capsys.readouterr().out, re.M)
    (_, windows, seam), (_, whole, _) = rows
    assert float(windows) > float(whole) + 0.3 and 0.85 < float(seam) < 1.15


@pytest.mark.slow
def test_four_thousand_pixels_fit_into_memory(capsys: pytest.CaptureFixture[str]) -> None:
    assert Large(side=4000).run() == 0
    told = capsys.readouterr().out
    windows = next(line for line in told.splitlines() if line.startswith("| in windows")).split("|")
    assert 0.9 < float(windows[3]) < 1.1 and float(windows[5]) < 2500
    assert float(windows[2]) > max(float(line.split("|")[2]) for line in told.splitlines() if "| whole" in line)
