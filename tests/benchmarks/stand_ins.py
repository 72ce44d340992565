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
        # As usual before batches are normalised: what goes through keeps its strength.
        for part in model.modules():
            if isinstance(part, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(part.weight)
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


def depth_estimator(folder: Path) -> Path:
    """A folder of a tiny Depth Anything."""
    from pixwizard.comfyui_pixwizard.encoders.transformers_models import broken_torchvision_hidden

    with broken_torchvision_hidden():
        from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, DPTImageProcessor
    backbone = dict(
        model_type="dinov2", hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=28, patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False, apply_layernorm=True,
    )  # fmt: skip
    torch.manual_seed(4)
    sizes = dict(neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, head_hidden_size=4, head_in_index=-1)
    config = DepthAnythingConfig(
        backbone_config=backbone, max_depth=1, depth_estimation_type="relative", patch_size=14,
        reassemble_hidden_size=16, **sizes,
    )  # fmt: skip
    DepthAnythingForDepthEstimation(config).save_pretrained(folder / "estimator")
    DPTImageProcessor(size={"height": 56, "width": 56}, ensure_multiple_of=14).save_pretrained(folder / "estimator")
    return folder / "estimator"
