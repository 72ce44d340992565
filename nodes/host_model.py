"""PixWizard as an ordinary MODEL of the host: configuration, conditions, patcher.

Shapes: B batch, T text tokens, N image tokens, C latent channels, h, w latent pixels.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.model_management as mm
import comfy.model_patcher
import comfy.supported_models_base
import comfy.utils
import torch
from einops import rearrange
from torch import Tensor

from ..comfyui_pixwizard.conditions import Conditions
from ..comfyui_pixwizard.config import PixWizardConfig
from ..comfyui_pixwizard.local_edits.direction import Direction
from ..comfyui_pixwizard.noise import LARGEST_SEED, noise_generators
from ..comfyui_pixwizard.sampling import BEST, SAMPLED, sampled_draws
from ..comfyui_pixwizard.task_table import TaskRows
from ..comfyui_pixwizard.tasks.declared import Declared
from . import lora_keys
from .conversions import TASK
from .host_network import HostTransformer
from .notices import warn

# Keys of a conditioning's dictionary: ours, and the host's own for a source latent.
IMAGE_TOKENS = "pixwizard_image_tokens"
SOURCE = "concat_latent_image"
# Entry of a MODEL's transformer options: `TaskRows` of one learned task, for the branches with the whole text.
LEARNED_TASK = "pixwizard_learned_task"
# Entry of a MODEL's transformer options: how image tokens are chosen.
TOKEN_CHOICE = "pixwizard_token_choice"
FLOAT8 = {"fp8_e4m3fn": torch.float8_e4m3fn, "fp8_e5m2": torch.float8_e5m2}
WEIGHT_TYPES = ("default", *FLOAT8)
# Entries of a saved state dict, as JSON in bytes: the configuration, because shapes do not show all of it, and what the
# model declares, if it does.
CONFIG, DECLARES = "pixwizard_config", "pixwizard_declares"
# Branches that must have seen a picture, as guiders name them, and the inputs they come from.
WITH_PICTURE = {"positive": "positive", "full": "positive", "middle": "cond2", "image": "image_only"}
# Kinds of model patches that `HostTransformer` calls.
PATCHES = {"double_block"}


class NanoLatents(comfy.latent_formats.LatentFormat):
    """Latents of the bundled autoencoder: 16 channels of about unit variance, no scale.

    The factors of previews depend on the weights and are set where these are loaded.
    """

    latent_channels = 16


class ModelConfig(comfy.supported_models_base.BASE):
    """The host's description of an architecture."""

    unet_config: ClassVar[dict[str, Any]] = {"image_model": "pixwizard"}
    unet_extra_config: ClassVar[dict[str, Any]] = {}
    sampling_settings: ClassVar[dict[str, float]] = {"multiplier": 1.0, "shift": 1.0}
    latent_format = comfy.latent_formats.SDXL
    memory_usage_factor = 1.4
    supported_inference_dtypes: ClassVar[list[torch.dtype]] = [torch.bfloat16, torch.float32]
    declared: Declared | None = None

    def get_model(self, state_dict: Mapping[str, Tensor], prefix: str = "", device: Any = None) -> PixWizardModel:
        lora_keys.install(PixWizardModel)
        return PixWizardModel(self, device=device)

    def set_inference_dtype(self, dtype: Any, manual_cast_dtype: Any, *others: Any, **options: Any) -> None:
        """As the host's; parameters of no layer are kept in the type that activations have."""
        super().set_inference_dtype(dtype, manual_cast_dtype, *others, **options)
        self.unet_config["compute_dtype"] = manual_cast_dtype or dtype

    def clip_target(self, state_dict: Any = None) -> None:
        """None: a checkpoint holds no text encoder, Load PixWizard loads it."""

    def process_unet_state_dict(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights under the names that the network loads."""
        return {name: value for name, value in state_dict.items() if name not in (CONFIG, DECLARES)}

    def process_unet_state_dict_for_saving(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights as the host's ModelSave writes them: with the configuration, so that any loader can read it back."""
        names = [field.name for field in fields(PixWizardConfig)]
        kept = {CONFIG: _as_bytes({name: self.unet_config[name] for name in names})}
        if self.declared is not None:
            kept[DECLARES] = _as_bytes(self.declared.to_dict())
        return super().process_unet_state_dict_for_saving(state_dict | kept)


def _as_bytes(values: Mapping[str, Any]) -> Tensor:
    return torch.tensor(list(json.dumps(values).encode()), dtype=torch.uint8)


class NanoModelConfig(ModelConfig):
    """The same, over the bundled autoencoder's latents."""

    latent_format = NanoLatents


class CondPadded(comfy.conds.CONDRegular):
    """Keys or values of texts [B, R, g, T, e]: of different lengths they are joined with zeros behind the shorter."""

    def can_concat(self, other: Any) -> bool:
        mine, theirs = list(self.cond.shape), list(other.cond.shape)
        return mine[:3] == theirs[:3] and mine[4:] == theirs[4:] and self.cond.device == other.cond.device

    def concat(self, others: list[Any]) -> Tensor:
        parts = [self.cond, *(other.cond for other in others)]
        longest = max(part.shape[3] for part in parts)
        return torch.cat([torch.nn.functional.pad(part, (0, 0, 0, longest - part.shape[3])) for part in parts])


class CondMask(comfy.conds.CONDRegular):
    """Masks of texts [B, T], 1 where valid; joined they become None where every entry is valid."""

    def __init__(self, cond: Tensor, full: bool) -> None:
        super().__init__(cond)
        self.full = full

    def _copy_with(self, cond: Tensor) -> CondMask:
        return CondMask(cond, self.full)

    def can_concat(self, other: Any) -> bool:
        return self.cond.device == other.cond.device

    def concat(self, others: list[Any]) -> Tensor | None:
        parts = [self, *others]
        longest = max(part.cond.shape[1] for part in parts)
        if all(part.full and part.cond.shape[1] == longest for part in parts):
            return None
        return torch.cat([torch.nn.functional.pad(p.cond, (0, longest - p.cond.shape[1])) for p in parts])


class PixWizardModel(comfy.model_base.BaseModel):
    """The host's model around `HostTransformer`: flow, with a source latent beside the noisy one.

    Attributes:
        direction: of the folder that it was loaded from, if there is one, see Local Edit.
    """

    direction: Direction | None = None

    def __init__(self, model_config: ModelConfig, device: Any = None) -> None:
        flow = comfy.model_base.ModelType.FLOW
        super().__init__(model_config, flow, device=device, unet_model=HostTransformer)
        self.declared = model_config.declared

    def process_timestep(self, timestep: Tensor, **others: Any) -> Tensor:
        """Sigma again: nodes such as ModelSamplingSD3 bring a multiplier of 1000."""
        return timestep / self.model_sampling.multiplier

    def concat_cond(self, **given: Any) -> Tensor:
        """The source latent; without one the noise itself, which is how the model knows that there is no picture."""
        noise, source = given["noise"], given.get(SOURCE)
        if source is None:
            return noise.to(given["device"])
        source = self.process_latent_in(source)
        if source.shape[1] != noise.shape[1]:
            raise ValueError(
                f"this PixWizard model works on latents of {noise.shape[1]} channels, found a source of "
                f"{source.shape[1]}: use the VAE that belongs to the model in Image Conditioning"
            )
        if source.shape[-2:] != noise.shape[-2:]:
            height, width = noise.shape[-2] * 8, noise.shape[-1] * 8
            raise ValueError(
                f"the latent to sample must have the source's size, found {width} x {height} px for a source of "
                f"{source.shape[-1] * 8} x {source.shape[-2] * 8} px: use the latent that Image Conditioning gives"
            )
        if len(source) > len(noise):
            raise ValueError(
                f"a latent belongs to each picture of the conditioning, found {len(noise)} for {len(source)} pictures: "
                "sample all that Image Conditioning gives, and pick among the answers"
            )
        # As the host repeats all other parts of the conditioning: picture 1, 2, 1, 2.
        return comfy.utils.repeat_to_batch_size(source, len(noise)).to(given["device"])

    def extra_conds(self, **given: Any) -> dict[str, Any]:
        """Conditions of one branch, once per sampling: everything that depends neither on x nor on t.

        Raises:
            ValueError: text features, task vector, image tokens or a latent of another model; no picture where one
                belongs.
        """
        branch = str(given.get("prompt_type"))
        self._check_latent(given["noise"])
        if given.get(SOURCE) is None and branch in WITH_PICTURE:
            raise ValueError(
                f"PixWizard works on a source picture, found none on {WITH_PICTURE[branch]}: put Image Conditioning "
                "between the text and the sampler, with Blank Canvas as its picture to draw from words alone"
            )
        if branch in ("positive", "full"):
            self._name_idle_patches()
        sampled = self._options().get(TOKEN_CHOICE, BEST) == SAMPLED
        count = len(given["noise"]) if sampled else 1
        encoded, mask = self.encode_branch(given, (given.get("seed") or 0) if sampled else None, count)
        regular = comfy.conds.CONDRegular
        image_keys, image_values = (rearrange(v, "r b g k e -> b r g k e") for v in self._image(encoded, len(mask)))
        return {
            "c_concat": comfy.conds.CONDNoiseShape(self.concat_cond(**given)),
            "text_keys": CondPadded(rearrange(encoded.text_keys, "r b g t e -> b r g t e")),
            "text_values": CondPadded(rearrange(encoded.text_values, "r b g t e -> b r g t e")),
            "text_mask": CondMask(mask.to(self._dtype), bool(mask.all())),
            "image_keys": regular(image_keys),
            "image_values": regular(image_values),
            "vector": regular(encoded.vector),
        }

    def encode_branch(
        self, given: Mapping[str, Any], seed: int | None = None, count: int = 1
    ) -> tuple[Conditions, Tensor]:
        """Conditions of the text, task vector and image tokens of a conditioning, and the mask [B, T] of its text.

        Args:
            given: the conditioning's entries, its features as "cross_attn", and the "device" to work on.
            seed: draws image tokens with Gumbel noise, of sample i from seed + i; None takes the best.
            count: of samples that each draw their own, where they are more than the pictures.

        Raises:
            ValueError: text features, a task vector or image tokens of another model.
        """
        config: PixWizardConfig = self.diffusion_model.config
        where = dict(device=given["device"], dtype=self._dtype)
        features, mask, vector = self._text(given)
        tokens = given.get(IMAGE_TOKENS)
        if given.get(SOURCE) is not None and tokens is None:
            raise ValueError(
                "a source latent needs the image tokens of the same picture, found none: use Image Conditioning "
                "(PixWizard) in place of InstructPixToPixConditioning"
            )
        if tokens is None:
            tokens = torch.zeros(1, config.sample_tokens, config.clip_image_dim)
        if tokens.shape[-1] != config.clip_image_dim:
            raise ValueError(
                f"this PixWizard model reads image tokens of width {config.clip_image_dim}, found {tokens.shape[-1]}: "
                "use the CLIP Vision model that belongs to it (CLIP-L/14-336 for the released weights)"
            )
        batch = max(len(features), len(tokens), count)
        parts = (features, mask, vector, tokens)
        features, mask, vector, tokens = (comfy.utils.repeat_to_batch_size(part, batch) for part in parts)
        draws = None if seed is None else self._draws(tokens, seed)
        mask = mask.to(where["device"])
        rows = self._rows(given, batch)
        encoded = self.diffusion_model.encode_conditions(
            features.to(**where), mask, vector.to(**where), tokens.to(**where), gumbel=draws,
            task_rows=None if rows is None else rows.to(**where),
        )  # fmt: skip
        # One longer than the text's where a learned token stands behind it.
        text = encoded.text_keys.shape[-2]
        valid = encoded.text_mask if encoded.text_mask is not None else mask.new_ones(batch, text)
        return encoded, valid

    def _rows(self, given: Mapping[str, Any], batch: int) -> TaskRows | None:
        """What a learned task of the MODEL, or its task table by the conditioning's task, says to one branch."""
        whole = str(given.get("prompt_type")) in ("positive", "full")
        learned: TaskRows | None = self._options().get(LEARNED_TASK) if whole else None
        if learned is not None:
            return TaskRows(*(part.expand(batch, *part.shape[1:]) for part in learned))
        (table,) = getattr(self, "task_table", (None,))
        if table is None or given.get(TASK) is None:
            return None
        return table.rows(table.places([given[TASK]] * batch))

    def _check_latent(self, noise: Tensor) -> None:
        channels = self.diffusion_model.config.in_channels
        if noise.ndim != 4 or noise.shape[1] != channels:
            raise ValueError(
                f"this PixWizard model samples latents [B, {channels}, h, w], found {list(noise.shape)}: use the "
                "latent that Image Conditioning gives, made by the VAE that belongs to the model"
            )

    @property
    def _dtype(self) -> torch.dtype:
        """What the network computes in."""
        return self.manual_cast_dtype or self.get_dtype()

    def _options(self) -> dict[str, Any]:
        """What the MODEL that is being sampled is asked for."""
        patcher = getattr(self, "current_patcher", None)
        return {} if patcher is None else patcher.model_options.get("transformer_options", {})

    def _draws(self, tokens: Tensor, seed: int) -> Tensor:
        """Draws [R, B, N] behind Gumbel noise for image tokens [B, N, W]."""
        seeds = [(seed + place) % (LARGEST_SEED + 1) for place in range(len(tokens))]
        is_null = ~(tokens != 0).flatten(1).any(dim=1)
        layers = self.diffusion_model.config.n_layers
        return sampled_draws(is_null, layers, tokens.shape[1], noise_generators(len(tokens), None, seeds))

    def _name_idle_patches(self) -> None:
        """Say which patches of the MODEL have no place in this network, such as FreeU's, which are for U-Nets."""
        patches = self._options().get("patches", {})
        idle = sorted(name for name, functions in patches.items() if functions and name not in PATCHES)
        if idle:
            warn(f"PixWizard has no place for the model patch {', '.join(idle)} (FreeU and others for U-Nets): it does "
                 "nothing here, take that node out")  # fmt: skip

    def _image(self, encoded: Any, batch: int) -> tuple[Tensor, Tensor]:
        """Keys and values of the image; zeros contribute nothing and let a branch without an image be batched."""
        if encoded.image_keys.shape[-2]:
            return encoded.image_keys, encoded.image_values
        config = self.diffusion_model.config
        shape = (config.n_layers, batch, config.kv_heads, config.sample_tokens, config.head_dim)
        zeros = encoded.image_keys.new_zeros(shape)
        return zeros, zeros

    def _text(self, given: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        config: PixWizardConfig = self.diffusion_model.config
        features: Any = given.get("cross_attn")
        vector: Any = given.get("pooled_output")
        widths = tuple(0 if item is None else item.shape[-1] for item in (features, vector))
        if widths != (config.cap_feat_dim, config.cap_clip_feat_dim):
            raise ValueError(
                f"this PixWizard model reads text features of width {config.cap_feat_dim} and a task vector of width "
                f"{config.cap_clip_feat_dim}, found {widths[0]} and {widths[1]}: use the CLIP of Load PixWizard or of "
                "Load PixWizard Text Encoders"
            )
        mask = given.get("attention_mask")
        mask = torch.ones(features.shape[:2]) if mask is None else mask
        # The host's Conditioning (Concat) puts another text behind the first, whose mask stays as it was.
        mask = torch.nn.functional.pad(mask.float(), (0, features.shape[1] - mask.shape[1]), value=1.0)
        length = int(mask.any(dim=0).nonzero().max()) + 1
        return features[:, :length], mask[:, :length], vector

    def memory_required(self, input_shape: Any, cond_shapes: Any = None) -> int:
        """The host's estimate, from the latent's area; cached keys and values are small beside it."""
        return super().memory_required(input_shape)


def model_config(config: PixWizardConfig, declared: Declared | None = None) -> ModelConfig:
    """The host's configuration of a network; the host's nodes for U-Nets read its width as `model_channels`."""
    kind = NanoModelConfig if config.in_channels == NanoLatents.latent_channels else ModelConfig
    host = kind({"image_model": "pixwizard", "model_channels": config.dim} | config.to_dict())
    host.declared = declared
    return host


def make_model(
    state: dict[str, Tensor], config: PixWizardConfig, weights: str = "default", declared: Declared | None = None
) -> Any:
    """A MODEL from the released or our own state dict.

    Args:
        state: names and shapes of `PixWizardTransformer(config)`; emptied.
        weights: "default" for what suits the device, or a key of FLOAT8.
        declared: what the model declares, which MODEL then carries.

    Returns:
        The host's ModelPatcher.
    """
    device, count = mm.get_torch_device(), sum(value.numel() for value in state.values())
    stored = FLOAT8.get(weights) or comfy.utils.weight_dtype(state)
    host = model_config(config, declared)
    supported = host.supported_inference_dtypes
    dtype = FLOAT8.get(weights) or mm.unet_dtype(model_params=count, supported_dtypes=supported, weight_dtype=stored)
    cast = mm.unet_manual_cast(dtype, device, supported)
    host.set_inference_dtype(dtype, cast)
    model = host.get_model(state, "").to(mm.unet_offload_device())
    model.load_model_weights(state, "")
    logging.info("PixWizard: %.1f M parameters as %s, computed as %s", count / 1e6, dtype, cast or dtype)
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=mm.unet_offload_device())
