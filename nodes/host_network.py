"""The core network on the host's layers: its Linear and LayerNorm, its attention, its patches and its sigmas.

Nothing is computed here that the core does not compute; layers are exchanged so that the host can offload, cast and
patch them. Shapes: B batch, C latent channels, R layers, L tokens, T text tokens, k image tokens, g key/value heads,
h query heads, e head channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import comfy.ldm.common_dit
import comfy.patcher_extension
import torch
from comfy.ldm.modules.attention import optimized_attention
from torch import Tensor, nn

from ..comfyui_pixwizard.conditions import Conditions
from ..comfyui_pixwizard.config import PixWizardConfig
from ..comfyui_pixwizard.latents import Around
from ..comfyui_pixwizard.scaling import PLAIN, Scaling
from ..comfyui_pixwizard.transformer import PixWizardTransformer

# Entry of a MODEL's transformer options: a `Scaling`.
SCALING = "pixwizard_scaling"


class HostTransformer(PixWizardTransformer):
    """`PixWizardTransformer` whose layers come from the host.

    Args:
        image_model: the host's name for the architecture, not used.
        model_channels: the width, for the host's nodes alone.
        dtype: of the weights of layers, which the host casts as it runs them.
        device: where weights are made.
        operations: the host's namespace of layers.
        compute_dtype: of activations and of the few parameters that belong to no layer (norms, gates).
        fields: of `PixWizardConfig`.
    """

    def __init__(
        self,
        image_model: str | None = None,
        model_channels: int | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
        operations: Any = None,
        compute_dtype: torch.dtype | None = None,
        **fields: Any,
    ) -> None:
        with torch.device("meta"):
            super().__init__(PixWizardConfig.from_dict(fields))
        self.dtype = dtype
        self.compute_dtype = compute_dtype or dtype
        _exchange_layers(self, operations, dtype, device)
        _make_parameters(self, self.compute_dtype, device)
        # What the samplings of one call hand to attention; filled by `forward`, read by every block.
        self.options: dict[str, Any] = {}
        for block in self.blocks:
            block.attention.attend = partial(_attend, self.options)
        self.requires_grad_(False)

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor | None = None,
        control: Any = None,
        transformer_options: dict[str, Any] | None = None,
        **conditions: Any,
    ) -> Tensor:
        """The host's velocity, noise - image.

        Args:
            x: noisy and source latent together [B, 2C, h, w], any h and w.
            timesteps: the host's sigma [B], 1 noise to 0 image.
            context: not used; text arrives encoded.
            control: must be None.
            transformer_options: the host's: wrappers, patches, attention overrides.
            conditions: text_keys, text_values [B, R, g, T, e], text_mask [B, T] or None, image_keys, image_values
                [B, R, g, k, e], vector [B, D].

        Raises:
            ValueError: a ControlNet is attached.
        """
        options = {} if transformer_options is None else transformer_options
        if control is not None:
            raise ValueError(
                "PixWizard is steered by pictures and instructions, found a ControlNet on its conditioning: remove the "
                "Apply ControlNet node and use a task such as canny_to_image"
            )
        wrappers = comfy.patcher_extension.get_all_wrappers(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, options)
        executor = comfy.patcher_extension.WrapperExecutor.new_class_executor(self._forward, self, wrappers)
        return executor.execute(x, timesteps, context, control, options, **conditions)

    def scaled(
        self, side: tuple[int, ...], timesteps: Tensor, options: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor, float | None]:
        """RoPE tables of latents of a size (h, w) and attention's factor, as the MODEL's options ask at a sigma."""
        scaling: Scaling = options.get(SCALING, PLAIN)
        # The time is only looked at where it matters: it would wait for the device.
        t = 0.0 if scaling.rope_scale == 1 else 1.0 - float(timesteps[0])
        cos, sin = self.rope(side, timesteps.device, *scaling.factors(t))
        return cos, sin, scaling.attention_scale(len(cos))

    def _forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor | None,
        control: Any,
        options: dict[str, Any],
        *,
        text_keys: Tensor,
        text_values: Tensor,
        text_mask: Tensor | None,
        image_keys: Tensor,
        image_values: Tensor,
        vector: Tensor,
        **others: Any,
    ) -> Tensor:
        height, width = x.shape[-2:]
        patch = self.config.patch_size
        padded = comfy.ldm.common_dit.pad_to_patch_size(x, (patch, patch))
        noisy, source = padded.chunk(2, dim=1)
        cos, sin, scale = self.scaled(tuple(noisy.shape[-2:]), timesteps, options)
        dtype = x.dtype
        # The host's time becomes the model's: t = 1 - sigma here, and the sign at the end.
        t = 1.0 - timesteps
        c = self.t_embedder.mlp(self.t_embedder.sinusoid(t).to(dtype)) + vector
        mask = None if text_mask is None else _additive(text_mask > 0.5, dtype)
        by_layer = [value.transpose(0, 1) for value in (text_keys, text_values, image_keys, image_values)]
        conditions = Conditions.of_keys(by_layer[0], by_layer[1], mask, by_layer[2], by_layer[3])
        self.options.clear()
        self.options.update(options)
        try:
            out = self.denoise(
                noisy, source, c, cos, sin, conditions, attention_scale=scale, around=_patched(options, x, (cos, sin))
            )
        finally:
            self.options.clear()
        return -out[..., :height, :width]


def _patched(options: dict[str, Any], x: Tensor, tables: tuple[Tensor, Tensor]) -> Around:
    """Blocks with the host's patches: each, or what a model patch put in its place, then the patches that follow it."""
    replaced = options.get("patches_replace", {}).get("dit", {})
    following = options.get("patches", {}).get("double_block", [])

    def run(index: int, block: Callable[[Tensor, Tensor | None], Tensor], tokens: Tensor, c: Tensor | None) -> Tensor:
        before, replacement = tokens, replaced.get(("double_block", index))
        shared: dict[str, Any] = {"vec": c, "pe": tables, "transformer_options": options}
        if replacement is None:
            tokens = block(tokens, c)
        else:
            original = {"original_block": lambda args: {"img": block(args["img"], args["vec"])}}
            tokens = replacement(shared | {"img": tokens}, original)["img"]
        for patch in following:
            args = shared | {"img": tokens, "img_input": before, "x": x, "block_index": index}
            tokens = patch(args).get("img", tokens)
        return tokens

    return run


