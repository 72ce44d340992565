"""Source pictures: any picture, canvases with holes or margins, blank canvases."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from comfy_api.latest import io, ui
from einops import rearrange
from torch import Tensor

from ..comfyui_pixwizard.pictures.buckets import CELL, Size
from ..comfyui_pixwizard.pictures.sizes import model_size
from .conversions import Node, at_size, one_for_each, resized_mask, schema, to_core, with_values
from .host_model import IMAGE_TOKENS, SOURCE
from .host_vision import encode_tokens
from .round_trip import remember

LARGEST = 4096
FILLS = {"black": 0.0, "white": 1.0, "grey": 0.5}
# Where the picture alone decides, at the released model's largest size.
LARGEST_OWN = 1024
# Reach of the filter that resizes pictures, in pixels of the coarser side.
LANCZOS = 3
# Side in pixels of the square that one latent pixel stands for.
LATENT_PIXEL = 8
# A batch of a thousand squares of 256 px, or of 64 of 1024 px.
LARGEST_BATCH = 64 * 1024**2


class ImageConditioning(Node):
    """A source picture for all branches of guidance."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardImageConditioning",
            purpose="conditioning",
            aliases=["source image", "instruct pix2pix conditioning", "reference latent", "image to image"],
            inputs=[
                io.Conditioning.Input("positive"),
                io.Conditioning.Input("empty"),
                io.ClipVision.Input("clip_vision"),
                io.Vae.Input("vae"),
                io.Image.Input("image"),
                io.Int.Input("resolution", default=0, min=0, max=LARGEST, step=CELL),
                io.Mask.Input("mask", optional=True),
            ],
            outputs={
                "positive": io.Conditioning,
                "image_only": io.Conditioning,
                "negative": io.Conditioning,
                "latent": io.Latent,
                "source": io.Image,
            },
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
        check_latents(encoded, size)
        remember(source, encoded)
        seen = {SOURCE: encoded, IMAGE_TOKENS: encode_tokens(clip_vision, to_core(source))}
        latent: dict[str, Any] = {"samples": torch.zeros_like(encoded)}
        if mask is not None:
            mask = one_for_each(resized_mask(mask, size[1], size[0]), len(source), "a mask", "pictures")
            latent = {"samples": encoded, "noise_mask": latent_mask(mask, blur_of(image, size))}
        return io.NodeOutput(with_values(positive, seen), with_values(empty, seen), empty, latent, source)


def check_latents(latents: Tensor, size: Size) -> None:
    """Whether a VAE's latents of pictures of a size (width, height) are of the kind that PixWizard works on.

    Raises:
        ValueError: a VAE of another kind.
    """
    wanted = (size[1] // LATENT_PIXEL, size[0] // LATENT_PIXEL)
    if latents.ndim != 4 or tuple(latents.shape[2:]) != wanted:
        raise ValueError(
            f"PixWizard works on latents [B, C, {wanted[0]}, {wanted[1]}] of pictures of {size[0]} x {size[1]} px, "
            f"found {list(latents.shape)}: connect the VAE of Load PixWizard, or the SDXL VAE for the released weights"
        )


def blur_of(image: Tensor, size: Size) -> int:
    """How many pixels beyond a hole its fill reaches when a picture is resized to (width, height) by Lanczos."""
    scale = max(size[0] / image.shape[2], size[1] / image.shape[1])
    return 0 if (image.shape[2], image.shape[1]) == size else math.ceil(LANCZOS * max(1.0, scale))


def latent_mask(mask: Tensor, margin: int) -> Tensor:
    """A mask [B, H, W] for sampling, [B, 1, H/8, W/8] of 0 and 1: every latent pixel that it touches is sampled.

    A latent pixel that was sampled in part would keep a part of what stands in the hole.

    Args:
        margin: pixels around the mask that count as touched too.
    """
    reached = grown((mask > 0).float(), margin)
    return F.max_pool2d(rearrange(reached, "b h w -> b 1 h w"), LATENT_PIXEL)


class InpaintCanvas(Node):
    """A picture with holes to fill."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardInpaintCanvas",
            purpose="image",
            aliases=["inpaint", "mask image", "hole", "remove object"],
            inputs=[
                io.Image.Input("image"),
                io.Mask.Input("mask"),
                io.Int.Input("grow", default=0, min=-64, max=256),
                io.Combo.Input("fill", options=list(FILLS), default="black"),
            ],
            outputs={"canvas": io.Image, "mask": io.Mask},
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


class OutpaintCanvas(Node):
    """A picture with a blank margin to fill."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        sides = [
            io.Int.Input(side, default=64, min=0, max=LARGEST, step=8) for side in ("left", "top", "right", "bottom")
        ]
        return schema(
            node_id="PixWizardOutpaintCanvas",
            purpose="image",
            aliases=["outpaint", "uncrop", "pad image", "extend"],
            inputs=[io.Image.Input("image"), *sides, io.Combo.Input("fill", options=list(FILLS), default="black")],
            outputs={"canvas": io.Image, "mask": io.Mask},
        )

    @classmethod
    def execute(cls, image: Tensor, left: int, top: int, right: int, bottom: int, fill: str) -> io.NodeOutput:
        margin = (left, right, top, bottom)
        pictures = rearrange(image[..., :3], "b h w c -> b c h w")
        canvas = rearrange(F.pad(pictures, margin, value=FILLS[fill]), "b c h w -> b h w c")
        mask = F.pad(torch.zeros(image.shape[:3]), margin, value=1.0)
        return io.NodeOutput(canvas, mask, ui=ui.PreviewImage(canvas, cls=cls))


class BlankCanvas(Node):
    """White pictures, from which text-to-image draws."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        side = dict(default=256, min=64, max=LARGEST, step=CELL)
        return schema(
            node_id="PixWizardBlankCanvas",
            purpose="image",
            aliases=["empty image", "text to image", "white image"],
            inputs=[
                io.Int.Input("width", **side),
                io.Int.Input("height", **side),
                io.Int.Input("batch_size", default=1, min=1, max=4096),
            ],
            outputs={"canvas": io.Image},
        )

    @classmethod
    def execute(cls, width: int, height: int, batch_size: int) -> io.NodeOutput:
        if width * height * batch_size > LARGEST_BATCH:
            raise ValueError(
                f"PixWizard Blank Canvas: all pictures together have at most {LARGEST_BATCH} pixels, found "
                f"{batch_size} of {width} x {height}: take at most {max(1, LARGEST_BATCH // (width * height))} of this "
                "size at a time"
            )
        return io.NodeOutput(torch.ones(batch_size, height, width, 3))
