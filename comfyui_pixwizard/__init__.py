"""The model and its use from Python; imports neither ComfyUI nor any sibling package."""

from typing import TYPE_CHECKING, Any

from .config import PixWizardConfig

if TYPE_CHECKING:
    from .pipeline import PixWizardPipeline
    from .transformer import PixWizardTransformer

__all__ = ["PixWizardConfig", "PixWizardPipeline", "PixWizardTransformer"]

# Loaded on first use: the pipeline pulls in transformers, which costs seconds that `pixwizard info` need not pay.
_LAZY = {"PixWizardTransformer": "transformer", "PixWizardPipeline": "pipeline"}
_SUBMODULES = {
    "conditions",
    "encoders",
    "flow",
    "guidance",
    "pipeline",
    "solvers",
    "tasks",
    "transformer",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _LAZY:
        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    if name in _SUBMODULES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
