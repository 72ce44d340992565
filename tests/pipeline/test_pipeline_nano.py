"""The bundled model does its job on a real photograph, with nothing but what is in the package."""

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from pixwizard.comfyui_pixwizard.pictures.images import open_picture
from pixwizard.comfyui_pixwizard.pipeline import PixWizardPipeline
from pixwizard.training.degradations import DEGRADATIONS
from pixwizard.training.render.scenes import render, sample_scenes


@pytest.fixture(scope="module")
def nano() -> PixWizardPipeline:
    return PixWizardPipeline.from_pretrained("nano")


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.square(a.astype(float) - b.astype(float)).mean() / 255**2))


@pytest.mark.parametrize(
    ("task", "instruction", "options", "gain"),
    [
        ("denoise", "Remove the noise.", {"sigma": 50 / 255}, 5.0),
        ("low_light", "Brighten this dark photo.", {"gain": 0.1}, 6.0),
        ("inpaint", "Fill in the missing parts.", {"coverage": (0.25, 0.4), "fill": 0.0}, 2.0),
    ],
)
def test_restores_a_photograph(
    nano: PixWizardPipeline, task: str, instruction: str, options: dict, gain: float
) -> None:
    clean = open_picture(skimage.data.astronaut()).resize((256, 256), Image.Resampling.LANCZOS)
    tensor = torch.from_numpy(np.array(clean)).permute(2, 0, 1)[None].float() / 255
    truth, gains = np.asarray(clean), []
    for seed in range(4):
        degraded = DEGRADATIONS[task](tensor, torch.Generator().manual_seed(seed), **options)[0]
        source = (degraded.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        result = nano(source, instruction)
        assert result.settings["task"] == task
        gains.append(psnr(np.asarray(result.image), truth) - psnr(source, truth))
    assert np.mean(gains) > gain, gains


def test_reads_depth_of_a_scene(nano: PixWizardPipeline) -> None:
    scenes = render(sample_scenes(3, torch.Generator().manual_seed(7), split="test"), 128)
    errors = []
    for image, depth in zip(scenes.image, scenes.depth, strict=True):
        found = nano(image.permute(1, 2, 0).numpy(), "Estimate the depth of this picture.", decode=True).label
        errors.append(float(((found - depth).abs() / depth).mean()))
    assert np.mean(errors) < 0.3
