"""The inputs of the exported velocity graph from a prepared sampling; every engine that runs the graph takes these.

Shapes: n * B samples of joined branches; the rest as in `export.onnx_graph.VelocityGraph`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..comfyui_pixwizard.config import PixWizardConfig
from ..comfyui_pixwizard.evaluator import Branch

# The others stay the same through a sampling.
STEP_INPUTS = ("x", "t")


def constant_inputs(
    config: PixWizardConfig, branch: Branch, rope: tuple[Tensor, Tensor], dtype: torch.dtype, device: torch.device
) -> dict[str, Tensor]:
    """All inputs but x and t, contiguous on a device; those that follow the weights' type in `dtype`.

    The graph always takes k image tokens and a mask: branches without a picture get zeros (which contribute exactly
    nothing), texts without padding a mask that hides nothing.
    """
    conditions = branch.conditions
    keys, values = conditions.image_keys, conditions.image_values
    if not keys.shape[-2]:
        keys = values = keys.new_zeros(*keys.shape[:3], config.sample_tokens, keys.shape[-1])
    mask = conditions.text_mask
    if mask is None:
        text = conditions.text_keys
        mask = torch.ones(text.shape[1], text.shape[3], dtype=torch.bool, device=text.device)
    weighted = dict(
        source=branch.source,
        vector=conditions.vector,
        text_keys=conditions.text_keys,
        text_values=conditions.text_values,
        image_keys=keys,
        image_values=values,
    )
    exact = dict(cos=rope[0], sin=rope[1], attention_scale=torch.ones(1))
    made = {name: value.to(device, dtype) for name, value in weighted.items()}
    made |= {name: value.to(device, torch.float32) for name, value in exact.items()}
    made["text_mask"] = mask.to(device)
    return {name: value.contiguous() for name, value in made.items()}
