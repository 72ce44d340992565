"""Pictures, pools and batches that the nano is trained on."""

import numpy as np
import pytest
import torch
from PIL import Image

from pixwizard.comfyui_pixwizard.encoders.nano_autoencoder import NanoAutoencoder, NanoAutoencoderConfig
from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.training.data.rendered.photos import PhotoPool
from pixwizard.training.data.rendered.pools import LeafPool, cached
from pixwizard.training.data.rendered.scene_pool import ScenePool
from pixwizard.training.loop.velocity import Dropout
from pixwizard.training.recipes.nano import blend
from pixwizard.training.render.dead_leaves import LeafStyle, cut, dead_leaves, sheet


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def autoencoder():
    torch.manual_seed(0)
    model = NanoAutoencoder(NanoAutoencoderConfig(width=16, encoder_blocks=1, decoder_blocks=1))
    model.start_from_components(dead_leaves(24, 64, generator()) * 2 - 1)
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return ScenePool(tmp_path_factory.mktemp("pool"), 12, 128)


# -- dead leaves ---------------------------------------------------------------------------------------------------


def test_dead_leaves_are_deterministic_and_in_range():
    a, b = dead_leaves(3, 48, generator(3)), dead_leaves(3, 48, generator(3))
    assert torch.equal(a, b)
    assert a.shape == (3, 3, 48, 48) and a.min() >= 0 and a.max() <= 1
    assert not torch.equal(a, dead_leaves(3, 48, generator(4)))


def test_dead_leaves_have_the_spectrum_of_photographs():
    """Power falls as 1/f^a with a near 2 (Field 1987), and the three channels move together."""
    pictures = torch.cat([sheet(generator(s), 256, LeafStyle(smallest=3, largest=120))[None] for s in range(4)])
    luminance = pictures.mean(1) - pictures.mean((1, 2, 3))[:, None, None]
    power = torch.fft.fft2(luminance * torch.hann_window(256)[:, None] * torch.hann_window(256)).abs().square().mean(0)
    f = torch.fft.fftfreq(256) * 256
    radius = (f[:, None] ** 2 + f[None] ** 2).sqrt().round().long()
    rings = torch.tensor([power[radius == r].mean() for r in range(4, 100)])
    slope = np.polyfit(np.log(np.arange(4, 100)), rings.log().numpy(), 1)[0]
    assert -3.2 < slope < -1.3
    assert torch.corrcoef(pictures.permute(1, 0, 2, 3).reshape(3, -1)).min() > 0.6


def test_cut_keeps_bytes_and_turns_wide_pictures_square():
    wide = torch.arange(3 * 40 * 90, dtype=torch.int64).remainder(256).to(torch.uint8).reshape(3, 40, 90)
    for seed in range(8):
        piece = cut(wide, 32, generator(seed))
        assert piece.shape == (3, 32, 32) and piece.dtype == torch.uint8


def test_dead_leaves_refuse_sizes_they_cannot_cut():
    with pytest.raises(ValueError, match="16 to 768 pixels, found 1000"):
        dead_leaves(1, 1000, generator())


# -- autoencoder ---------------------------------------------------------------------------------------------------


def test_components_are_the_best_linear_code():
    """Before training, the autoencoder is principal component analysis: no other linear code is better."""
    pictures = dead_leaves(24, 64, generator(1)) * 2 - 1
    torch.manual_seed(0)
    model = NanoAutoencoder(NanoAutoencoderConfig(width=16, encoder_blocks=1, decoder_blocks=1))
    model.start_from_components(pictures)
    with torch.no_grad():
        error = (model.decode(model.encode(pictures)) - pictures).square().mean()
    patches = pictures.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).reshape(-1, 192).double()
    values = torch.linalg.eigvalsh(torch.cov(patches.T, correction=0))
    assert error.item() == pytest.approx(values[:-16].sum().item() / 192, rel=1e-3)


