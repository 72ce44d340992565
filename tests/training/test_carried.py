"""Carrying a network to other parts: exact where they are the same, and far better than nothing where they are not."""

import pytest
import torch

from pixwizard.comfyui_pixwizard import PixWizardPipeline
from pixwizard.training.recipes.carried import Parts, _covering, carry, fitted
from pixwizard.training.recipes.towers import NanoModel
from pixwizard.training.render.dead_leaves import dead_leaves

SAID = [f"{verb} the {color} {shape}" for verb in ("Remove", "Find", "Paint blue", "Blur") for color in
        ("red", "green", "yellow") for shape in ("ball", "box", "cone")]  # fmt: skip


@pytest.fixture(scope="module")
def nano():
    return PixWizardPipeline.from_pretrained("nano")


def test_an_affine_map_is_found_and_its_noise_is_not_explained():
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(2000, 5, generator=generator), torch.randn(3, 5, generator=generator)
    fit = fitted(x, x @ weight.T + 2, ridge=1e-9)
    torch.testing.assert_close(fit.weight.float(), weight, atol=1e-4, rtol=0)
    assert fit.explained > 1 - 1e-9 and fit.offset.sub(2).abs().max() < 1e-4
    noisy = fitted(x, x @ weight.T + weight.norm(dim=1) * torch.randn(2000, 3, generator=generator))
    assert 0.45 < noisy.explained < 0.55, "as much noise as signal"


def test_pieces_are_paired_by_their_characters():
    others = [(0, 0), (0, 3), (4, 6), (6, 9)]
    assert [_covering(span, others) for span in ((0, 0), (0, 2), (3, 6), (7, 9), (4, 9))] == [0, 1, 2, 3, 3]


def test_a_network_carried_to_its_own_parts_is_what_it_was(nano):
    generator = torch.Generator().manual_seed(1)
    parts = Parts(*(getattr(nano, name).float() for name in Parts.__dataclass_fields__))
    network = nano.transformer.float()
    fresh = NanoModel.build(nano.text_encoder.tokenizer.backend_tokenizer, network.config).transformer
    pictures = dead_leaves(12, 128, generator)
    found = carry(network, fresh, parts, parts, pictures, SAID, generator, moments=3000)
    assert found.pop("latents") > 0.999 and found.pop("modulations") > 0.9 and min(found.values()) > 0.98
    with torch.inference_mode():
        source = parts.autoencoder.encode(pictures[:4] * 2 - 1)
        x, t = torch.randn(source.shape, generator=generator), torch.tensor([0.1, 0.4, 0.6, 0.9])
        text, task = parts.text_encoder.encode(SAID[:4]), parts.task_encoder.encode(SAID[:4])
        tokens = parts.image_encoder.encode(pictures[:4] * 2 - 1)
        before, after = (
            model.velocity(x, t, source, model.encode_conditions(*text, task, tokens)) for model in (network, fresh)
        )
    left = float((after - before).square().mean() / before.square().mean())
    assert left < 0.05
