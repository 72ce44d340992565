"""The flow: schedule, guider, sampler."""

from __future__ import annotations

from typing import Any

import comfy.model_management as mm
import comfy.sample
import comfy.samplers
import latent_preview
import torch
from comfy_api.latest import io
from torch import Tensor

from ..comfyui_pixwizard.flow import time_grid
from ..comfyui_pixwizard.guidance import ALWAYS, BRANCHES, DualGuidance
from ..comfyui_pixwizard.noise import LARGEST_SEED, draw_noise, noise_generators
from ..comfyui_pixwizard.patch_grids import SHIFTS
from ..comfyui_pixwizard.pictures.buckets import CELL
from ..comfyui_pixwizard.sampling import BEST, TOKEN_CHOICES
from ..comfyui_pixwizard.scaling import PLAIN, WATERSHED, scaling_for
from ..comfyui_pixwizard.windows import check_side
from .carried import MODELS_OWN, carried
from .conversions import ADVANCED, TASK, Node, schema
from .core_solvers import core_sampler
from .host_model import LEARNED_TASK, TOKEN_CHOICE, PixWizardModel
from .host_network import SCALING
from .image_nodes import LARGEST
from .windowed import PARTS, predicted

ALL_CHANNELS, RELEASED = "all", "first 3 (released code)"
BY_SIZE = "by size"
PROPORTIONAL = {BY_SIZE: None, "on": True, "off": False}
CHANNELS = {ALL_CHANNELS: None, RELEASED: 3}
POINTS = dict(default=9, min=2, max=1000)
WEIGHT = dict(default=1.0, min=0.0, max=30.0, step=0.1, round=0.01)


def grid_of(points: int, shift: float, denoise: float) -> Tensor:
    """The last part of a time grid; the host's sigmas are 1 - t."""
    steps = max(1, round((points - 1) * denoise))
    return time_grid(points, shift)[-(steps + 1) :]


def shift_inputs() -> list[Any]:
    """Inputs that bend or cut a time grid."""
    return [
        io.Float.Input("shift", default=1.0, min=0.1, max=20.0, step=0.1, extra_dict=ADVANCED),
        io.Float.Input("denoise", default=1.0, min=0.01, max=1.0, step=0.01, extra_dict=ADVANCED),
    ]


def scaling_inputs() -> list[Any]:
    """Inputs for pictures larger than the model was trained for."""
    more = dict(optional=True, extra_dict=ADVANCED)
    options = list(PROPORTIONAL)
    return [
        io.Float.Input("rope_scale", default=0.0, min=0.0, max=16.0, step=0.1, **more),
        io.Float.Input("rope_watershed", default=WATERSHED, min=0.0, max=1.0, step=0.05, **more),
        io.Combo.Input("proportional_attention", options=options, default=BY_SIZE, **more),
    ]


def guidance_inputs() -> list[Any]:
    """Inputs of dual guidance."""
    return [io.Float.Input("text_guidance", **WEIGHT), io.Float.Input("image_guidance", **WEIGHT)]


