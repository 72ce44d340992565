"""Edits of one thing by a mask, the rest of the picture kept bit for bit; the mathematics is the core's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import comfy.samplers
import torch
from comfy_api.latest import io
from torch import Tensor

from ..comfyui_pixwizard.local_edits.direction import probe_picture, shown_small
from ..comfyui_pixwizard.local_edits.edit import BEST, CHOICES, Candidates, agreement_of, make_candidates, needed
from ..comfyui_pixwizard.local_edits.forms import FORMS, in_form, latent_share
from ..comfyui_pixwizard.noise import LARGEST_SEED
from .carried import MODELS_OWN
from .conversions import ADVANCED, Node, one_for_each, resized_mask, schema, to_core, to_host_where_changed
from .host_model import SOURCE, PixWizardModel
from .host_vision import encode_tokens
from .round_trip import round_trip
from .sampling_nodes import POINTS, Sampler, branch_inputs, guidance_inputs


class LocalEdit(Node):
    """A candidate for each form of a mask, and the best of them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardLocalEdit",
            purpose="sampling",
            aliases=["local edit", "masked edit", "blended", "inpaint by instruction", "edit one thing"],
            inputs=[
                io.Model.Input("model"),
                *branch_inputs(),
                io.Vae.Input("vae"),
                io.Image.Input("source"),
                io.Mask.Input("mask"),
                io.Combo.Input("form", options=list(CHOICES), default=BEST),
                io.Int.Input("seed", default=0, min=0, max=LARGEST_SEED, control_after_generate=True),
                io.Int.Input("points", **POINTS),
                *guidance_inputs(),
                io.Combo.Input("solver", options=[MODELS_OWN, *comfy.samplers.SAMPLER_NAMES], default=MODELS_OWN),
                io.Float.Input("threshold", default=0.1, min=0.0, max=1.0, step=0.005, extra_dict=ADVANCED),
                io.ClipVision.Input("clip_vision", optional=True),
                io.Image.Input("original", optional=True),
            ],
            outputs={"image": io.Image, "mask": io.Mask, "form": io.String, "latent": io.Latent},
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Any,
        image_only: Any,
        negative: Any,
        vae: Any,
        source: Tensor,
        mask: Tensor,
        form: str,
        seed: int,
        points: int,
        text_guidance: float,
        image_guidance: float,
        solver: str,
        threshold: float,
        clip_vision: Any = None,
        original: Tensor | None = None,
    ) -> io.NodeOutput:
        latents = source_latents(positive, source)
        forms = FORMS if form == BEST else (form,)
        rate = rating(model, clip_vision, positive) if len(forms) > 1 else None
        count, height, width = source.shape[:3]
        masks = one_for_each(resized_mask(mask, height, width), count, "a mask", "pictures") > 0.5
        shares = {name: torch.cat([in_form(one, name) for one in masks]) for name in forms}
        branches = dict(positive=positive, image_only=image_only, negative=negative)
        weights: dict[str, Any] = dict(
            text_guidance=text_guidance, image_guidance=image_guidance, guided_channels=MODELS_OWN
        )
        sampling: dict[str, Any] = dict(seed=seed, points=points, solver=solver, shift=1.0, denoise=1.0)
        latent, answers = {}, {}
        for name, share in shares.items():
            held = {"samples": latents, "noise_mask": latent_share(share)}
            latent[name] = Sampler.execute(model=model, latent=held, **branches, **weights, **sampling).args[0]
            answers[name] = to_core(vae.decode(latent[name]["samples"]))
        pictures, reference = to_core(source), to_core(round_trip(vae, source))

        def candidates(i: int) -> Candidates:
            one = slice(i, i + 1)
            return make_candidates(
                pictures[one], masks[i], forms, lambda shares: torch.cat([answers[name][one] for name in forms]),
                reference[one], threshold or None, rate and partial(rate, i, pictures[one]),
            )  # fmt: skip

        made = [candidates(i) for i in range(count)]
        chosen = [forms[one.best] for one in made]
        where = torch.cat([shares[name][i : i + 1] for i, name in enumerate(chosen)])[:, 0]
        samples = torch.cat([latent[name]["samples"][i : i + 1] for i, name in enumerate(chosen)])
        kept = {"samples": samples, "noise_mask": latent_share(where[:, None])}
        return io.NodeOutput(finished(made, source, original), where, "\n".join(chosen), kept)


def source_latents(positive: Any, source: Tensor) -> Tensor:
    """The source's latents [B, C, h, w], as Image Conditioning put them into a CONDITIONING.

    Raises:
        ValueError: there are none, or those of another picture's size.
    """
    latents = positive[0][1].get(SOURCE)
    if latents is None:
        raise ValueError(
            "PixWizard Local Edit keeps the picture that the model sees, found none on positive: put Image "
            "Conditioning between the text and this node"
        )
    found, wanted = [8 * side for side in latents.shape[-2:]], list(source.shape[1:3])
    if found != wanted or len(latents) != len(source):
        raise ValueError(
            f"PixWizard Local Edit needs the source that Image Conditioning gives, found {wanted} px for latents of "
            f"{found} px: connect its source output"
        )
    return latents


def rating(model: Any, clip_vision: Any, positive: Any) -> Callable[[int, Tensor, Tensor], Tensor]:
    """How well candidates [n, 3, H, W] of picture i follow its instruction: of i, the picture and them, [n].

    Raises:
        ValueError: no CLIP_VISION, or one of another model; a model without direction.
    """
    if clip_vision is None:
        raise ValueError(
            "the best of several forms is seen by CLIP_VISION, found none: connect that of Load PixWizard, or choose "
            f"{', '.join(FORMS)}"
        )
    direction = needed(model.model.direction if isinstance(model.model, PixWizardModel) else None)
    asked = positive[0][1]["pooled_output"].float().cpu()

    def tokens(shown: Tensor) -> Tensor:
        return encode_tokens(clip_vision, shown_small(shown)).cpu()

    direction.check(tokens(probe_picture()))

    def rate(i: int, picture: Tensor, candidates: Tensor) -> Tensor:
        return agreement_of(direction, tokens, asked[i % len(asked)][None], picture, candidates)

    return rate


def finished(made: list[Candidates], source: Tensor, original: Tensor | None) -> Tensor:
    """The chosen answers [B, H, W, 3]; in the pictures as they were before the model's size, where these are given."""
    if original is None or original.shape[1:3] == source.shape[1:3]:
        before = source[..., :3]
        kept = torch.cat([one.picture for one in made])
    else:
        before = one_for_each(original[..., :3], len(made), "an original", "answers")
        kept = torch.cat(
            [one.chosen_change.onto(picture) for one, picture in zip(made, to_core(before).split(1), strict=True)]
        )
    return to_host_where_changed(kept, before)
