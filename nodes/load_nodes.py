"""Loaders."""

from __future__ import annotations

import folder_paths
from comfy_api.latest import io

from . import loading
from .conversions import ADVANCED, Node, schema
from .host_model import WEIGHT_TYPES


class LoadPixWizard(Node):
    """The bundled model, or one of models/pixwizard."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardLoad",
            purpose="loaders",
            aliases=["pixwizard checkpoint", "pixwizard loader", "nano", "restore", "edit by instruction"],
            inputs=[
                io.Combo.Input("model", options=loading.model_names(), default=loading.NANO),
                io.Combo.Input("weight_dtype", options=list(WEIGHT_TYPES), default="default", extra_dict=ADVANCED),
            ],
            outputs={"MODEL": io.Model, "CLIP": io.Clip, "CLIP_VISION": io.ClipVision, "VAE": io.Vae},
        )

    @classmethod
    def execute(cls, model: str, weight_dtype: str = "default") -> io.NodeOutput:
        return io.NodeOutput(*loading.load(model, weight_dtype))


class LoadTextEncoders(Node):
    """Gemma-2B and CLIP-L as one CLIP, for the released weights."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        files = folder_paths.get_filename_list("text_encoders")
        return schema(
            node_id="PixWizardLoadTextEncoders",
            purpose="loaders",
            aliases=["gemma", "clip-l", "dual clip pixwizard"],
            inputs=[io.Combo.Input("gemma", options=files), io.Combo.Input("clip_l", options=files)],
            outputs={"CLIP": io.Clip},
        )

    @classmethod
    def execute(cls, gemma: str, clip_l: str) -> io.NodeOutput:
        return io.NodeOutput(loading.load_text_encoders(gemma, clip_l))