def test_normalising_latents_changes_no_picture(autoencoder):
    pictures = dead_leaves(6, 64, generator(2)) * 2 - 1
    before = autoencoder.decode(autoencoder.encode(pictures))
    autoencoder.normalize_latents(pictures)
    latents = autoencoder.encode(pictures)
    assert torch.allclose(autoencoder.decode(latents), before, atol=1e-5)
    assert latents.mean((0, 2, 3)).abs().max() < 1e-4
    assert latents.square().mean().item() == pytest.approx(1.0, abs=1e-2)


def test_normalising_latents_brings_channels_half_way_together(autoencoder):
    pictures = dead_leaves(6, 64, generator(2)) * 2 - 1
    spreads = []
    for _ in range(2):
        logs = autoencoder.encode(pictures).std((0, 2, 3)).log()
        spreads.append((logs - logs.mean()).norm())
        autoencoder.normalize_latents(pictures)
    assert float(spreads[1] / spreads[0]) == pytest.approx(0.5, abs=0.02)


def test_sides_must_be_multiples_of_eight(autoencoder):
    with pytest.raises(ValueError, match="sides that 8 divides"):
        autoencoder.encode(torch.zeros(1, 3, 60, 64))


# -- pools ---------------------------------------------------------------------------------------------------------


def test_a_pool_is_built_once_and_never_half(tmp_path):
    calls = []

    def build():
        calls.append(1)
        return {"x": torch.arange(3)}

    def fail():
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        cached(tmp_path / "deep" / "a.safetensors", fail)
    assert list((tmp_path / "deep").iterdir()) == []
    for _ in range(2):
        assert cached(tmp_path / "deep" / "a.safetensors", build)["x"].tolist() == [0, 1, 2]
    assert calls == [1] and [p.name for p in (tmp_path / "deep").iterdir()] == ["a.safetensors"]


def test_leaf_pool_draws_pictures(tmp_path):
    pool = LeafPool(tmp_path, sheets=1)
    pictures = pool.draw(4, 64, generator())
    assert pictures.shape == (4, 3, 64, 64) and pictures.min() >= 0 and pictures.max() <= 1
    assert torch.equal(pictures, LeafPool(tmp_path, sheets=1).draw(4, 64, generator()))


def test_photo_pool_reads_pictures_and_refuses_others(tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        PhotoPool(tmp_path / "none")
    with pytest.raises(ValueError, match="found none"):
        PhotoPool(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    assert PhotoPool(tmp_path).draw(2, 32, generator()).shape == (2, 3, 32, 32)
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"readable pictures, found .*b\.jpg"):
        PhotoPool(tmp_path)


def test_coded_labels_decode_to_classes_and_masks(scenes):
    classes = TASKS["segmentation"].decode(scenes.coded["segmentation"][0].float() / 255)
    assert set(np.unique(np.asarray(classes))) <= set(range(7))
    expression, number = scenes.referrals[0][0]
    assert expression.startswith("the ") and (scenes.instance[0] == number).any()


def test_latents_are_kept_and_equal_to_encoding(scenes, autoencoder):
    index = torch.tensor([3, 1, 3])

    def encode(picture):
        return autoencoder.encode(picture * 2 - 1)

    first = scenes.latents("depth", index, encode)
    assert torch.allclose(first, encode(scenes.coded["depth"][index].float() / 255), atol=2e-2)
    assert torch.equal(first, scenes.latents("depth", index, encode))


def test_blend_takes_from_each_source():
    draw = blend((0.5, lambda n, s, g: torch.zeros(n, 3, s, s)), (0.5, lambda n, s, g: torch.ones(n, 3, s, s)))
    assert draw(200, 8, generator()).mean().item() == pytest.approx(0.5, abs=0.12)


def test_dropout_events_are_exclusive_and_five_percent_each():
    text, image = Dropout().of(torch.rand(200_000, generator=generator()))
    both = (text & image).float().mean().item()
    assert both == pytest.approx(0.05, abs=0.005)
    assert (text & ~image).float().mean().item() == pytest.approx(0.05, abs=0.005)
    assert (image & ~text).float().mean().item() == pytest.approx(0.05, abs=0.005)
