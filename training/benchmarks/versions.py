"""Versions of the libraries that figures depend on."""

from __future__ import annotations

from importlib import metadata

LIBRARIES = (
    "torch",
    "numpy",
    "pillow",
    "scipy",
    "scikit-image",
    "opencv-python-headless",
    "torchmetrics",
    "torch-fidelity",
    "lpips",
    "pycocotools",
    "open-clip-torch",
    "timm",
    "transformers",
)


def versions() -> dict[str, str]:
    """Those that are installed, by name."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
