"""Annotators by transformers: depth (Depth-Anything-V2 and its kind), classes (OneFormer) and captions.

Weights are read from folders that are there already; nothing is ever downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from ....comfyui_pixwizard.encoders.folder import quiet
from ....comfyui_pixwizard.encoders.transformers_models import broken_torchvision_hidden
from .notes import Note

with broken_torchvision_hidden():
    import transformers


def _load(kinds: Sequence[str], folder: str, what: str) -> tuple[Any, Any]:
    """The model, evaluating, and its processor.

    Args:
        kinds: classes of transformers, the first that this version has is taken.

    Raises:
        ValueError: no such folder, or not the weights of such a model.
    """
    if not (Path(folder) / "config.json").is_file():
        raise ValueError(
            f"annotator {what} needs a downloaded model, found no config.json in {folder}: give the folder of one"
        )
    try:
        with broken_torchvision_hidden(), quiet():
            kind = next(getattr(transformers, name) for name in kinds if hasattr(transformers, name))
            model = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True)
            processor = _processor(folder, what)
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"annotator {what} cannot use {folder}: {first}; give a complete folder of one") from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.eval().to(device), processor


def _processor(folder: str, what: str) -> Any:
    kind = transformers.AutoImageProcessor if what == "depth" else transformers.AutoProcessor
    return kind.from_pretrained(folder, local_files_only=True)


def _resized(values: torch.Tensor, picture: Image.Image, mode: str = "bicubic") -> torch.Tensor:
    """A map [h,w] at a picture's size."""
    size = picture.height, picture.width
    options = {} if mode == "nearest" else {"align_corners": False}
    return F.interpolate(values[None, None].float(), size, mode=mode, **options)[0, 0].cpu()


class Depth:
    """Depth of each pixel, as 16 bits over the picture's range, which the facts hold under "depth".

    What a metric model gives are metres ("kind": "metric"); others give inverse depth up to scale and shift, which is
    kept as a place between farthest, 0, and nearest, 1 ("kind": "inverse").
    """

    name = "depth"

    def __init__(self, folder: str):
        self.model, self.processor = _load(["AutoModelForDepthEstimation"], folder, self.name)
        self.metric = getattr(self.model.config, "depth_estimation_type", "relative") == "metric"

    @torch.no_grad()
    def __call__(self, pictures: Sequence[Image.Image], notes: Sequence[Note]) -> None:
        for picture, note in zip(pictures, notes, strict=True):
            inputs = self.processor(images=picture, return_tensors="pt").to(self.model.device)
            depth = _resized(self.model(**inputs).predicted_depth[0], picture)
            low, high = float(depth.min()), float(depth.max())
            unit = (depth - low) / max(high - low, 1e-12)
            note.maps[self.name] = Image.fromarray((unit * 65535).round().numpy().astype(np.uint16))
            bounds = {"low": low, "high": high} if self.metric else {}
            note.facts[self.name] = {"kind": "metric" if self.metric else "inverse"} | bounds


class Segmentation:
    """Classes of each pixel by a OneFormer, 0 for none: the model's class number plus one, as ADE20K counts."""

    name = "segmentation"

    def __init__(self, folder: str):
        self.model, self.processor = _load(["AutoModelForUniversalSegmentation"], folder, self.name)
        if len(self.model.config.id2label) > 255:
            raise ValueError(
                f"annotator segmentation stores at most 255 classes, {folder} has {len(self.model.config.id2label)}: "
                "take another model"
            )

    @torch.no_grad()
    def __call__(self, pictures: Sequence[Image.Image], notes: Sequence[Note]) -> None:
        for picture, note in zip(pictures, notes, strict=True):
            inputs = self.processor(images=picture, task_inputs=["semantic"], return_tensors="pt")
            outputs = self.model(**inputs.to(self.model.device))
            size = [(picture.height, picture.width)]
            classes = self.processor.post_process_semantic_segmentation(outputs, target_sizes=size)[0]
            note.maps[self.name] = Image.fromarray((classes.cpu() + 1).numpy().astype(np.uint8))


class Caption:
    """What an image-text model says of a picture, greedily, so that it says the same again.

    Args:
        prompt: what the model is asked, for models that are asked something.
        words: new tokens at most.
    """

    name = "caption"

    def __init__(self, folder: str, prompt: str = "", words: int = 40):
        kinds = ["AutoModelForImageTextToText", "AutoModelForVision2Seq"]
        self.model, self.processor = _load(kinds, folder, self.name)
        self.prompt, self.words = prompt, words

    @torch.no_grad()
    def __call__(self, pictures: Sequence[Image.Image], notes: Sequence[Note]) -> None:
        for picture, note in zip(pictures, notes, strict=True):
            asked = {"text": self.prompt} if self.prompt else {}
            inputs = self.processor(images=picture, return_tensors="pt", **asked).to(self.model.device)
            tokens = self.model.generate(**inputs, max_new_tokens=self.words, do_sample=False)
            given = inputs.get("input_ids")
            if given is not None and not self.model.config.is_encoder_decoder:
                tokens = tokens[:, given.shape[1] :] if tokens.shape[1] > given.shape[1] else tokens
            text = " ".join(self.processor.batch_decode(tokens, skip_special_tokens=True)[0].split())
            if text:
                note.captions.append(text)
