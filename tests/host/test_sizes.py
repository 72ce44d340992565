"""Answers at the size of the picture that was asked about, and holes that do not lie on the grid of latents."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

GRID = 8


def picture(width: int, height: int, example: Any) -> Tensor:
    """Shapes at any size, nowhere black."""
    drawn = example(size=512).permute(0, 3, 1, 2)
    sized = torch.nn.functional.interpolate(drawn, (height, width), mode="bilinear", antialias=True)
    return sized.permute(0, 2, 3, 1) * 0.7 + 0.3


def odd_holes(height: int, width: int) -> Tensor:
    """A box and a disc, none of whose edges lies on the grid."""
    mask = torch.zeros(1, height, width)
    mask[:, 19:62, 43:90] = 1.0
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    mask[0, (y - height + 38) ** 2 + (x - 35) ** 2 < 21**2] = 1.0
    return mask


@pytest.fixture(scope="module")
def fill(node: Any, parts: SimpleNamespace) -> Any:
    """Inpaints as our help says: canvas, conditioning with the mask, sampler, decoder, size."""
    task = dict(zip(("positive", "empty", "sentence", "task", "points", "text_guidance", "image_guidance"),
                    node("PixWizardInstruction", clip=parts.clip, task="inpaint"), strict=True))  # fmt: skip

    def run(image: Tensor, mask: Tensor, **more: Any) -> SimpleNamespace:
        canvas, hole = node("PixWizardInpaintCanvas", image=image, mask=mask, fill="black")
        given = dict(positive=task["positive"], empty=task["empty"], clip_vision=parts.vision, vae=parts.vae)
        positive, image_only, negative, latent, source = node(
            "PixWizardImageConditioning", image=canvas, mask=hole, **given, **more
        )
        settings = {name: task[name] for name in ("points", "text_guidance", "image_guidance")}
        samples = node("PixWizardSampler", model=parts.model, positive=positive, image_only=image_only,
                       negative=negative, latent=latent, seed=1, **settings)[0]  # fmt: skip
        answer = node("VAEDecode", vae=parts.vae, samples=samples)[0]
        done = node("PixWizardSourceSize", image=answer, original=image, mask=hole)[0]
        return SimpleNamespace(hole=hole[0] > 0.5, latent=latent, source=source, answer=answer, done=done)

    return run


def test_odd_holes_leave_no_fill_inside_and_no_frame_outside(node: Any, example: Any, fill: Any) -> None:
    image = picture(128, 128, example)
    found = fill(image, odd_holes(128, 128))
    kept = found.latent["noise_mask"]
    assert kept.shape == (1, 1, 16, 16) and set(kept.unique().tolist()) == {0.0, 1.0}
    touched = torch.nn.functional.max_pool2d(found.hole[None, None].float(), GRID)
    assert torch.equal(kept, touched) and kept.mean() > found.hole.float().mean()
    assert torch.equal(found.done[0][~found.hole], image[0][~found.hole]), "outside every pixel is the picture's own"
    assert image.amin() > 0.25 and found.done[0][found.hole].amax(-1).min() > 0.1, "inside none is black"


def test_holes_of_a_resized_picture_leave_neither(example: Any, fill: Any) -> None:
    image = picture(333, 517, example)
    found = fill(image, odd_holes(517, 333), resolution=256)
    assert found.done.shape == image.shape and found.answer.shape != image.shape
    assert torch.equal(found.done[0][~found.hole], image[0][~found.hole])
    assert found.done[0][found.hole].amax(-1).min() > 0.05, "the fill is 0, and what nano draws is dark"


@pytest.mark.parametrize("width, height", [(333, 517), (600, 40), (128, 128), (70, 64)])
def test_an_answer_returns_at_the_pictures_size(
    node: Any, parts: SimpleNamespace, example: Any, conditioned: Any, width: int, height: int
) -> None:
    image = picture(width, height, example)
    source = conditioned(image)[4]
    answer = node("VAEDecode", vae=parts.vae, samples=node("VAEEncode", vae=parts.vae, pixels=source)[0])[0]
    back = node("PixWizardSourceSize", image=answer, original=image)[0]
    assert back.shape == image.shape
    # Nothing has moved: the picture itself is what the answer, which changes nothing, is most like.
    error = (back - image).abs().mean()
    if source.shape == image.shape:
        assert torch.equal(back, answer)
    for shift in (max(2, width // 40), -max(2, width // 40)):
        assert error < (back - image.roll(shift, 2)).abs().mean()


def test_batches_and_masks_of_batches(node: Any, example: Any) -> None:
    images, answers = picture(64, 48, example).repeat(3, 1, 1, 1), torch.zeros(1, 32, 48, 3)
    mask = torch.zeros(3, 48, 64)
    mask[1], mask[2, :, :32] = 1.0, 0.5
    done = node("PixWizardSourceSize", image=answers, original=images, mask=mask)[0]
    assert torch.equal(done[0], images[0]) and done[1].abs().max() == 0
    torch.testing.assert_close(done[2, :, :32], images[2, :, :32] / 2)
    with pytest.raises(ValueError, match="a mask must come once or once for each of 3 pictures, found 2"):
        node("PixWizardSourceSize", image=answers, original=images, mask=mask[:2])


@pytest.fixture(scope="module")
def sample(node: Any, parts: SimpleNamespace, conditioned: Any) -> Any:
    """Latents with the noise removed from pictures."""

    def run(image: Tensor, resolution: int = 0, **more: Any) -> dict[str, Tensor]:
        positive, image_only, negative, latent, _ = conditioned(image, "Remove the noise", resolution=resolution)
        branches = dict(positive=positive, image_only=image_only, negative=negative, latent=latent)
        return node("PixWizardSampler", model=parts.model, seed=4, points=2, **(branches | more))[0]

    return run


def test_in_windows_a_large_picture_is_restored_without_seams(
    host: SimpleNamespace, node: Any, parts: SimpleNamespace, sample: Any
) -> None:
    bench, images = host.ours("bench.large"), host.ours("comfyui_pixwizard.pictures.images")
    clean = bench.Large(side=512).draw()
    truth = (images.to_tensor(clean)[0] / 2 + 0.5).permute(1, 2, 0)[None]
    noisy = (truth + 50 / 255 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)

    def restored(**options: Any) -> tuple[Tensor, float]:
        answer = node("VAEDecode", vae=parts.vae, samples=sample(noisy, **options))[0]
        back = node("PixWizardSourceSize", image=answer, original=noisy)[0]
        return back, float((back - truth).square().mean())

    (answer, windows), (_, whole) = restored(window_size=256), restored(resolution=256)
    assert answer.shape == truth.shape and windows < 0.93 * whole, "0.3 dB"
    picture = images.to_image(answer[0].permute(2, 0, 1) * 2 - 1)
    assert 0.85 < bench.seam_of(picture, clean, 256) < 1.15


def test_windows_that_cannot_be(node: Any, sample: Any, conditioned: Any, example: Any) -> None:
    image = example()
    with pytest.raises(ValueError, match="windows have a side of a multiple of 16 pixels from 64 up, found 48: take"):
        sample(image, window_size=48)
    place = dict(width=64, height=64, x=0, y=0, strength=1.0)
    area = node("ConditioningSetArea", conditioning=conditioned(image)[0], **place)[0]
    with pytest.raises(ValueError, match="windows take conditioning of the whole picture, found one with its own area"):
        sample(image, window_size=64, positive=area)
