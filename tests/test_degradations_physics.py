"""Degradations: the parts that they are built of, and what each of them promises beyond its range."""

import io
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pixwizard.training.degradations import DEGRADATIONS
from pixwizard.training.degradations.blur import convolve, disc_psf, trajectory_psf
from pixwizard.training.degradations.checks import smooth_field
from pixwizard.training.degradations.drops import refract
from pixwizard.training.degradations.jpeg import jpeg
from pixwizard.training.degradations.moire import demosaic
from pixwizard.training.degradations.resolution import Small
from pixwizard.training.degradations.watermark import stencil


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(batch: int, height: int, width: int, cells: int = 5, seed: int = 0) -> torch.Tensor:
    """Random pictures with details of 1/cells of their sides."""
    return smooth_field(seeded(seed), cells, batch, 3, height, width) * 0.9 + 0.05


def psnr(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return -10 * torch.log10((a - b).square().mean((1, 2, 3)))


@pytest.mark.parametrize("quality", [10, 40, 75, 95])
@pytest.mark.parametrize("size", [(64, 64), (45, 77)])
def test_jpeg_loses_what_a_jpeg_file_loses(quality: int, size: tuple[int, int]) -> None:
    image = picture(1, *size, cells=16)
    pixels = (image[0].permute(1, 2, 0) * 255).round().byte().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=quality, subsampling="4:2:0")
    saved = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)[None] / 255
    ours = jpeg(image, quality)
    loss, difference = psnr(saved, image), psnr(ours, saved)
    assert difference > loss + 4 and difference > 30, (loss, difference)
    assert abs(psnr(ours, image) - loss) < 1


def test_jpeg_quality_is_per_sample() -> None:
    image = picture(3, 32, 48, cells=12)
    quality = torch.tensor([10.0, 50.0, 90.0])
    together = jpeg(image, quality)
    alone = torch.cat([jpeg(image[i : i + 1], float(quality[i])) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-4)
    assert (psnr(together, image).diff() > 1).all()
    with pytest.raises(ValueError, match="quality must lie in 1 to 100"):
        jpeg(image, 0)


@settings(max_examples=20, deadline=None)
@given(height=st.integers(9, 40), width=st.integers(9, 40), reach=st.integers(1, 8), seed=st.integers(0, 99))
def test_convolution_by_transform_is_convolution(height: int, width: int, reach: int, seed: int) -> None:
    image = torch.rand(2, 3, height, width, generator=seeded(seed))
    psf = torch.rand(2, 2 * reach + 1, 2 * reach + 1, generator=seeded(seed + 1))
    padded = F.pad(image, (reach,) * 4, mode="reflect").reshape(1, 6, height + 2 * reach, -1)
    direct = F.conv2d(padded, psf.flip(1, 2).repeat_interleave(3, 0)[:, None], groups=6).reshape(image.shape)
    assert torch.allclose(convolve(image, psf), direct, atol=1e-3, rtol=1e-4)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), reach=st.integers(2, 20))
def test_point_spread_functions_keep_light_and_place(seed: int, reach: int) -> None:
    extent = torch.rand(5, generator=seeded(seed)) * 1.5 * reach
    axis = torch.arange(-reach, reach + 1.0)
    for psf in (trajectory_psf(extent, reach, seeded(seed)), disc_psf(extent, reach)):
        assert psf.shape == (5, 2 * reach + 1, 2 * reach + 1) and psf.min() >= 0
        assert torch.allclose(psf.sum((1, 2)), torch.ones(5), atol=1e-4)
        assert (psf.sum(2) @ axis).abs().max() < 1e-3 * reach and (psf.sum(1) @ axis).abs().max() < 1e-3 * reach


def test_blur_takes_detail_and_not_light() -> None:
    image = picture(16, 96, 96, cells=24) * 0.5 + 0.25
    blurred = DEGRADATIONS["deblur"](image, seeded(0))
    assert (blurred.pow(2.2).mean((1, 2, 3)) / image.pow(2.2).mean((1, 2, 3)) - 1).abs().max() < 0.02
    detail = [(x[..., 1:] - x[..., :-1]).square().mean((1, 2, 3)) for x in (blurred, image)]
    assert (detail[0] < 0.8 * detail[1]).all()


@settings(max_examples=20, deadline=None)
@given(height=st.integers(8, 40), width=st.integers(8, 40), value=st.floats(0, 1))
def test_flat_light_passes_the_mosaic(height: int, width: int, value: float) -> None:
    assert torch.allclose(demosaic(torch.full((1, 3, height, width), value)), torch.tensor(value), atol=1e-5)


