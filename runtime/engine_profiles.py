"""Which shapes an engine is built for: buckets of tokens, each with a least, a usual and a largest shape of all inputs.

An engine is fastest at the usual shape of a profile and refuses shapes outside; several profiles share its weights.
Shapes: R layers, B batch, C latent channels, h w latent sides, p patch size, L tokens, T text tokens, k image tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..comfyui_pixwizard.config import PixWizardConfig
from ..comfyui_pixwizard.pictures.buckets import Size

Shape = tuple[int, ...]
# Input name to its least, usual and largest shape; lists, as JSON gives them back.
Profile = dict[str, list[list[int]]]
LARGE_BUCKETS, SMALL_BUCKETS = (1024, 2304, 4096), (64, 256, 1024)
# Pixels a latent pixel stands for.
PIXELS = 8


class Unsupported(ValueError):
    """What an engine cannot do, in words for people; another way of running the network can."""


def default_buckets(config: PixWizardConfig) -> tuple[int, ...]:
    """Largest numbers of tokens: pictures of 512, 768 and 1024 px, of 128, 256 and 512 px for small networks."""
    return LARGE_BUCKETS if config.dim >= 1024 else SMALL_BUCKETS


def velocity_shapes(config: PixWizardConfig, batch: int, rows: int, columns: int, text: int) -> dict[str, Shape]:
    """Shapes of the velocity graph's inputs for so many rows and columns of patches and text tokens."""
    p, keys = config.patch_size, (config.n_layers, batch, config.kv_heads)
    latents = (batch, config.in_channels, rows * p, columns * p)
    table = (rows * columns, config.head_dim)
    texts, images = (*keys, text, config.head_dim), (*keys, config.sample_tokens, config.head_dim)
    return {
        "x": latents,
        "t": (batch,),
        "source": latents,
        "cos": table,
        "sin": table,
        "attention_scale": (1,),
        "vector": (batch, config.conditioning_dim),
        "text_keys": texts,
        "text_values": texts,
        "text_mask": (batch, text),
        "image_keys": images,
        "image_values": images,
    }


def bucket_profiles(
    config: PixWizardConfig, buckets: Sequence[int], *, batch: int = 3, text: int = 256, aspect: float = 2.0
) -> list[Profile]:
    """A profile for every bucket, which reaches from the one before to its own number of tokens.

    Args:
        buckets: largest numbers of tokens.
        batch, text: the most samples (times branches) and text tokens at once.
        aspect: the longest picture, as long side over short side.

    Raises:
        ValueError: numbers that make no profile.
    """
    _check(batch, text)
    if not buckets or any(tokens < 4 for tokens in buckets) or list(buckets) != sorted(set(buckets)):
        raise ValueError(f"buckets are growing numbers of tokens from 4 up, found {list(buckets)}: take 1024 2304 4096")
    if not 1 <= aspect <= 8:
        raise ValueError(f"the aspect of the longest picture lies in 1 to 8, found {aspect}: take 2")
    profiles, least = [], 1
    for tokens in buckets:
        square = max(1, round(math.sqrt(tokens)))
        short = max(1, math.floor(math.sqrt(least / aspect)))
        long = math.ceil(math.sqrt(tokens * aspect))
        profiles.append(_profile(config, batch, text, (short, short), (square, square), (long, long)))
        least = tokens
    return profiles


def size_profiles(config: PixWizardConfig, sizes: Sequence[Size], *, batch: int = 3, text: int = 256) -> list[Profile]:
    """A profile for every picture size (width, height) in pixels and no other, which is the fastest kind.

    Raises:
        ValueError: a size that patches do not divide.
    """
    _check(batch, text)
    step, profiles = PIXELS * config.patch_size, []
    for width, height in sizes:
        if width < step or height < step or width % step or height % step:
            raise ValueError(f"sizes are multiples of {step} px, found {width}x{height}: take 512x512")
        rows, columns = height // step, width // step
        profiles.append(_profile(config, batch, text, *[(rows, columns)] * 3))
    return profiles


def choose(profiles: Sequence[Mapping[str, Sequence[Sequence[int]]]], shapes: Mapping[str, Shape]) -> int:
    """The first profile that takes shapes.

    Raises:
        Unsupported: none does.
    """
    for place, profile in enumerate(profiles):
        if all(_inside(profile[name], shape) for name, shape in shapes.items()):
            return place
    batch, _, height, width = shapes["x"]
    raise Unsupported(
        f"the engine takes {'; or '.join(described(profile) for profile in profiles)}; found {width * PIXELS} x "
        f"{height * PIXELS} px, {batch} at once and {shapes['text_mask'][1]} text tokens: build an engine for "
        "these, or ask for what it takes"
    )


def described(profile: Mapping[str, Sequence[Sequence[int]]]) -> str:
    """The range of a profile, for people."""
    (_, _, low, narrow), _, (batch, _, high, wide) = profile["x"]
    text = profile["text_mask"][2][1]
    sides = {(low * PIXELS, high * PIXELS), (narrow * PIXELS, wide * PIXELS)}
    if (low, narrow) == (high, wide):
        size = f"{wide * PIXELS} x {high * PIXELS} px"
    else:
        size = "sides of " + " and ".join(f"{a} to {b}" for a, b in sorted(sides)) + " px"
    return f"{size}, up to {batch} at once and {text} text tokens"


def _profile(config: PixWizardConfig, batch: int, text: int, *sides: tuple[int, int]) -> Profile:
    """Of the least, usual and largest rows and columns, with one sample and token, a few, and all."""
    batches, texts = (1, min(2, batch), batch), (1, min(64, text), text)
    shapes = [velocity_shapes(config, b, *side, t) for b, side, t in zip(batches, sides, texts, strict=True)]
    return {name: [list(shape[name]) for shape in shapes] for name in shapes[0]}


def _inside(limits: Sequence[Sequence[int]], shape: Shape) -> bool:
    low, _, high = limits
    return len(shape) == len(low) and all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))


def _check(batch: int, text: int) -> None:
    if batch < 1 or text < 1:
        raise ValueError(f"batch and text are at least 1, found {batch} and {text}: take 3 and 256")
