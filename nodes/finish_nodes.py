"""From an answer back to its source: what did not change is pasted back, and the answer gets the source's size."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from einops import rearrange
from torch import Tensor

from ..comfyui_pixwizard.pictures.full_size import find_change, keep_unchanged
from ..comfyui_pixwizard.pictures.paste_back import REFERENCES, ROUND_TRIP, SOURCE
from .conversions import ADVANCED, Node, at_size, matching_source, one_for_each, resized_mask, schema, to_core, to_host
from .round_trip import round_trip


class KeepUnchanged(Node):
    """The source wherever the answer changed nothing."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardKeepUnchanged",
            purpose="image",
            aliases=["paste back", "composite", "preserve", "stitch"],
            inputs=[
                io.Image.Input("image"),
                io.Image.Input("source"),
                io.Vae.Input("vae"),
                io.Float.Input("threshold", default=0.1, min=0.0, max=1.0, step=0.005),
                io.Image.Input("original", optional=True),
                io.Combo.Input(
                    "reference", options=list(REFERENCES), default=ROUND_TRIP, optional=True, extra_dict=ADVANCED
                ),
            ],
            outputs={"image": io.Image},
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        source: Tensor,
        vae: Any,
        threshold: float,
        original: Tensor | None = None,
        reference: str = ROUND_TRIP,
    ) -> io.NodeOutput:
        sources, answers = matching_source(image, source), to_core(image)
        compared = source[..., :3] if reference == SOURCE else round_trip(vae, source)
        unchanged = to_core(one_for_each(compared, len(image), "a source", "answers"))
        if original is None or original.shape[1:3] == image.shape[1:3]:
            pictures = to_core(sources)
            kept, _ = keep_unchanged(pictures, answers, unchanged, threshold)
        else:
            sources = one_for_each(original[..., :3], len(image), "an original", "answers")
            pictures = to_core(sources)
            kept = find_change(answers, unchanged, threshold).onto(pictures)
        # Back and forth between the two ranges rounds: what did not change is taken from the picture itself.
        same = rearrange(kept == pictures, "b c h w -> b h w c")
        return io.NodeOutput(torch.where(same, sources.float(), to_host(kept)))


class SourceSize(Node):
    """The answer at the size of the picture that it is about."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardSourceSize",
            purpose="image",
            aliases=["original size", "resize back", "paste by mask", "composite", "uncrop", "stitch"],
            inputs=[io.Image.Input("image"), io.Image.Input("original"), io.Mask.Input("mask", optional=True)],
            outputs={"image": io.Image},
        )

    @classmethod
    def execute(cls, image: Tensor, original: Tensor, mask: Tensor | None = None) -> io.NodeOutput:
        height, width = original.shape[1:3]
        answer = at_size(image, (width, height))
        if mask is None:
            return io.NodeOutput(answer)
        count = max(len(answer), len(original))
        answer = one_for_each(answer, count, "an answer", "pictures")
        original = one_for_each(original[..., :3], count, "a picture", "answers")
        share = one_for_each(resized_mask(mask, height, width), count, "a mask", "pictures")[..., None]
        return io.NodeOutput(original + (answer - original) * share.clamp(0, 1).to(original))
