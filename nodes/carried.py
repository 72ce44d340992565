"""What a model declares, on its way through a graph: it hangs on the networks that MODEL, CLIP and VAE share with their
copies.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ..comfyui_pixwizard.files.components import read_declared
from ..comfyui_pixwizard.tasks.declared import Declared

# Where the host keeps the network of a MODEL, a CLIP and a VAE.
NETWORKS = ("model", "cond_stage_model", "first_stage_model")
# The choice of nodes that take what the model declares.
MODELS_OWN = "the model's"


@cache
def nano() -> Declared:
    """What the bundled model declares."""
    return read_declared("nano")


def carry(declared: Declared, *parts: Any) -> None:
    """Let parts of one model carry what it declares."""
    for part in parts:
        for network in (getattr(part, name, None) for name in NETWORKS):
            if network is not None:
                network.declared = declared


def carried(*parts: Any) -> Declared:
    """What the first of some parts that carries anything declares; without any, the bundled model's.

    Args:
        parts: MODEL, CLIP or VAE, of any model, or None where nothing is linked.
    """
    for part in parts:
        for name in NETWORKS:
            found = getattr(getattr(part, name, None), "declared", None)
            if isinstance(found, Declared):
                return found
    return nano()
