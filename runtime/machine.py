"""What engines depend on beside the model: operating system, processor, GPU."""

from __future__ import annotations

import platform

import torch


def system_name() -> str:
    """Operating system and processor, such as linux-x86_64."""
    return f"{platform.system()}-{platform.machine()}".lower()


def gpu_architecture(device: int = 0) -> str:
    """The architecture of a GPU, such as sm90.

    Raises:
        ValueError: there is none.
    """
    if not torch.cuda.is_available():
        raise ValueError("TensorRT engines are built on the NVIDIA GPU that runs them, found none: run this there")
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm{major}{minor}"
