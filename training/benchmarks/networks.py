"""Networks that metrics need, each read from a file that the user names; nothing is downloaded.

Files are read as weights and nothing else (`safe_files`). Shape legend: N pictures, P projection size.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ...comfyui_pixwizard.files.safe_files import read_tensors, sha256_of
from ...comfyui_pixwizard.pictures.images import to_tensor
from .libraries import library

# What FID and inception score take of Inception.
FEATURES, LOGITS = "2048", "logits_unbiased"
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def named(file: Path, architecture: str) -> str:
    """How a report names a network: architecture, file and as much of its digest as tells weights apart."""
    return f"{architecture}, {file.name}, sha256 {sha256_of(file)[:16]}…"


def _loaded(model: Any, state: Mapping[str, Tensor], file: Path, architecture: str) -> Any:
    """A network with a file's weights, all of them and no others.

    Raises:
        ValueError: they are another network's.
    """
    wanted = model.state_dict()
    for name, tensor in wanted.items():
        if name not in state or state[name].shape != tensor.shape:
            found = list(state[name].shape) if name in state else "no such entry"
            raise ValueError(
                f"{file} should hold {name} {list(tensor.shape)} of {architecture}, found {found}: name the file of "
                "that network, or its architecture"
            )
    model.load_state_dict({name: state[name].to(tensor.dtype) for name, tensor in wanted.items()})
    return model.eval().requires_grad_(False)


class ClipNetwork:
    """A CLIP of open_clip: normalised vectors [N, P] of pictures and sentences, by open_clip's own preparation.

    Args:
        file: weights in open_clip's names.
        architecture: a name of open_clip, or a JSON file with embed_dim, vision_cfg and text_cfg.

    Raises:
        ValueError: an unknown architecture, another network's weights, or open_clip is not installed.
    """

    def __init__(self, file: Path, architecture: str, device: str = "cpu") -> None:
        told = "CLIP scores are computed with open_clip"
        self.open_clip = library("open_clip", told, "open_clip_torch")
        config = self._config(architecture)
        model = library("open_clip.model", told, "open_clip_torch").CLIP(**copy.deepcopy(config))
        state = {name.removeprefix("module."): value for name, value in read_tensors(file).items()}
        self.model = _loaded(model, state, file, architecture).to(device)
        self.prepare = self.open_clip.image_transform(config["vision_cfg"]["image_size"], is_train=False)
        length = config["text_cfg"]["context_length"]
        self.tokens = library("open_clip.tokenizer", told, "open_clip_torch").SimpleTokenizer(context_length=length)
        self.device, self.name = device, named(file, architecture)

    def _config(self, architecture: str) -> dict[str, Any]:
        if architecture.endswith(".json"):
            try:
                found = json.loads(Path(architecture).read_text(encoding="utf-8"))
                found = found.get("model_cfg", found)
                return {key: found[key] for key in ("embed_dim", "vision_cfg", "text_cfg")} | {
                    key: found[key] for key in ("quick_gelu",) if key in found
                }
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{architecture} should describe a CLIP by embed_dim, vision_cfg and text_cfg, found: {error}"
                ) from error
        config: dict[str, Any] | None = self.open_clip.get_model_config(architecture)
        if config is None:
            raise ValueError(f"open_clip has no architecture {architecture!r}: use one of open_clip.list_models()")
        return config

    @torch.no_grad()
    def pictures(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Of RGB pictures of any sizes: [N, P] float64 on the CPU."""
        batch = torch.stack([self.prepare(picture) for picture in pictures]).to(self.device)
        return F.normalize(self.model.encode_image(batch).double().cpu(), dim=-1)

    @torch.no_grad()
    def sentences(self, sentences: Sequence[str]) -> Tensor:
        """Of sentences, cut at the length that the model has: [N, P] float64 on the CPU."""
        return F.normalize(self.model.encode_text(self.tokens(list(sentences)).to(self.device)).double().cpu(), dim=-1)


