"""A tiny pipeline with random weights, so that these tests depend on no trained model."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pixwizard.comfyui_pixwizard.config import PixWizardConfig
from pixwizard.comfyui_pixwizard.encoders.nano_autoencoder import NanoAutoencoder, NanoAutoencoderConfig
from pixwizard.comfyui_pixwizard.pipeline import PixWizardPipeline
from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.training.recipes.towers import NanoModel, train_bpe

CLASS_NAMES = ("nothing", "ground", "background", "sphere")


def _tiny() -> PixWizardPipeline:
    config = PixWizardConfig(
        in_channels=16, dim=32, n_layers=2, n_heads=4, n_kv_heads=2, multiple_of=16, qk_norm=True, cap_feat_dim=32,
        cap_clip_feat_dim=32, clip_image_dim=32, sample_tokens=16,
    )  # fmt: skip
    bpe = train_bpe([text for task in TASKS.values() for text in task.instructions])
    model = NanoModel.build(bpe, config)
    generator = torch.Generator().manual_seed(0)
    autoencoder = NanoAutoencoder(NanoAutoencoderConfig(width=16, encoder_blocks=1, decoder_blocks=1))
    autoencoder.start_from_components(torch.rand(4, 3, 64, 64, generator=generator) * 2 - 1)
    with torch.no_grad():  # fresh weights have closed gates and a zero output, which would hide every mistake
        for parameter in model.transformer.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return PixWizardPipeline(
        model.transformer,
        model.text.eval(),
        model.task.eval(),
        model.vision.eval(),
        autoencoder.eval(),
        class_names=CLASS_NAMES,
        provenance={"recipe": "test"},
    )


@pytest.fixture(scope="session")
def tiny() -> PixWizardPipeline:
    """Shared: do not change it."""
    return _tiny()


@pytest.fixture
def fresh_tiny() -> Callable[[], PixWizardPipeline]:
    """Builds one to change."""
    return _tiny


@pytest.fixture(scope="session")
def tiny_folder(tiny: PixWizardPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny pipeline on disk: do not change it."""
    folder = tmp_path_factory.mktemp("tiny") / "model"
    tiny.save_pretrained(folder)
    return folder
