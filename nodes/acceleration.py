"""Accelerators inside the host's MODEL: when one is used, what it costs, and the network itself where it cannot be.

The MODEL stays what it was: a wrapper around its network's call asks an accelerator first. Patches, LoRA, samplers and
previews keep working, because the network runs whenever the accelerator cannot do what is asked.
Shapes: B samples, C latent channels, h w latent sides, R layers, T text tokens.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import comfy.ldm.common_dit
import comfy.lora
import comfy.model_management as mm
import comfy.model_patcher
import comfy.patcher_extension
import comfy.utils
import torch
from einops import rearrange
from torch import Tensor, nn

from ..comfyui_pixwizard.transformer import PixWizardTransformer
from ..runtime.engine_profiles import Unsupported
from .accelerators import Accelerator
from .host_model import PixWizardModel
from .lora_keys import NETWORK

KEY = "pixwizard_accelerate"
LAYERED = ("text_keys", "text_values", "image_keys", "image_values")
# From the network with its base weights, and from what gives a base weight later.
Make = Callable[[PixWizardTransformer, Callable[[str], Tensor]], Accelerator]


def base_network(patcher: Any) -> PixWizardTransformer:
    """The network of a MODEL as the core has it, on the CPU, in float32, with its base weights: without any LoRA."""
    model: PixWizardModel = patcher.model
    with torch.device("meta"):
        network = PixWizardTransformer(model.diffusion_model.config)
    weights = {name: base_weight(patcher, NETWORK + name) for name in network.state_dict()}
    network.load_state_dict(weights, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def base_weight(patcher: Any, key: str) -> Tensor:
    """A weight of a MODEL without any LoRA, a float32 copy on the CPU."""
    kept = patcher.backup.get(key)
    value = comfy.utils.get_attr(patcher.model, key) if kept is None else kept.weight
    return value.detach().to("cpu", torch.float32, copy=True)


def lora_changes(patcher: Any) -> dict[str, Tensor]:
    """Weights as a MODEL's stock LoRAs make them, by name in the network."""
    keys = [key for key in patcher.patches if key.startswith(NETWORK)]
    return {
        key.removeprefix(NETWORK): comfy.lora.calculate_weight(patcher.patches[key], base_weight(patcher, key), key)
        for key in keys
    }


def sampled_patcher(model: PixWizardModel | None) -> Any:
    """The MODEL that a model is being sampled with."""
    assert model is not None and model.current_patcher is not None, "it is being sampled"
    return model.current_patcher


class Held(nn.Module):
    """Holds an accelerator while the host counts its memory as loaded.

    It knows the host's model weakly, because it lives as long as that does and must not keep it alive.
    """

    device: Any = None

    def __init__(self, model: PixWizardModel, make: Make) -> None:
        super().__init__()
        self.owner, self.make = weakref.ref(model), make
        self.accelerator: Accelerator | None = None
        # Which changes of weights it holds; None is the base.
        self.state: Any = None
        # Changes that it cannot hold, and why.
        self.refused: tuple[Any, str] | None = None
        self.known_bytes = 0

    def open(self, patcher: Any) -> Accelerator:
        """The accelerator, made where there is none, of a MODEL's base weights.

        Raises:
            ValueError: it cannot be made.
        """
        if self.accelerator is None:
            self.accelerator = self.make(base_network(patcher), self._base)
            self.known_bytes, self.state, self.refused = self.accelerator.bytes, None, None
        return self.accelerator

    def with_loras(self, patcher: Any) -> Accelerator:
        """The accelerator with a MODEL's own LoRAs; raises as `open` and `Accelerator.weights`."""
        accelerator, state = self.open(patcher), patcher.patches_uuid if patcher.patches else None
        if self.refused is not None and self.refused[0] == state:
            raise Unsupported(self.refused[1])
        if state != self.state:
            try:
                accelerator.weights(lora_changes(patcher), state)
            except Unsupported as error:
                # Working the changes out again at every step would cost more than the step.
                self.refused = state, str(error)
                raise
            self.state = state
        return accelerator

    def _base(self, name: str) -> Tensor:
        return base_weight(sampled_patcher(self.owner()), NETWORK + name)

    def close(self) -> None:
        """Give its memory back."""
        self.accelerator = None
        mm.soft_empty_cache()


