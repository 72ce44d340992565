"""What an exported network is known by: its configuration, its weights, and the version of the graph."""

from __future__ import annotations

import hashlib
import json
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch

from ..comfyui_pixwizard.transformer import PixWizardTransformer

# Counts changes of what the exported graphs compute or take; an older one is refused.
GRAPH_VERSION = 1


Made = TypeVar("Made")


class OfWeights(Generic[Made]):
    """What was made of a network's weights: kept while the network lives and has them where they are."""

    def __init__(self) -> None:
        self.kept: weakref.WeakKeyDictionary[PixWizardTransformer, tuple[Any, Made]] = weakref.WeakKeyDictionary()

    def get(self, transformer: PixWizardTransformer, make: Callable[[], Made]) -> Made:
        """What is kept, made where there is nothing, or where weights were exchanged, written to or moved since."""
        # Hashing them anew each time would take seconds.
        state = tuple((p.device, p.data_ptr(), 0 if p.is_inference() else p._version) for p in transformer.parameters())
        if transformer not in self.kept or self.kept[transformer][0] != state:
            self.kept[transformer] = state, make()
        return self.kept[transformer][1]


def weights_hash(transformer: PixWizardTransformer) -> str:
    """SHA-256 over names, shapes and values of all parameters, by name.

    Values count as float32, so that weights kept in a half type and the same ones widened are the same.
    """
    digest = hashlib.sha256()
    for name, value in sorted(transformer.state_dict().items()):
        digest.update(f"{name} {list(value.shape)}\n".encode())
        flat = value.detach().to("cpu", torch.float32).contiguous()
        digest.update(flat.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def config_text(transformer: PixWizardTransformer) -> str:
    """The configuration as JSON, always in one form."""
    return json.dumps(transformer.config.to_dict(), sort_keys=True)
