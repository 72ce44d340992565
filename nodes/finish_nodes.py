"""From an answer back to its source: what did not change is pasted back, and the answer gets the source's size."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..comfyui_pixwizard.pictures.paste_back import keep_unchanged
from .conversions import Node, at_size, matching_source, one_for_each, resized_mask, schema, to_core, to_host
from .round_trip import round_trip


class KeepUnchanged(Node):
    """The source wherever the answer changed nothing."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardKeepUnchanged",
            aliases=["paste back", "composite", "preserve", "stitch"],
            inputs=[
                io.Image.Input("image"),
                io.Image.Input("source"),
                io.Vae.Input("vae"),
                io.Float.Input("threshold", default=0.1, min=0.005, max=1.0, step=0.005),
            ],
            outputs={"image": io.Image},
        )

    @classmethod
    def execute(cls, image: Tensor, source: Tensor, vae: Any, threshold: float) -> io.NodeOutput:
        originals = matching_source(image, source)
        reference = one_for_each(round_trip(vae, source), len(image), "a source", "answers")
        kept = keep_unchanged(to_core(originals), to_core(image), to_core(reference), threshold)
        return io.NodeOutput(to_host(kept))


class SourceSize(Node):
    """The answer at the size of the picture that it is about."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardSourceSize",
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
