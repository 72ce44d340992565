"""The inputs of the exported velocity graph from a prepared sampling; every engine that runs the graph takes these.

Shapes: n * B samples of joined branches; the rest as in `export.onnx_graph.VelocityGraph`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..comfyui_pixwizard.config import PixWizardConfig
from ..comfyui_pixwizard.evaluator import Branch
from ..comfyui_pixwizard.rope import rope_table
from .engine_profiles import velocity_shapes

# The others follow the weights' type.
EXACT = ("t", "cos", "sin", "attention_scale", "text_mask")


def cast(inputs: Mapping[str, Tensor], dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    """Inputs on a device, those that follow the weights' type in `dtype`."""
    return {name: value.to(device, None if name in EXACT else dtype) for name, value in inputs.items()}


def velocity_example(
    config: PixWizardConfig, batch: int, height: int, width: int, text: int, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Random inputs of the velocity graph for latents [batch, C, height, width] and so many text tokens, on the CPU.

    The last text token of every row but the first is masked, and the last row of several has no image.
    """
    generator = torch.Generator().manual_seed(batch * height * width + text)
    rows, columns = height // config.patch_size, width // config.patch_size
    shapes = velocity_shapes(config, batch, rows, columns, text)
    values = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    table = rope_table(rows, columns, config.head_dim, 1.0, config.scale_factor)
    values["cos"], values["sin"] = (part.clone() for part in table)
    values |= {"t": torch.linspace(0.1, 0.9, batch), "attention_scale": torch.tensor([1.1])}
    values["text_mask"] = torch.ones(batch, text, dtype=torch.bool)
    values["text_mask"][1:, 1:] = torch.arange(1, text) < text - 1
    for name in ("image_keys", "image_values"):
        values[name][:, batch - 1 :] *= float(batch == 1)
    return cast(values, dtype, torch.device("cpu"))


def constant_inputs(
    config: PixWizardConfig,
    branch: Branch,
    dtype: torch.dtype,
    device: torch.device,
    attention_scale: float | None = None,
) -> dict[str, Tensor]:
    """All inputs but x, t and the RoPE tables, contiguous on a device; those that follow the weights' type in `dtype`.

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
    inputs = dict(
        source=branch.source,
        attention_scale=torch.tensor([1.0 if attention_scale is None else attention_scale]),
        vector=conditions.vector,
        text_keys=conditions.text_keys,
        text_values=conditions.text_values,
        text_mask=mask,
        image_keys=keys,
        image_values=values,
    )
    return {name: value.contiguous() for name, value in cast(inputs, dtype, device).items()}