def _attend(options: dict[str, Any], query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """`attention.attend` by the host: query [B, h, L, e], key and value [B, g, S, e], an additive mask [B, 1, 1, S]."""
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (item.repeat_interleave(groups, dim=1) for item in (key, value))
    bias = None if mask is None else mask.expand(len(query), 1, query.shape[2], key.shape[2])
    by_heads = dict(skip_reshape=True, skip_output_reshape=True)
    return optimized_attention(query, key, value, query.shape[1], mask=bias, transformer_options=options, **by_heads)


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where a mask is true, else minus infinity: two of the host's backends answer wrongly to boolean masks."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, float("-inf"))


def _exchange_layers(model: nn.Module, operations: Any, dtype: torch.dtype | None, device: torch.device | None) -> None:
    """Put the host's layers in place of torch's, of the same sizes and not initialised."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                new = operations.Linear(
                    child.in_features, child.out_features, bias=child.bias is not None, dtype=dtype, device=device
                )
            elif type(child) is nn.LayerNorm:
                affine = dict(eps=child.eps, elementwise_affine=child.elementwise_affine)
                new = operations.LayerNorm(child.normalized_shape, **affine, dtype=dtype, device=device)
            else:
                continue
            setattr(module, name, new)


def _make_parameters(model: nn.Module, dtype: torch.dtype | None, device: torch.device | None) -> None:
    """Allocate what no layer of the host holds: the weights of norms, gates and the pad token."""
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None and parameter.is_meta:
                empty = torch.empty(parameter.shape, dtype=dtype, device=device)
                module._parameters[name] = nn.Parameter(empty, requires_grad=False)
