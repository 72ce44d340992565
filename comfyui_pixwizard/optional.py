"""Packages that only some uses need."""

from __future__ import annotations

import importlib
import sys
from typing import Any


def pip_install(*packages: str) -> str:
    """The line that installs packages for the Python that runs now, which in a host is the host's own.

    Plain packages, because this project is in no index: `pixwizard[…]` names nothing that pip could find there.
    """
    words = (sys.executable or "python", "-m", "pip", "install", *packages)
    return " ".join(f'"{word}"' if set(word) & set(" <>[]&") else word for word in words)


def required(module: str, told: str, install: str) -> Any:
    """An optional module, imported now.

    Args:
        told: who needs what, the beginning of the message, such as "fp8 engines need ModelOpt".
        install: what to do where it is absent, such as `pip_install(…)`.

    Raises:
        ValueError: it is absent.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"{told}, which is not installed: {install}") from error