class DinoNetwork:
    """A vision transformer of timm's names with DINO's weights: normalised class tokens [N, P].

    Raises:
        ValueError: an unknown architecture, another network's weights, or timm is not installed.
    """

    def __init__(self, file: Path, architecture: str, device: str = "cpu") -> None:
        timm = library("timm", "DINO's network is built by timm", "timm")
        try:
            model = timm.create_model(architecture, pretrained=False, num_classes=0)
        except RuntimeError as error:
            raise ValueError(f"timm has no architecture {architecture!r}: use one of timm.list_models()") from error
        self.model = _loaded(model, read_tensors(file), file, architecture).to(device)
        side = int(model.default_cfg["input_size"][-1])
        transforms = library("torchvision.transforms", "DINO's preparation is torchvision's", "torchvision")
        self.prepare = transforms.Compose(
            [
                transforms.Resize(round(side * 256 / 224), transforms.InterpolationMode.BICUBIC),
                transforms.CenterCrop(side),
                transforms.ToTensor(),
                transforms.Normalize(*IMAGENET),
            ]
        )
        self.device, self.name = device, named(file, architecture)

    @torch.no_grad()
    def pictures(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Of RGB pictures: shorter side to 8/7 of the input's (bicubic), centre, ImageNet's mean and deviation."""
        batch = torch.stack([self.prepare(picture) for picture in pictures]).to(self.device)
        return F.normalize(self.model(batch).double().cpu(), dim=-1)


class InceptionNetwork:
    """torch-fidelity's Inception: features and logits of 8-bit pictures, each resized inside to 299 as in TensorFlow.

    Args:
        layers: of FEATURES, LOGITS and torch-fidelity's others.

    Raises:
        ValueError: another network's weights, or torch-fidelity is not installed.
    """

    def __init__(self, file: Path, layers: Sequence[str], device: str = "cpu") -> None:
        told = "FID and inception score are torch-fidelity's"
        module = library("torch_fidelity.feature_extractor_inceptionv3", told, "torch-fidelity")
        # Its constructor unpickles whatever the file holds: it gets a copy that holds tensors only.
        with tempfile.NamedTemporaryFile(suffix=".pth") as copied:
            torch.save(read_tensors(file), copied.name)
            try:
                self.model = module.FeatureExtractorInceptionV3("inception", list(layers), copied.name)
            except RuntimeError as error:
                raise ValueError(
                    f"{file} does not hold torch-fidelity's Inception: name weights-inception-2015-12-05-6726825d.pth"
                ) from error
        self.model = self.model.to(device)
        self.device, self.name = device, named(file, "Inception of torch-fidelity")

    @torch.no_grad()
    def pictures(self, pictures: Sequence[Image.Image]) -> tuple[Tensor, ...]:
        """Of RGB pictures, one at a time because of their sizes: a tensor [N, ·] for each layer."""
        found = []
        for picture in pictures:
            pixels = torch.from_numpy(np.array(picture)).movedim(-1, 0)[None].to(self.device)
            found.append([values.cpu() for values in self.model(pixels)])
        return tuple(torch.cat(values) for values in zip(*found, strict=True))


class LpipsNetwork:
    """LPIPS v0.1 with the heads of its package and a backbone's weights from a file of torchvision's names.

    Raises:
        ValueError: another network's weights, or lpips is not installed.
    """

    def __init__(self, file: Path, backbone: str, device: str = "cpu") -> None:
        lpips = library("lpips", "LPIPS is computed with the package lpips", "lpips")
        model = lpips.LPIPS(net=backbone, pnet_rand=True, verbose=False)
        state = read_tensors(file)
        # Its slices keep the numbers that torchvision's `features` have.
        names = {
            name: "features." + name.split(".", 1)[1] for name in model.net.state_dict() if name.startswith("slice")
        }
        found = {name: state[theirs] for name, theirs in names.items() if theirs in state}
        _loaded(model.net, found, file, f"torchvision's {backbone}")
        self.model = model.eval().requires_grad_(False).to(device)
        self.device, self.name = device, named(file, f"LPIPS v0.1 with {backbone}")

    @torch.no_grad()
    def distance(self, a: Image.Image, b: Image.Image) -> float:
        """Between two RGB pictures of one size."""
        first, second = (to_tensor(picture).to(self.device) for picture in (a, b))
        return float(self.model(first, second).double())
