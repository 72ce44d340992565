"""PixWizard's velocity network: a diffusion transformer conditioned on a source latent, image tokens and text.

`encode_conditions` computes once what depends neither on x nor on t, `velocity` is a plain transformer over the rest.
Shapes: R layers, B batch, C latent channels, L tokens, T text tokens, N image tokens, k kept image tokens, d width,
D = min(d, 1024) conditioning width, g key/value heads, e head channels.  Parameter names and shapes are the released
ones.  Source: paper section 3, docs/mathematics.md sections 3 to 9.
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn

from .attention import Attention
from .conditions import Conditions
from .config import PixWizardConfig
from .layers import FeedForward, FinalLayer, RMSNorm, TimestepEmbedder, zero_linear
from .rope import rope_table, scale_factors
from .token_sampler import choose_tokens, exponential_draws, gather_tokens, rank_tokens

Latents = Tensor | list[Tensor]
Scaling = tuple[float, float] | None


class TransformerBlock(nn.Module):
    """Sandwich-normed attention and feed-forward, modulated by the conditioning vector, with its own token sampler."""

    def __init__(self, config: PixWizardConfig) -> None:
        super().__init__()
        width, conditioning = config.dim, config.conditioning_dim
        self.mask_before_norm = config.sampler_mask == "before_norm"
        self.attention = Attention(config)
        self.feed_forward = FeedForward(config)
        self.attention_norm1 = RMSNorm(width, config.norm_eps)
        self.ffn_norm1 = RMSNorm(width, config.norm_eps)
        self.attention_norm2 = RMSNorm(width, config.norm_eps)
        self.ffn_norm2 = RMSNorm(width, config.norm_eps)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), zero_linear(conditioning, 4 * width))
        self.attention_y_norm = RMSNorm(config.cap_feat_dim, config.norm_eps)
        self.y_pool_proj = nn.Linear(conditioning, width, bias=False)
        self.input_image_proj = nn.Linear(config.clip_image_dim, width, bias=False)
        self.attention_input_norm = RMSNorm(width, config.norm_eps)
        self.in_conv = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.out_conv = nn.Sequential(
            nn.Linear(width, width // 2),
            nn.GELU(),
            nn.Linear(width // 2, width // 4),
            nn.GELU(),
            nn.Linear(width // 4, 1),
        )
        nn.init.xavier_uniform_(self.y_pool_proj.weight)
        nn.init.xavier_uniform_(self.input_image_proj.weight)

    def encode_text(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Text features [B, T, F] to keys and values [B, g, T, e]."""
        return self.attention.text_keys_values(self.attention_y_norm(features))

    def encode_image(
        self, image_tokens: Tensor, task_embedding: Tensor, draws: Tensor | None, count: int, keep_all: bool
    ) -> dict[str, Tensor]:
        """Ranks image tokens, keeps `count` of them and computes their keys and values.

        Args:
            image_tokens: [B, N, W].
            task_embedding: [B, D].
            draws: exponential draws [B, N] or None.
            count: k.
            keep_all: also return keys and values of all tokens.

        Returns:
            The members of `Conditions` that belong to the image, without the layer axis.
        """
        tokens = self.input_image_proj(image_tokens)
        scores = rank_tokens(tokens, task_embedding, self.y_pool_proj, self.in_conv, self.out_conv)
        indices, straight = choose_tokens(scores, draws, count)
        chosen = gather_tokens(tokens, indices)
        straight = straight.unsqueeze(-1).to(chosen.dtype)
        if not torch.is_grad_enabled():
            normed = self.attention_input_norm(chosen)
        elif self.mask_before_norm:
            normed = self.attention_input_norm(chosen * straight)
        else:
            normed = self.attention_input_norm(chosen) * straight
        keys, values = self.attention.image_keys_values(normed)
        members = dict(image_keys=keys, image_values=values, selected=indices, scores=scores.detach())
        if keep_all:
            everything = self.attention.image_keys_values(self.attention_input_norm(tokens))
            members |= dict(all_keys=everything[0], all_values=everything[1])
        return members

    def forward(self, x: Tensor, c: Tensor | None, cos: Tensor, sin: Tensor, text, image, *,
                modulation: Tensor | None = None, **masks) -> Tensor:  # fmt: skip
        """Tokens [B, L, d] to tokens, by the conditioning vector c [B, D] or the modulation [B, 4d] that it gives.

        The rest as in `Attention.forward`.
        """
        if modulation is None:
            modulation = self.adaLN_modulation(c)
        scale_a, gate_a, scale_m, gate_m = modulation.unsqueeze(1).chunk(4, dim=-1)
        # Weights of the norms are folded into the factors per sample, which spares four passes over the tokens.
        y = self.attention_norm1.normalize(x) * (self.attention_norm1.weight * (1 + scale_a))
        y = self.attention_norm2.normalize(self.attention(y, cos, sin, text, image, **masks))
        x = torch.addcmul(x, y, self.attention_norm2.weight * gate_a.tanh())
        y = self.ffn_norm1.normalize(x) * (self.ffn_norm1.weight * (1 + scale_m))
        y = self.ffn_norm2.normalize(self.feed_forward(y))
        return torch.addcmul(x, y, self.ffn_norm2.weight * gate_m.tanh())


