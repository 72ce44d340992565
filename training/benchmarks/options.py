"""Everything that a person chooses for one benchmark, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...comfyui_pixwizard.solvers import DEFAULT_SOLVER


@dataclass(frozen=True)
class Options:
    """Choices for one benchmark; "" and None take the protocol's own.

    Attributes:
        split: of the data set.
        n: the first so many pictures; None is all of them.
        size: side of the square of the model's area; None is the picture's own, as far as the model was trained.
        steps, solver, text_guidance, image_guidance, seed: how the model is asked, see the pipeline.
        by: how masks are read: "overlay" (against the picture), "hsv" (by hue, without it) or "mask" (white on black).
        codec: how depth or classes are read.
        axes: of the normals in the answers, "right-up" or "left-up" (DSINE's).
        clip, dino, inception, lpips, hps: files of weights of the networks that some metrics need.
        clip_model, dino_model, lpips_net: what these files hold.
        depth_model: folder of a depth estimator of transformers.
        device: where the networks of metrics run.
    """

    split: str = ""
    n: int | None = None
    size: int | None = None
    steps: int | None = None
    solver: str = DEFAULT_SOLVER
    text_guidance: float | None = None
    image_guidance: float | None = None
    seed: int = 0
    by: str = "overlay"
    codec: str = ""
    axes: str = "right-up"
    clip: Path | None = None
    clip_model: str = "ViT-B-32-quickgelu"
    dino: Path | None = None
    dino_model: str = "vit_small_patch16_224"
    inception: Path | None = None
    lpips: Path | None = None
    lpips_net: str = "vgg"
    hps: Path | None = None
    hps_model: str = "ViT-H-14"
    depth_model: Path | None = None
    device: str = "cpu"
