"""The field's libraries, imported where they are used, beside whichever torchvision is installed."""

from __future__ import annotations

import importlib
import re
import sys
from functools import cache
from importlib import metadata
from typing import Any

import torch

from ...comfyui_pixwizard.optional import pip_install, required

LIBRARIES = (
    "torch",
    "numpy",
    "pillow",
    "scipy",
    "scikit-image",
    "opencv-python-headless",
    "torchmetrics",
    "torch-fidelity",
    "lpips",
    "pycocotools",
    "open-clip-torch",
    "timm",
    "transformers",
)
# Operators of torchvision without which it cannot be imported; no metric here uses them.
OPERATORS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
LACKING = re.compile(r"operator torchvision::(\w+) does not exist")


def library(module: str, told: str, *packages: str) -> Any:
    """A module of a library that may need torchvision.

    Args:
        told: who needs what, such as "FID is torch-fidelity's".
        packages: what pip installs.

    Raises:
        ValueError: it is not installed, or cannot be imported beside this torch.
    """
    try:
        _torchvision()
        return required(module, told, pip_install(*packages))
    except (RuntimeError, OSError) as error:
        raise ValueError(
            f"{told}, which cannot be imported ({str(error).splitlines()[0]}): install the torchvision of this torch"
        ) from error


@cache
def _torchvision() -> tuple[Any, ...]:
    """Import torchvision, if there is one.

    The package index's torchvision is a CUDA build. Beside a CPU build of torch its compiled operators are missing and
    its import stops at the first of them; declared, without any code behind them, it is imported. Answers what keeps
    the declarations alive.
    """
    kept: list[Any] = []
    for _ in range(4):
        try:
            importlib.import_module("torchvision")
            break
        except ImportError:
            break  # absent: what needs it says so
        except RuntimeError as error:
            found = LACKING.search(str(error))
            if found is None:
                raise
            kept.append(torch.library.Library("torchvision", "FRAGMENT"))
            kept[-1].define(found[1] + OPERATORS)
            for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
    return tuple(kept)


def versions() -> dict[str, str]:
    """Versions of the libraries that figures depend on, as far as they are installed, by name."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
