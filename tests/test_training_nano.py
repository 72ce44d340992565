"""The nano recipe from nothing to a model that runs, in small, continued by a second call."""

import json

import pytest
import torch

from pixwizard.comfyui_pixwizard import PixWizardPipeline
from pixwizard.training.cli import Train

SMALL = dict(recipe="nano", sheets=1, scenes=8, large_scenes=4, batch_size=4, autoencoder_minutes=0.15)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    assert Train(folder=folder, minutes=0.1, **SMALL).run() == 0
    return folder


def steps(folder):
    return json.loads((folder / "export" / "pipeline.json").read_text())["provenance"]["steps"]


def test_the_export_runs(run_folder):
    pipeline = PixWizardPipeline.from_pretrained(run_folder / "export")
    result = pipeline(None, "Draw a red ball on a gray floor", steps=3, size=128, seed=1)
    assert result.image.size == (128, 128)


def test_a_second_call_goes_on_and_keeps_the_first_stages(run_folder):
    before = steps(run_folder)
    autoencoder = torch.load(run_folder / "autoencoder" / "last.pt", weights_only=True)["step"]
    assert before >= 1
    assert Train(folder=run_folder, minutes=0.1, **SMALL).run() == 0
    assert steps(run_folder) > before
    assert torch.load(run_folder / "autoencoder" / "last.pt", weights_only=True)["step"] == autoencoder


def test_a_run_can_begin_with_a_model(run_folder, tmp_path):
    options = SMALL | {"start": str(run_folder / "export")}
    (tmp_path / "pools").symlink_to(run_folder / "pools")
    assert Train(folder=tmp_path, minutes=0, **options).run() == 0
    same = [PixWizardPipeline.from_pretrained(f / "export") for f in (run_folder, tmp_path)]
    a, b = (pipeline(None, "Draw a cone", steps=2, size=64, seed=3).image for pipeline in same)
    assert a.tobytes() == b.tobytes()
    assert Train(folder=tmp_path, minutes=0.05, **SMALL).run() == 0
    assert steps(tmp_path) >= 1
    with pytest.raises(ValueError, match="begins a new run, found one"):
        Train(folder=run_folder, minutes=0, **options).run()


def test_minutes_cannot_be_negative(tmp_path):
    with pytest.raises(ValueError, match="cannot be negative, found -1"):
        Train(recipe="nano", folder=tmp_path, minutes=-1).run()
