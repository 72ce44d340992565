"""Rendered sets in the layouts of three benchmarks: to try the harness, and a model that has seen only renders.

They are no benchmarks. The scenes show held-out combinations of colour and shape, as in `pixwizard eval`.
Shape legend: N scenes, H, W pixels.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ...comfyui_pixwizard.files.safe_files import replaced
from ...comfyui_pixwizard.pictures.images import unit_to_image
from ..degradations import DEGRADATIONS
from ..evaluate.scene_samples import SceneSet
from ..loop.seeding import seeded
from .judging import STAND_IN

# Metres that 16 bits of millimetres can hold; what is farther is stored as nothing, as sensors do.
FARTHEST = 65.535


def write_stand_ins(folder: Path, n: int, size: int, seed: int) -> dict[str, Path]:
    """Write the sets; answers their folders by the benchmark whose layout they have.

    Args:
        n: pictures of each set.
        size: side of the pictures, a multiple of 16.

    Raises:
        ValueError: the folder holds something, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"stand-ins go to a new or empty folder, found {folder} in use: name another")
    scenes = SceneSet(n, size, seed, "test")
    found = {}
    for name, write in SETS.items():
        write(folder / name, scenes)
        _write(folder / name / STAND_IN, f"Rendered scenes in the layout of {name}; not the data set.\n".encode())
        found[name] = folder / name
    return found


def _rain(root: Path, scenes: SceneSet) -> None:
    for i, picture in enumerate(scenes.rendered.image):
        wet = DEGRADATIONS["derain"](picture[None], seeded("stand-ins", scenes.seed, "rain", i))[0]
        _save(unit_to_image(wet), root / "rainy" / f"rain-{i + 1:03d}.png")
        _save(unit_to_image(picture), root / f"norain-{i + 1:03d}.png")


def _depth(root: Path, scenes: SceneSet) -> None:
    for i, (picture, depth) in enumerate(zip(scenes.rendered.image, scenes.rendered.depth, strict=True)):
        place, number = root / "official_splits" / "test" / f"scene_{i + 1:04d}", f"{i + 1:05d}"
        metres = depth.double().numpy()
        millimetres = np.where(metres < FARTHEST, metres * 1000, 0).round().astype(np.uint16)
        _save(unit_to_image(picture), place / f"rgb_{number}.jpg")
        _save(Image.fromarray(millimetres), place / f"sync_depth_{number}.png")


def _referring(root: Path, scenes: SceneSet) -> None:
    """An expression a picture, in the split val."""
    samples = scenes.samples("referring_segmentation")
    refs, annotations, images = [], [], []
    for number, (picture, mask, words) in enumerate(
        zip(samples.source, samples.label, samples.words, strict=True), start=1
    ):
        name = f"COCO_train2014_{number:012d}.jpg"
        _save(unit_to_image(picture), root / "images" / "train2014" / name)
        height, width = mask.shape
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        runs = {"size": [height, width], "counts": run_lengths(mask.numpy())}
        annotations.append({"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "segmentation": runs})
        text = words["caption"]
        refs.append(
            {
                "ref_id": number,
                "ann_id": number,
                "image_id": number,
                "category_id": 1,
                "split": "val",
                "sentences": [{"sent_id": number, "sent": text, "raw": text, "tokens": text.split()}],
            }
        )
    listed = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "solid"}]}
    _write(root / "refcoco" / "instances.json", json.dumps(listed).encode())
    _write(root / "refcoco" / "refs(unc).p", pickle.dumps(refs, protocol=2))


SETS: dict[str, Callable[[Path, SceneSet], None]] = {"rain100l": _rain, "nyuv2-depth": _depth, "refcoco": _referring}


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed run lengths of a mask [H,W]: down the columns, zeros and ones in turn, zeros first."""
    flat = np.concatenate([[False], mask.astype(bool).ravel(order="F")])
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], ends, [mask.size]])).tolist()


def _save(picture: Image.Image, path: Path) -> None:
    out = io.BytesIO()
    picture.save(out, "PNG" if path.suffix == ".png" else "JPEG", quality=95)
    _write(path, out.getvalue())


def _write(path: Path, data: bytes) -> None:
    with replaced(path) as file:
        file.write(data)