def test_mosaic_keeps_each_colour_at_its_own_sites() -> None:
    light = torch.rand(2, 3, 10, 14, generator=seeded(0))
    seen = demosaic(light)
    assert torch.allclose(seen[:, 0, ::2, ::2], light[:, 0, ::2, ::2])
    assert torch.allclose(seen[:, 1, ::2, 1::2], light[:, 1, ::2, 1::2])
    assert torch.allclose(seen[:, 1, 1::2, ::2], light[:, 1, 1::2, ::2])
    assert torch.allclose(seen[:, 2, 1::2, 1::2], light[:, 2, 1::2, 1::2])


def test_moire_is_coloured_and_slow() -> None:
    grey = torch.full((24, 3, 128, 128), 0.5)
    bands = DEGRADATIONS["demoire"](grey, seeded(0))
    slow = F.avg_pool2d(bands, 4)
    chroma = (slow - slow.mean(1, keepdim=True)).std((1, 2, 3))
    assert chroma.min() > 0.02 and chroma.mean() > 0.06
    still = DEGRADATIONS["demoire"](grey, seeded(0), amount=0.0)
    assert (still - still.mean((1, 2, 3), keepdim=True)).std() < 0.02


def test_haze_follows_the_scattering_model() -> None:
    image = picture(4, 32, 40)
    depth = 1 + 9 * smooth_field(seeded(5), 3, 4, 1, 32, 40)[:, 0]
    hazy = DEGRADATIONS["dehaze"](image, seeded(1), depth=depth)
    scaled = DEGRADATIONS["dehaze"](image, seeded(1), depth=1000 * depth)
    assert torch.allclose(hazy, scaled, atol=1e-5), "the unit of depth does not matter"
    black, white = (DEGRADATIONS["dehaze"](torch.full_like(image, v), seeded(1), depth=depth) for v in (0.0, 1.0))
    transmission = white - black
    airlight = black / (1 - transmission)
    assert torch.allclose(airlight, airlight.mean((2, 3), keepdim=True), atol=1e-3), "one airlight for each sample"
    assert torch.allclose(hazy, image * transmission + black, atol=1e-5)
    thickness = -transmission.log()[:, 0] / depth
    assert torch.allclose(thickness, thickness.mean((1, 2), keepdim=True), rtol=1e-3), "t = exp(-beta d)"
    for wrong in (depth[:, :-1], -depth):
        with pytest.raises(ValueError, match="depth must be positive and of the image's shape"):
            DEGRADATIONS["dehaze"](image, seeded(1), depth=wrong)


def test_haze_is_thicker_at_the_top() -> None:
    hazy = DEGRADATIONS["dehaze"](torch.zeros(32, 3, 64, 64), seeded(0)).mean(1)
    assert hazy[:, :16].mean() > 1.2 * hazy[:, -16:].mean()


def test_shadow_darkens_and_flash_brightens() -> None:
    image = picture(32, 64, 80)
    shade = DEGRADATIONS["deshadow"](image, seeded(0))
    assert (shade <= image + 1e-6).all()
    left = shade / image
    assert (
        left.min() > 0.25 and (left.amin((1, 2, 3)) < 0.72).all() and (left.amax((1, 2, 3)) > 0.99).float().mean() > 0.8
    )
    deep = left.amin((2, 3))
    assert (deep[:, 2] >= deep[:, 0] - 1e-5).all(), "blue is left"
    glare = DEGRADATIONS["flash_reflection"](image, seeded(0))
    assert (glare >= image - 1e-5).all()
    assert (glare.amin(1).amax((1, 2)) > 0.99).all(), "burnt out"


def test_drops_leave_the_rest_alone() -> None:
    image = picture(16, 128, 128)
    same = (DEGRADATIONS["raindrop"](image, seeded(0)) == image).all(1).float().mean((1, 2))
    assert same.min() > 0.3 and same.max() < 0.95 and same.std() > 0.02


def test_drops_show_the_scene_upside_down_and_small() -> None:
    down, right = torch.meshgrid(*[(torch.arange(64) + 0.5) / 64] * 2, indexing="ij")
    scene = torch.stack([down, right, torch.zeros(64, 64)])[None]
    # One drop of an eighth of the side around the middle of the picture.
    u, v = (right[None] - 0.5) * 16, (down[None] - 0.5) * 16
    seen = refract(scene, u, v, torch.full((1, 1, 1), 0.6))
    assert torch.allclose(seen[:, 0, 30:34, 30:34], (down - 0.3 * v)[:, 30:34, 30:34], atol=1e-3)
    assert torch.allclose(seen[:, 1, 30:34, 30:34], (right - 0.3 * u)[:, 30:34, 30:34], atol=1e-3)
    slope = seen[0, 0, 30:34, 32].diff() * 64
    assert (slope < -3).all(), "upside down and smaller by more than three"


