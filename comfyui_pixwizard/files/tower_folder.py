"""Configuration and weights of an encoder's Hugging Face folder, for who builds the encoder without transformers.

A folder may hold its weights in one file or in several that an index names, and a whole CLIP where one tower is wanted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from ..encoders.transformers_models import CLIPTextConfig, CLIPVisionConfig
from .checkpoint import INDEX_FILE, SINGLE_FILE
from .safe_files import indexed_files, read_json, read_tensors

TOWERS: dict[str, Any] = {"text": CLIPTextConfig, "vision": CLIPVisionConfig}


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder.

    Raises:
        ValueError: no weights there, unreadable ones, or an index that names files elsewhere.
    """
    single, index = folder / SINGLE_FILE, folder / INDEX_FILE
    files = [single] if single.is_file() or not index.is_file() else indexed_files(index)
    return {name: value for file in files for name, value in read_tensors(file).items()}


def read_tower(folder: Path, tower: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and weights of a tower of CLIP, "text" or "vision", from a folder of this tower or of both.

    Raises:
        ValueError: no configuration or no weights there, or unreadable ones.
    """
    config, state = read_json(folder / "config.json"), read_weights(folder)
    own = config.get(f"{tower}_config")
    if own is None:
        return config, state
    shared = {"projection_dim": config["projection_dim"]} if "projection_dim" in config else {}
    prefixes = f"{tower}_model.", "text_projection." if tower == "text" else "visual_projection."
    return TOWERS[tower](**(own | shared)).to_dict(), {n: v for n, v in state.items() if n.startswith(prefixes)}
