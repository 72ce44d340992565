"""ComfyUI's entry into PixWizard: the host reads `comfy_entrypoint` and `WEB_DIRECTORY`, nothing else."""

if __package__:  # empty only where pytest takes this file for a bare module
    from .nodes import comfy_entrypoint as comfy_entrypoint

WEB_DIRECTORY = "./web"
