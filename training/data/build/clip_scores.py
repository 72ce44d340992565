"""A whole CLIP model of a folder, for scores: both towers with their projections. Shapes: P projection size."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ....comfyui_pixwizard.encoders.clip import ClipTextEncoder, preprocess
from ....comfyui_pixwizard.encoders.folder import load_model
from ....comfyui_pixwizard.encoders.transformers_models import broken_torchvision_hidden
from ....comfyui_pixwizard.pictures.images import to_tensor

with broken_torchvision_hidden():
    from transformers import CLIPVisionModelWithProjection


class Clip:
    """Normalised vectors [P] of pictures and words.

    Raises:
        ValueError: no folder of a whole CLIP model.
    """

    def __init__(self, folder: str):
        self.words = ClipTextEncoder.from_pretrained(folder)
        self.vision: Any = load_model(
            CLIPVisionModelWithProjection, folder, "a CLIP score", ("clip", "clip_vision_model"), torch.float32
        )

    # Several scores of a recipe use the same one.
    shared = staticmethod(lru_cache(maxsize=2)(lambda folder: Clip(folder)))

    @property
    def features(self) -> int:
        """P."""
        return self.vision.config.projection_dim

    @torch.no_grad()
    def picture(self, picture: Image.Image) -> Tensor:
        """Of an RGB picture of any size."""
        pixels = preprocess(to_tensor(picture), self.vision.config.image_size)
        return F.normalize(self.vision(pixel_values=pixels).image_embeds[0], dim=0)

    @torch.no_grad()
    def text(self, words: str) -> Tensor:
        """Of a sentence."""
        return F.normalize(self.words.encode([words])[0], dim=0)
