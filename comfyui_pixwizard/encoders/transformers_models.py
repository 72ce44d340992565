"""The classes of transformers in use, imported so that a broken torchvision does no harm. Import them from here.

The package index's torchvision is a CUDA build; beside a CPU build of torch its import raises RuntimeError (its
compiled operators are missing). transformers and diffusers ask only whether the package is *installed* and then die
importing GemmaModel, CLIPModel or AutoencoderKL, none of which uses it.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
from collections.abc import Iterator

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def broken_torchvision_hidden() -> Iterator[None]:
    """While the block runs, a torchvision that cannot be imported looks absent; one that can is left alone.

    Libraries that look for it inside remember the answer (transformers and diffusers cache it); all others are not
    affected.
    """
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError, OSError) as error:
        logger.info("torchvision cannot be imported (%s) and is treated as absent", error)
        sys.modules["torchvision"] = None  # type: ignore[assignment]
        try:
            yield
        finally:
            del sys.modules["torchvision"]
    else:
        yield


with broken_torchvision_hidden():
    from transformers import (
        CLIPConfig,
        CLIPModel,
        CLIPTextConfig,
        CLIPTextModelWithProjection,
        CLIPVisionConfig,
        CLIPVisionModel,
        GemmaConfig,
        GemmaModel,
        PreTrainedModel,
        PreTrainedTokenizerFast,
    )
    from transformers.utils import logging as hf_logging

__all__ = [
    "CLIPConfig",
    "CLIPModel",
    "CLIPTextConfig",
    "CLIPTextModelWithProjection",
    "CLIPVisionConfig",
    "CLIPVisionModel",
    "GemmaConfig",
    "GemmaModel",
    "PreTrainedModel",
    "PreTrainedTokenizerFast",
    "broken_torchvision_hidden",
    "hf_logging",
]