def test_snow_is_pale_and_sparse() -> None:
    snow = DEGRADATIONS["desnow"](torch.zeros(16, 3, 128, 128), seeded(0))
    flakes = (snow.mean(1) > 0.4).float().mean((1, 2))
    assert flakes.min() > 0.005 and flakes.max() < 0.3
    assert (snow[:, 2] >= snow[:, 0]).all(), "not warmer than white"


def test_small_copies_keep_their_own_sizes() -> None:
    image = picture(3, 60, 90, cells=6)
    scale = torch.tensor([2.0, 3.0, 4.5])
    small = Small.of(image).shrink(scale, torch.full((3,), 0.4), torch.full((3,), 0.4))
    assert small.height.tolist() == [30, 20, 13] and small.width.tolist() == [45, 30, 20]
    assert small.canvas.shape == (3, 3, 30, 45)
    back = small.enlarge(60, 90)
    assert back.shape == image.shape and (psnr(back, image) > 25).all(), "in place"
    alone = Small.of(image[2:]).shrink(scale[2:], torch.tensor([0.4]), torch.tensor([0.4])).enlarge(60, 90)
    assert torch.allclose(back[2:], alone, atol=1e-5), "other samples do not matter"
    flat = Small.of(torch.full((1, 3, 20, 20), 0.3)).shrink(scale[1:2], scale[:1], scale[:1]).enlarge(33, 20)
    assert torch.allclose(flat, torch.tensor(0.3), atol=1e-5)


@pytest.mark.parametrize("scale", [0.5, 17.0, torch.ones(2)])
def test_wrong_scale(scale) -> None:
    with pytest.raises(ValueError, match="scale must lie in 1 to 16"):
        DEGRADATIONS["super_resolution"](picture(3, 16, 16), seeded(0), scale=scale)


def test_face_is_degraded_more_than_super_resolution() -> None:
    image = picture(24, 96, 96, cells=10)
    hard, soft = (psnr(DEGRADATIONS[name](image, seeded(0)), image).mean() for name in ("face", "super_resolution"))
    assert hard < soft - 1


def test_watermarks_are_letters_of_limited_size() -> None:
    covered = stencil(128, 160, 48, seeded(0))
    assert covered.min() >= 0 and covered.max() <= 1
    share = covered.mean((1, 2))
    assert share.min() > 0.01 and share.max() < 0.7
    hard = ((covered < 0.02) | (covered > 0.98)).float().mean()
    assert hard > 0.8, "edges are sharp"


def test_watermark_blends_towards_one_colour() -> None:
    image = picture(16, 64, 64)
    marked = DEGRADATIONS["watermark"](image, seeded(0))
    shape = stencil(64, 64, 16, seeded(0))
    untouched = (shape == 0)[:, None].expand_as(image)
    assert torch.equal(marked[untouched], image[untouched])
    black, white = (DEGRADATIONS["watermark"](torch.full_like(image, v), seeded(0)) for v in (0.0, 1.0))
    opacity = (1 - (white - black)).amax((1, 2, 3))
    assert opacity.min() > 0.25 and opacity.max() <= 0.7 + 1e-5


def test_fading_pales_and_flattens() -> None:
    image = picture(32, 64, 64)
    faded = DEGRADATIONS["color_fade"](image, seeded(0))
    grey, before = faded.mean(1), image.mean(1)
    assert (grey.std((1, 2)) < before.std((1, 2))).all(), "contrast"
    chroma = [(x - x.mean((2, 3), keepdim=True)) for x in (faded, image)]
    spread = [(c - c.mean(1, keepdim=True)).square().mean((1, 2, 3)) for c in chroma]
    assert (spread[0] < spread[1]).all(), "saturation"
    assert (faded.mean((2, 3)) - faded.mean((1, 2, 3))[:, None]).abs().amax(1).median() > 0.02, "cast"


def test_strength_on_a_textured_picture_leaves_room_for_a_gain() -> None:
    image = picture(24, 128, 128, cells=32)
    for name in ("raindrop", "demoire", "dehaze", "desnow", "deshadow", "flash_reflection", "watermark", "color_fade"):
        quality = psnr(DEGRADATIONS[name](image, seeded(2)), image)
        assert 12 < quality.median() < 23, (name, quality)
        assert quality.std() > 0.5 and math.isfinite(float(quality.max())), name
