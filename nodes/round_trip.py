"""A source picture through the autoencoder and back, by the same autoencoder that encoded it for the model.

Shapes: B pictures, H W pixels, C latent channels.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

# Latents by the very IMAGE that Image Conditioning gave; an entry goes when the host lets the picture go.
ENCODED: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
# Relative; the same weights in another precision are well below, other weights are far above.
DIFFERENT = 0.2


def remember(source: Tensor, latents: Tensor) -> None:
    """Keep what a source [B, H, W, 3] was encoded to, [B, C, H/8, W/8]."""
    ENCODED[source] = latents


def round_trip(vae: Any, source: Tensor) -> Tensor:
    """The source after the autoencoder, as an answer without any change would look, [B, H, W, 3].

    Raises:
        ValueError: another model's VAE than the one that Image Conditioning showed this source to.
    """
    latents, known = vae.encode(source[..., :3]), ENCODED.get(source)
    if known is not None and (latents.shape != known.shape or _far(latents, known)):
        values = "other values" if latents.shape == known.shape else f"latents {list(latents.shape)}"
        raise ValueError(
            f"comparing with the source needs the VAE that Image Conditioning has, found another model's ({values} in "
            f"place of {list(known.shape)}): connect that VAE here"
        )
    return vae.decode(latents)


def _far(latents: Tensor, known: Tensor) -> bool:
    difference = (latents.float() - known.float()).square().mean().sqrt()
    return not difference <= DIFFERENT * known.float().square().mean().sqrt()
