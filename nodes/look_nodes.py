"""Looking at answers: side by side, in space, and through the choice of image tokens that led to them."""

from __future__ import annotations

import json
from typing import Any

import comfy.model_management as mm
import torch
import torch.nn.functional as F
from comfy_api.latest import io, ui
from torch import Tensor

from ..comfyui_pixwizard.pictures.depth_mesh import depth_mesh
from ..comfyui_pixwizard.pictures.images import unit_to_image
from ..comfyui_pixwizard.pictures.legends import side_by_side, sized
from ..training.evaluate.token_choice import dimmed, kept_of, sheet
from .conversions import Node, from_pillow, one_for_each, schema
from .decoder_common import listed, pictures
from .host_model import IMAGE_TOKENS, PixWizardModel

TITLES = "input, answer, label"


class SideBySide(Node):
    """Pictures in a row, each under its title."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardSideBySide",
            purpose="looking",
            aliases=["compare images", "before and after", "concatenate images", "contact sheet"],
            inputs=[
                io.Image.Input("source"),
                io.Image.Input("answer"),
                io.Image.Input("label", optional=True),
                io.String.Input("titles", default=TITLES),
                io.Int.Input("height", default=384, min=64, max=2048, step=8),
            ],
            outputs={"image": io.Image},
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, source: Tensor, answer: Tensor, titles: str, height: int, label: Tensor | None = None
    ) -> io.NodeOutput:
        rows = [("source", source), ("answer", answer)] + ([] if label is None else [("label", label)])
        called = listed(titles)
        count = max(len(image) for _, image in rows)
        batches = [pictures(one_for_each(image, count, f"a picture for {name}", "rows")) for name, image in rows]
        named = [called[i] if i < len(called) else name for i, (name, _) in enumerate(rows)]
        made = from_pillow([
            side_by_side([(name, unit_to_image(batch[i])) for name, batch in zip(named, batches, strict=True)], height)
            for i in range(count)
        ])  # fmt: skip
        return io.NodeOutput(made, ui=ui.PreviewImage(made, cls=cls))


class KeptTokens(Node):
    """Which parts of the picture each layer keeps for the task."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardKeptTokens",
            purpose="looking",
            aliases=["attention map", "token sampler", "heat map", "explain"],
            inputs=[
                io.Model.Input("model"),
                io.Conditioning.Input("positive"),
                io.Image.Input("source"),
                io.Int.Input("layer", default=0, min=0, max=1000),
            ],
            outputs={"image": io.Image, "layers": io.Image, "json": io.String},
            is_output_node=True,
        )

    @classmethod
    def execute(cls, model: Any, positive: Any, source: Tensor, layer: int) -> io.NodeOutput:
        kept = kept_tokens(model, positive)
        count, layers, tokens = kept.shape
        if layer > layers:
            raise ValueError(f"this model has {layers} layers, found layer {layer}: choose one of them, or 0 for all")
        shown = [unit_to_image(one) for one in pictures(one_for_each(source, count, "a source", "conditionings"))]
        chosen = kept if layer == 0 else kept[:, layer - 1 : layer]
        image = from_pillow([dimmed(sized(p)[0], one) for p, one in zip(shown, chosen, strict=True)])
        names = [f"layer {number + 1}" for number in range(layers)]
        notes = [f"{int(one.sum())} of {tokens} tokens" for one in kept[0]]
        drawn = from_pillow([sheet(p, names, notes, one[:, None]) for p, one in zip(shown, kept, strict=True)])
        told = [{"tokens": tokens, "layers": [row.nonzero()[:, 0].tolist() for row in one]} for one in kept]
        return io.NodeOutput(image, drawn, json.dumps(told), ui=ui.PreviewImage(drawn, cls=cls))


def kept_tokens(model: Any, positive: Any) -> Tensor:
    """Whether each layer of a MODEL keeps each image token of a CONDITIONING, [B, R, N] bool; the best, without noise.

    Raises:
        ValueError: a MODEL of another kind, a CONDITIONING that has seen no picture, parts of another model.
    """
    network = getattr(model, "model", None)
    if not isinstance(network, PixWizardModel):
        raise ValueError("Kept Tokens needs a PixWizard MODEL, found another one: connect Load PixWizard's")
    features, options = positive[0]
    seen = options.get(IMAGE_TOKENS)
    if seen is None:
        raise ValueError(
            "Kept Tokens needs a conditioning that has seen a picture, found none: connect positive of Image "
            "Conditioning"
        )
    mm.load_models_gpu([model])
    given = options | {"cross_attn": features, "device": model.load_device, "prompt_type": "positive"}
    model.pre_run()  # the network knows a MODEL's options, such as a learned task, only while that is sampled
    try:
        with torch.inference_mode():
            encoded, _ = network.encode_branch(given)
    finally:
        model.cleanup()
    return kept_of(encoded.selected, seen.shape[1])


class DepthMesh(Node):
    """Depth as a surface."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardDepthMesh",
            purpose="looking",
            aliases=["3d", "point cloud", "glb", "turntable", "depth to mesh"],
            inputs=[
                io.Image.Input("metres"),
                io.Float.Input("field_of_view", default=50.0, min=5.0, max=150.0, step=1.0),
                io.Float.Input("tear", default=0.1, min=0.001, max=100.0, step=0.01),
                io.Int.Input("points", default=256, min=16, max=1024, step=16),
            ],
            outputs={"mesh": io.Mesh},
        )

    @classmethod
    def execute(cls, metres: Tensor, field_of_view: float, tear: float, points: int) -> io.NodeOutput:
        made = [depth_mesh(one[..., 0].cpu(), field_of_view, tear, points) for one in metres]
        longest = max(len(faces) for _, faces in made)
        # Of different numbers of triangles they are stacked with some of no area, which nothing shows.
        faces = torch.stack([F.pad(faces, (0, 0, 0, longest - len(faces))) for _, faces in made])
        return io.NodeOutput(io.Mesh.Type(torch.stack([corners for corners, _ in made]), faces))
