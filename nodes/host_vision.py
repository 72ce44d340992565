"""The bundled model's picture encoders as the host's CLIP_VISION and VAE."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import comfy.clip_vision
import comfy.model_management as mm
import comfy.model_patcher
import comfy.sd
import torch
from einops import rearrange
from torch import Tensor, nn

from ..comfyui_pixwizard.encoders.clip import preprocess
from ..comfyui_pixwizard.encoders.nano_autoencoder import NanoAutoencoder
from ..comfyui_pixwizard.files.open_clip import OpenClip, find_open_clip
from ..comfyui_pixwizard.files.tower_folder import read_tower

PREFIX = "vision_model."


def load_vision(folder: Path) -> comfy.clip_vision.ClipVisionModel:
    """CLIP_VISION from a folder of a CLIP vision tower, transformers' or OpenCLIP's.

    Raises:
        ValueError: weights are missing.
    """
    file = find_open_clip(folder)
    if file is not None:
        found, state = OpenClip(file).tower("vision")
        config = found.to_dict()
    else:
        config, state = read_tower(folder, "vision")
    with tempfile.TemporaryDirectory() as place:  # the host reads the configuration from a file
        written = Path(place) / "config.json"
        written.write_text(json.dumps(config), encoding="utf-8")
        model = comfy.clip_vision.ClipVisionModel(str(written))
    state = {name if name.startswith(("visual_", PREFIX)) else PREFIX + name: value for name, value in state.items()}
    if "visual_projection.weight" not in state:
        model.model.visual_projection = nn.Identity()
    missing = model.load_sd(state).missing_keys
    if missing:
        raise ValueError(f"{folder} lacks {len(missing)} weights, the first is {missing[0]!r}: use a complete copy")
    return model


def encode_tokens(clip_vision: Any, pictures: Tensor) -> Tensor:
    """Image tokens [B, N, W] of pictures [B, 3, H, W] in [-1, 1], prepared as the released code does.

    The stock preparation differs (centre crop, antialiasing, 8 bit), see `encoders.clip.preprocess`.
    """
    mm.load_model_gpu(clip_vision.patcher)
    pixels = preprocess(pictures.float().to(clip_vision.load_device), clip_vision.image_size)
    with torch.inference_mode():
        states = clip_vision.model(pixel_values=pixels, intermediate_output=-2)[0]
    return states[:, 1:].float().to(mm.intermediate_device())


class NanoVAE(comfy.sd.VAE):
    """The host's VAE around the bundled autoencoder."""

    def __init__(self, autoencoder: NanoAutoencoder) -> None:
        # The host builds its VAEs from state dicts that it knows; its smallest one leaves all attributes in place.
        super().__init__(sd={"pixel_space_vae": torch.tensor(1.0)}, dtype=torch.float32)
        width = autoencoder.config.width * autoencoder.config.expansion
        self.downscale_ratio = self.upscale_ratio = autoencoder.factor
        self.latent_channels = autoencoder.channels
        self.memory_used_encode = lambda shape, dtype: width * shape[2] * shape[3] // 16 * mm.dtype_size(dtype)
        self.memory_used_decode = lambda shape, dtype: width * shape[2] * shape[3] * 4 * mm.dtype_size(dtype)
        self.first_stage_model = autoencoder.eval().requires_grad_(False).to(self.vae_dtype)
        self.patcher = comfy.model_patcher.ModelPatcher(
            self.first_stage_model, load_device=self.device, offload_device=mm.vae_offload_device()
        )
        self.size = None
        self.model_size()

    def decode(self, samples_in: Tensor, *others: Any, **options: Any) -> Tensor:
        """As the host's.

        Raises:
            ValueError: latents of another model.
        """
        self._check(samples_in)
        return super().decode(samples_in, *others, **options)

    def decode_tiled(self, samples: Tensor, *others: Any, **options: Any) -> Tensor:
        """As the host's.

        Raises:
            ValueError: latents of another model.
        """
        self._check(samples)
        return super().decode_tiled(samples, *others, **options)

    def _check(self, latents: Tensor) -> None:
        if latents.ndim != 4 or latents.shape[1] != self.latent_channels:
            raise ValueError(
                f"this VAE decodes latents [B, {self.latent_channels}, h, w], found {list(latents.shape)}: use the VAE "
                "that belongs to the model that made the latent"
            )


def preview_factors(autoencoder: NanoAutoencoder) -> tuple[list[list[float]], list[float]]:
    """Weights [C, 3] and bias [3] of a linear preview of latents, values in [-1, 1]: the mean colour of a patch."""
    shape = dict(c=3, p=autoencoder.config.patch, q=autoencoder.config.patch)
    weight = rearrange(autoencoder.picture.weight.float(), "(c p q) z -> z c (p q)", **shape).mean(-1)
    bias = rearrange(autoencoder.picture.bias.float(), "(c p q) -> c (p q)", **shape).mean(-1)
    return weight.tolist(), bias.tolist()
