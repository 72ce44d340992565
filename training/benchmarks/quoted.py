"""Figures that papers print, as they print them: quoted beside ours, never measured here.

All were read in the text of the paper that is named. Where it does not say how a figure was computed (RGB or luma,
which CLIP), neither does its name here. Rows are methods as the paper calls them; a dash there is left out here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .options import Options

PAPER = "PixWizard, arXiv 2409.15278"
Row = tuple[float | None, ...]


@dataclass(frozen=True)
class Quote:
    """One row of a paper.

    Attributes:
        ours: whether it is the row of the model that this project rebuilds.
        note: what keeps it from being compared.
    """

    method: str
    figures: Mapping[str, float]
    table: str
    ours: bool = False
    note: str = ""

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        return {name: value for name, value in asdict(self).items() if value != ""}


def _rows(table: str, columns: str, rows: Mapping[str, Row], note: str = "", paper: str = PAPER) -> list[Quote]:
    found = []
    for method, values in rows.items():
        pairs = zip(columns.split(), values, strict=True)
        figures = {name: value for name, value in pairs if value is not None}
        if figures:
            found.append(Quote(method, figures, f"{paper}, {table}", method.startswith("PixWizard"), note))
    return found


MIXED = "the column mixes methods that are measured on luma and on RGB"
MATLAB = "MATLAB's ssim takes the three channels of RGB as one volume; ours is the mean of the channels"
UNSAID = "the paper does not say which CLIP and which DINO"

_PIXELS = {
    "sidd": _rows(
        "Table 1",
        "psnr ssim",
        {
            "AirNet": (38.32, 0.945),
            "PromptIR": (39.52, 0.954),
            "Painter": (38.71, 0.954),
            "InstructDiffusion": (34.26, 0.938),
            "PixWizard": (38.67, 0.957),
        },
        MATLAB,
    ),
    "rain100l": _rows(
        "Table 1",
        "psnr ssim",
        {
            "AirNet": (32.98, 0.951),
            "PromptIR": (36.37, 0.972),
            "Painter": (29.87, 0.882),
            "InstructDiffusion": (19.82, 0.741),
            "PixWizard": (31.43, 0.917),
        },
        MIXED,
    ),
}

# Table 5: Snow100K-L, SOTS, LOLv2, GoPro, TOLED, UIEB, each PSNR and SSIM.
_TABLE_5: dict[str, Row] = {
    "SwinIR": (None, None, 21.50, 0.891, None, None, 24.52, 0.773, None, None, None, None),
    "Restormer": (30.98, 0.914, 24.09, 0.927, 20.77, 0.851, 27.22, 0.829, 27.74, 0.841, 17.34, 0.770),
    "NAFNet": (31.42, 0.920, 25.23, 0.939, 18.04, 0.827, 26.53, 0.808, 27.90, 0.848, 17.31, 0.736),
    "AirNet": (30.14, 0.907, 21.04, 0.884, 19.69, 0.821, 24.35, 0.781, 26.76, 0.799, 17.09, 0.761),
    "PromptIR": (30.91, 0.913, 30.58, 0.974, 21.23, 0.860, 27.02, 0.798, None, None, None, None),
    "DA-CLIP": (28.31, 0.862, 30.16, 0.936, 21.76, 0.762, 24.65, 0.703, None, None, None, None),
    "InstructIR": (None, None, 26.90, 0.952, None, None, 29.70, 0.892, None, None, None, None),
    "PixWizard": (29.66, 0.883, 28.14, 0.937, 20.29, 0.807, 24.68, 0.774, 27.22, 0.826, 16.99, 0.752),
}
for _place, _name in enumerate(("snow100k-l", "sots", "lol-v2", "gopro", "toled", "uieb")):
    _PIXELS[_name] = _rows(
        "Table 5", "psnr ssim", {method: row[2 * _place : 2 * _place + 2] for method, row in _TABLE_5.items()}
    )
_PIXELS["sots"] += [
    Quote(
        "PixWizard, released weights",
        {"psnr": 21.28, "ssim": 0.738},
        "a user's measurement, AFeng-x/PixWizard issue 11",
        note="the released weights are a trial version, as its author answers there",
    )
]

_DENSE = {
    "nyuv2-depth": _rows(
        "Table 1",
        "rmse",
        {
            "DepthAnything": (0.206,),
            "Marigold": (0.224,),
            "Unified-IO": (0.387,),
            "Painter": (0.288,),
            "InstructCV": (0.297,),
            "PixWizard": (0.287,),
        },
    ),
    "sunrgbd-depth": _rows(
        "Table 1",
        "rmse",
        {"Unified-IO": (0.287,), "Painter": (0.285,), "InstructCV": (0.279,), "PixWizard": (0.291,)},
    ),
    "nyuv2-normals": _rows("Table 1", "mean_angle", {"Bae et al.": (14.90,), "InvPT": (19.04,), "PixWizard": (19.65,)}),
    "ade20k": _rows(
        "Table 1",
        "miou",
        {
            "Mask DINO": (60.80,),
            "Mask2Former": (56.10,),
            "Unified-IO": (25.71,),
            "Painter": (49.90,),
            "InstructCV": (47.23,),
            "PixWizard": (32.76,),
        },
    ),
}

# Table 6, cIoU: gRefCOCO val; RefCOCO val, testA, testB; RefCOCO+ val, testA, testB.
_TABLE_6: dict[str, Row] = {
    "CRIS": (55.34, 70.47, 73.18, 66.10, 62.27, 68.08, 53.68),
    "LAVT": (57.64, 72.73, 75.82, 68.79, 56.86, 62.29, 48.14),
    "ReLA": (62.42, 73.21, 75.24, 68.72, 56.10, 62.26, 47.89),
    "Unified-IO": (17.31, 46.42, 46.06, 48.05, 40.50, 42.17, 40.15),
    "InstructDiffusion w/ HSV": (33.19, 41.64, 40.81, 41.98, 33.20, 37.85, 26.92),
    "PixWizard w/ HSV": (33.65, 47.28, 44.12, 45.38, 40.07, 38.89, 40.76),
    "PixWizard, mask": (29.07, 44.38, 40.13, 42.09, 36.49, 35.30, 38.93),
}
_TABLE_6_PLACES = {
    ("grefcoco", "val"): 0,
    ("refcoco", "val"): 1,
    ("refcoco", "testA"): 2,
    ("refcoco", "testB"): 3,
    ("refcoco+", "val"): 4,
    ("refcoco+", "testA"): 5,
    ("refcoco+", "testB"): 6,
}
TWICE = "the paper's Table 1 gives 46.44 on RefCOCO val, which neither of its rows in Table 6 does"

_EDITING = "clip_dir clip_im clip_out l1 dino"
_EDITS = {
    "emu-edit": _rows(
        "Table 2",
        _EDITING,
        {
            "InstructPix2Pix": (0.078, 0.834, 0.219, 0.121, 0.762),
            "MagicBrush": (0.090, 0.838, 0.222, 0.100, 0.776),
            "Emu Edit": (0.109, 0.859, 0.231, 0.094, 0.819),
            "UltraEdit": (0.107, 0.844, 0.283, 0.071, 0.793),
            "PixWizard": (0.104, 0.845, 0.248, 0.069, 0.798),
        },
        UNSAID,
    ),
    "magicbrush": _rows(
        "Table 2",
        _EDITING,
        {
            "InstructPix2Pix": (0.115, 0.837, 0.245, 0.093, 0.767),
            "MagicBrush": (0.123, 0.883, 0.261, 0.058, 0.871),
            "Emu Edit": (0.135, 0.897, 0.261, 0.052, 0.879),
            "UltraEdit": (None, 0.868, None, 0.088, 0.792),
            "PixWizard": (0.124, 0.884, 0.265, 0.063, 0.876),
        },
        UNSAID,
    ),
}

_GENERATION = {
    "canny-to-image": _rows(
        "Table 3",
        "f1 fid clip_score",
        {
            "ControlNet-SD1.5": (34.65, 14.73, 32.15),
            "T2I-Adapter-SD1.5": (23.65, 15.96, 31.71),
            "PixWizard": (35.46, 15.76, 32.01),
        },
    ),
    "depth-to-image": _rows(
        "Table 3",
        "rmse fid clip_score",
        {
            "ControlNet-SD1.5": (35.90, 17.76, 32.45),
            "T2I-Adapter-SD1.5": (48.40, 22.52, 31.46),
            "PixWizard": (33.83, 16.94, 31.84),
        },
    ),
    "inpaint-places": _rows(
        "Table 3", "fid lpips", {"LDM-4": (9.39, 0.246), "LaMa": (12.0, 0.24), "PixWizard": (9.27, 0.25)}
    ),
    "outpaint-places": _rows(
        "Table 3",
        "fid inception_score",
        {"DeepFill v2": (11.51, 17.70), "MaskGIT": (7.80, 22.95), "PixWizard": (7.54, 22.18)},
    ),
    "coco-30k": _rows(
        "Table 3",
        "fid",
        {
            "DALL·E 2": (10.32,),
            "SD 1.5": (9.62,),
            "PixArt-α": (7.32,),
            "Lumina-Next": (9.79,),
            "PixWizard": (9.56,),
        },
    ),
    "hpsv2": _rows(
        "Table 3",
        "hps_v2",
        {"DALL·E 2": (27.24,), "SD 1.5": (27.46,), "Lumina-Next": (27.47,), "PixWizard": (27.47,)},
    ),
}

_FIXED = _PIXELS | _DENSE | _EDITS | _GENERATION


def quoted(name: str, options: Options) -> list[Quote]:
    """What papers print for a benchmark; nothing where none was found."""
    place = _TABLE_6_PLACES.get((name, options.split))
    if place is not None:
        rows: dict[str, Row] = {method: (row[place],) for method, row in _TABLE_6.items()}
        return _rows("Table 6", "ciou", rows, TWICE if (name, options.split) == ("refcoco", "val") else "")
    if (name == "sots" and options.split == "indoor") or (name == "lol-v2" and options.split == "synthetic"):
        return []  # the paper judges the other one
    return list(_FIXED.get(name, []))
