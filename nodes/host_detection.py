"""PixWizard weights in the host's own loaders, and in files that its ModelSave writes.

The host tells architectures apart in one function without a place to register others; it takes PixWizard's names for
Lumina's and fails. That function is extended here, for state dicts with names that only PixWizard has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import comfy.model_detection
from torch import Tensor

from ..comfyui_pixwizard.config import PixWizardConfig
from ..comfyui_pixwizard.files.checkpoint import DECLARES as IN_METADATA
from ..comfyui_pixwizard.files.checkpoint import check_names_and_shapes, count_layers, declared_of, meta_specs
from ..comfyui_pixwizard.files.released import infer_config
from ..comfyui_pixwizard.files.safe_files import Spec, TensorFile
from ..comfyui_pixwizard.tasks.declared import Declared
from .host_model import CONFIG, DECLARES, model_config

# What the host puts before the network's names when it saves.
SAVED = "model.diffusion_model."
# Names that neither Lumina nor its relatives have.
NAMES = ("task_embedder.0.weight", "global_semantic_embedder.0.weight", "layers.0.attention.wk_y.weight")
FIX = "use an unmodified copy"


def parsed(text: str, where: Path) -> PixWizardConfig:
    """A configuration from its JSON.

    Raises:
        ValueError: the text is no JSON, or not that of a configuration.
    """
    try:
        return PixWizardConfig.from_dict(json.loads(text))
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{where} holds no configuration of a PixWizard, found: {error}; {FIX}") from error


def _text(values: Tensor) -> str:
    return bytes(values.flatten().tolist()).decode("utf-8", errors="replace")


def kept_declaration(state: Mapping[str, Tensor], metadata: Mapping[str, str], where: Path) -> Declared | None:
    """What the model of a state dict declares, in an entry of its own or in the file's metadata.

    Raises:
        ValueError: it declares what cannot be used.
    """
    return declared_of({IN_METADATA: _text(state[DECLARES])} if DECLARES in state else metadata, where)


def config_of(state: Mapping[str, Tensor], metadata: Mapping[str, str], where: Path) -> PixWizardConfig:
    """The configuration behind a state dict with the network's own names.

    Raises:
        ValueError: names or shapes that do not fit it.
    """
    specs = {name: Spec(value.dtype, tuple(value.shape)) for name, value in state.items()
             if name not in (CONFIG, DECLARES)}  # fmt: skip
    if CONFIG in state:
        config = parsed(_text(state[CONFIG]), where)
    elif "config" in metadata:
        config = parsed(metadata["config"], where)
    else:
        config = infer_config(specs, {}, where)
    if config.n_layers != count_layers(specs):
        raise ValueError(f"{where} should hold {config.n_layers} layers, found {count_layers(specs)}: {FIX}")
    check_names_and_shapes(specs, meta_specs(config), where, FIX)
    return config


def read_saved(file: TensorFile) -> tuple[dict[str, Tensor], PixWizardConfig, Declared | None] | None:
    """Weights, configuration and what is declared of a file that the host's ModelSave or CheckpointSave wrote.

    None for other files.

    Raises:
        ValueError: it holds no PixWizard.
    """
    names = [name for name in file.specs if name.startswith(SAVED)]
    if not names:
        return None
    state = {name.removeprefix(SAVED): value for name, value in file.read(names).items()}
    config = config_of(state, file.metadata, file.path)
    declared = kept_declaration(state, file.metadata, file.path)
    for name in (CONFIG, DECLARES):
        state.pop(name, None)
    return state, config, declared


def install() -> None:
    """Extend the host's detection; a second call changes nothing."""
    known: Any = comfy.model_detection.model_config_from_unet
    if hasattr(known, "pixwizard"):
        return

    def with_ours(state_dict: Any, unet_key_prefix: str, *others: Any, **options: Any) -> Any:
        if any(unet_key_prefix + name not in state_dict for name in NAMES):
            return known(state_dict, unet_key_prefix, *others, **options)
        state = {name.removeprefix(unet_key_prefix): value for name, value in state_dict.items()
                 if name.startswith(unet_key_prefix)}  # fmt: skip
        metadata, where = options.get("metadata") or {}, Path("this file")
        return model_config(config_of(state, metadata, where), kept_declaration(state, metadata, where))

    with_ours.pixwizard = True  # type: ignore[attr-defined]
    comfy.model_detection.model_config_from_unet = with_ours
