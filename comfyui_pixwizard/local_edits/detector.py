"""A thing found by networks of the user's own: GroundingDINO boxes what words name, SAM makes its mask.

Both are read with transformers' classes from folders that the user names, from safetensors alone, and only when they
are asked for; nothing is downloaded. Pictures are prepared here as the networks' own processors do it, since those need
torchvision.
Shapes: H, W pixels of the picture, Q queries of the detector.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..encoders.folder import load_model, load_tokenizer
from ..encoders.transformers_models import broken_torchvision_hidden
from ..files.safe_files import read_json
from ..pictures.images import image_to_unit

# Of the pictures that both networks were trained on, per channel, in [0, 1]; and the detector's sides in pixels. A
# preprocessor_config.json in its folder may say otherwise.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHORTEST, LONGEST = 800, 1333
# Probability from which a box counts as found.
FOUND = 0.25


class WordDetector:
    """GroundingDINO from a folder: boxes of what words name, on the CPU or a device.

    Raises:
        ValueError: no such folder, another model in it, no safetensors, or weights that do not fit.
    """

    def __init__(self, folder: str | Path, device: str = "cpu") -> None:
        with broken_torchvision_hidden():
            from transformers import GroundingDinoForObjectDetection

        place, kind = Path(folder).expanduser(), "the detector"
        _only_safe(place, kind)
        self.tokenizer = load_tokenizer(place, kind)
        # Its classes have no fused attention.
        given: dict[str, Any] = dict(dtype=torch.float32, use_safetensors=True, attn_implementation="eager")
        loaded = load_model(GroundingDinoForObjectDetection, place, kind, ("grounding-dino",), **given)
        self.model = _moved(loaded, device)
        self.sizes, self.device = _sizes(place), torch.device(device)

    @torch.inference_mode()
    def __call__(self, picture: Image.Image, thing: str) -> tuple[Tensor, Tensor]:
        """Boxes [n, 4] as x0 y0 x1 y1 in [0, 1] of what words name, and their probabilities [n], the surest first."""
        shown = _prepared(picture, *self.sizes).to(self.device)
        # The form of text that it was trained on: phrases that end in a full stop.
        words = self.tokenizer(f"{thing.strip().rstrip('.').lower()}.", return_tensors="pt")
        ids = words["input_ids"].to(self.device)
        found = self.model(
            pixel_values=shown, pixel_mask=torch.ones_like(shown[:, 0], dtype=torch.long), input_ids=ids,
            attention_mask=torch.ones_like(ids), token_type_ids=torch.zeros_like(ids),
        )  # fmt: skip
        scores = found.logits[0].sigmoid().amax(-1)
        order = scores.argsort(descending=True)
        kept = order[scores[order] >= FOUND]
        centre, size = found.pred_boxes[0, kept].split(2, dim=-1)
        return torch.cat((centre - size / 2, centre + size / 2), dim=-1).clamp(0, 1).cpu(), scores[kept].cpu()


class Finder:
    """GroundingDINO and SAM from two folders, on the CPU or a device.

    Raises:
        ValueError: no such folder, another model in it, no safetensors, or weights that do not fit.
    """

    def __init__(self, detector: str | Path, segmenter: str | Path, device: str = "cpu") -> None:
        with broken_torchvision_hidden():
            from transformers import SamModel

        self.detector = WordDetector(detector, device)
        place, kind = Path(segmenter).expanduser(), "the segmenter"
        _only_safe(place, kind)
        given: dict[str, Any] = dict(dtype=torch.float32, use_safetensors=True)
        self.segmenter = _moved(load_model(SamModel, place, kind, ("sam",), **given), device)
        self.device = torch.device(device)

    # Several edits of a run look with the same one.
    shared = staticmethod(lru_cache(maxsize=1)(lambda detector, segmenter: Finder(detector, segmenter)))

    def __call__(self, picture: Image.Image, thing: str) -> Tensor:
        """Mask [H, W] bool of what words name; empty where the detector finds nothing."""
        boxes = self.boxes(picture, thing)
        if not len(boxes):
            return torch.zeros(picture.height, picture.width, dtype=torch.bool)
        return self.mask(picture, boxes)

    def boxes(self, picture: Image.Image, thing: str) -> Tensor:
        """Boxes [n, 4] as x0 y0 x1 y1 in [0, 1] of what words name, the surest first."""
        return self.detector(picture, thing)[0]

    @torch.inference_mode()
    def mask(self, picture: Image.Image, boxes: Tensor) -> Tensor:
        """The union [H, W] bool of what stands in boxes [n, 4]."""
        side = int(self.segmenter.config.vision_config.image_size)
        scale = side / max(picture.size)
        width, height = (max(1, round(length * scale)) for length in picture.size)
        shown = _normed(picture, (width, height), MEAN, DEVIATION)
        places = boxes * torch.tensor([width, height, width, height])
        padded = F.pad(shown, (0, side - width, 0, side - height)).to(self.device)
        found = self.segmenter(
            pixel_values=padded, input_boxes=places[None].to(self.device), multimask_output=False
        ).pred_masks[0, :, 0]
        # What was padded is cut away before the mask gets the picture's size.
        large = F.interpolate(found[None].float(), (side, side), mode="bilinear", align_corners=False)
        cut = large[..., :height, :width]
        whole = F.interpolate(cut, (picture.height, picture.width), mode="bilinear", align_corners=False)
        return (whole[0] > 0).any(0).cpu()


def _moved(network: Any, device: str) -> Any:
    """On a device; transformers' own signature of `to` hides what it takes."""
    return network.to(device)


def _only_safe(folder: Path, kind: str) -> None:
    if folder.is_dir() and not any(folder.glob("*.safetensors")):
        raise ValueError(f"{kind} is read from safetensors alone, found none in {folder}: convert its weights")


def _sizes(folder: Path) -> tuple[int, int, tuple[float, ...], tuple[float, ...]]:
    """Shortest and longest side that a detector sees, mean and deviation of its pictures."""
    file = folder / "preprocessor_config.json"
    told = read_json(file) if file.is_file() else {}
    size = told.get("size", {})
    return (
        int(size.get("shortest_edge", SHORTEST)), int(size.get("longest_edge", LONGEST)),
        tuple(told.get("image_mean", MEAN)), tuple(told.get("image_std", DEVIATION)),
    )  # fmt: skip


def _prepared(
    picture: Image.Image, shortest: int, longest: int, mean: tuple[float, ...], deviation: tuple[float, ...]
) -> Tensor:
    """A picture for a detector: [1, 3, h, w]."""
    scale = min(shortest / min(picture.size), longest / max(picture.size))
    width, height = (max(1, round(length * scale)) for length in picture.size)
    return _normed(picture, (width, height), mean, deviation)


def _normed(
    picture: Image.Image, size: tuple[int, int], mean: tuple[float, ...], deviation: tuple[float, ...]
) -> Tensor:
    pixels = image_to_unit(picture.convert("RGB").resize(size, Image.Resampling.BILINEAR))
    return ((pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(deviation)[:, None, None])[None]
