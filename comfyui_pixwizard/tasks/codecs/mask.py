"""Masks as pictures: a half-transparent colour over the source (referring segmentation), or white on black."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..task import Codec, check_picture, check_source
from .clean_up import box_mean, flatten_batch, hue_distance, hue_saturation_value

OPACITY = 0.5
THRESHOLD = 0.25
# Without a source: gain of the saturation, the least after it, and how far a hue may be off (turns).
BOOST, SATURATION, HUE = 2.0, 0.7, 32 / 360
# Noise that a channel may have beyond what any blend can be.
SLACK = 0.06
COLORS: dict[str, tuple[float, float, float]] = {
    "magenta": (1.0, 0.0, 1.0),
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 1.0, 0.0),
    "blue": (0.0, 0.0, 1.0),
    "yellow": (1.0, 1.0, 0.0),
    "cyan": (0.0, 1.0, 1.0),
    "white": (1.0, 1.0, 1.0),
    "black": (0.0, 0.0, 0.0),
}
# Rare in photographs and far from skin, sky, grass and grey.
DEFAULT_COLOR = "magenta"


def overlay_color(color: str) -> Tensor:
    """Overlay colour by name: [3] in [0,1].

    Raises:
        ValueError: a name that is not in COLORS.
    """
    if color not in COLORS:
        raise ValueError(f"the overlay colours are {', '.join(COLORS)}, found {color!r}: choose one of them")
    return torch.tensor(COLORS[color])


def _check_mask(mask: Any) -> Tensor:
    tensor = torch.as_tensor(mask)
    if tensor.ndim < 2 or tensor.dtype != torch.bool:
        raise ValueError(
            f"a mask is a bool map [..., H, W], found {tuple(tensor.shape)} {tensor.dtype}: compare it with a number"
        )
    return tensor


def encode_overlay(mask: Any, source: Any = None, *, color: str = DEFAULT_COLOR) -> Tensor:
    """Source with the colour laid over the mask at 50 % (paper section 3.1): [...,H,W] bool -> [...,3,H,W].

    Raises:
        ValueError: not a bool mask, no source of the same size, or an unknown colour.
    """
    inside = _check_mask(mask)
    picture = check_source(source, inside, "the overlay")
    paint = overlay_color(color).to(picture.device)[:, None, None]
    return torch.where(inside[..., None, :, :].to(picture.device), picture + OPACITY * (paint - picture), picture)


def overlay_alpha(picture: Any, source: Any, *, color: str = DEFAULT_COLOR, radius: int = 0) -> Tensor:
    """Opacity of the colour at every pixel [...,H,W]: least squares over a window of the given radius.

    alpha = sum <picture - source, colour - source> / sum |colour - source|^2. A window lets pixels that already have
    nearly the overlay's colour, and so say nothing, be decided by their neighbours.

    Raises:
        ValueError: no source of the same size, or an unknown colour.
    """
    out = check_picture(picture)
    base = check_source(source, out, "the overlay")
    toward = overlay_color(color).to(out.device)[:, None, None] - base
    numerator, denominator = torch.broadcast_tensors(((out - base) * toward).sum(-3), toward.square().sum(-3))
    if radius:
        shape = numerator.shape
        numerator = box_mean(flatten_batch(numerator, 2), radius).reshape(shape)
        denominator = box_mean(flatten_batch(denominator, 2), radius).reshape(shape)
    return numerator / denominator.clamp_min(1e-4)


def _overlay_by_hue(picture: Any, color: str, cleanup: bool) -> Tensor:
    """Mask [...,H,W] bool without a source: raised saturation, and a hue near the overlay's.

    A blend of one half has at least half of the colour in every channel and at most half of the way beyond it, which
    rules out most things that merely have its hue. Things that could be a blend are taken for one.

    Raises:
        ValueError: a colour without hue, which cannot be told from light and shadow.
    """
    whole = check_picture(picture)
    flat = flatten_batch(whole, 3)
    paint = overlay_color(color).to(flat.device)[:, None, None]
    of, needed, _ = (float(value) for value in hue_saturation_value(paint))
    if not needed:
        raise ValueError(f"an overlay in {color} has no hue and needs the source to be read, found none: pass source=…")
    if cleanup:
        flat = torch.stack([box_mean(flat[:, channel]) for channel in range(3)], dim=1)
    hue, saturation, _ = hue_saturation_value(flat)
    rest = flat - OPACITY * paint
    blend = ((rest > -SLACK) & (rest < 1 - OPACITY + SLACK)).all(1)
    mask = blend & ((saturation * BOOST).clamp(max=1) > SATURATION) & (hue_distance(hue, of) < HUE)
    return mask.reshape(*whole.shape[:-3], *whole.shape[-2:])


def decode_overlay(
    picture: Any,
    source: Any = None,
    *,
    color: str = DEFAULT_COLOR,
    threshold: float = THRESHOLD,
    cleanup: bool = True,
) -> Tensor:
    """Mask [...,H,W] bool: where the picture went at least half of the way that encode goes.

    Args:
        picture, source: [...,3,H,W] of one size. A source that went through the same autoencoder as the picture
            cancels the autoencoder's own error. Without a source hue and saturation decide, which also takes things
            that have the overlay's colour themselves.
        cleanup: decide over 3x3 windows; False is the exact inverse of encode, pixel by pixel.

    Raises:
        ValueError: a source of another size, none for black or white, or an unknown colour.
    """
    if source is None:
        return _overlay_by_hue(picture, color, cleanup)
    return overlay_alpha(picture, source, color=color, radius=1 if cleanup else 0) > threshold


def overlay_confidence(picture: Any, source: Any = None, *, color: str = DEFAULT_COLOR) -> float:
    """1 when the opacity is exactly one half inside the mask, 0 when it is at the threshold.

    Where nothing is marked, 1 when no pixel went towards the colour, 0 when one is at the threshold. Without a source:
    how near the hue inside the mask is to the overlay's, 0 for an empty one.
    """
    if source is None:
        inside = _overlay_by_hue(picture, color, cleanup=True)
        of = float(hue_saturation_value(overlay_color(color)[:, None, None])[0])
        hue = hue_saturation_value(check_picture(picture))[0][inside]
        return float((1 - hue_distance(hue, of) / HUE).clamp_min(0).mean()) if len(hue) else 0.0
    alpha = overlay_alpha(picture, source, color=color, radius=1)
    inside = alpha > THRESHOLD
    if not bool(inside.any()):
        return float((1 - alpha.amax() / THRESHOLD).clamp(0, 1))
    return float((1 - (alpha[inside] - OPACITY).abs() / (OPACITY - THRESHOLD)).clamp_min(0).mean())


def encode_binary(mask: Any, source: Any = None) -> Tensor:
    """White inside, black outside: [...,H,W] bool -> [...,3,H,W]."""
    return torch.stack([_check_mask(mask).float()] * 3, dim=-3)


def decode_binary(picture: Any, source: Any = None, *, cleanup: bool = True) -> Tensor:
    """Mean of the channels above one half, with cleanup over 3x3 windows: [...,3,H,W] -> [...,H,W] bool."""
    value = check_picture(picture).mean(-3)
    if cleanup:
        value = box_mean(flatten_batch(value, 2)).reshape(value.shape)
    return value > 0.5


def binary_confidence(picture: Any, source: Any = None) -> float:
    """1 for pure black and white, 0 for mid-grey; where nothing is white, by the brightest pixel alone."""
    value = check_picture(picture).mean(-3)
    if not bool((value > 0.5).any()):
        return float((1 - 2 * value.amax()).clamp(0, 1))
    return float((2 * value - 1).abs().clamp(0, 1).mean())


OVERLAY = Codec("overlay", encode_overlay, decode_overlay, overlay_confidence)
BINARY = Codec("binary", encode_binary, decode_binary, binary_confidence)
