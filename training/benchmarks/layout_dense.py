"""Layouts of data sets with a label for each pixel: depth, normals, classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...comfyui_pixwizard.optional import pip_install, required
from ..data.build.drawing import drawn
from ..data.build.places import Ref, file_ref
from .layout_pairs import sub_folder
from .question import MISSING_PAIR, Question, is_picture, pictures_in

# SUN RGB-D's sensors store millimetres rotated by three bits to the left.
ROTATED = 3


def _depth(name: str, source: Ref, depth: Ref, codec: str, **told: Any) -> Question:
    target = drawn(depth, "depth", codec=codec or "walk", filled=True, scale=1000, **told)
    return Question(name, source, target, "depth", truth={"depth": depth, "scale": 1000} | told)


def nyuv2_depth(root: Path, split: str = "test", codec: str = "") -> Iterator[Question]:
    """`SCENE/rgb_N.jpg` beside `SCENE/sync_depth_N.png` (millimetres), as BTS packs the official splits.

    The test split lies in `official_splits/test`, `test` or the folder itself, the train split in `sync` or `train`.
    """
    places = {"test": ("official_splits/test", "test"), "train": ("sync", "train")}[split or "test"]
    place = next((root / name for name in places if (root / name).is_dir()), root)
    for scene in sorted(path for path in place.iterdir() if path.is_dir()):
        for path in sorted(scene.glob("rgb_*")):
            if is_picture(path):
                number = path.stem.removeprefix("rgb_")
                depth = file_ref(scene / f"sync_depth_{number}.png")
                name = f"{scene.name}/{number}"
                if not depth.state:
                    yield Question(name, file_ref(path), task="depth", fault=MISSING_PAIR)
                else:
                    yield _depth(name, file_ref(path), depth, codec)


def sunrgbd_depth(root: Path, split: str = "test", codec: str = "") -> Iterator[Question]:
    """`SUNRGBD/…/image/*.jpg` and `depth_bfx/*.png`, of the folders that the toolbox's `allsplit.mat` names.

    Raises:
        ValueError: no allsplit.mat, or one that names nothing.
    """
    listed = root / "SUNRGBDtoolbox" / "traintestSUNRGBD" / "allsplit.mat"
    if not listed.is_file():
        raise ValueError(
            f"SUN RGB-D's test pictures are named by allsplit.mat, found none at {listed}: unpack its toolbox"
        )
    matlab = required("scipy.io", "allsplit.mat needs SciPy", pip_install("scipy"))
    key = f"all{split or 'test'}"
    try:
        folders = [str(np.asarray(cell).item()) for cell in matlab.loadmat(listed, variable_names=[key])[key].ravel()]
    except Exception as error:  # a broken file chooses which one
        raise ValueError(f"{listed} should hold a list {key}, found none that can be read: copy it again") from error
    for folder in folders:
        # They begin with a path of the authors' machine.
        inner = folder[folder.find("SUNRGBD/") :].rstrip("/")
        parts = Path(inner).parts
        name = "/".join(parts[1:])
        if inner.find("SUNRGBD/") or ".." in parts:
            yield Question(folder, None, task="depth", fault="a folder outside SUNRGBD")
            continue
        pictures, depths = (_only(root / inner / kind) for kind in ("image", "depth_bfx"))
        if pictures is None or depths is None:
            yield Question(name, None, task="depth", fault=MISSING_PAIR)
        else:
            yield _depth(name, file_ref(pictures), file_ref(depths), codec, rotated=ROTATED)


def _only(folder: Path) -> Path | None:
    found = sorted(path for path in folder.glob("*") if is_picture(path)) if folder.is_dir() else []
    return found[0] if found else None


def nyuv2_normals(root: Path, split: str = "test") -> Iterator[Question]:
    """`test/N_img.png` beside `test/N_normal.png`, as DSINE packs NYUv2 with GeoNet's normals (X to the left)."""
    place = sub_folder(root, "test") if (root / "test").is_dir() else root
    found = pictures_in(place)
    for name, path in found.items():
        if name.endswith("_img"):
            stem = name.removesuffix("_img")
            if f"{stem}_normal" not in found:
                yield Question(stem, file_ref(path), task="normal", fault=MISSING_PAIR)
                continue
            normals = file_ref(found[f"{stem}_normal"])
            target = drawn(normals, "normal", left=True)
            yield Question(stem, file_ref(path), target, "normal", truth={"normals": normals, "left": True})


def ade20k(root: Path, split: str = "validation", codec: str = "") -> Iterator[Question]:
    """`images/validation/ADE_val_N.jpg` and `annotations/validation/ADE_val_N.png` of ADEChallengeData2016."""
    place = root / "ADEChallengeData2016" if (root / "ADEChallengeData2016").is_dir() else root
    split = split or "validation"
    pictures, labels = (pictures_in(sub_folder(place, f"{kind}/{split}")) for kind in ("images", "annotations"))
    for name, path in pictures.items():
        if name not in labels:
            yield Question(name, file_ref(path), task="segmentation", fault=MISSING_PAIR)
            continue
        ids = file_ref(labels[name])
        target = drawn(ids, "classes", codec=codec or "palette")
        yield Question(name, file_ref(path), target, "segmentation", truth={"classes": ids})
    for name in labels:
        if name not in pictures:
            yield Question(name, None, task="segmentation", fault=MISSING_PAIR)
