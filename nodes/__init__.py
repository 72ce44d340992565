"""ComfyUI nodes. Importable without a host: the host's modules are only touched when it calls the entry point."""


async def comfy_entrypoint():
    """Answer the host's loader with the extension.

    Raises:
        NotImplementedError: the nodes are not part of this version.
    """
    raise NotImplementedError(
        "PixWizard's ComfyUI nodes are not part of version 0.1: this version offers the Python pipeline "
        "and the `pixwizard` command line; see README.md"
    )