class EnginePatcher(comfy.model_patcher.ModelPatcher):
    """What the host loads beside the MODEL: reports an accelerator's memory, frees it when it is unloaded.

    There is one for each accelerator and it lives as long as that. The host's list of loaded models knows patchers
    weakly and turns to the parent of a clone that died; an entry whose patchers are all dead while their model lives
    stays in the list for ever, and costs every later prompt a full garbage collection.
    """

    def model_size(self) -> int:
        return max(1, self.model.known_bytes)

    def loaded_size(self) -> int:
        return self.model.known_bytes if self.model.accelerator else 0

    def partially_load(self, device_to: Any, extra_memory: int = 0, force_patch_weights: bool = False) -> int:
        """Nothing is opened here: the first use does it, and knows what to do where that fails."""
        self.model.device = device_to
        return 0

    def partially_unload(self, device_to: Any, memory_to_free: int = 0, force_patch_weights: bool = False) -> int:
        """An engine is there or not; the host asks for all of it next."""
        return 0

    def detach(self, unpatch_all: bool = True) -> Any:
        """Without `unpatch_all` another clone of this takes over, and the engine stays for it."""
        if unpatch_all:
            self.model.close()
            self.model.device = self.offload_device
        return self.model


class Accelerated:
    """The wrapper around the network's call.

    Args:
        model: the host's, whose network it is.
        held: the accelerator.
        strict: raise where the accelerator cannot be used, instead of running the network.
        tell: is told each reason once.
    """

    def __init__(self, model: PixWizardModel, held: Held, strict: bool, tell: Callable[[str], None]) -> None:
        self.model, self.held, self.strict, self.tell = weakref.ref(model), held, strict, tell
        self.told: set[str] = set()
        self.runs = self.fallbacks = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Accelerated:
        """The host copies a MODEL's options with every clone; all of them share one accelerator."""
        return self

    def __call__(
        self,
        executor: Any,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor | None,
        control: Any,
        options: dict[str, Any],
        **conditions: Any,
    ) -> Tensor:
        """As `HostTransformer._forward`.

        Raises:
            ValueError: the accelerator cannot be used, and it is strict.
        """
        try:
            self._refuse(control, options)
            out = self._run(executor.class_obj, x, timesteps, conditions, options)
            self.runs += 1
            return out
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:400]
            if isinstance(error, RuntimeError):
                self.held.close()  # an engine that failed half-way must not be used again
            if self.strict:
                raise ValueError(f"Accelerate PixWizard: {reason}") from error
        if reason not in self.told:
            self.told.add(reason)
            self.tell(reason)
        self.fallbacks += 1
        return executor(x, timesteps, context, control, options, **conditions)

    def _refuse(self, control: Any, options: Mapping[str, Any]) -> None:
        """Name what an accelerator cannot do.

        Raises:
            Unsupported: something that is asked for.
        """
        patcher = sampled_patcher(self.model())
        asked = {
            "a ControlNet": control is not None,
            "a model patch": any(options.get("patches", {}).values()),
            "a patch that replaces a block": any(options.get("patches_replace", {}).values()),
            "an attention override": options.get("optimized_attention_override") is not None,
            "a LoRA hook": bool(patcher.hook_patches) and patcher.current_hooks is not None,
            "an exchanged part of the network": any(key.startswith(NETWORK) for key in patcher.object_patches),
        }
        found = [name for name, present in asked.items() if present]
        if found:
            raise Unsupported(f"{' and '.join(found)} needs the network itself")

    def _run(
        self, network: Any, x: Tensor, timesteps: Tensor, given: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Tensor:
        mm.throw_exception_if_processing_interrupted()
        accelerator = self.held.with_loras(sampled_patcher(self.model()))
        height, width = x.shape[-2:]
        out = accelerator.run(graph_inputs(network, x, timesteps, given, options))
        # The one other place where the host's velocity is the model's negated.
        return -out[..., :height, :width].to(x.device, x.dtype)


def graph_inputs(
    network: Any, x: Tensor, timesteps: Tensor, given: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Tensor]:
    """The velocity graph's inputs from what the host gives; x is noisy and source latent together [B, 2C, h, w]."""
    patch = network.config.patch_size
    noisy, source = comfy.ldm.common_dit.pad_to_patch_size(x, (patch, patch)).chunk(2, dim=1)
    cos, sin, scale = network.scaled(tuple(noisy.shape[-2:]), timesteps, options)
    keys, mask = given["text_keys"], given["text_mask"]
    if mask is None:
        mask = torch.ones(keys.shape[0], keys.shape[3], device=x.device)
    layered = {name: rearrange(given[name], "b r g s e -> r b g s e") for name in LAYERED}
    return layered | {
        "x": noisy,
        "source": source,
        "t": 1.0 - timesteps.float(),
        "cos": cos,
        "sin": sin,
        "attention_scale": torch.tensor([1.0 if scale is None else scale], device=x.device),
        "vector": given["vector"],
        "text_mask": mask > 0.5,
    }


def attach(patcher: Any, engine: EnginePatcher, strict: bool, tell: Callable[[str], None]) -> None:
    """Make a MODEL use an accelerator; an earlier one of it is taken off."""
    kind = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
    patcher.remove_wrappers_with_key(kind, KEY)
    patcher.add_wrapper_with_key(kind, KEY, Accelerated(patcher.model, engine.model, strict, tell))
    patcher.set_additional_models(KEY, [engine])
