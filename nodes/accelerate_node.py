"""Accelerate PixWizard: a MODEL whose network runs elsewhere when it can."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import comfy.model_management as mm
import comfy.utils
import folder_paths
import torch
from comfy_api.latest import io, ui

from ..runtime.engine_cache import EngineCache
from ..runtime.evaluators import default_device, fast_bfloat16
from ..runtime.machine import gpu_architecture
from . import acceleration, accelerators
from .conversions import ADVANCED, Node, schema
from .host_model import PixWizardModel
from .notices import warn

FOLDER, SHARED = "pixwizard_engines", "tensorrt"
AUTO = "auto"
BUILD, EAGER, ERROR = "build", "eager", "error"
Engines = dict[tuple[str, str], acceleration.EnginePatcher]
# By model, then by backend and precision: an engine outlives the prompt that opened it.
HELD: weakref.WeakKeyDictionary[PixWizardModel, Engines] = weakref.WeakKeyDictionary()


def engine_folders() -> list[Path]:
    """models/tensorrt/pixwizard, then what extra_model_paths.yaml names for tensorrt or pixwizard_engines."""
    default = os.path.join(folder_paths.models_dir, SHARED, "pixwizard")
    folder_paths.add_model_folder_path(FOLDER, default, is_default=True)
    shared = folder_paths.folder_names_and_paths.get(SHARED, ([], set()))[0]
    others = [os.path.join(path, "pixwizard") for path in shared]
    return [Path(path) for path in dict.fromkeys([*folder_paths.get_folder_paths(FOLDER), *others])]


class Accelerate(Node):
    """Chooses an accelerator, and says which it is or why there is none."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardAccelerate",
            purpose="loaders",
            aliases=["tensorrt", "onnx", "compile", "speed up", "faster", "engine"],
            inputs=[
                io.Model.Input("model"),
                io.Combo.Input("backend", options=[AUTO, *accelerators.PRECISIONS], default=AUTO),
                io.Combo.Input(
                    "precision", options=[AUTO, "float32", "bfloat16", "int8", "fp8"], default=AUTO, extra_dict=ADVANCED
                ),
                io.Combo.Input("on_missing", options=[BUILD, EAGER, ERROR], default=BUILD, extra_dict=ADVANCED),
            ],
            outputs={"model": io.Model, "status": io.String},
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model: Any, backend: str = AUTO, precision: str = AUTO, on_missing: str = BUILD) -> io.NodeOutput:
        if not isinstance(model.model, PixWizardModel):
            raise ValueError(
                f"Accelerate PixWizard needs a PixWizard MODEL, found {type(model.model).__name__}: connect Load "
                "PixWizard, or use the host's TorchCompileModel for other models"
            )
        made = model.clone()
        node = getattr(getattr(cls, "hidden", None), "unique_id", None)

        def tell(reason: str) -> None:
            warn(f"Accelerate PixWizard: the network runs as it is: {reason}", node)

        status = accelerated(made, backend, precision, on_missing, tell)
        return io.NodeOutput(made, status, ui=ui.PreviewText(status))


def accelerated(model: Any, backend: str, precision: str, on_missing: str, tell: Callable[[str], None]) -> str:
    """Attach an accelerator to a MODEL.

    Returns:
        What runs, for people.

    Raises:
        ValueError: none can be had and `on_missing` is "error".
    """
    reasons = []
    for name in candidates(model, backend):
        try:
            build = on_missing == BUILD and backend != AUTO
            engine = held_by(model, name, accelerators.precision_of(name, precision), build)
            words = engine.model.open(model).words
        except (ValueError, RuntimeError) as error:
            reasons.append(f"{name}: {' '.join(str(error).split())[:400]}")
            continue
        acceleration.attach(model, engine, on_missing == ERROR, tell)
        return words
    reason = "; ".join(reasons) or f"{default_device().type} runs the network fastest as it is"
    if on_missing == ERROR:
        raise ValueError(f"Accelerate PixWizard: {reason}")
    words = f"the network runs as it is: {reason}"
    logging.warning("Accelerate PixWizard: %s", words)
    return words


def candidates(model: Any, backend: str) -> list[str]:
    """Backends to try, in order."""
    if backend != AUTO:
        return [backend]
    if torch.cuda.is_available():
        return [accelerators.TENSORRT]
    already = model.model.diffusion_model.compute_dtype == torch.bfloat16
    return [accelerators.BFLOAT16] if fast_bfloat16(default_device()) and not already else []


def held_by(model: Any, backend: str, precision: str, build: bool) -> acceleration.EnginePatcher:
    """The accelerator of a MODEL, the same for all that share its network."""
    kept = HELD.setdefault(model.model, {})
    folders = engine_folders()
    make = partial(made, backend, precision, EngineCache(folders[0], folders[1:]), build)
    if (backend, precision) not in kept:
        held = acceleration.Held(model.model, make)
        kept[backend, precision] = acceleration.EnginePatcher(held, model.load_device, model.offload_device)
    kept[backend, precision].model.make = make
    return kept[backend, precision]


def made(backend: str, precision: str, cache: EngineCache, build: bool, network: Any, base: Any) -> Any:
    """An accelerator, while the page shows how far it is.

    Raises:
        ValueError: as `accelerators.make`.
    """
    bar = comfy.utils.ProgressBar(100)

    def tell(words: str, done: int, of: int) -> None:
        mm.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, of)

    if backend == accelerators.TENSORRT and build:
        gpu_architecture()
        mm.unload_all_models()  # the compiler measures kernels and wants the GPU for itself
    return accelerators.make(backend, precision, network, base, cache, build, tell)
