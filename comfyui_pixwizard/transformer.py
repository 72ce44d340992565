"""PixWizard's velocity network: a diffusion transformer conditioned on a source latent, image tokens and text.

`encode_conditions` computes once what depends neither on x nor on t, `velocity` is a plain transformer over the rest.
Shapes: R layers, B batch, C latent channels, L tokens, T text tokens, N image tokens, k kept image tokens, d width,
D = min(d, 1024) conditioning width, g key/value heads, e head channels.  Parameter names and shapes are the released
ones.  Source: paper section 3, docs/mathematics.md sections 3 to 9.
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

import torch
from einops import rearrange
from torch import Tensor, nn

from .attention import proportional_scale
from .block import TransformerBlock
from .conditions import Conditions
from .config import PixWizardConfig
from .latents import Around, Latents, SameLatents
from .layers import FinalLayer, TimestepEmbedder, zero_linear
from .network_inputs import check_conditions, check_latents, encode_seen, pad_tables, pad_tokens, static_shapes
from .rope import rope_table, scale_factors
from .task_table import TaskRows, with_rows
from .token_sampler import exponential_draws

if TYPE_CHECKING:
    from .tasks.declared import Declared


class PixWizardTransformer(nn.Module):
    """The velocity network; `declared` is what the file of its weights declares, None where that is nothing.

    Args:
        config: its shape; a fresh model has the released initialisation (zero output, closed gates).
    """

    declared: "Declared | None" = None

    def __init__(self, config: PixWizardConfig) -> None:
        super().__init__()
        self.config = config
        self.x_embedder = nn.Linear(config.patch_size**2 * 2 * config.in_channels, config.dim)
        self.t_embedder = TimestepEmbedder(config.conditioning_dim)
        self.task_embedder = nn.Sequential(
            nn.LayerNorm(config.cap_clip_feat_dim), zero_linear(config.cap_clip_feat_dim, config.conditioning_dim)
        )
        self.global_semantic_embedder = nn.Sequential(
            nn.LayerNorm(config.clip_image_dim), zero_linear(config.clip_image_dim, config.conditioning_dim)
        )
        self.layers = nn.ModuleList(TransformerBlock(config) for _ in range(config.n_layers))
        self.final_layer = FinalLayer(config)
        self.pad_token = nn.Parameter(torch.randn(config.dim) * 0.02)
        nn.init.xavier_uniform_(self.x_embedder.weight)
        nn.init.zeros_(self.x_embedder.bias)

    @property
    def blocks(self) -> list[TransformerBlock]:
        """`layers`, typed."""
        return cast(list[TransformerBlock], list(self.layers))

    def encode_conditions(
        self,
        text_features: Tensor,
        text_mask: Tensor,
        task_vector: Tensor,
        image_tokens: Tensor,
        *,
        gumbel: torch.Generator | Tensor | None = None,
        task_rows: TaskRows | None = None,
    ) -> Conditions:
        """Computes what depends neither on x nor on t, with gradients where they are enabled.

        Args:
            text_features: [B, T, F].
            text_mask: [B, T], true or 1 where valid, at least one per row.
            task_vector: [B, P].
            image_tokens: [B, N, W]; a row of nothing but zeros is the null image.
            gumbel: None for the deterministic top-k; a generator, or recorded exponential draws [R, B, N], for the
                released stochastic choice (without gradients the result can then be redrawn: `Conditions.redraw`).
            task_rows: of a `TaskTable`; None, and rows of zeros without gradients, change nothing.

        Raises:
            ValueError: shapes that do not fit, an all-false mask row, fewer image tokens than `sample_tokens`.
        """
        text_mask = text_mask.bool()
        check_conditions(self.config, text_features, text_mask, task_vector, image_tokens)
        task_embedding = self.task_embedder(task_vector)  # [B, D]
        told = with_rows(task_rows, self.config, task_embedding, text_features, text_mask)
        task_embedding, text_features, text_mask, token = told
        text = [block.encode_text(text_features, token) for block in self.blocks]
        is_null = ~(image_tokens != 0).flatten(1).any(dim=1)
        draws = None if gumbel is None else exponential_draws(gumbel, len(text), ~is_null, image_tokens.shape[1])
        keep_all = gumbel is not None and not torch.is_grad_enabled()

        def encode(tokens: Tensor, task: Tensor, draws: Tensor | None) -> dict[str, Tensor]:
            count = self.config.sample_tokens
            by_layer = [None] * len(text) if draws is None else draws.unbind()
            layers = [
                b.encode_image(tokens, task, d, count, keep_all) for b, d in zip(self.blocks, by_layer, strict=True)
            ]
            return {name: torch.stack([layer[name] for layer in layers]) for name in layers[0]}

        return Conditions(
            text_keys=torch.stack([keys for keys, _ in text]),
            text_values=torch.stack([values for _, values in text]),
            text_mask=None if not static_shapes() and bool(text_mask.all()) else text_mask,
            task_embedding=task_embedding,
            global_embedding=self.global_semantic_embedder(image_tokens.mean(dim=1)),
            is_null=is_null,
            **encode_seen(encode, is_null, image_tokens, task_embedding, draws),
        )

    def velocity(
        self,
        x: SameLatents,
        t: Tensor,
        source: SameLatents,
        conditions: Conditions,
        *,
        rope_scale: float = 1.0,
        rope_watershed: float = 1.0,
        base_seqlen: int | None = None,
    ) -> SameLatents:
        """Predicts image - noise.

        Args:
            x: noisy latents [B, C, h, w], or a list of [C, h_i, w_i] (a ragged batch).
            t: flow time [B], 0 noise to 1 image.
            source: latents of the conditioning image, shaped like x.
            conditions: of the same batch.
            rope_scale: position scaling, linear while t[0] < rope_watershed, NTK after; on top of the config's
                `scale_factor`, which is always NTK.
            base_seqlen: token count of the training size; turns proportional attention on.

        Returns:
            Velocity of x's kind and shape.

        Raises:
            ValueError: x, source, t and conditions that do not fit each other, or sizes that patches do not divide.
        """
        check_latents(self.config, x, t, source, conditions)
        linear, ntk = (1.0, 1.0) if rope_scale == 1.0 else scale_factors(rope_scale, rope_watershed, float(t[0]))
        if isinstance(x, Tensor):
            cos, sin = self.rope(tuple(x.shape[-2:]), x.device, linear, ntk)
        else:
            cos, sin = pad_tables([self.rope(tuple(item.shape[-2:]), item.device, linear, ntk) for item in x])
        scale = None if base_seqlen is None else proportional_scale(cos.shape[-2], base_seqlen)
        c = self.t_embedder(t) + conditions.vector
        return self.denoise(x, source, c, cos, sin, conditions, attention_scale=scale)

    def denoise(
        self,
        x: SameLatents,
        source: SameLatents,
        c: Tensor | None,
        cos: Tensor,
        sin: Tensor,
        conditions: Conditions,
        *,
        attention_scale: Tensor | float | None = None,
        modulations: Sequence[Tensor] | None = None,
        around: Around | None = None,
    ) -> SameLatents:
        """The composition of the velocity, the one that `velocity`, evaluators, exported graphs and hosts all run.

        Args:
            x, source: see `velocity`; unchecked.
            c: conditioning vector [B, D]; None where modulations are given.
            cos, sin: RoPE tables [L, e], or [B, L, e] of a ragged batch.
            conditions: only its keys, values and text mask are read.
            attention_scale: see `Attention.forward`.
            modulations: of all layers, as `modulations` gives them, where they were computed before.
            around: called as around(index, block, tokens, c) in place of block(tokens, c), for patches and caches.
        """
        tokens, key_mask = self.embed(x, source)  # [B, L, d]
        masks = dict(attention_scale=attention_scale, key_mask=key_mask, text_mask=conditions.text_mask)
        # Unbinding instead of indexing makes one backward node for all layers instead of one full-size sum per layer.
        texts = zip(conditions.text_keys.unbind(), conditions.text_values.unbind(), strict=True)
        images = zip(conditions.image_keys.unbind(), conditions.image_values.unbind(), strict=True)
        *layers, final = [None] * (len(self.layers) + 1) if modulations is None else modulations
        for i, (block, text, image, modulation) in enumerate(zip(self.blocks, texts, images, layers, strict=True)):
            run = partial(block, cos=cos, sin=sin, text=text, image=image, modulation=modulation, **masks)
            tokens = run(tokens, c) if around is None else around(i, run, tokens, c)
        patches = self.final_layer(tokens, c, final)  # [B, L, p*p*C_out]
        if isinstance(x, Tensor):
            return self.unpatchify(patches, tuple(x.shape[-2:]))
        return [self.unpatchify(patches[i : i + 1], tuple(item.shape[-2:]))[0] for i, item in enumerate(x)]

    def modulations(self, c: Tensor) -> list[Tensor]:
        """Modulations by conditioning vectors [..., D]: of every block [..., 4d], then of the final layer [..., d]."""
        return [*(block.adaLN_modulation(c) for block in self.blocks), self.final_layer.adaLN_modulation(c)]

    def rope(
        self, size: tuple[int, ...], device: torch.device, linear: float = 1.0, ntk: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """RoPE tables of latents of a size (h, w); scaling on top of the configuration's `scale_factor`."""
        height, width = (side // self.config.patch_size for side in size)
        return rope_table(height, width, self.config.head_dim, linear, ntk * self.config.scale_factor, device)

    def embed(self, x: Latents, source: Latents) -> tuple[Tensor, Tensor | None]:
        """Tokens [B, L, d], and of a ragged batch the mask [B, L] of those that are no padding."""
        if isinstance(x, Tensor) and isinstance(source, Tensor):
            return self.embed_latents(x, source), None
        embedded = [self.embed_latents(a[None], b[None])[0] for a, b in zip(x, source, strict=True)]
        return pad_tokens(embedded, self.pad_token)

    def embed_latents(self, x: Tensor, source: Tensor) -> Tensor:
        """Patches of the noisy and the source latent, [B, C, h, w] each, to tokens [B, L, d]."""
        both = torch.cat((x, source), dim=1)
        p = self.config.patch_size
        return self.x_embedder(rearrange(both, "b c (h p) (w q) -> b (h w) (c p q)", p=p, q=p))

    def unpatchify(self, patches: Tensor, size: tuple[int, ...]) -> Tensor:
        """[B, >=L, p*p*C_out] to velocity [B, C, h, w]; the second half of the channels ("sigma") is dropped."""
        p = self.config.patch_size
        h, w = size[0] // p, size[1] // p
        image = rearrange(patches[:, : h * w], "b (h w) (p q c) -> b c (h p) (w q)", h=h, w=w, p=p, q=p)
        return image[:, : self.config.in_channels]
