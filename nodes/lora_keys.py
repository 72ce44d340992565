"""Names under which the stock LoRA loader finds the weights of a PixWizard model.

The host itself knows kohya's names and the bare names of the model. The two forms that PEFT and diffusers write it
knows for its own architectures only and keeps in one function, without a place to register others; that function is
extended here, for models of our class alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.lora

NETWORK = "diffusion_model."
# {} is the parameter's name in the network, without ".weight".
FORMS = ("transformer.{}", "base_model.model.{}", "base_model.model.diffusion_model.{}", "unet.{}", "{}")
LYCORIS = "lycoris_{}"


def add_names(model: Any, names: dict[str, Any]) -> dict[str, Any]:
    """Add PEFT's, diffusers' and LyCORIS' names of all weights to the host's table."""
    for key in model.state_dict():
        if key.startswith(NETWORK) and key.endswith(".weight"):
            name = key.removeprefix(NETWORK).removesuffix(".weight")
            names |= {form.format(name): key for form in FORMS}
            names[LYCORIS.format(name.replace(".", "_"))] = key
    return names


def install(model_class: type) -> None:
    """Extend the host's table for models of a class; a second call changes nothing."""
    known: Callable[..., dict[str, Any]] = comfy.lora.model_lora_keys_unet
    if getattr(known, "pixwizard", None) == model_class:
        return

    def with_our_names(model: Any, key_map: dict[str, Any] | None = None) -> dict[str, Any]:
        names = known(model, {} if key_map is None else key_map)
        return add_names(model, names) if isinstance(model, model_class) else names

    with_our_names.pixwizard = model_class  # type: ignore[attr-defined]
    comfy.lora.model_lora_keys_unet = with_our_names
