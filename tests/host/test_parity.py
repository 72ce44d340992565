"""The native MODEL against the core pipeline: same weights, same noise, same answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

SENTENCE = "Remove the rain from this picture."  # as the fixture `conditioned` says it by default


def core_latents(pipeline: Any, image: Tensor, steps: int, guidance: Any, seed: int, **more: Any) -> Tensor:
    """The pipeline's own latents, taken where its autoencoder would decode them."""
    caught: list[Tensor] = []
    decode = pipeline.autoencoder.decode

    def catch(latents: Tensor) -> Tensor:
        caught.append(latents.clone())
        return decode(latents)

    pipeline.autoencoder.decode = catch
    try:
        seeds = [seed + i for i in range(len(image))]
        source = image.permute(0, 3, 1, 2) * 2 - 1
        given = dict(steps=steps, guidance=guidance, seeds=seeds) | more
        pipeline.generate(source, [SENTENCE] * len(image), **given)
    finally:
        del pipeline.autoencoder.decode
    return caught[0]


def test_text_encoders_give_the_cores_features(parts: SimpleNamespace, pipeline: Any) -> None:
    for text in (SENTENCE, "", "Make the green cone purple, please"):
        ((features, more),) = parts.clip.encode_from_tokens_scheduled(parts.clip.tokenize(text))
        expected, mask = pipeline.text_encoder.encode([text])
        length = int(mask.sum())
        assert features.shape[1] == length == int(more["attention_mask"].sum())
        torch.testing.assert_close(features[0], expected[0, :length], atol=2e-4, rtol=1e-4)
        torch.testing.assert_close(more["pooled_output"], pipeline.task_encoder.encode([text]), atol=2e-4, rtol=1e-4)


