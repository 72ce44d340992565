"""Says why the other tests of this folder did not run."""

import os

import pytest


def test_a_host_is_named() -> None:
    if not os.environ.get("COMFYUI_PATH"):
        pytest.skip("no ComfyUI: set COMFYUI_PATH to a checkout and COMFYUI_PYTHON to its Python, then make test-host")
