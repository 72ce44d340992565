"""The two parts of the network as modules of tensors alone, for exporters.

Shapes: R layers, B batch, C latent channels, h w latent sides, L tokens, T text tokens, N image tokens, k kept image
tokens, g key/value heads, n query heads of each, e head channels, D conditioning width.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from ..comfyui_pixwizard.block import TransformerBlock
from ..comfyui_pixwizard.conditions import Conditions
from ..comfyui_pixwizard.config import PixWizardConfig
from ..comfyui_pixwizard.transformer import PixWizardTransformer

Adapt = Callable[[TransformerBlock], None]


def attend_plainly(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """`comfyui_pixwizard.attention.attend` in products and one softmax, keys not repeated; the mask is added.

    Query heads that share a key head become rows of one product, which every engine knows as attention. The keys are
    scaled, because there are fewer of them.
    """
    groups = key.shape[1]
    rows = rearrange(query, "b (g n) l e -> b g (n l) e", g=groups)
    scores = rows @ (key * query.shape[-1] ** -0.5).transpose(-1, -2)
    if mask is not None:
        scores = scores + mask
    out = scores.softmax(dim=-1) @ value
    return rearrange(out, "b g (n l) e -> b (g n) l e", n=query.shape[1] // groups)


def plainly(block: TransformerBlock) -> None:
    """Operators that every engine knows."""
    block.attention.attend = attend_plainly


def exportable(
    transformer: PixWizardTransformer, dtype: torch.dtype | None = None, adapt: Adapt = plainly
) -> PixWizardTransformer:
    """A copy on the CPU, in a type, whose blocks were adapted to an engine; weights that already are so are shared."""
    weights: dict[int, Any] = {
        id(weight): nn.Parameter(weight.detach().to("cpu", dtype), requires_grad=False)
        for weight in transformer.parameters()
    }
    made = copy.deepcopy(transformer, weights).eval()
    for block in made.blocks:
        adapt(block)
    return made


class VelocityGraph(nn.Module):
    """Everything that a step computes.

    Inputs, in the weights' type where nothing else is said:
        x, source: [B, C, h, w].
        t: float32 [B].
        cos, sin: float32 [L, e], as `PixWizardTransformer.rope` gives them.
        attention_scale: float32 [1], factor on self-attention's 1/sqrt(e); 1 where attention is not proportional.
        vector: [B, D], `Conditions.vector`.
        text_keys, text_values: [R, B, g, T, e].
        text_mask: bool [B, T], true where valid, at least once a row.
        image_keys, image_values: [R, B, g, k, e]; rows of zeros contribute exactly nothing.

    Output: velocity, float32 [B, C, h, w].
    """

    def __init__(self, transformer: PixWizardTransformer) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        source: Tensor,
        cos: Tensor,
        sin: Tensor,
        attention_scale: Tensor,
        vector: Tensor,
        text_keys: Tensor,
        text_values: Tensor,
        text_mask: Tensor,
        image_keys: Tensor,
        image_values: Tensor,
    ) -> Tensor:
        model = self.transformer
        # Far below any score, yet finite, so that no engine has to guard a softmax against rows of nothing.
        hidden = torch.finfo(text_keys.dtype).min / 2
        bias = torch.zeros_like(text_mask, dtype=text_keys.dtype).masked_fill(~text_mask, hidden)
        conditions = Conditions.of_keys(text_keys, text_values, bias, image_keys, image_values)
        c = model.t_embedder(t) + vector
        return model.denoise(x, source, c, cos, sin, conditions, attention_scale=attention_scale).float()


class ConditionsGraph(nn.Module):
    """Everything that no step changes, without noise in the choice of image tokens.

    Inputs: text_features [B, T, F], task_vector [B, P], image_tokens [B, N, W] (N at least k; zeros for no image).
    Outputs: the inputs of the other graph under their names, and selected, int64 [R, B, k], -1 in rows without image.
    """

    def __init__(self, transformer: PixWizardTransformer) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, text_features: Tensor, task_vector: Tensor, image_tokens: Tensor) -> tuple[Tensor, ...]:
        model = self.transformer
        task = model.task_embedder(task_vector)
        vector = task + model.global_semantic_embedder(image_tokens.mean(dim=1))
        text = [block.encode_text(text_features) for block in model.blocks]
        count = model.config.sample_tokens
        images = [block.encode_image(image_tokens, task, None, count, False) for block in model.blocks]
        seen = (image_tokens != 0).flatten(1).any(dim=1)
        factor = rearrange(seen.to(vector.dtype), "b -> 1 b 1 1 1")
        keys, values, selected = (
            torch.stack([one[name] for one in images]) for name in ("image_keys", "image_values", "selected")
        )
        return (
            vector,
            torch.stack([keys for keys, _ in text]),
            torch.stack([values for _, values in text]),
            keys * factor,
            values * factor,
            torch.where(rearrange(seen, "b -> 1 b 1"), selected, -1),
        )


VELOCITY_INPUTS = (
    "x", "t", "source", "cos", "sin", "attention_scale", "vector",
    "text_keys", "text_values", "text_mask", "image_keys", "image_values",
)  # fmt: skip
VELOCITY_OUTPUTS = ("velocity",)
CONDITION_OUTPUTS = ("vector", "text_keys", "text_values", "image_keys", "image_values", "selected")


def velocity_axes(config: PixWizardConfig) -> dict[str, Any]:
    """Which axes of the velocity graph's inputs are free: batch, both sides of the latents, length of the text."""
    dim = torch.export.Dim
    batch, text = dim("batch", min=1, max=1024), dim("text", min=1, max=4096)
    p = config.patch_size
    height, width = (p * dim(name, min=1, max=4096) for name in ("rows", "columns"))
    tokens = dim("tokens", min=1, max=2**24)
    latents = {0: batch, 2: height, 3: width}
    return dict(
        x=latents,
        t={0: batch},
        source=latents,
        cos={0: tokens},
        sin={0: tokens},
        attention_scale=None,
        vector={0: batch},
        text_keys={1: batch, 3: text},
        text_values={1: batch, 3: text},
        text_mask={0: batch, 1: text},
        image_keys={1: batch},
        image_values={1: batch},
    )


def conditions_example(
    config: PixWizardConfig, batch: int, text: int, tokens: int, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Random inputs of the conditions graph; the last row of several has no image."""
    generator = torch.Generator().manual_seed(batch * text + tokens)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    seen = draw(batch, tokens, config.clip_image_dim)
    seen[batch - 1 :] *= float(batch == 1)
    return dict(
        text_features=draw(batch, text, config.cap_feat_dim),
        task_vector=draw(batch, config.cap_clip_feat_dim),
        image_tokens=seen,
    )


def conditions_axes(config: PixWizardConfig) -> dict[str, Any]:
    """Which axes of the conditions graph's inputs are free: batch, length of the text, number of image tokens."""
    dim = torch.export.Dim
    batch, text = dim("batch", min=1, max=1024), dim("text", min=1, max=4096)
    seen = dim("image_tokens", min=config.sample_tokens, max=2**16)
    return dict(text_features={0: batch, 1: text}, task_vector={0: batch}, image_tokens={0: batch, 1: seen})