def test_pictures_are_read_as_the_core_reads_them(
    example: Any, conditioned: Any, node: Any, parts: SimpleNamespace, pipeline: Any
) -> None:
    image = example()
    positive, image_only, negative, *_ = conditioned(image)
    picture = image.permute(0, 3, 1, 2) * 2 - 1
    with torch.inference_mode():
        tokens, latents = pipeline.image_encoder.encode(picture), pipeline.autoencoder.encode(picture)
    for conditioning in (positive, image_only):
        torch.testing.assert_close(conditioning[0][1]["pixwizard_image_tokens"], tokens, atol=2e-4, rtol=1e-4)
        torch.testing.assert_close(conditioning[0][1]["concat_latent_image"], latents, atol=1e-4, rtol=1e-4)
    assert "concat_latent_image" not in negative[0][1]
    back = node("VAEDecode", vae=parts.vae, samples={"samples": latents})[0] * 2 - 1
    torch.testing.assert_close(back, pipeline.round_trip(picture).permute(0, 2, 3, 1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("guidance", [(1.0, 1.0), (3.0, 1.0), (3.0, 1.5), (0.0, 2.0)])
def test_stock_nodes_equal_the_pipeline(
    example: Any, conditioned: Any, node: Any, parts: SimpleNamespace, pipeline: Any, guidance: tuple[float, float]
) -> None:
    image, steps, seed = example(), 6, 11
    positive, image_only, negative, latent, _ = conditioned(image)
    guider = node(
        "DualCFGGuider", model=parts.model, cond1=positive, cond2=image_only, negative=negative,
        cfg_conds=guidance[0], cfg_cond2_negative=guidance[1], style="regular",
    )[0]  # fmt: skip
    sigmas = node("BasicScheduler", model=parts.model, scheduler="simple", steps=steps - 1, denoise=1.0)[0]
    sampler = node("KSamplerSelect", sampler_name="euler")[0]
    noise = node("RandomNoise", noise_seed=seed)[0]
    stock = node(
        "SamplerCustomAdvanced", noise=noise, guider=guider, sampler=sampler, sigmas=sigmas, latent_image=latent
    )[0]["samples"]
    expected = core_latents(pipeline, image, steps, guidance, seed, solver="euler")
    torch.testing.assert_close(stock, expected, atol=1e-3, rtol=0)
    own = node(
        "PixWizardSampler", model=parts.model, positive=positive, image_only=image_only, negative=negative,
        latent=latent, seed=seed, points=steps, text_guidance=guidance[0], image_guidance=guidance[1],
        solver="euler", patch_grids="1",
    )[0]["samples"]  # fmt: skip
    torch.testing.assert_close(own, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("interval", [(0.0, 1.0), (0.3, 0.9)])
def test_the_samplers_defaults_are_the_pipelines(
    host: SimpleNamespace, example: Any, conditioned: Any, node: Any, parts: SimpleNamespace, pipeline: Any,
    interval: tuple[float, float],
) -> None:  # fmt: skip
    image, steps, seed = example(2), 6, 4
    positive, image_only, negative, latent, _ = conditioned(image)
    own = node(
        "PixWizardSampler", model=parts.model, positive=positive, image_only=image_only, negative=negative,
        latent=latent, seed=seed, points=steps, text_guidance=3.0, image_guidance=1.5, guidance_from=interval[0],
        guidance_to=interval[1],
    )[0]["samples"]  # fmt: skip
    guidance = host.ours("comfyui_pixwizard.guidance").DualGuidance(3.0, 1.5, interval=interval)
    grids = pipeline.declared["derain"].patch_grids
    expected = core_latents(pipeline, image, steps, guidance, seed, patch_grids=grids)
    torch.testing.assert_close(own, expected, atol=1e-3, rtol=0)
    other = core_latents(pipeline, image, steps, (3.0, 1.5), seed, solver="euler")
    assert (own - other).abs().max() > 0.01, "neither euler nor guidance everywhere"


@pytest.mark.parametrize("window_size", [0, 128])
def test_patch_grids_are_the_pipelines(
    example: Any, conditioned: Any, node: Any, parts: SimpleNamespace, pipeline: Any, window_size: int
) -> None:
    image, steps, seed, names = example(), 3, 4, ("positive", "image_only", "negative", "latent")
    *conditions, _ = conditioned(image)
    branches = dict(zip(names, conditions, strict=True))

    def sampled(**asked: Any) -> Tensor:
        given = dict(seed=seed, points=steps, text_guidance=2.0, image_guidance=1.5, window_size=window_size)
        return node("PixWizardSampler", model=parts.model, **branches | asked, **given)[0]["samples"]

    usual, four = sampled(patch_grids="1"), sampled(patch_grids="4")
    if not window_size:
        expected = core_latents(pipeline, image, steps, (2.0, 1.5), seed, patch_grids=4)
        torch.testing.assert_close(four, expected, atol=1e-3, rtol=0)
    assert (four - usual).abs().max() > 0.01
    told = {task: with_task(branches["positive"], task) for task in ("denoise", "depth")}
    assert torch.equal(sampled(positive=told["denoise"]), sampled(positive=told["denoise"], patch_grids="4"))
    assert torch.equal(sampled(positive=told["depth"]), sampled(positive=told["depth"], patch_grids="1"))
    whole = [(words, options | {"area": (8, 8, 0, 0)}) for words, options in told["denoise"]]
    if not window_size:
        assert torch.equal(sampled(positive=whole), sampled(positive=whole, patch_grids="1"))
        with pytest.raises(ValueError, match="set patch_grids to 1"):
            sampled(positive=whole, patch_grids="2")


def with_task(conditioning: Any, task: str) -> Any:
    return [[words, options | {"pixwizard_task": task}] for words, options in conditioning]


def test_windows_are_the_pipelines(
    example: Any, conditioned: Any, node: Any, parts: SimpleNamespace, pipeline: Any
) -> None:
    steps, seed, names = 3, 4, ("positive", "image_only", "negative", "latent")
    *conditions, image = conditioned(example(2, 320)[:, :272])
    branches = dict(zip(names, conditions, strict=True))
    assert 256 < max(image.shape[1:3]) <= 320, "larger than a window"

    def sampled(side: int) -> Tensor:
        asked = dict(seed=seed, points=steps, text_guidance=2.0, image_guidance=1.5, window_size=side)
        return node("PixWizardSampler", model=parts.model, **branches, **asked, patch_grids="1")[0]["samples"]

    own, whole = sampled(256), sampled(0)
    expected = core_latents(pipeline, image, steps, (2.0, 1.5), seed, windows=True)
    torch.testing.assert_close(own, expected, atol=1e-3, rtol=0)
    assert (own - whole).abs().max() > 0.01, "the whole is another answer"
    torch.testing.assert_close(sampled(320), whole, atol=1e-5, rtol=0)
