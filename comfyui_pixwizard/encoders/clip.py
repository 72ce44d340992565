"""CLIP's two towers: the task vector of an instruction, the image tokens of a picture.

Source: docs/mathematics.md section 13.

Shapes: B items, P projection size (768), N image tokens (576), W vision width (1024).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..files.open_clip import OpenClip, find_open_clip
from .folder import device_of, load_model, load_tokenizer, model_of, save_model
from .transformers_models import CLIPTextModelWithProjection, CLIPVisionModel, PreTrainedTokenizerFast

# The statistics of CLIP's training images, per channel, of values in [0, 1].
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def preprocess(image: Tensor, size: int) -> Tensor:
    """[B, 3, H, W] in [-1, 1] -> [B, 3, size, size] normalised for CLIP, as the released code does it.

    The aspect ratio is squashed; bicubic with align_corners and without antialiasing; resized *before* the mapping to
    [0, 1]; the overshoot of the bicubic kernel is kept.

    Raises:
        ValueError: not a batch of RGB images.
    """
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"CLIP reads images [B, 3, H, W] in [-1, 1], found {list(image.shape)}: convert to RGB")
    resized = image
    if image.shape[-2:] != (size, size):
        resized = F.interpolate(image, size=(size, size), mode="bicubic", align_corners=True, antialias=False)
    mean = torch.tensor(CLIP_MEAN, device=image.device, dtype=image.dtype).view(1, 3, 1, 1)
    std = torch.tensor(CLIP_STD, device=image.device, dtype=image.dtype).view(1, 3, 1, 1)
    return ((resized + 1) / 2 - mean) / std


class ClipTextEncoder(nn.Module):
    """CLIP's text tower: the projected, final-normed state at the first EOS; not L2-normalised.

    Raises:
        ValueError: the tokenizer does not put BOS first and EOS last, or has no pad token.
    """

    def __init__(self, model: CLIPTextModelWithProjection, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        self.model: Any = model
        self.tokenizer = tokenizer
        empty = tokenizer("")["input_ids"]
        if None in (tokenizer.bos_token_id, tokenizer.eos_token_id) or empty != [
            tokenizer.bos_token_id,
            tokenizer.eos_token_id,
        ]:
            raise ValueError(
                f"CLIP needs a tokenizer that makes [BOS, EOS] of the empty text, found {empty}: "
                "use the tokenizer.json of openai/clip-vit-large-patch14, or set its post-processor"
            )
        if tokenizer.pad_token_id is None:
            raise ValueError("CLIP needs a tokenizer with a pad token, found none: set pad_token in its config")

    @property
    def features(self) -> int:
        """P, the size of the task vector."""
        return self.model.config.projection_dim

    @property
    def max_tokens(self) -> int:
        """Longer texts are cut to this many tokens, BOS and EOS included (77)."""
        return self.model.config.max_position_embeddings

    def count(self, text: str) -> int:
        """How many tokens a text has, uncut."""
        return len(self.tokenizer(text, verbose=False)["input_ids"])

    def tokenize(self, texts: list[str]) -> Tensor:
        """Token ids [B, T] on the weights' device, padded on the right to the longest text."""
        if not texts:
            raise ValueError("at least one text is needed, found an empty list: pass [''] for the empty instruction")
        batch = self.tokenizer(
            texts,
            padding="longest",
            padding_side="right",
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
        )
        return batch["input_ids"].to(device_of(self.model))

    def encode(self, texts: list[str]) -> Tensor:
        """Task vectors [B, P]; gradients flow when they are enabled.

        No attention mask: attention is causal, so what follows the EOS cannot reach it, and padding to the longest
        text gives the same vector as padding to 77. The EOS is found by the tokenizer's id, not by the config's, which
        is wrong in OpenAI's folders. Source: docs/mathematics.md section 13.
        """
        return self.run(self.tokenize(texts))

    def run(self, ids: Tensor) -> Tensor:
        """Task vectors [B, P] of token ids [B, T] from `tokenize`."""
        hidden = self.model.text_model(input_ids=ids).last_hidden_state
        first_eos = (ids == self.tokenizer.eos_token_id).int().argmax(dim=1)
        rows = torch.arange(len(ids), device=hidden.device)
        return self.model.text_projection(hidden[rows, first_eos])

    def forward(self, texts: list[str]) -> Tensor:
        """Same as `encode`."""
        return self.encode(texts)

    @classmethod
    def from_pretrained(cls, folder: str | Path, dtype: torch.dtype = torch.float32) -> ClipTextEncoder:
        """Read a Hugging Face folder (a whole CLIPModel or a text tower) or an OpenCLIP checkpoint; never downloads.

        Args:
            folder: of transformers, or OpenCLIP's folder or file, see `files.open_clip`.

        Raises:
            ValueError: the folder, its config, weights or tokenizer are missing or wrong.
        """
        kind = "the CLIP text encoder"
        file = find_open_clip(folder)
        if file is not None:
            found = OpenClip(file)
            made = model_of(CLIPTextModelWithProjection, *found.tower("text"), f"{kind} in {file}", dtype)
            return cls(made, found.tokenizer()).eval()
        model = load_model(CLIPTextModelWithProjection, folder, kind, ("clip", "clip_text_model"), dtype)
        return cls(model, load_tokenizer(folder, kind)).eval()

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write weights (cast to `dtype`), config and tokenizer as a Hugging Face folder."""
        save_model(self.model, folder, dtype)
        self.tokenizer.save_pretrained(folder)


class ClipVisionEncoder(nn.Module):
    """CLIP's vision tower: the last block's tokens before the post-norm, without the class token."""

    def __init__(self, model: CLIPVisionModel) -> None:
        super().__init__()
        self.model: Any = model  # transformers' config fields are unions; CLIP's pictures and patches are square

    @property
    def features(self) -> int:
        """W, the width of the image tokens."""
        return self.model.config.hidden_size

    @property
    def tokens(self) -> int:
        """N, the number of image tokens."""
        return (self.model.config.image_size // self.model.config.patch_size) ** 2

    def encode(self, image: Tensor) -> Tensor:
        """Image [B, 3, H, W] in [-1, 1], any size -> tokens [B, N, W]; gradients flow when they are enabled."""
        dtype = next(self.model.parameters()).dtype
        pixels = preprocess(image.to(device_of(self.model)), self.model.config.image_size)
        return self.model(pixel_values=pixels.to(dtype)).last_hidden_state[:, 1:]

    def forward(self, image: Tensor) -> Tensor:
        """Same as `encode`."""
        return self.encode(image)

    @classmethod
    def from_pretrained(cls, folder: str | Path, dtype: torch.dtype = torch.float32) -> ClipVisionEncoder:
        """Read a Hugging Face folder (a whole CLIPModel or a vision tower) or an OpenCLIP checkpoint; never downloads.

        Args:
            folder: of transformers, or OpenCLIP's folder or file, see `files.open_clip`.

        Raises:
            ValueError: the folder, its config or weights are missing or wrong.
        """
        kind = "the CLIP vision encoder"
        file = find_open_clip(folder)
        if file is not None:
            return cls(model_of(CLIPVisionModel, *OpenClip(file).tower("vision"), f"{kind} in {file}", dtype)).eval()
        return cls(load_model(CLIPVisionModel, folder, kind, ("clip", "clip_vision_model"), dtype)).eval()

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write weights (cast to `dtype`) and config as a Hugging Face folder."""
        save_model(self.model, folder, dtype)
