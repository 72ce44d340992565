"""A connection to a Ray cluster, for the commands that can work on one."""

from __future__ import annotations

import importlib
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..comfyui_pixwizard.optional import pip_install

REQUIREMENT = "ray[data]>=2.40"
PACKAGE = "pixwizard"


def require_ray() -> Any:
    """The module ray, with ray.data imported.

    Raises:
        ValueError: it is not installed, or this package goes by another name, as inside ComfyUI.
    """
    if not __name__.startswith(f"{PACKAGE}."):
        raise ValueError(f"--ray needs this package installed as {PACKAGE}, found {__name__}: run pip install in it")
    # The numbers that a local Ray sends home by default are none of its business here.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        importlib.import_module("ray.data")
        return importlib.import_module("ray")
    except ImportError as error:
        raise ValueError(f"--ray needs Ray Data, found: {error}; {pip_install(REQUIREMENT)}") from error


@contextmanager
def connected(ray: Any, address: str) -> Iterator[None]:
    """Connected to a cluster, quietly; a connection that the caller has is used and kept."""
    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        quiet["include_dashboard"] = False
    try:
        _check_reachable(address)
        ray.init(address, **quiet)
    except (OSError, ValueError, RuntimeError, OverflowError) as error:
        found = " ".join(str(error).split())[:300]
        raise ValueError(
            f"--ray takes local or the address of a running cluster, found {address!r}: {found}; start one with "
            "ray start --head, or take local"
        ) from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Ask once at HOST:PORT: Ray itself asks for minutes, and says so in a dozen lines.

    Raises:
        OSError: nobody answers there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        with socket.create_connection((host.strip("[]"), int(port)), timeout=10):
            pass
