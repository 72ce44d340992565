"""Source pictures: what the model looks at, canvases with holes or margins, and what to paste back afterwards."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from comfy_api.latest import io, ui
from einops import rearrange
from torch import Tensor

from ..comfyui_pixwizard.preserve import keep_unchanged
from ..comfyui_pixwizard.resolution import CELL
from ..comfyui_pixwizard.sizing import model_size
from .common import at_size, matching_source, one_for_each, schema, to_core, to_host, with_values
from .host_model import IMAGE_TOKENS, SOURCE
from .host_vision import encode_tokens

LARGEST = 4096
FILLS = {"black": 0.0, "white": 1.0, "grey": 0.5}
# Where the picture alone decides, at the released model's largest size.
LARGEST_OWN = 1024


def resized_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """MASK [B, h, w] at another size."""
    if mask.ndim == 2:
        mask = mask[None]
    return F.interpolate(mask[:, None].float(), size=(height, width), mode="bilinear", antialias=True)[:, 0]


class ImageConditioning(io.ComfyNode):
    """A source picture for all branches of guidance."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardImageConditioning",
            display_name="Image Conditioning",
            description="Shows the source picture to the model: as latent beside the noise, and as image tokens. Gives "
            "the conditionings of the three branches of guidance and the latent to sample.",
            aliases=["source image", "instruct pix2pix conditioning", "reference latent", "image to image"],
            inputs=[
                io.Conditioning.Input("positive", tooltip="The encoded instruction."),
                io.Conditioning.Input("empty", tooltip="The encoded empty sentence (second output of Instruction)."),
                io.ClipVision.Input("clip_vision", tooltip="CLIP_VISION of Load PixWizard, or CLIP-L/14-336."),
                io.Vae.Input("vae", tooltip="VAE of Load PixWizard, or the SDXL VAE for the released weights."),
                io.Image.Input("image", tooltip="The picture to work on; a batch is a batch of questions."),
                io.Int.Input(
                    "resolution",
                    default=0,
                    min=0,
                    max=LARGEST,
                    step=CELL,
                    tooltip="Side in pixels (64 and more) of the square whose area the model works at, whatever the "
                    "picture's shape: 128 to 256 for nano, 512 to 1024 for the released weights. 0 keeps the picture's "
                    "own area, up to 1024.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the answer may differ from the picture; the rest is kept while sampling. "
                    "Without one everything may change.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="Instruction and picture."),
                io.Conditioning.Output(
                    display_name="image_only", tooltip="Picture and the empty sentence: the middle branch."
                ),
                io.Conditioning.Output(display_name="negative", tooltip="The empty sentence, no picture."),
                io.Latent.Output(
                    display_name="latent", tooltip="What to sample: empty, or the picture's with its mask."
                ),
                io.Image.Output(
                    display_name="source", tooltip="The picture at the size the model sees; for Decode nodes."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        positive: Any,
        empty: Any,
        clip_vision: Any,
        vae: Any,
        image: Tensor,
        resolution: int,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        side = resolution or None
        if clip_vision is None or vae is None:
            raise ValueError(
                "Image Conditioning needs a CLIP_VISION and a VAE, found none: connect those of Load PixWizard"
            )
        size = model_size((image.shape[2], image.shape[1]), side, LARGEST_OWN)
        source = at_size(image, size)
        encoded = vae.encode(source)
        seen = {SOURCE: encoded, IMAGE_TOKENS: encode_tokens(clip_vision, to_core(source))}
        latent: dict[str, Any] = {"samples": torch.zeros_like(encoded)}
        if mask is not None:
            mask = one_for_each(resized_mask(mask, size[1], size[0]), len(source), "a mask", "pictures")
            latent = {"samples": encoded, "noise_mask": rearrange(mask, "b h w -> b 1 h w")}
        return io.NodeOutput(with_values(positive, seen), with_values(empty, seen), empty, latent, source)


class InpaintCanvas(io.ComfyNode):
    """A picture with holes to fill."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardInpaintCanvas",
            display_name="Inpaint Canvas",
            description="Cuts the masked part out of a picture, as the inpainting task wants to see it.",
            aliases=["inpaint", "mask image", "hole", "remove object"],
            inputs=[
                io.Image.Input("image", tooltip="The picture."),
                io.Mask.Input("mask", tooltip="1 where the picture is to be filled; scaled to the picture if need be."),
                io.Int.Input(
                    "grow", default=0, min=-64, max=256, tooltip="Pixels by which the hole grows (or shrinks)."
                ),
                io.Combo.Input("fill", options=list(FILLS), default="black", tooltip="What stands in the hole."),
            ],
            outputs=[
                io.Image.Output(display_name="canvas", tooltip="The picture with its holes."),
                io.Mask.Output(display_name="mask", tooltip="The hole that was cut, 0 or 1."),
            ],
        )

    @classmethod
    def execute(cls, image: Tensor, mask: Tensor, grow: int, fill: str) -> io.NodeOutput:
        mask = one_for_each(resized_mask(mask, image.shape[1], image.shape[2]), len(image), "a mask", "pictures")
        hole = grown((mask > 0.5).float(), grow)
        canvas = torch.where(hole[..., None] > 0.5, torch.tensor(FILLS[fill]), image[..., :3])
        return io.NodeOutput(canvas, hole, ui=ui.PreviewImage(canvas, cls=cls))


def grown(mask: Tensor, pixels: int) -> Tensor:
    """A mask [B, H, W] of 0 and 1 grown by a disc's radius in pixels, or shrunk where it is negative."""
    radius = abs(pixels)
    if not radius:
        return mask
    area = mask > 0.5 if pixels > 0 else mask < 0.5
    height, width = area.shape[1:]
    # Sums along rows give any window of a row in one step, so the disc costs its height and not its area.
    sums = F.pad(area.cumsum(dim=2), (1, 0))
    column, near = torch.arange(width), torch.zeros_like(area)
    for down in range(-min(radius, height - 1), min(radius, height - 1) + 1):
        half = math.isqrt(radius**2 - down**2)
        row = sums[..., (column + half + 1).clamp(max=width)] > sums[..., (column - half).clamp(min=0)]
        near[:, max(down, 0) : height + min(down, 0)] |= row[:, max(-down, 0) : height + min(-down, 0)]
    return (near if pixels > 0 else ~near).to(mask.dtype)


class OutpaintCanvas(io.ComfyNode):
    """A picture with a blank margin to fill."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        sides = [
            io.Int.Input(side, default=64, min=0, max=LARGEST, step=8, tooltip=f"Pixels to add ({side}).")
            for side in ("left", "top", "right", "bottom")
        ]
        return schema(
            node_id="PixWizardOutpaintCanvas",
            display_name="Outpaint Canvas",
            description="Adds a blank margin to a picture, as the outpainting task wants to see it.",
            aliases=["outpaint", "uncrop", "pad image", "extend"],
            inputs=[
                io.Image.Input("image", tooltip="The picture."),
                *sides,
                io.Combo.Input("fill", options=list(FILLS), default="black", tooltip="What stands in the margin."),
            ],
            outputs=[
                io.Image.Output(display_name="canvas", tooltip="The picture with its margin."),
                io.Mask.Output(display_name="mask", tooltip="1 in the margin."),
            ],
        )

    @classmethod
    def execute(cls, image: Tensor, left: int, top: int, right: int, bottom: int, fill: str) -> io.NodeOutput:
        margin = (left, right, top, bottom)
        pictures = rearrange(image[..., :3], "b h w c -> b c h w")
        canvas = rearrange(F.pad(pictures, margin, value=FILLS[fill]), "b c h w -> b h w c")
        mask = F.pad(torch.zeros(image.shape[:3]), margin, value=1.0)
        return io.NodeOutput(canvas, mask, ui=ui.PreviewImage(canvas, cls=cls))


class BlankCanvas(io.ComfyNode):
    """White pictures, from which text-to-image draws."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        side = dict(default=256, min=64, max=LARGEST, step=CELL)
        return schema(
            node_id="PixWizardBlankCanvas",
            display_name="Blank Canvas",
            description="A white picture: what the model looks at when it draws from words alone.",
            aliases=["empty image", "text to image", "white image"],
            inputs=[
                io.Int.Input(
                    "width", tooltip="Pixels; 128 to 256 for nano, 512 to 1024 for the released weights.", **side
                ),
                io.Int.Input("height", tooltip="Pixels.", **side),
                io.Int.Input("batch_size", default=1, min=1, max=4096, tooltip="How many pictures to draw."),
            ],
            outputs=[io.Image.Output(display_name="canvas", tooltip="White.")],
        )

    @classmethod
    def execute(cls, width: int, height: int, batch_size: int) -> io.NodeOutput:
        return io.NodeOutput(torch.ones(batch_size, height, width, 3))


class KeepUnchanged(io.ComfyNode):
    """The source wherever the answer changed nothing."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardKeepUnchanged",
            display_name="Keep Unchanged",
            description="Pastes the source back wherever the answer differs from it by no more than the autoencoder's "
            "own error, so that an edit leaves the rest of the picture sharp.",
            aliases=["paste back", "composite", "preserve", "stitch"],
            inputs=[
                io.Image.Input("image", tooltip="The answer."),
                io.Image.Input("source", tooltip="The source that Image Conditioning gives."),
                io.Vae.Input("vae", tooltip="The VAE that made the answer."),
                io.Float.Input(
                    "threshold",
                    default=0.1,
                    min=0.005,
                    max=1.0,
                    step=0.005,
                    tooltip="Mean difference, as a share of full scale, up to which nothing changed; from twice this "
                    "on everything did.",
                ),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The answer with the source pasted back.")],
        )

    @classmethod
    def execute(cls, image: Tensor, source: Tensor, vae: Any, threshold: float) -> io.NodeOutput:
        source = matching_source(image, source)
        reference = vae.decode(vae.encode(source))
        kept = keep_unchanged(to_core(source), to_core(image), to_core(reference), threshold)
        return io.NodeOutput(to_host(kept))
