"""Where PixWizard models lie, and how each becomes the host's MODEL, CLIP, CLIP_VISION and VAE."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import comfy.sd
import comfy.utils
import folder_paths
import torch
from comfy_execution.graph_utils import ExecutionBlocker

from ..comfyui_pixwizard.encoders.folder import load_tokenizer
from ..comfyui_pixwizard.encoders.transformers_models import PreTrainedTokenizerFast
from ..comfyui_pixwizard.files.checkpoint import ModelFiles, check_names_and_shapes, meta_specs
from ..comfyui_pixwizard.files.components import BUNDLED, PIPELINE_FILE, load_part, read_description
from ..comfyui_pixwizard.files.open_clip import OpenClip, find_open_clip, is_open_clip
from ..comfyui_pixwizard.files.predictor_file import PREDICTOR_FILE, load_predictor
from ..comfyui_pixwizard.files.released import ARGS_FILE, declared_by, infer_config, read_args
from ..comfyui_pixwizard.files.safe_files import TensorFile
from ..comfyui_pixwizard.files.table_file import TABLE_FILE, load_table
from ..comfyui_pixwizard.files.tower_folder import read_tower, read_weights
from ..comfyui_pixwizard.local_edits.direction import Direction
from ..comfyui_pixwizard.tasks.declared import Declared
from . import host_detection, host_model, host_text, host_vision
from .carried import carry, carry_learned

FOLDER = "pixwizard"
NANO = "nano (bundled)"
WEIGHTS = {".safetensors", ".pth"}


class ModelParts(NamedTuple):
    """What the loader gives; what a file does not hold is a blocker that says so."""

    model: Any
    clip: Any
    clip_vision: Any
    vae: Any


def register_folder() -> None:
    """Make models/pixwizard known to the host; extra_model_paths.yaml may have added others before."""
    default = os.path.join(folder_paths.models_dir, FOLDER)
    folder_paths.add_model_folder_path(FOLDER, default)
    paths, _ = folder_paths.folder_names_and_paths[FOLDER]
    folder_paths.folder_names_and_paths[FOLDER] = (paths, WEIGHTS | {".json"})


def model_names() -> list[str]:
    """Choices of the loader: the bundled model, folders with pipeline.json, files of weights outside such folders."""
    found = folder_paths.get_filename_list(FOLDER)
    folders = sorted(os.path.dirname(name) for name in found if os.path.basename(name) == PIPELINE_FILE)
    inside = tuple(folder + os.sep for folder in folders if folder)
    files = [
        name
        for name in found
        if os.path.splitext(name)[1] in WEIGHTS and os.path.basename(name) != ARGS_FILE and not name.startswith(inside)
    ]
    return [NANO, *(folder for folder in folders if folder), *sorted(files)]


def load(name: str, weights: str) -> ModelParts:
    """The parts of a model of `model_names`.

    Raises:
        ValueError: it is gone, damaged, or no PixWizard.
    """
    if name == NANO:
        return load_folder(BUNDLED["nano"], weights)
    if os.path.splitext(name)[1] in WEIGHTS:
        return load_file(Path(folder_paths.get_full_path_or_raise(FOLDER, name)), weights)
    description = folder_paths.get_full_path_or_raise(FOLDER, os.path.join(name, PIPELINE_FILE))
    return load_folder(Path(description).parent, weights)


def load_folder(folder: Path, weights: str) -> ModelParts:
    """All parts of a folder that `PixWizardPipeline.save_pretrained` wrote."""
    found = read_description(folder)
    files = ModelFiles(folder / "transformer")
    declared = found.declared() or files.declared or Declared.own(max_size=found.max_size)
    model = host_model.make_model(files.read(), files.config, weights, declared)
    autoencoder: Any = load_part(folder, "autoencoder", found.components["autoencoder"], torch.float32)
    if found.components["autoencoder"] == "nano":
        vae: Any = host_vision.NanoVAE(autoencoder)
        latents = model.model.latent_format
        latents.latent_rgb_factors, latents.latent_rgb_factors_bias = host_vision.preview_factors(autoencoder)
    else:
        vae = comfy.sd.VAE(sd=dict(autoencoder.vae.state_dict()))
    clip = clip_of(folder)
    carry(declared, clip, vae)
    model.model.direction = Direction.read(folder)
    carry_learned(
        model,
        clip,
        load_table(folder / TABLE_FILE) if (folder / TABLE_FILE).is_file() else None,
        load_predictor(folder / PREDICTOR_FILE) if (folder / PREDICTOR_FILE).is_file() else None,
    )
    return ModelParts(model, clip, host_vision.load_vision(folder / "image_encoder"), vae)


def clip_of(folder: Path) -> Any:
    """The CLIP of a folder with text_encoder/ and task_encoder/."""
    text, task = folder / "text_encoder", folder / "task_encoder"
    features = read_weights(text)
    features = {name if name.startswith("model.") else f"model.{name}": value for name, value in features.items()}
    file = find_open_clip(task)
    if file is not None:
        checkpoint = OpenClip(file)
        tower, weights = checkpoint.tower("text")
        config, tokenizer = tower.to_dict(), checkpoint.tokenizer()
    else:
        (config, weights), tokenizer = read_tower(task, "text"), load_tokenizer(task, "the CLIP text encoder")
    return host_text.make_clip(
        features,
        weights,
        feature_config=host_text.GemmaConfig.of(features, str(text)),
        task_config=config,
        feature_tokenizer=load_tokenizer(text, "the Gemma text encoder"),
        task_tokenizer=tokenizer,
    )


def load_file(path: Path, weights: str) -> ModelParts:
    """The MODEL of one file: one that the host saved, ours with its configuration in the metadata, or the released.

    Raises:
        ValueError: damaged, or no PixWizard.
    """
    file = TensorFile(path)
    saved = host_detection.read_saved(file)
    if saved is not None:
        state, config, declared = saved
    elif "config" in file.metadata:
        files = ModelFiles(path)
        state, config, declared = files.read(), files.config, files.declared
    else:
        args = read_args(path.parent) if (path.parent / ARGS_FILE).is_file() else {}
        config = infer_config(file.specs, args, path)
        check_names_and_shapes(file.specs, meta_specs(config), path, "use an unmodified copy of the released weights")
        state, declared = file.read(list(file.specs)), declared_by(args)
    model = host_model.make_model(state, config, weights, declared)
    told = (f"{path.name} holds a transformer and no {what}: connect {use} in its place" for what, use in ABSENT)
    return ModelParts(model, *map(ExecutionBlocker, told))


ABSENT = (
    ("text encoders", "Load PixWizard Text Encoders (Gemma-2B and CLIP-L)"),
    ("CLIP vision model", "Load CLIP Vision (CLIP-L/14-336)"),
    ("VAE", "Load VAE (the SDXL VAE)"),
)


def load_text_encoders(gemma: str, clip_l: str) -> Any:
    """A CLIP from one file for each encoder, of models/text_encoders.

    Raises:
        ValueError: another model, or no tokenizer.
    """
    paths = [Path(folder_paths.get_full_path_or_raise("text_encoders", name)) for name in (gemma, clip_l)]
    features = comfy.utils.load_torch_file(str(paths[0]), safe_load=True)
    pieces = features.pop("spiece_model", None)
    tokenizer = pieces if pieces is not None else _tokenizer_beside(paths[0])
    config, task = _task_tower(paths[1])
    return host_text.make_clip(
        features,
        task,
        feature_config=host_text.GemmaConfig.of(features, gemma),
        task_config=config,
        feature_tokenizer=tokenizer,
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
    )


def _task_tower(path: Path) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Configuration, None for CLIP-L's, and weights of CLIP's text tower in a file, transformers' or OpenCLIP's."""
    task = comfy.utils.load_torch_file(str(path), safe_load=True)
    if is_open_clip(task):
        config, weights = OpenClip(path).tower("text")
        return config.to_dict(), weights
    if "text_projection.weight" not in task:
        raise ValueError(
            f"the task encoder needs CLIP-L with its projection, found none in {path.name}: use the text "
            "tower of openai/clip-vit-large-patch14 (the clip_l.safetensors made for Flux lacks it)"
        )
    return None, {name: value for name, value in task.items() if name.startswith("text_")}


def _tokenizer_beside(path: Path) -> Any:
    for place in (path.with_name(path.stem + ".tokenizer.json"), path.with_name("tokenizer.json")):
        if place.is_file():
            return PreTrainedTokenizerFast(
                tokenizer_file=str(place), bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
            )
    for place in (path.with_suffix(".model"), path.with_name("tokenizer.model")):
        if place.is_file():
            return place.read_bytes()
    raise ValueError(
        f"Gemma needs its tokenizer, found none in {path.name} (tensor spiece_model) nor beside it: put "
        "tokenizer.model of google/gemma-2b next to the weights"
    )
