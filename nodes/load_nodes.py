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
            display_name="Load PixWizard",
            description="Loads a PixWizard model: the bundled nano with all its parts, or one of models/pixwizard.",
            aliases=["pixwizard checkpoint", "pixwizard loader", "nano", "restore", "edit by instruction"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=loading.model_names(),
                    default=loading.NANO,
                    tooltip="nano (bundled) runs anywhere. Others lie in models/pixwizard: a file of weights "
                    "(.safetensors or the released .pth) gives MODEL alone, a folder with pipeline.json all four.",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=list(WEIGHT_TYPES),
                    default="default",
                    tooltip="How the network's weights are kept in memory. fp8 halves the memory of bf16 and costs a "
                    "little quality; default suits the device.",
                    extra_dict=ADVANCED,
                ),
            ],
            outputs=[
                io.Model.Output(
                    display_name="MODEL", tooltip="An ordinary MODEL: stock samplers, LoRA loaders and patches work."
                ),
                io.Clip.Output(
                    display_name="CLIP", tooltip="Both text encoders; for Instruction or the stock CLIP Text Encode."
                ),
                io.ClipVision.Output(
                    display_name="CLIP_VISION", tooltip="Reads the source picture; for Image Conditioning."
                ),
                io.Vae.Output(display_name="VAE", tooltip="The autoencoder that the model works in."),
            ],
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
            display_name="Load PixWizard Text Encoders",
            description="One CLIP from Gemma-2B (text features) and CLIP-L (task vector), for the released weights.",
            aliases=["gemma", "clip-l", "dual clip pixwizard"],
            inputs=[
                io.Combo.Input(
                    "gemma",
                    options=files,
                    tooltip="google/gemma-2b (version 1) as one .safetensors file of models/text_encoders, with its "
                    "tokenizer inside (tensor spiece_model) or beside it (tokenizer.model).",
                ),
                io.Combo.Input("clip_l", options=files, tooltip="CLIP-L's text tower with its projection."),
            ],
            outputs=[io.Clip.Output(display_name="CLIP", tooltip="For Instruction or the stock CLIP Text Encode.")],
        )

    @classmethod
    def execute(cls, gemma: str, clip_l: str) -> io.NodeOutput:
        return io.NodeOutput(loading.load_text_encoders(gemma, clip_l))
