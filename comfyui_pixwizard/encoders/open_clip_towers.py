"""CLIP's two towers from an open_clip checkpoint: same methods, same results as `clip.py`.

Source: docs/mathematics.md section 13.

Shapes: B items, P projection size (768), N image tokens (576), W vision width (1024).
"""

from __future__ import annotations

import copy
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ..files.safe_files import read_tensors
from ..optional import pip_install
from .clip import preprocess
from .folder import device_of

VISION_ARCHITECTURE = "ViT-L-14-336-quickgelu"
TEXT_ARCHITECTURE = "ViT-L-14-quickgelu"


def _open_clip() -> ModuleType:
    try:
        return importlib.import_module("open_clip")
    except (ImportError, RuntimeError, OSError) as error:
        raise ValueError(
            f"open_clip checkpoints need open_clip_torch and a torchvision that fits torch, found: {error}; "
            f"{pip_install('open_clip_torch', 'torchvision')}, or use the model's Hugging Face folder"
        ) from error


def _load_clip(file: str | Path, architecture: str | dict[str, Any], dtype: torch.dtype, part: str) -> Any:
    """An open_clip CLIP whose `part` ("visual" or "text") is read from the file; the other part stays on meta."""
    open_clip = _open_clip()
    if isinstance(architecture, str):
        config = open_clip.get_model_config(architecture)
        if config is None:
            raise ValueError(f"open_clip has no architecture {architecture!r}: use one of open_clip.list_models()")
    else:
        config = copy.deepcopy(architecture)
    with torch.device("meta"):
        model = importlib.import_module("open_clip.model").CLIP(**config)
    state = {name.removeprefix("module."): tensor for name, tensor in read_tensors(file).items()}
    wanted = {n: p.shape for n, p in model.state_dict().items() if n.startswith("visual.") == (part == "visual")}
    wanted.pop("logit_scale", None)
    for name, shape in wanted.items():
        if name not in state or state[name].shape != shape:
            found = list(state[name].shape) if name in state else "no such entry"
            raise ValueError(
                f"{file} should hold {name} {list(shape)} of open_clip's {architecture}, found {found}: "
                "use that model's file (open_clip_model.safetensors) or name its architecture"
            )
    tensors = {name: state[name].to(dtype) for name in wanted}
    model.load_state_dict(tensors, strict=False, assign=True)
    return model.eval()


class OpenClipTextEncoder(nn.Module):
    """open_clip's text tower: projected state at the EOS, not normalised; texts are cut at 77 tokens.

    Args:
        model: an `open_clip.model.CLIP` (its visual part is dropped).
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        model.visual = None
        model.logit_scale = None
        self.model = model
        tokenizer = importlib.import_module("open_clip.tokenizer")
        self.tokenizer = tokenizer.SimpleTokenizer(context_length=model.context_length)

    @property
    def features(self) -> int:
        """P, the size of the task vector."""
        return self.model.text_projection.shape[1]

    def encode(self, texts: list[str]) -> Tensor:
        """Task vectors [B, P]; gradients flow when they are enabled."""
        if not texts:
            raise ValueError("at least one text is needed, found an empty list: pass [''] for the empty instruction")
        return self.model.encode_text(self.tokenizer(texts).to(device_of(self.model)))

    def forward(self, texts: list[str]) -> Tensor:
        """Same as `encode`."""
        return self.encode(texts)

    @classmethod
    def from_checkpoint(
        cls,
        file: str | Path,
        architecture: str | dict[str, Any] = TEXT_ARCHITECTURE,
        dtype: torch.dtype = torch.float32,
    ) -> OpenClipTextEncoder:
        """Read an open_clip checkpoint (safetensors, or a plain state dict of tensors); never downloads.

        Raises:
            ValueError: unreadable file, unknown architecture, missing or misshapen weights, no open_clip.
        """
        model = _load_clip(file, architecture, dtype, "text")
        # Not part of the file: the causal mask, which the meta device left without values.
        size = model.context_length
        model.attn_mask = torch.full((size, size), float("-inf"), dtype=dtype).triu(1)
        return cls(model).eval()


class OpenClipVisionEncoder(nn.Module):
    """open_clip's vision tower: the last block's tokens before the post-norm, without the class token.

    Args:
        visual: an `open_clip.transformer.VisionTransformer`.
    """

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual: Any = visual

    @property
    def features(self) -> int:
        """W, the width of the image tokens."""
        return self.visual.conv1.out_channels

    @property
    def tokens(self) -> int:
        """N, the number of image tokens."""
        return self.visual.positional_embedding.shape[0] - 1

    def encode(self, image: Tensor) -> Tensor:
        """Image [B, 3, H, W] in [-1, 1], any size -> tokens [B, N, W]; gradients flow when they are enabled."""
        weight = self.visual.conv1.weight
        pixels = preprocess(image.to(weight.device), self.visual.image_size[0]).to(weight.dtype)
        output = self.visual.forward_intermediates(pixels, indices=1, intermediates_only=True, output_fmt="NLC")
        return output["image_intermediates"][0]

    def forward(self, image: Tensor) -> Tensor:
        """Same as `encode`."""
        return self.encode(image)

    @classmethod
    def from_checkpoint(
        cls,
        file: str | Path,
        architecture: str | dict[str, Any] = VISION_ARCHITECTURE,
        dtype: torch.dtype = torch.float32,
    ) -> OpenClipVisionEncoder:
        """Read an open_clip checkpoint (safetensors, or a plain state dict of tensors); never downloads.

        Raises:
            ValueError: unreadable file, unknown architecture, missing or misshapen weights, no open_clip.
        """
        return cls(_load_clip(file, architecture, dtype, "visual").visual).eval()