class PixWizardTransformer(nn.Module):
    """The velocity network.

    Args:
        config: its shape; a fresh model has the released initialisation (zero output, closed gates).
    """

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
    ) -> Conditions:
        """Computes what depends neither on x nor on t, with gradients where they are enabled.

        Args:
            text_features: [B, T, F].
            text_mask: [B, T], true or 1 where valid, at least one per row.
            task_vector: [B, P].
            image_tokens: [B, N, W]; a row of nothing but zeros is the null image.
            gumbel: None for the deterministic top-k; a generator, or recorded exponential draws [R, B, N], for the
                released stochastic choice (without gradients the result can then be redrawn: `Conditions.redraw`).

        Raises:
            ValueError: shapes that do not fit, an all-false mask row, fewer image tokens than `sample_tokens`.
        """
        text_mask = text_mask.bool()
        self._check_conditions(text_features, text_mask, task_vector, image_tokens)
        task_embedding = self.task_embedder(task_vector)
        text = [block.encode_text(text_features) for block in self.blocks]
        is_null = ~(image_tokens != 0).flatten(1).any(dim=1)
        return Conditions(
            text_keys=torch.stack([keys for keys, _ in text]),
            text_values=torch.stack([values for _, values in text]),
            text_mask=None if not _static() and bool(text_mask.all()) else text_mask,
            task_embedding=task_embedding,
            global_embedding=self.global_semantic_embedder(image_tokens.mean(dim=1)),
            is_null=is_null,
            **self._encode_images(image_tokens, task_embedding, is_null, gumbel),
        )

    def _encode_images(
        self, image_tokens: Tensor, task_embedding: Tensor, is_null: Tensor, gumbel: torch.Generator | Tensor | None
    ) -> dict[str, Tensor]:
        tokens = image_tokens.shape[1]
        layers, count = len(self.layers), self.config.sample_tokens
        draws = None if gumbel is None else exponential_draws(gumbel, layers, ~is_null, tokens)
        keep_all = gumbel is not None and not torch.is_grad_enabled()
        if _static():
            members = self._encode_rows(image_tokens, task_embedding, draws, count, keep_all)
            return {
                name: torch.where(is_null.view(1, -1, *[1] * (value.ndim - 2)), -1 if name == "selected" else 0, value)
                for name, value in members.items()
            }
        batch, rows = len(image_tokens), (~is_null).nonzero().flatten()
        if not len(rows):
            heads, channels = self.config.kv_heads, self.config.head_dim
            nothing = image_tokens.new_zeros(layers, batch, heads, 0, channels)
            members = dict(image_keys=nothing, image_values=nothing)
            if gumbel is not None:
                members |= dict(all_keys=nothing, all_values=nothing)
            selected = torch.full((layers, batch, count), -1, device=image_tokens.device)
            return members | dict(selected=selected, scores=image_tokens.new_zeros(layers, batch, tokens))
        if len(rows) == batch:
            return self._encode_rows(image_tokens, task_embedding, draws, count, keep_all)
        draws = None if draws is None else draws[:, rows]
        members = self._encode_rows(image_tokens[rows], task_embedding[rows], draws, count, keep_all)
        return {
            name: _scattered(value, rows, batch, -1 if name == "selected" else 0) for name, value in members.items()
        }

    def _encode_rows(
        self, image_tokens: Tensor, task_embedding: Tensor, draws: Tensor | None, count: int, keep_all: bool
    ) -> dict[str, Tensor]:
        per_layer = [
            block.encode_image(image_tokens, task_embedding, None if draws is None else draws[i], count, keep_all)
            for i, block in enumerate(self.blocks)
        ]
        return {name: torch.stack([layer[name] for layer in per_layer]) for name in per_layer[0]}

    def velocity(
        self,
        x: Latents,
        t: Tensor,
        source: Latents,
        conditions: Conditions,
        *,
        rope_scale: float = 1.0,
        rope_watershed: float = 1.0,
        base_seqlen: int | None = None,
    ) -> Latents:
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
        self._check_latents(x, t, source, conditions)
        linear, ntk = (1.0, 1.0) if rope_scale == 1.0 else scale_factors(rope_scale, rope_watershed, float(t[0]))
        scaling = (linear, ntk * self.config.scale_factor)
        if isinstance(x, Tensor) and isinstance(source, Tensor):
            sizes = [tuple(x.shape[-2:])] * len(x)
            tokens = self.embed_latents(x, source)
            cos, sin = self.rope(sizes[0], tokens.device, scaling)
            key_mask = None
        else:
            sizes = [tuple(item.shape[-2:]) for item in x]
            embedded = [self.embed_latents(a[None], b[None])[0] for a, b in zip(x, source, strict=True)]
            tables = [self.rope(size, embedded[0].device, scaling) for size in sizes]
            tokens, cos, sin, key_mask = self._pad(embedded, tables)
        scale = None if base_seqlen is None else math.sqrt(math.log(tokens.shape[1], base_seqlen))
        c = self.t_embedder(t) + conditions.vector
        patches = self.denoise_tokens(tokens, c, cos, sin, conditions, attention_scale=scale, key_mask=key_mask)
        if isinstance(x, Tensor):
            return self.unpatchify(patches, sizes[0])
        return [self.unpatchify(patches[i : i + 1], size)[0] for i, size in enumerate(sizes)]

    def embed_latents(self, x: Tensor, source: Tensor) -> Tensor:
        """Patches of the noisy and the source latent, [B, C, h, w] each, to tokens [B, L, d]."""
        both = torch.cat((x, source), dim=1)
        p = self.config.patch_size
        return self.x_embedder(rearrange(both, "b c (h p) (w q) -> b (h w) (c p q)", p=p, q=p))

    def modulations(self, c: Tensor) -> list[Tensor]:
        """Modulations by conditioning vectors [..., D]: of every block [..., 4d], then of the final layer [..., d]."""
        return [*(block.adaLN_modulation(c) for block in self.blocks), self.final_layer.adaLN_modulation(c)]

    def denoise_tokens(
        self,
        tokens: Tensor,
        c: Tensor | None,
        cos: Tensor,
        sin: Tensor,
        conditions: Conditions,
        *,
        attention_scale: Tensor | float | None = None,
        key_mask: Tensor | None = None,
        modulations: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """The static core: embedded tokens [B, L, d] to output patches [B, L, p*p*C_out].

        Args:
            tokens, c: [B, L, d] and conditioning vector [B, D]; None where modulations are given.
            cos, sin: RoPE tables [L, e] or [B, L, e].
            conditions: only its keys, values and text mask are read.
            attention_scale, key_mask: see `Attention.forward`.
            modulations: of all layers, as `modulations` gives them, where they were computed before.
        """
        masks = dict(attention_scale=attention_scale, key_mask=key_mask, text_mask=conditions.text_mask)
        # Unbinding instead of indexing makes one backward node for all layers instead of one full-size sum per layer.
        texts = zip(conditions.text_keys.unbind(), conditions.text_values.unbind(), strict=True)
        images = zip(conditions.image_keys.unbind(), conditions.image_values.unbind(), strict=True)
        *layers, final = [None] * (len(self.layers) + 1) if modulations is None else modulations
        for block, text, image, modulation in zip(self.blocks, texts, images, layers, strict=True):
            tokens = block(tokens, c, cos, sin, text, image, modulation=modulation, **masks)
        return self.final_layer(tokens, c, final)

    def rope(self, size: tuple[int, ...], device: torch.device, scaling: Scaling = None) -> tuple[Tensor, Tensor]:
        """RoPE tables of latents of a size (h, w); scaling is (linear, NTK), by default the configuration's."""
        height, width = (side // self.config.patch_size for side in size)
        linear, ntk = scaling or (1.0, self.config.scale_factor)
        return rope_table(height, width, self.config.head_dim, linear, ntk, device)

    def _pad(
        self, embedded: list[Tensor], tables: list[tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Fills shorter sequences with the pad token at the sample's last position (docs/mathematics.md section 4)."""
        lengths = torch.tensor([len(item) for item in embedded])
        longest = int(lengths.max())
        missing = [longest - len(item) for item in embedded]
        tokens = [torch.cat((item, self.pad_token.expand(n, -1))) for item, n in zip(embedded, missing, strict=True)]
        cos, sin = (
            torch.stack([torch.cat((table, table[-1:].expand(n, -1))) for table, n in zip(kind, missing, strict=True)])
            for kind in zip(*tables, strict=True)
        )
        mask = (torch.arange(longest) < lengths[:, None]).to(embedded[0].device) if any(missing) else None
        return torch.stack(tokens), cos, sin, mask

    def unpatchify(self, patches: Tensor, size: tuple[int, ...]) -> Tensor:
        """[B, >=L, p*p*C_out] to velocity [B, C, h, w]; the second half of the channels ("sigma") is dropped."""
        p = self.config.patch_size
        height, width = size[0] // p, size[1] // p
        image = rearrange(
            patches[:, : height * width], "b (h w) (p q c) -> b c (h p) (w q)", h=height, w=width, p=p, q=p
        )
        return image[:, : self.config.in_channels]

    def _check_conditions(self, text: Tensor, mask: Tensor, task: Tensor, image: Tensor) -> None:
        config, batch = self.config, len(text)
        wanted = {
            "text_features": (text, (batch, text.shape[1], config.cap_feat_dim)),
            "text_mask": (mask, (batch, text.shape[1])),
            "task_vector": (task, (batch, config.cap_clip_feat_dim)),
            "image_tokens": (image, (batch, image.shape[1], config.clip_image_dim)),
        }
        for name, (value, shape) in wanted.items():
            if tuple(value.shape) != shape:
                raise ValueError(f"{name} must be {list(shape)}, found {list(value.shape)}: check encoder and config")
        if image.shape[1] < config.sample_tokens:
            raise ValueError(
                f"image_tokens must hold at least sample_tokens={config.sample_tokens} tokens, found "
                f"{image.shape[1]}: use a larger image or a smaller sample_tokens"
            )
        if not torch.compiler.is_compiling() and not bool(mask.any(dim=1).all()):
            raise ValueError("text_mask must have a true entry in every row, found an empty row: keep at least BOS")

    def _check_latents(self, x: Latents, t: Tensor, source: Latents, conditions: Conditions) -> None:
        if isinstance(x, Tensor) != isinstance(source, Tensor):
            raise ValueError(
                f"x and source must be of one kind, found {type(x).__name__} and {type(source).__name__}: "
                "pass two tensors or two lists"
            )
        if not len(x) == len(source) == len(t) == len(conditions):
            raise ValueError(
                "x, source, t and conditions must have one batch size, found "
                f"{len(x)}, {len(source)}, {len(t)}, {len(conditions)}: repeat or index the shorter ones"
            )
        pairs: Sequence[tuple[Tensor, Tensor]] = (
            [(x[0], source[0])] if isinstance(x, Tensor) else list(zip(x, source, strict=True))
        )
        channels, p = self.config.in_channels, self.config.patch_size
        for a, b in pairs:
            if a.shape != b.shape or a.dim() != 3 or a.shape[0] != channels or a.shape[1] % p or a.shape[2] % p:
                raise ValueError(
                    f"x and source must both be [{channels}, h, w] per sample with h and w divisible by {p}, found "
                    f"{list(a.shape)} and {list(b.shape)}: encode both at one size"
                )


def _static() -> bool:
    """Whether shapes may depend on no values: in training, where null images are computed and set to zero instead of
    left out, so that the graph can be compiled and all processes of a group form the same gradients.
    """
    return torch.is_grad_enabled() or torch.compiler.is_compiling()


def _scattered(part: Tensor, rows: Tensor, batch: int, fill: int) -> Tensor:
    full = part.new_full((part.shape[0], batch, *part.shape[2:]), fill)
    return full.index_copy(1, rows, part)
