"""Decoding in pieces."""

from __future__ import annotations

import pytest
import torch

from pixwizard.comfyui_pixwizard import PixWizardPipeline
from pixwizard.comfyui_pixwizard.encoders.tiled_decoding import TILE, decode_tiled, needs_tiles


@pytest.mark.parametrize("size", [(150, 40), (97, 130), (224, 100)])
def test_pieces_equal_the_whole_for_the_bundled_decoder(size: tuple[int, int]) -> None:
    autoencoder = PixWizardPipeline.from_pretrained("nano").autoencoder
    latents = torch.randn(1, 16, *size, generator=torch.Generator().manual_seed(0))
    seen: list[tuple[int, ...]] = []

    def decode(piece: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(piece.shape))
        return autoencoder.decode(piece)

    with torch.inference_mode():
        whole = autoencoder.decode(latents)
        torch.testing.assert_close(decode_tiled(decode, latents), whole, atol=1e-4, rtol=1e-4)
    assert len(seen) > 1 and max(max(shape[-2:]) for shape in seen) <= TILE


def test_what_fits_is_decoded_whole() -> None:
    assert not needs_tiles(torch.zeros(1, 4, 96, 96)) and needs_tiles(torch.zeros(1, 4, 128, 128))
