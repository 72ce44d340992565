"""The released latent space: Stable Diffusion XL's KL autoencoder through diffusers.

Source: docs/mathematics.md section 13.

Shapes: B images, H W pixels (multiples of 8), C latent channels (4).
"""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..files.safe_files import read_tensors
from ..optional import pip_install
from .transformers_models import broken_torchvision_hidden

SDXL_SCALE = 0.13025
FACTOR = 8
FOLDER_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")

# Names of the original (ldm) files -> names of diffusers; the last four are those of diffusers before 0.17.
_RENAMES = (
    (r"^(encoder)\.down\.(\d+)\.block\.", r"\1.down_blocks.\2.resnets."),
    (r"^(encoder)\.down\.(\d+)\.downsample\.", r"\1.down_blocks.\2.downsamplers.0."),
    (r"^(decoder)\.up\.(\d+)\.block\.", r"\1.up_blocks.\2.resnets."),
    (r"^(decoder)\.up\.(\d+)\.upsample\.", r"\1.up_blocks.\2.upsamplers.0."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.norm\.", ".mid_block.attentions.0.group_norm."),
    (r"\.mid\.attn_1\.([qkv])\.", r".mid_block.attentions.0.to_\1."),
    (r"\.mid\.attn_1\.proj_out\.", ".mid_block.attentions.0.to_out.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"^((?:en|de)coder)\.norm_out\.", r"\1.conv_norm_out."),
    (r"\.attentions\.0\.query\.", ".attentions.0.to_q."),
    (r"\.attentions\.0\.key\.", ".attentions.0.to_k."),
    (r"\.attentions\.0\.value\.", ".attentions.0.to_v."),
    (r"\.attentions\.0\.proj_attn\.", ".attentions.0.to_out.0."),
)


def to_diffusers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A VAE's state dict in diffusers' names, from ldm names, whole checkpoints included, or from diffusers' own.

    Raises:
        ValueError: no autoencoder in it.
    """
    prefix = "first_stage_model."
    if any(name.startswith(prefix) for name in state):
        state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if "decoder.conv_in.weight" not in state or "encoder.conv_in.weight" not in state:
        first = next(iter(state), "nothing")
        raise ValueError(
            f"an autoencoder file holds encoder.conv_in and decoder.conv_in, found {first!r}, …: give an SDXL VAE"
        )
    levels = 1 + max((int(m[1]) for name in state if (m := re.match(r"decoder\.up\.(\d+)\.", name))), default=0)
    converted = {}
    for name, value in state.items():
        # ldm numbers the decoder's levels from the image side, diffusers from the latent side.
        name = re.sub(r"^decoder\.up\.(\d+)\.", lambda m: f"decoder.up.{levels - 1 - int(m[1])}.", name)
        for pattern, replacement in _RENAMES:
            name = re.sub(pattern, replacement, name)
        # The attention projections were 1x1 convolutions.
        converted[name] = value[..., 0, 0] if ".attentions.0.to_" in name and value.ndim == 4 else value
    return converted


def infer_config(state: dict[str, Tensor]) -> dict[str, Any]:
    """AutoencoderKL's arguments from the shapes of a state dict in diffusers' names."""
    pattern = re.compile(r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)\.conv2\.weight")
    blocks = {(int(m[1]), int(m[2])): value.shape[0] for name, value in state.items() if (m := pattern.match(name))}
    levels = 1 + max(level for level, _ in blocks)
    return {
        "in_channels": 3,
        "out_channels": 3,
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "block_out_channels": tuple(blocks[level, 0] for level in range(levels)),
        "layers_per_block": sum(1 for level, _ in blocks if level == 0),
        "latent_channels": state["decoder.conv_in.weight"].shape[1],
        "norm_num_groups": 32,
        "act_fn": "silu",
        "use_quant_conv": "quant_conv.weight" in state,
        "use_post_quant_conv": "post_quant_conv.weight" in state,
    }


def autoencoder_class() -> Any:
    """diffusers' AutoencoderKL.

    Raises:
        ValueError: diffusers is not installed or cannot be loaded.
    """
    try:
        with broken_torchvision_hidden():
            return importlib.import_module("diffusers").AutoencoderKL
    except (ImportError, RuntimeError) as error:
        raise ValueError(
            f"the SDXL autoencoder needs diffusers, found: {error}; {pip_install('diffusers>=0.31')}"
        ) from error


def _find(path: Path) -> tuple[Path, dict[str, Any] | None]:
    """The weights' file and, in a folder, diffusers' config."""
    if path.is_file():
        return path, None
    for folder in (path, path / "vae"):
        if (folder / "config.json").is_file():
            for name in FOLDER_FILES:
                if (folder / name).is_file():
                    return folder / name, json.loads((folder / "config.json").read_text(encoding="utf-8"))
    raise ValueError(
        f"the autoencoder is read from a file or a diffusers folder (config.json, {FOLDER_FILES[0]}), "
        f"found neither at {path}: give sdxl_vae.safetensors; nothing is ever downloaded"
    )


class SdxlAutoencoder(nn.Module):
    """Image [-1, 1] <-> latents scaled for the flow, z' = (z - shift) * scale.

    Args:
        vae: diffusers' AutoencoderKL.
        scale, shift: 0.13025 and 0 for SDXL; 0.18215 and 0 for the earlier ones (ema, mse).
        posterior: "sample" (as released, in training and inference) or "mode" (deterministic).
    """

    factor = FACTOR

    def __init__(
        self,
        vae: nn.Module,
        scale: float = SDXL_SCALE,
        shift: float = 0.0,
        posterior: Literal["sample", "mode"] = "sample",
    ) -> None:
        super().__init__()
        if posterior not in ("sample", "mode"):
            raise ValueError(
                f"posterior is 'sample' or 'mode', found {posterior!r}: use 'sample' for released behaviour"
            )
        self.vae: Any = vae
        self.scale = scale
        self.shift = shift
        self.posterior = posterior

    @property
    def channels(self) -> int:
        """C, the number of latent channels."""
        return self.vae.config.latent_channels

    def encode(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> latents [B, C, H/8, W/8]; `generator` draws the posterior's sample.

        Raises:
            ValueError: sides that 8 does not divide.
        """
        if image.ndim != 4 or image.shape[1] != 3 or image.shape[2] % FACTOR or image.shape[3] % FACTOR:
            raise ValueError(
                f"the autoencoder needs pictures [B, 3, H, W] with sides that {FACTOR} divides, found "
                f"{list(image.shape)}: resize or crop them first"
            )
        distribution = self.vae.encode(image.to(self.vae.dtype)).latent_dist
        latents = distribution.sample(generator) if self.posterior == "sample" else distribution.mode()
        return (latents - self.shift) * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, C, h, w] -> image [B, 3, 8h, 8w], about [-1, 1], not clamped."""
        return self.vae.decode(latents.to(self.vae.dtype) / self.scale + self.shift).sample

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        posterior: Literal["sample", "mode"] = "sample",
        scale: float | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> SdxlAutoencoder:
        """Read a single file (ldm or diffusers names, a whole checkpoint too) or a diffusers folder; never downloads.

        `scale` None: the folder's own, SDXL's for a single file.

        Raises:
            ValueError: no such file, unreadable, no autoencoder in it, wrong names or shapes, diffusers missing.
        """
        file, folder_config = _find(Path(path))
        state = to_diffusers(read_tensors(file))
        vae_class = autoencoder_class()
        config = folder_config or infer_config(state)
        vae = vae_class.from_config(config) if folder_config else vae_class(**config)
        try:
            vae.load_state_dict(state, strict=True)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(
                f"{file} does not hold this autoencoder's weights: {reason}; use a complete file"
            ) from error
        stored = folder_config or {}
        return cls(
            vae.to(dtype),
            scale=scale if scale is not None else stored.get("scaling_factor", SDXL_SCALE),
            shift=stored.get("shift_factor") or 0.0,
            posterior=posterior,
        ).eval()