class FlowSchedule(Node):
    """The exact grid of the released sampler."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardFlowSchedule",
            purpose="sampling",
            aliases=["sigmas", "scheduler", "time grid", "linear schedule"],
            inputs=[io.Int.Input("points", **POINTS), *shift_inputs()],
            outputs={"sigmas": io.Sigmas},
        )

    @classmethod
    def execute(cls, points: int, shift: float, denoise: float) -> io.NodeOutput:
        return io.NodeOutput(1.0 - grid_of(points, shift, denoise))


class DualGuider(comfy.samplers.CFGGuider):
    """Dual guidance over the host's batching; a branch without weight is not evaluated. Large pictures in windows.

    Works on predictions of the picture instead of the velocity: the weights sum to 1, so it is the same.
    """

    def set_branches(
        self,
        positive: Any,
        image_only: Any,
        negative: Any,
        guidance: DualGuidance,
        window_size: int = 0,
        patch_grids: int = 1,
    ) -> None:
        """Conditionings of the branches "full", "image" and "none"; the side of windows in pixels, 0 for none."""
        self.guidance, self.window_size, self.patch_grids = guidance, window_size, patch_grids
        self.inner_set_conds(dict(zip(BRANCHES, (positive, image_only, negative), strict=True)))

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict[str, Any] | None = None, seed: int | None = None
    ) -> Tensor:
        options, guidance = model_options or {}, self.guidance
        if guidance.interval != ALWAYS:
            guidance = guidance.at(1 - float(timestep.max()))
        # Some solvers (cfg_pp) go back along the prediction without words and say so with this flag.
        needed = BRANCHES if options.get("disable_cfg1_optimization") else guidance.branches()
        conds = [self.conds.get(name) if name in needed else None for name in BRANCHES]
        outputs = predicted(self.inner_model, conds, x, timestep, options, self.window_size, self.patch_grids)
        predictions = dict(zip(BRANCHES, outputs, strict=True))
        out = guidance.combine({name: predictions[name] for name in needed})
        assert isinstance(out, Tensor), "tensors go in"
        for function in options.get("sampler_post_cfg_function", []):
            out = function(
                {
                    "denoised": out,
                    "cond": conds[0],
                    "uncond": conds[1],
                    "cond_scale": guidance.text,
                    "model": self.inner_model,
                    "uncond_denoised": predictions["image"],
                    "cond_denoised": predictions["full"],
                    "sigma": timestep,
                    "model_options": options,
                    "input": x,
                }
            )
        return out


def guider_of(
    model: Any,
    positive: Any,
    image_only: Any,
    negative: Any,
    text_guidance: float,
    image_guidance: float,
    guided_channels: str,
    guidance_from: float = ALWAYS[0],
    guidance_to: float = ALWAYS[1],
    window_size: int = 0,
    patch_grids: str = MODELS_OWN,
) -> DualGuider:
    """The guider behind both nodes, of their inputs.

    Raises:
        ValueError: no model, or one of another kind; an interval that ends before it begins; windows of no such size.
    """
    kind = None if model is None else type(model.model).__name__
    if model is None or not isinstance(model.model, PixWizardModel):
        raise ValueError(
            f"dual guidance needs a PixWizard MODEL, found {kind or 'none'}: connect Load PixWizard, or use the stock "
            "samplers for other models"
        )
    if window_size:
        check_side(window_size)
    own = guided_channels == MODELS_OWN
    channels = carried(model)[None].guided_channels if own else CHANNELS[guided_channels]
    guider = DualGuider(model)
    guidance = DualGuidance(text_guidance, image_guidance, channels, (guidance_from, guidance_to))
    grids = declared_grids(model, positive) if patch_grids == MODELS_OWN else int(patch_grids)
    guider.set_branches(positive, image_only, negative, guidance, window_size, grids)
    return guider


def declared_grids(model: Any, positive: Any) -> int:
    """Patch grids that a MODEL declares for the task of a conditioning; 1 where that is about a part of the picture,
    or the MODEL has a learned task.
    """
    told = [options for _, options in positive]
    asked = model.model_options.get("transformer_options", {})
    if asked.get(LEARNED_TASK) or any(PARTS & set(options) for options in told):
        return 1
    task = next((options[TASK] for options in told if options.get(TASK)), None)
    return carried(model)[task].patch_grids


def branch_inputs() -> list[Any]:
    """Inputs of the three branches."""
    return [io.Conditioning.Input("positive"), io.Conditioning.Input("image_only"), io.Conditioning.Input("negative")]


def channels_input() -> Any:
    """Which latent channels guidance acts on."""
    options = [MODELS_OWN, *CHANNELS]
    return io.Combo.Input("guided_channels", options=options, default=MODELS_OWN, extra_dict=ADVANCED)


def interval_inputs() -> list[Any]:
    """Inputs of the flow times in which guidance acts."""
    return [
        io.Float.Input(name, default=end, min=0.0, max=1.0, step=0.01, optional=True, extra_dict=ADVANCED)
        for name, end in zip(("guidance_from", "guidance_to"), ALWAYS, strict=True)
    ]


def window_input() -> Any:
    """Side of the windows in which a large picture is sampled."""
    more = dict(optional=True, extra_dict=ADVANCED)
    return io.Int.Input("window_size", default=0, min=0, max=LARGEST, step=CELL, **more)


def grids_input() -> Any:
    """Patch grids that predictions are averaged over."""
    options = [MODELS_OWN, *map(str, SHIFTS)]
    return io.Combo.Input("patch_grids", options=options, default=MODELS_OWN, optional=True, extra_dict=ADVANCED)


class Guider(Node):
    """Dual guidance for SamplerCustomAdvanced."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardGuider",
            purpose="sampling",
            aliases=["dual cfg", "guider", "image cfg", "text cfg"],
            inputs=[
                io.Model.Input("model"),
                *branch_inputs(),
                *guidance_inputs(),
                channels_input(),
                *interval_inputs(),
                window_input(),
                grids_input(),
            ],
            outputs={"guider": io.Guider},
        )

    @classmethod
    def execute(cls, **guided: Any) -> io.NodeOutput:
        """Takes what `guider_of` does."""
        return io.NodeOutput(guider_of(**guided))


