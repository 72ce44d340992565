"""Everything that a person chooses for one benchmark, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Options:
    """Choices for one benchmark; "" and None take the protocol's own.

    The texts are the command's help; it is the command that finds the device of "auto".
    """

    n: int | None = None
    """Only the first so many pictures; a figure that papers print needs all of them."""
    split: str = ""
    """Of the data set, where it has several."""
    size: int | None = None
    """Side of the square of the model's area; the picture's own by default."""
    steps: int | None = None
    """Points of the time grid; the task's own by default."""
    solver: str | None = None
    """Solver of the flow; what the model declares by default, as the other settings."""
    text_guidance: float | None = None
    """Weight of the instruction."""
    image_guidance: float | None = None
    """Weight of the picture."""
    seed: int = 0
    """Of the noise, with each picture's name."""
    by: Literal["overlay", "hsv", "mask"] = "overlay"
    """How referring masks are read: against the picture, by hue as the paper does, or as white on black."""
    codec: str = ""
    """How depth (walk, gray) or classes (palette, ade20k) are read; gray and ade20k for released weights."""
    axes: Literal["right-up", "left-up"] = "right-up"
    """Of the normals in the answers; left-up for weights that learnt from DSINE."""
    clip: Path | None = None
    """An open_clip checkpoint for CLIP metrics."""
    clip_model: str = "ViT-B-32-quickgelu"
    """Its architecture in open_clip, or a JSON file of one."""
    dino: Path | None = None
    """DINO's weights (dino_vits16)."""
    dino_model: str = "vit_small_patch16_224"
    """Their architecture in timm."""
    inception: Path | None = None
    """Inception's weights of torch-fidelity, for FID and inception score."""
    lpips: Path | None = None
    """torchvision's weights of the backbone of LPIPS."""
    lpips_net: Literal["vgg", "alex"] = "vgg"
    """Which backbone that is."""
    hps: Path | None = None
    """HPSv2's checkpoint."""
    hps_model: str = "ViT-H-14"
    """Its architecture in open_clip, or a JSON file of one."""
    depth_model: Path | None = None
    """A folder of a depth estimator of transformers, for depth-to-image."""
    device: str = "cpu"
    """Of the model and the networks: cpu, cuda or cuda:N; auto is the GPU where there is one."""
