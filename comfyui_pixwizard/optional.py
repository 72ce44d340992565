"""Packages that only some uses need."""

from __future__ import annotations

import importlib
from typing import Any


def required(module: str, told: str, install: str) -> Any:
    """An optional module, imported now.

    Args:
        told: who needs what, the beginning of the message, such as "fp8 engines need ModelOpt".
        install: what to do where it is absent, such as a pip line.

    Raises:
        ValueError: it is absent.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"{told}, which is not installed: {install}") from error
