"""The velocity graph as PyTorch runs it, over the inputs that exported graphs and engines take."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..comfyui_pixwizard.conditions import Conditions
from ..comfyui_pixwizard.transformer import PixWizardTransformer


@torch.inference_mode()
def eager_velocity(transformer: PixWizardTransformer, inputs: Mapping[str, Tensor]) -> Tensor:
    """The network's answer to inputs of the velocity graph, float32, on the network's device."""
    weight = transformer.x_embedder.weight
    at = {
        name: value.to(weight.device, weight.dtype if value.is_floating_point() else None)
        for name, value in inputs.items()
    }
    nothing = at["vector"].new_zeros(0)
    conditions = Conditions(
        at["text_keys"], at["text_values"], at["text_mask"], at["image_keys"], at["image_values"],
        nothing, nothing, at["vector"], torch.zeros_like(at["vector"]), nothing,
    )  # fmt: skip
    c = transformer.t_embedder(inputs["t"].to(weight.device)) + at["vector"]
    tokens = transformer.embed_latents(at["x"], at["source"])
    cos, sin = (inputs[name].to(weight.device) for name in ("cos", "sin"))
    patches = transformer.denoise_tokens(tokens, c, cos, sin, conditions, attention_scale=at["attention_scale"])
    return transformer.unpatchify(patches, tuple(at["x"].shape[-2:])).float()
