"""A whole CLIP model of a folder or an OpenCLIP file, for scores: both towers with their projections.

Shapes: P projection size.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ....comfyui_pixwizard.encoders.clip import ClipTextEncoder, preprocess
from ....comfyui_pixwizard.encoders.folder import load_model, model_of
from ....comfyui_pixwizard.encoders.transformers_models import broken_torchvision_hidden
from ....comfyui_pixwizard.files.open_clip import OpenClip, find_open_clip
from ....comfyui_pixwizard.pictures.images import to_tensor
from .judged import Judged

with broken_torchvision_hidden():
    from transformers import CLIPVisionModelWithProjection

WHAT = "a CLIP score"


class Clip:
    """Normalised vectors [P] of pictures and words.

    Args:
        place: a folder of transformers, or OpenCLIP's folder or file.

    Raises:
        ValueError: no whole CLIP model there.
    """

    def __init__(self, place: str):
        self.words = ClipTextEncoder.from_pretrained(place)
        file = find_open_clip(place)
        if file is None:
            kinds = ("clip", "clip_vision_model")
            self.vision: Any = load_model(CLIPVisionModelWithProjection, place, WHAT, kinds, torch.float32)
        else:
            tower = OpenClip(file).tower("vision")
            self.vision = model_of(CLIPVisionModelWithProjection, *tower, f"{WHAT} of {file}", torch.float32)

    # Several scores of a recipe use the same one.
    shared = staticmethod(lru_cache(maxsize=2)(lambda place: Clip(place)))

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

    def direction(self, judged: Judged) -> float | None:
        """Cosine of the change of the picture and the change of its captions, which are two: before and after."""
        if judged.source is None or len(judged.captions) < 2:
            return None
        pictures = self.picture(judged.target) - self.picture(judged.source)
        words = self.text(judged.captions[1]) - self.text(judged.captions[0])
        return float(F.cosine_similarity(pictures, words, dim=0))
