"""What users expect of an ordinary MODEL: LoRA, patches, stock samplers, previews, interruption, sizes, fp8."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import sampled
from torch import Tensor

POINTS = 3


@pytest.fixture(scope="module")
def given(example: Any, conditioned: Any) -> tuple[Any, ...]:
    return conditioned(example())


@pytest.fixture(scope="module")
def plain(node: Any, parts: SimpleNamespace, given: tuple[Any, ...]) -> Tensor:
    return sampled(node, parts.model, given)


FORMS = {
    "kohya": ("lora_unet_layers_2_attention_wq.lora_up.weight", "lora_unet_layers_2_attention_wq.lora_down.weight"),
    "peft": tuple(f"base_model.model.layers.2.attention.wq.lora_{side}.weight" for side in "BA"),
    "diffusers": tuple(f"transformer.layers.2.attention.wq.lora_{side}.weight" for side in "BA"),
    "bare": tuple(f"diffusion_model.layers.2.attention.wq.lora_{side}.weight" for side in "BA"),
}


@pytest.mark.parametrize("form", FORMS)
def test_stock_lora_loader_takes_all_forms(
    node: Any, parts: SimpleNamespace, given: tuple[Any, ...], plain: Tensor, form: str, tmp_path: Path
) -> None:
    import comfy.sd
    from safetensors.torch import load_file, save_file

    generator = torch.Generator().manual_seed(0)
    up, down = (torch.randn(shape, generator=generator) * 0.3 for shape in ((256, 4), (4, 256)))
    save_file(dict(zip(FORMS[form], (up, down), strict=True)), tmp_path / "lora.safetensors")
    with_lora, _ = comfy.sd.load_lora_for_models(parts.model, None, load_file(tmp_path / "lora.safetensors"), 0.5, 0)
    assert list(with_lora.patches) == ["diffusion_model.layers.2.attention.wq.weight"]
    changed = sampled(node, with_lora, given)
    assert (changed - plain).abs().max() > 1e-2
    # The same change made by hand, and the base weights back afterwards.
    torch.testing.assert_close(sampled(node, parts.model, given), plain)
    weight = parts.model.model.diffusion_model.layers[2].attention.wq.weight
    kept = weight.detach().clone()
    try:
        with torch.inference_mode():
            weight += 0.5 * up @ down
        torch.testing.assert_close(sampled(node, parts.model, given), changed, atol=1e-3, rtol=1e-3)
    finally:
        with torch.inference_mode():
            weight.copy_(kept)


@pytest.mark.parametrize("name", ["dpmpp_2m", "heun", "euler_ancestral", "uni_pc"])
def test_stock_ksampler_and_schedulers(node: Any, parts: SimpleNamespace, given: tuple[Any, ...], name: str) -> None:
    positive, _, negative, latent, _ = given
    out = node(
        "KSampler", model=parts.model, seed=1, steps=3, cfg=1.0, sampler_name=name, scheduler="normal",
        positive=positive, negative=negative, latent_image=latent, denoise=1.0,
    )[0]["samples"]  # fmt: skip
    assert out.shape == latent["samples"].shape and bool(out.isfinite().all()) and out.std() > 0.1


def test_a_shift_node_with_another_multiplier_changes_only_the_grid(
    node: Any, parts: SimpleNamespace, given: tuple[Any, ...], plain: Tensor
) -> None:
    shifted = node("ModelSamplingSD3", model=parts.model, shift=1.0)[0]
    torch.testing.assert_close(sampled(node, shifted, given), plain, atol=1e-4, rtol=1e-4)


def test_model_patches_and_attention_overrides_are_called(
    node: Any, parts: SimpleNamespace, given: tuple[Any, ...], plain: Tensor
) -> None:
    seen: list[int] = []
    patched = parts.model.clone()

    def after(args: dict[str, Any]) -> dict[str, Any]:
        seen.append(args["block_index"])
        return {"img": args["img"]}

    def instead(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        seen.append(100)
        return extra["original_block"](args)

    patched.set_model_patch(after, "double_block")
    patched.set_model_patch_replace(instead, "dit", "double_block", 3)
    calls: list[tuple[int, ...]] = []

    def override(function: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(tuple(args[0].shape))
        return function(*args, **kwargs)

    patched.model_options["transformer_options"]["optimized_attention_override"] = override
    torch.testing.assert_close(sampled(node, patched, given), plain, atol=1e-5, rtol=1e-5)
    layers = parts.model.model.diffusion_model.config.n_layers
    assert seen[: layers + 1] == [0, 1, 2, 100, 3, 4, 5] and len(calls) == (POINTS - 1) * layers * 3


def test_any_size_is_padded_and_cropped(node: Any, parts: SimpleNamespace, example: Any, conditioned: Any) -> None:
    positive, image_only, negative, _, _ = conditioned(example(size=128))
    import node_helpers

    latent = torch.zeros(1, 16, 15, 13)
    source = torch.randn(1, 16, 15, 13, generator=torch.Generator().manual_seed(0))
    odd = [node_helpers.conditioning_set_values(c, {"concat_latent_image": source}) for c in (positive, image_only)]
    out = sampled(node, parts.model, (*odd, negative, {"samples": latent}, None))
    assert out.shape == latent.shape and bool(out.isfinite().all())


def test_seeds_reproduce_across_batch_sizes(node: Any, parts: SimpleNamespace, example: Any, conditioned: Any) -> None:
    image = example(count=3, size=64)
    together = sampled(node, parts.model, conditioned(image), seed=40)
    for i in range(3):
        alone = sampled(node, parts.model, conditioned(image[i : i + 1]), seed=40 + i)
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-4, rtol=1e-4)


def test_sampled_tokens_are_drawn_from_the_seed(
    node: Any, parts: SimpleNamespace, given: tuple[Any, ...], plain: Tensor
) -> None:
    positive, image_only, negative, latent, _ = given
    branches = dict(positive=positive, image_only=image_only, negative=negative, latent=latent)

    def drawn(seed: int, **more: Any) -> Tensor:
        asked = dict(model=parts.model, seed=seed, points=2, token_choice="sampled") | branches | more
        return node("PixWizardSampler", **asked)[0]["samples"]

    once = drawn(5)
    assert torch.equal(drawn(5), once) and not torch.equal(drawn(5, token_choice="best"), once)
    network, seen = parts.model.model, positive[0][1] | {"cross_attn": positive[0][0], "device": "cpu"}
    first, second, best = (network.encode_branch(seen, seed)[0].selected for seed in (5, 6, None))
    assert not torch.equal(first, second) and not torch.equal(first, best)
    assert torch.equal(network.encode_branch(seen, 5)[0].selected, first)


def test_fp8_weights(node: Any, given: tuple[Any, ...], plain: Tensor) -> None:
    model = node("PixWizardLoad", model="nano (bundled)", weight_dtype="fp8_e4m3fn")[0]
    network = model.model.diffusion_model
    assert network.layers[0].attention.wq.weight.dtype == torch.float8_e4m3fn
    assert network.layers[0].attention_norm1.weight.dtype == torch.float32
    difference = (sampled(node, model, given) - plain).square().mean() / plain.square().mean()
    assert 0 < difference < 0.1


def test_latent_previews_show_the_picture(parts: SimpleNamespace, node: Any, example: Any) -> None:
    import latent_preview
    from comfy.cli_args import LatentPreviewMethod, args

    image = example()
    latents = node("VAEEncode", vae=parts.vae, pixels=image)[0]["samples"]
    before, args.preview_method = args.preview_method, LatentPreviewMethod.Latent2RGB
    try:
        previewer = latent_preview.get_previewer("cpu", parts.model.model.latent_format)
        picture = previewer.decode_latent_to_preview(latents)
    finally:
        args.preview_method = before
    small = torch.nn.functional.avg_pool2d(image.permute(0, 3, 1, 2), 8)[0].permute(1, 2, 0)
    shown = torch.from_numpy(np.array(picture)) / 255
    assert (shown - small).abs().mean() < 0.06


def test_sampling_can_be_interrupted(node: Any, parts: SimpleNamespace, given: tuple[Any, ...]) -> None:
    import comfy.model_management as mm

    stop = parts.model.clone()

    def after(args: dict[str, Any]) -> dict[str, Any]:
        mm.interrupt_current_processing(True)
        return {}

    stop.set_model_patch(after, "double_block")
    with pytest.raises(mm.InterruptProcessingException):
        sampled(node, stop, given)
    mm.interrupt_current_processing(False)


def test_a_mask_keeps_the_rest(node: Any, parts: SimpleNamespace, example: Any, conditioned: Any) -> None:
    mask = torch.zeros(1, 128, 128)
    mask[:, :64] = 1.0
    positive, image_only, negative, latent, _ = conditioned(example(), mask=mask)
    out = sampled(node, parts.model, (positive, image_only, negative, latent, None))
    torch.testing.assert_close(out[:, :, 9:], latent["samples"][:, :, 9:], atol=1e-4, rtol=1e-4)
    assert (out[:, :, :7] - latent["samples"][:, :, :7]).abs().mean() > 0.05


@pytest.mark.parametrize(
    "change, words",
    [
        ({"pooled_output": torch.zeros(1, 768)}, "use the CLIP of Load PixWizard"),
        ({"pixwizard_image_tokens": None}, "use Image Conditioning"),
        ({"pixwizard_image_tokens": torch.zeros(1, 576, 1024)}, "use the CLIP Vision model that belongs"),
        ({"concat_latent_image": torch.zeros(1, 4, 16, 16)}, "use the VAE that belongs"),
        ({"concat_latent_image": torch.zeros(1, 16, 8, 8)}, "use the latent that Image Conditioning gives"),
    ],
)
def test_wrong_wires_are_named(
    node: Any, parts: SimpleNamespace, given: tuple[Any, ...], change: dict[str, Any], words: str
) -> None:
    import node_helpers

    positive, *others = given
    wrong = node_helpers.conditioning_set_values(positive, change)
    with pytest.raises(ValueError, match=words):
        sampled(node, parts.model, (wrong, *others))


def test_another_kind_of_model_is_refused(node: Any, given: tuple[Any, ...]) -> None:
    other = SimpleNamespace(model=SimpleNamespace())
    with pytest.raises(ValueError, match="found SimpleNamespace: connect Load PixWizard"):
        sampled(node, other, given)


def test_cfg_pp_solvers_have_their_prediction_without_words(
    node: Any, parts: SimpleNamespace, given: tuple[Any, ...], plain: Tensor
) -> None:
    # At guidance 1 the correction of these solvers vanishes: the answer is euler's.
    out = sampled(node, parts.model, given, solver="euler_cfg_pp")
    assert bool(out.isfinite().all()) and (out - plain).abs().mean() < plain.abs().mean()


def test_a_controlnet_is_refused(parts: SimpleNamespace) -> None:
    network = parts.model.model.diffusion_model
    with pytest.raises(ValueError, match="remove the Apply ControlNet node"):
        network(torch.zeros(1, 32, 8, 8), torch.ones(1), control={"output": []})
