"""Local Edit in the host: what is kept, what is chosen, what is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

TEXT = "Make the red ball blue."


def masks(height: int, width: int) -> Tensor:
    found = torch.zeros(2, height, width)
    found[0, 20:60, 30:90], found[1, 70:100, 10:50] = 1, 1
    return found


@pytest.fixture
def given(parts: SimpleNamespace, example: Any, conditioned: Any) -> Any:
    """Inputs of the node for so many pictures."""

    def inputs(count: int, **more: Any) -> dict[str, Any]:
        positive, image_only, negative, _, source = conditioned(example(count), TEXT)
        branches = dict(positive=positive, image_only=image_only, negative=negative)
        return dict(model=parts.model, vae=parts.vae, source=source, mask=masks(128, 128)[:count], seed=3, points=3,
                    **branches) | more  # fmt: skip

    return inputs


@pytest.mark.parametrize("form", ["exact", "dilated", "box"])
def test_the_rest_stays_bit_for_bit_and_it_is_the_pipelines(
    node: Any, host: SimpleNamespace, pipeline: Any, given: Any, form: str
) -> None:
    inputs = given(1, form=form, threshold=0.0)
    image, share, chosen, latent = node("PixWizardLocalEdit", **inputs)
    source = inputs["source"]
    assert chosen == form and torch.equal(image[share == 0], source[share == 0])
    assert float((image[share == 1] - source[share == 1]).abs().mean()) > 1e-3
    assert latent["samples"].shape == (1, 16, 16, 16) and latent["noise_mask"].shape == (1, 1, 16, 16)
    edits = host.ours("comfyui_pixwizard.local_edits.edit")
    images = host.ours("comfyui_pixwizard.pictures.images")
    answer = pipeline(
        images.unit_to_image(source[0].permute(2, 0, 1)), TEXT, task="edit_recolor", steps=3, text_guidance=1.0,
        image_guidance=1.0, seed=3, keep_unchanged=False,
        local=edits.LocalEdit(inputs["mask"][0] > 0.5, form),
    ).image  # fmt: skip
    shown = images.image_to_unit(answer).permute(1, 2, 0)
    torch.testing.assert_close(image[0], shown, atol=4 / 255, rtol=0)


def test_each_picture_of_a_batch_has_its_own_mask_and_form(node: Any, parts: SimpleNamespace, given: Any) -> None:
    inputs = given(2, form="best", clip_vision=parts.vision)
    image, share, chosen, _ = node("PixWizardLocalEdit", **inputs)
    assert image.shape == (2, 128, 128, 3) and share.shape == (2, 128, 128)
    forms = chosen.split("\n")
    assert len(forms) == 2 and set(forms) <= {"exact", "dilated", "box"}
    assert torch.equal(image[share == 0], inputs["source"][share == 0])
    assert bool((share >= masks(128, 128)).all())


def test_the_change_is_carried_to_a_larger_picture(node: Any, given: Any) -> None:
    inputs = given(1, form="exact", threshold=0.0)
    large = torch.nn.functional.interpolate(inputs["source"].permute(0, 3, 1, 2), (300, 300)).permute(0, 2, 3, 1)
    image = node("PixWizardLocalEdit", **inputs, original=large)[0]
    far = torch.ones(1, 300, 300, dtype=torch.bool)
    far[:, 40:150, 60:220] = False
    assert image.shape == large.shape and torch.equal(image[far], large[far])
    assert not torch.equal(image, large)


def test_what_is_refused(node: Any, parts: SimpleNamespace, given: Any, example: Any) -> None:
    inputs = given(1, form="exact")
    for wrong, told in [
        (dict(form="best"), "seen by CLIP_VISION, found none: connect that of Load PixWizard"),
        (dict(mask=torch.zeros(1, 128, 128)), "found an empty one"),
        (dict(source=example(1, 64)), r"found \[64, 64\] px for latents of \[128, 128\] px"),
        (dict(mask=torch.ones(3, 128, 128)), "found 3: pick or repeat"),
        (dict(positive=inputs["negative"]), "found none on positive"),
    ]:
        with pytest.raises(ValueError, match=told):
            node("PixWizardLocalEdit", **inputs | wrong)
    network, kept = parts.model.model, parts.model.model.direction
    network.direction = None
    try:
        with pytest.raises(ValueError, match="found none in its folder: make it with pixwizard train direction"):
            node("PixWizardLocalEdit", **inputs | dict(form="best", clip_vision=parts.vision))
    finally:
        network.direction = kept
