"""The velocity graph as PyTorch runs it, over the inputs that exported graphs and engines take."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..comfyui_pixwizard.conditions import Conditions
from ..comfyui_pixwizard.transformer import PixWizardTransformer

KEYS = ("text_keys", "text_values", "text_mask", "image_keys", "image_values")


@torch.inference_mode()
def eager_velocity(transformer: PixWizardTransformer, inputs: Mapping[str, Tensor]) -> Tensor:
    """The network's answer to inputs of the velocity graph, float32, on the network's device."""
    weight = transformer.x_embedder.weight
    at = {
        name: value.to(weight.device, weight.dtype if value.is_floating_point() else None)
        for name, value in inputs.items()
    }
    conditions = Conditions.of_keys(*(at[name] for name in KEYS))
    c = transformer.t_embedder(inputs["t"].to(weight.device)) + at["vector"]
    cos, sin = (inputs[name].to(weight.device) for name in ("cos", "sin"))
    scale = at["attention_scale"]
    return transformer.denoise(at["x"], at["source"], c, cos, sin, conditions, attention_scale=scale).float()
