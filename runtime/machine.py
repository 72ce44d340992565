"""What engines depend on beside the model: operating system, processor, GPU; and where this machine keeps them."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

CACHE = "PIXWIZARD_CACHE"


def system_name() -> str:
    """Operating system and processor, such as linux-x86_64."""
    return f"{platform.system()}-{platform.machine()}".lower()


def gpu_architecture(device: int = 0) -> str:
    """The architecture of a GPU, such as sm90.

    Raises:
        ValueError: there is none.
    """
    if not torch.cuda.is_available():
        raise ValueError(
            "TensorRT engines are built on the NVIDIA GPU that runs them, found no GPU: run this on a machine with "
            "one, or take onnxruntime, compiled or bfloat16"
        )
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm{major}{minor}"


def cache_folder() -> Path:
    """Where compiled code and engines are kept between processes: $PIXWIZARD_CACHE, by default ~/.cache/pixwizard."""
    given = os.environ.get(CACHE)
    return Path(given).expanduser() if given else Path.home() / ".cache" / "pixwizard"
