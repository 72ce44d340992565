"""Inputs of the speed benchmark from a real model and a picture, and the pictures that its answers are.

Shapes: B pictures, h w latent sides.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..comfyui_pixwizard.guidance import BRANCHES
from ..comfyui_pixwizard.noise import draw_noise
from ..comfyui_pixwizard.pipeline import PixWizardPipeline
from .reference import Inputs

INSTRUCTION = "Remove the noise from this picture"


def drawn_picture(size: int, batch: int) -> Tensor:
    """Soft colours, hard edges and noise: [B, 3, size, size] in [-1, 1], the same every time."""
    generator = torch.Generator().manual_seed(0)
    soft = torch.rand(batch, 3, 4, 4, generator=generator)
    picture = torch.nn.functional.interpolate(soft, (size, size), mode="bicubic") * 1.6 - 0.8
    for _ in range(12):
        y, x = torch.randint(0, size, (2,), generator=generator).tolist()
        height, width = torch.randint(size // 8, size // 3, (2,), generator=generator).tolist()
        picture[..., y : y + height, x : x + width] = torch.rand(3, 1, 1, generator=generator) * 2 - 1
    return (picture + 0.1 * torch.randn(picture.shape, generator=generator)).clamp(-1, 1)


def real_inputs(pipeline: PixWizardPipeline, size: int, batch: int) -> tuple[dict[str, Inputs], Tensor]:
    """What `speed.random_inputs` gives, from a picture and an instruction through the model's own encoders."""
    weight = pipeline.transformer.x_embedder.weight
    pictures = drawn_picture(size, batch).to(weight.device, weight.dtype)
    latents, tokens = pipeline.autoencoder.encode(pictures), pipeline.image_encoder.encode(pictures)
    generators = [torch.Generator().manual_seed(i) for i in range(batch)]
    noise = draw_noise(tuple(latents.shape[1:]), generators, latents.device)
    found = {}
    for name in BRANCHES:
        words = [INSTRUCTION if name == "full" else ""] * batch
        null = name == "none"
        features, mask = pipeline.text_encoder.encode(words)
        found[name] = Inputs(
            features,
            mask,
            pipeline.task_encoder.encode(words),
            torch.zeros_like(tokens) if null else tokens,
            noise.to(latents) if null else latents,
        )
    # In one batch, as the released procedure has it, texts need one length.
    longest = max(item.features.shape[1] for item in found.values())
    return {name: _lengthened(item, longest) for name, item in found.items()}, noise


def _lengthened(item: Inputs, length: int) -> Inputs:
    missing = length - item.features.shape[1]
    features = torch.nn.functional.pad(item.features, (0, 0, 0, missing))
    mask = torch.nn.functional.pad(item.mask.bool(), (0, missing))
    return Inputs(features, mask, item.vector, item.tokens, item.source)
