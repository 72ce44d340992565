"""Small random networks in the files that real ones come in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from pixwizard.training.benchmarks.libraries import library

CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}
DINO = "test_vit"


def clip(folder: Path) -> tuple[Path, Path]:
    """Weights and architecture of a CLIP of open_clip."""
    torch.manual_seed(0)
    model = library("open_clip.model", "the stand-in", "open_clip_torch").CLIP(**json.loads(json.dumps(CLIP)))
    # Random towers give all pictures nearly one vector: larger weights tell them apart.
    for parameter in model.visual.parameters():
        parameter.data *= 3
    weights, architecture = folder / "clip.safetensors", folder / "clip.json"
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, weights)
    architecture.write_text(json.dumps(CLIP))
    return weights, architecture


def dino(folder: Path) -> Path:
    """Weights of timm's small vision transformer."""
    torch.manual_seed(1)
    model = library("timm", "the stand-in", "timm").create_model(DINO, pretrained=False, num_classes=0)
    for name, parameter in model.named_parameters():
        if name.endswith("weight") and parameter.ndim > 1:
            parameter.data *= 3
    path = folder / "dino.pth"
    torch.save(model.state_dict(), path)
    return path


def inception(folder: Path) -> Path:
    """Weights of torch-fidelity's Inception."""
    module = library("torch_fidelity.feature_extractor_inceptionv3", "the stand-in", "torch-fidelity")
    kind: Any = module.FeatureExtractorInceptionV3
    loading, fetching = kind.load_state_dict, module.load_state_dict_from_url
    kind.load_state_dict, module.load_state_dict_from_url = lambda self, state: None, lambda *a, **k: {}
    try:
        torch.manual_seed(2)
        model = kind("inception", ["2048"])
    finally:
        kind.load_state_dict, module.load_state_dict_from_url = loading, fetching
    path = folder / "inception.pth"
    torch.save(model.state_dict(), path)
    return path


def lpips_backbone(folder: Path) -> Path:
    """torchvision's AlexNet, its convolutions alone."""
    torch.manual_seed(3)
    models = library("torchvision.models", "the stand-in", "torchvision")
    path = folder / "alexnet.pth"
    torch.save({f"features.{n}": v for n, v in models.alexnet(weights=None).features.state_dict().items()}, path)
    return path
