"""From an answer back to its source: what changed is carried to it, or the answer gets its size."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..comfyui_pixwizard.pictures.change import REFERENCES, ROUND_TRIP, SOURCE
from ..comfyui_pixwizard.pictures.filling import find_kept
from ..comfyui_pixwizard.tasks import get_task
from ..comfyui_pixwizard.tasks.declared import FREE
from .conversions import (
    ADVANCED,
    Node,
    matching_source,
    one_for_each,
    resized_mask,
    schema,
    sized_as,
    to_core,
    to_host_where_changed,
)
from .round_trip import round_trip


class KeepUnchanged(Node):
    """The source with what the answer changed."""

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
                io.String.Input("task", optional=True, force_input=True),
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
        task: str | None = None,
    ) -> io.NodeOutput:
        sources = matching_source(image, source)
        larger = None
        if original is not None and original.shape[1:3] != image.shape[1:3]:
            larger = one_for_each(original[..., :3], len(image), "an original", "answers")
        enlarged = fills = False
        if task is not None:
            known = None if task == FREE else get_task(task)
            if known is None or known.keep is None:
                return io.NodeOutput(image[..., :3] if larger is None else sized_as(image, larger))
            threshold, enlarged, fills = known.keep, known.enlarged, known.fills
        compared = source[..., :3] if reference == SOURCE else round_trip(vae, source)
        unchanged = to_core(one_for_each(compared, len(image), "a source", "answers"))
        onto = sources if larger is None or enlarged else larger
        kept = find_kept(to_core(image), unchanged, threshold, fills).onto(to_core(onto))
        made = to_host_where_changed(kept, onto)
        return io.NodeOutput(made if larger is None else sized_as(made, larger))


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
        answer = sized_as(image, original)
        if mask is None:
            return io.NodeOutput(answer)
        count = max(len(answer), len(original))
        answer = one_for_each(answer, count, "an answer", "pictures")
        original = one_for_each(original[..., :3], count, "a picture", "answers")
        share = one_for_each(resized_mask(mask, *original.shape[1:3]), count, "a mask", "pictures")[..., None]
        return io.NodeOutput(original + (answer - original) * share.clamp(0, 1).to(original))
