"""The transformer's hyper-parameters, under the names of the released constructor."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

SamplerMask = Literal["after_norm", "before_norm"]


@dataclass(frozen=True)
class PixWizardConfig:
    """Shape of a `PixWizardTransformer`; defaults are the released constructor's.

    Args:
        patch_size: side of a square patch, in latent pixels.
        in_channels: channels of one latent; the network sees twice as many (noisy target and source).
        dim: width of the token stream.
        n_layers: number of transformer blocks.
        n_heads: query heads.
        n_kv_heads: key and value heads, None for as many as query heads.
        multiple_of: the feed-forward width is rounded up to a multiple of this.
        ffn_dim_multiplier: optional factor on the feed-forward width.
        norm_eps: eps of every RMSNorm.
        learn_sigma: the released network emits twice the channels and drops the second half.
        qk_norm: LayerNorm on queries and keys, over all heads together.
        cap_feat_dim: width of the text features (Gemma).
        cap_clip_feat_dim: width of the task vector (CLIP text).
        scale_factor: multiplies RoPE's theta in every evaluation.
        sample_tokens: image tokens that each layer's dynamic sampler keeps.
        sampler_mask: where the sampler's straight-through mask multiplies a chosen token in training: "after_norm"
            (the ranker learns) or "before_norm" (the released placement: the norm cancels it, see
            docs/mathematics.md section 8).
        clip_image_dim: width of the image tokens (CLIP vision).

    Raises:
        ValueError: sizes that do not divide as the architecture needs, or an unknown `sampler_mask`.
    """

    patch_size: int = 2
    in_channels: int = 4
    dim: int = 4096
    n_layers: int = 32
    n_heads: int = 32
    n_kv_heads: int | None = None
    multiple_of: int = 256
    ffn_dim_multiplier: float | None = None
    norm_eps: float = 1e-5
    learn_sigma: bool = True
    qk_norm: bool = False
    cap_feat_dim: int = 5120
    cap_clip_feat_dim: int = 768
    scale_factor: float = 1.0
    sample_tokens: int = 256
    sampler_mask: SamplerMask = "after_norm"
    clip_image_dim: int = 1024

    def __post_init__(self) -> None:
        for name in ("patch_size", "in_channels", "dim", "n_layers", "n_heads", "kv_heads", "multiple_of",
                     "cap_feat_dim", "cap_clip_feat_dim", "sample_tokens", "clip_image_dim"):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}: give a positive integer")
        if self.dim % (4 * self.n_heads):
            raise ValueError(
                f"dim must be a multiple of 4*n_heads (2-D RoPE), found dim={self.dim}, n_heads={self.n_heads}: "
                f"take dim={4 * self.n_heads * max(1, round(self.dim / (4 * self.n_heads)))}"
            )
        if self.n_heads % self.kv_heads:
            raise ValueError(
                f"n_heads must be a multiple of n_kv_heads, found {self.n_heads} and {self.kv_heads}: "
                "take a divisor of n_heads"
            )
        if self.sampler_mask not in ("after_norm", "before_norm"):
            raise ValueError(
                f"sampler_mask must be 'after_norm' or 'before_norm', found {self.sampler_mask!r}: take 'after_norm'"
            )

    @property
    def kv_heads(self) -> int:
        """Key and value heads."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def head_dim(self) -> int:
        """Channels of one head."""
        return self.dim // self.n_heads

    @property
    def conditioning_dim(self) -> int:
        """Width of the conditioning vector."""
        return min(self.dim, 1024)

    @property
    def out_channels(self) -> int:
        """Channels that the final layer emits, of which the first `in_channels` are the velocity."""
        return self.in_channels * (2 if self.learn_sigma else 1)

    @property
    def ffn_dim(self) -> int:
        """Width of the gated feed-forward layer (docs/mathematics.md section 5)."""
        width = int(2 * (4 * self.dim) / 3)
        if self.ffn_dim_multiplier is not None:
            width = int(self.ffn_dim_multiplier * width)
        return -(-width // self.multiple_of) * self.multiple_of

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "PixWizardConfig":
        """The inverse of `to_dict`; missing fields take their defaults.

        Raises:
            ValueError: a key that is not a field.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"unknown config fields {unknown}: remove them, the fields are {', '.join(known)}")
        return cls(**values)

    @classmethod
    def preset(cls, name: str) -> "PixWizardConfig":
        """The configuration of a named model: "2b" (released, 2,011,441,976 parameters) or "nano" (bundled).

        Raises:
            ValueError: an unknown name.
        """
        if name not in PRESETS:
            raise ValueError(f"preset must be one of {sorted(PRESETS)}, found {name!r}: take one of these")
        return cls(**PRESETS[name])


# What differs from the defaults. Every preset has n_layers.
PRESETS: dict[str, dict[str, Any]] = {
    "2b": {"dim": 2304, "n_layers": 24, "n_kv_heads": 8, "qk_norm": True, "cap_feat_dim": 2048},
    "nano": {
        "in_channels": 16,
        "dim": 256,
        "n_layers": 6,
        "n_heads": 8,
        "n_kv_heads": 4,
        "multiple_of": 64,
        "qk_norm": True,
        "cap_feat_dim": 192,
        "cap_clip_feat_dim": 192,
        "sample_tokens": 48,
        "clip_image_dim": 192,
    },
}
