"""Components that lie in the accelerator's memory only while they run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


@contextlib.contextmanager
def brought(part: Any, device: torch.device) -> Iterator[Any]:
    """A component on a device while the block runs, back where it was afterwards.

    With the encoders kept on the CPU and brought one by one, a sampling at 1024 px holds the transformer, the cached
    conditions and one encoder at most.
    """
    home = next(part.parameters()).device
    if home == device:
        yield part
        return
    part.to(device)
    try:
        yield part
    finally:
        part.to(home)
