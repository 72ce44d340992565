"""What a training begins with: a transformer of this project, a released folder, or Lumina-Next."""

from __future__ import annotations

from pathlib import Path

from ...comfyui_pixwizard.files.checkpoint import load_transformer
from ...comfyui_pixwizard.files.lumina import DROPPED, NAMES, find_lumina, init_from_lumina
from ...comfyui_pixwizard.files.released import ARGS_FILE, convert_released, weights_name
from ...comfyui_pixwizard.files.safe_files import TensorFile
from ...comfyui_pixwizard.transformer import PixWizardTransformer
from ..loop.parallel import World

CONVERTED = "start.safetensors"


def is_lumina(path: Path) -> bool:
    """Whether this is Lumina-Next's file or folder."""
    if path.is_dir() and not any((path / name).is_file() for name in NAMES):
        return False
    return any(name.startswith(DROPPED) for name in TensorFile(find_lumina(path)).specs)


def load_start(path: Path, folder: Path, world: World, seed: int = 0) -> PixWizardTransformer:
    """A transformer in float32; foreign forms are converted once, to FOLDER/start.safetensors.

    Raises:
        ValueError: nothing that a training can begin with.
    """
    if not path.exists():
        raise ValueError(f"--start is a model's file or folder, found none at {path}: check the path")
    converted = folder / CONVERTED
    released = (path / ARGS_FILE).is_file()
    foreign = released or path.suffix == ".pth" or is_lumina(path)
    if foreign and world.main and not converted.exists():
        if is_lumina(path):
            init_from_lumina(path, converted, seed=seed)
        else:
            convert_released(path, converted, ema=(path / weights_name(True)).is_file(), dtype="float32")
    world.wait()
    return load_transformer(converted if foreign else path)
