"""`pixwizard bench drift` in small."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from tqdm import tqdm

from pixwizard.bench.drift import WAYS, Drift, drift_of, edited_scene, table
from pixwizard.comfyui_pixwizard.answer import Result
from pixwizard.comfyui_pixwizard.pictures.images import to_image, to_tensor


def test_a_small_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Drift(n=1, steps=2, size=64, json=tmp_path / "drift.json", png=tmp_path / "drift.png").run() == 0
    found = json.loads((tmp_path / "drift.json").read_text())["drift"]
    assert list(found) == list(WAYS) and all(len(values) == 2 for values in found.values())
    whole = found["whole answers"]
    assert all(values[1] < whole[1] for name, values in found.items() if name != "whole answers")
    printed = capsys.readouterr().out
    assert printed.startswith("drift outside the edits, of 255: 1 scenes of 64 px, 2 edits of each")
    assert f"| whole answers | {whole[0]:.2f} | {whole[1]:.2f} | 1.00 |" in printed
    assert (tmp_path / "drift.png").stat().st_size > 1000


def test_only_what_lies_outside_counts() -> None:
    scene = edited_scene(64, 3, steps=3)
    assert len(set(scene.instructions)) == 3 and 0.2 < float(scene.outside.float().mean()) < 1

    class Shifted:
        """Moves every pixel outside by some levels at every step, and paints over all others."""

        def __init__(self, levels: int) -> None:
            self.levels, self.steps = levels, 0

        def __call__(self, picture: Image.Image, instruction: str, **_: object) -> Result:
            assert instruction == scene.instructions[self.steps]
            self.steps += 1
            own = to_tensor(scene.picture) * 0.5  # away from the ends of the scale
            moved = own + self.levels * self.steps / 127.5
            return Result(to_image(torch.where(scene.outside, moved, torch.ones(()))[0]), None, {})

    halved = replace(scene, picture=to_image(to_tensor(scene.picture)[0] * 0.5))
    with tqdm(disable=True) as bar:
        for levels in (0, 7):
            found = drift_of(Shifted(levels), halved, 0, {}, bar)  # type: ignore[arg-type]
            assert found == pytest.approx([levels, 2 * levels, 3 * levels], abs=0.6)


def test_the_share_is_that_of_the_last_step() -> None:
    lines = table({"without": [2.0, 8.0], "with": [2.0, 2.0]})
    assert lines[2:] == ["| without | 2.00 | 8.00 | 1.00 |", "| with | 2.00 | 2.00 | 0.25 |"]
    assert len({line.count("|") for line in lines}) == 1
