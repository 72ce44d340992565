"""What a training will take, before it is started: tokens, memory of a device, time. Each says what it counts.

Shapes: L latent tokens, T text tokens, N image tokens, k kept ones, d width, g*e width of keys and values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ...comfyui_pixwizard.config import PixWizardConfig
from ...comfyui_pixwizard.files.checkpoint import meta_specs
from ...comfyui_pixwizard.pictures.buckets import CELL, Size
from ..data.feed.plan import Plan

GIB = 2**30
# Of a sentence; instructions are short.
TEXT_TOKENS = 64
# Numbers of width d that a block keeps for its backward pass, for each token: norms, queries, attention, gates.
KEPT_WIDTHS = 16


def tokens_of(size: Size) -> int:
    """L of a picture (width, height) in pixels."""
    return size[0] * size[1] // CELL**2


def forward_flops(config: PixWizardConfig, latent_tokens: int, image_tokens: int) -> float:
    """Of one sample in one evaluation with its conditions, multiplications and additions counted apart."""
    d, kv = config.dim, config.kv_heads * config.head_dim
    per_token = 2 * d * d + 2 * d * kv + 3 * d * config.ffn_dim
    ranking = config.clip_image_dim * d + d * d + d * d // 2 + d * d // 8
    linear = (
        latent_tokens * per_token
        + TEXT_TOKENS * 2 * config.cap_feat_dim * kv
        + image_tokens * ranking
        + config.sample_tokens * 2 * d * kv
    )
    attention = 2 * d * latent_tokens * (latent_tokens + config.sample_tokens + TEXT_TOKENS)
    return 2.0 * config.n_layers * (linear + attention)


@dataclass(frozen=True)
class Memory:
    """Bytes of one device: weights, gradients, optimiser and average; gathered weights; activations; encoders."""

    state: float
    gathered: float
    activations: float
    encoders: float

    @property
    def total(self) -> float:
        return self.state + self.gathered + self.activations + self.encoders


def memory(
    config: PixWizardConfig,
    *,
    trained: int,
    devices: int,
    sharded: bool,
    micro_batch: int,
    latent_tokens: int,
    image_tokens: int,
    recompute: bool,
    encoder_bytes: float,
) -> Memory:
    """With float32 master weights and bfloat16 computing; activations are good to about a third."""
    parameters = sum(spec.bytes // spec.dtype.itemsize for spec in meta_specs(config).values())
    cut = devices if sharded else 1
    state = (4 * parameters + 16 * trained) / cut
    gathered = 2 * parameters if sharded else 2 * parameters / config.n_layers
    d, ffn = config.dim, config.ffn_dim
    block = 2 * (latent_tokens * (KEPT_WIDTHS * d + 3 * ffn) + image_tokens * 6 * d)
    entering = 4 * latent_tokens * d
    kept = config.n_layers * entering + block if recompute else config.n_layers * block
    return Memory(state, gathered, micro_batch * float(kept), encoder_bytes)


def mean_tokens(buckets: Mapping[Size, int]) -> float:
    """Tokens of a sample, over an epoch's draws of each bucket."""
    draws = sum(buckets.values())
    return sum(tokens_of(size) * count for size, count in buckets.items()) / max(draws, 1)


def seconds_per_step(flops: float, samples: int, devices: int, tflops: float, recompute: bool) -> float:
    """Forward, twice that backward, and once more where activations are computed again."""
    return flops * (4 if recompute else 3) * samples / (devices * tflops * 1e12)


# Gemma-2B and CLIP-L's towers in bfloat16, SDXL's autoencoder in float32; the bundled model's are next to nothing.
RELEASED_ENCODERS = 2 * 2.51e9 + 2 * 0.43e9 + 4 * 0.084e9
BUNDLED_ENCODERS = 4 * 5e6
RELEASED_IMAGE_TOKENS, BUNDLED_IMAGE_TOKENS = 576, 64


def report(
    plan: Plan,
    config: PixWizardConfig,
    *,
    trained: int,
    steps: int,
    batch_size: int,
    micro_batch: int,
    devices: int,
    tflops: float,
    recompute: bool,
    sharded: bool,
    released_encoders: bool,
) -> str:
    """The lines of a dry run."""
    image_tokens = RELEASED_IMAGE_TOKENS if released_encoders else BUNDLED_IMAGE_TOKENS
    have = Counter[str]()
    for source in plan.sources:
        have[source.task] += len(source)
    draws = plan.task_draws()
    lines = [f"{'task':<24}{'samples':>12}{'an epoch':>12}"]
    lines += [f"{task:<24}{have[task]:>12,}{draws[task]:>12,}" for task in draws]
    lines.append(f"{'all':<24}{have.total():>12,}{plan.epoch_size():>12,}")
    buckets = plan.bucket_draws()
    tokens = mean_tokens(buckets)
    largest = max(tokens_of(size) for size in buckets)
    lines.append(
        f"{len(buckets)} size buckets, {tokens:,.0f} latent tokens a sample, {tokens * batch_size:,.0f} a step; "
        f"{steps:,} steps of {batch_size:,}"
    )
    room = memory(
        config, trained=trained, devices=devices, sharded=sharded, micro_batch=micro_batch, latent_tokens=largest,
        image_tokens=image_tokens, recompute=recompute,
        encoder_bytes=RELEASED_ENCODERS if released_encoders else BUNDLED_ENCODERS,
    )  # fmt: skip
    lines.append(
        f"memory of one of {devices} devices, about: weights, gradients, optimiser and average "
        f"{room.state / GIB:.1f} GiB, gathered weights {room.gathered / GIB:.1f}, activations of {micro_batch} samples "
        f"of the largest bucket {room.activations / GIB:.1f}, encoders {room.encoders / GIB:.1f}; "
        f"together {room.total / GIB:.1f} GiB"
    )
    flops = sum(forward_flops(config, tokens_of(size), image_tokens) * n for size, n in buckets.items())
    seconds = seconds_per_step(flops / max(sum(buckets.values()), 1), batch_size, devices, tflops, recompute)
    lines.append(
        f"time on {devices} devices at {tflops:g} useful TFLOP/s each: {seconds:.2f} s a step, "
        f"{seconds * steps / 3600:,.1f} h in all; without encoders, reading and communication"
    )
    return "\n".join(lines)
