"""ComfyUI nodes. Importable without a host: the host's modules are only touched when it calls the entry point."""

from typing import Any


async def comfy_entrypoint() -> Any:
    """Answer the host's loader with the extension."""
    from .extension import PixWizardExtension

    return PixWizardExtension()