class Sampler(Node):
    """Schedule, guider and sampler in one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardSampler",
            purpose="sampling",
            aliases=["ksampler", "sample", "denoise", "flow sampler"],
            inputs=[
                io.Model.Input("model"),
                *branch_inputs(),
                io.Latent.Input("latent"),
                io.Int.Input("seed", default=0, min=0, max=LARGEST_SEED, control_after_generate=True),
                io.Int.Input("points", **POINTS),
                *guidance_inputs(),
                io.Combo.Input("solver", options=[MODELS_OWN, *comfy.samplers.SAMPLER_NAMES], default=MODELS_OWN),
                *shift_inputs(),
                channels_input(),
                io.Combo.Input(
                    "token_choice", options=list(TOKEN_CHOICES), default=BEST, optional=True, extra_dict=ADVANCED
                ),
                *scaling_inputs(),
                *interval_inputs(),
                window_input(),
                grids_input(),
            ],
            outputs={"latent": io.Latent},
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        latent: dict[str, Any],
        seed: int,
        points: int,
        solver: str,
        shift: float,
        denoise: float,
        token_choice: str = BEST,
        rope_scale: float = 0.0,
        rope_watershed: float = WATERSHED,
        proportional_attention: str = BY_SIZE,
        window_size: int = 0,
        **guided: Any,
    ) -> io.NodeOutput:
        """Takes what `guider_of` does, and how to sample."""
        if latent["samples"].is_nested or latent["samples"].ndim != 4:
            raise ValueError(
                "PixWizard Sampler samples latents of pictures [B, C, h, w], found one of "
                f"{'several parts' if latent['samples'].is_nested else list(latent['samples'].shape)}: use the latent "
                "that Image Conditioning gives"
            )
        wanted: dict[str, Any] = {} if token_choice == BEST else {TOKEN_CHOICE: token_choice}
        # Positions and attention are scaled for what the network sees at once.
        height, width = (min(8 * side, window_size or 8 * side) for side in latent["samples"].shape[-2:])
        on = PROPORTIONAL[proportional_attention]
        scaling = scaling_for((width, height), carried(model).max_size, rope_scale or None, rope_watershed, on)
        wanted |= {} if scaling == PLAIN else {SCALING: scaling}
        guider = guider_of(asked_of(model, wanted), window_size=window_size, **guided)
        samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"])
        grid, own = grid_of(points, shift, denoise), carried(model)[None].solver
        callback = latent_preview.prepare_callback(model, len(grid) - 1)
        answer = guider.sample(
            noise_of(samples, seed, latent.get("batch_index")),
            samples,
            core_sampler(own, grid) if solver == MODELS_OWN else comfy.samplers.sampler_object(solver),
            1.0 - grid,
            denoise_mask=latent.get("noise_mask"),
            callback=callback,
            seed=seed,
        )
        return io.NodeOutput(latent | {"samples": answer.to(mm.intermediate_device())})


def asked_of(model: Any, wanted: dict[str, Any]) -> Any:
    """A clone of a MODEL with entries in its options; the MODEL itself without any, and one of another kind."""
    if not wanted or model is None or not isinstance(model.model, PixWizardModel):
        return model
    clone = model.clone()
    clone.model_options["transformer_options"] = clone.model_options.get("transformer_options", {}) | wanted
    return clone


def noise_of(samples: Tensor, seed: int, numbers: list[int] | None = None) -> Tensor:
    """Noise for a batch [B, C, h, w]: picture i from seed + i, or + numbers[i] where the batch is part of a larger."""
    places = list(range(len(samples))) if numbers is None else list(numbers)
    seeds = [(seed + place) % (LARGEST_SEED + 1) for place in places]
    channels, height, width = samples.shape[1:]
    drawn = noise_generators(len(samples), None, seeds)
    return draw_noise((channels, height, width), drawn, torch.device("cpu"))
