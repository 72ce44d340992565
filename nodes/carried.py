"""What a model declares, on its way through a graph: it hangs on the networks that MODEL, CLIP and VAE share with their
copies.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ..comfyui_pixwizard.files.components import read_declared
from ..comfyui_pixwizard.task_table import TaskTable
from ..comfyui_pixwizard.tasks.declared import Declared
from ..comfyui_pixwizard.tasks.predictor import TaskPredictor

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


def carry_learned(model: Any, clip: Any, table: TaskTable | None, predictor: TaskPredictor | None) -> None:
    """Let MODEL carry a task table and CLIP a task predictor; in a tuple, so that the host takes them for no layers."""
    model.model.task_table, clip.cond_stage_model.task_predictor = (table,), (predictor,)


def carried_predictor(clip: Any) -> TaskPredictor | None:
    """The task predictor of CLIP's model, where it has one."""
    (found,) = getattr(getattr(clip, "cond_stage_model", None), "task_predictor", (None,))
    return found


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
