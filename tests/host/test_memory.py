"""The host's management of memory sees our weights, and moves as many of them as it has room for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import sampled

MIB = 2**20


def with_lora(model: Any) -> Any:
    import comfy.sd

    generator = torch.Generator().manual_seed(1)
    up, down = (torch.randn(shape, generator=generator) * 0.3 for shape in ((256, 4), (4, 256)))
    name = "diffusion_model.layers.2.attention.wq"
    values = {f"{name}.lora_B.weight": up, f"{name}.lora_A.weight": down}
    return comfy.sd.load_lora_for_models(model, None, values, 1.0, 0)[0]


@pytest.fixture
def small_gpu(host: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A device that the host believes to be a GPU with so many free bytes; it computes on the CPU all the same."""
    import comfy.model_management as mm

    def of(free: int, state: str) -> Any:
        mm.unload_all_models()
        monkeypatch.setattr(mm, "is_device_cpu", lambda device: False)
        monkeypatch.setattr(mm, "vram_state", mm.VRAMState[state])
        monkeypatch.setattr(mm, "get_free_memory", lambda device=None, whole=False: (free, free) if whole else free)
        monkeypatch.setattr(mm, "minimum_inference_memory", lambda: 0)
        return mm

    yield of
    monkeypatch.undo()
    import comfy.model_management as real

    real.unload_all_models()


@pytest.mark.parametrize("lora", [False, True], ids=["plain", "lora"])
@pytest.mark.parametrize("free, state", [(0, "NO_VRAM"), (24 * MIB, "LOW_VRAM")])
def test_a_part_of_the_weights_is_enough(
    node: Any, given: tuple[Any, ...], small_gpu: Any, free: int, state: str, lora: bool
) -> None:
    model = node("PixWizardLoad")[0]
    model = with_lora(model) if lora else model
    expected = sampled(node, model, given)
    mm = small_gpu(free, state)
    found = sampled(node, model, given)
    whole, loaded = model.model_size(), model.loaded_size()
    assert whole > 30 * MIB and loaded < 0.6 * whole and (loaded > 0.1 * whole or free == 0), (whole, loaded)
    assert model in [held.model for held in mm.current_loaded_models]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_two_models_and_their_memory(node: Any, given: tuple[Any, ...]) -> None:
    import comfy.model_management as mm

    mm.unload_all_models()
    models = [node("PixWizardLoad", model="nano (bundled)", weight_dtype=kind)[0] for kind in ("default", "fp8_e4m3fn")]
    first, second, again = (sampled(node, models[i], given) for i in (0, 1, 0))
    assert torch.equal(first, again) and not torch.equal(first, second)
    held = [entry.model for entry in mm.current_loaded_models]
    assert all(model in held for model in models)
    sizes = [model.model_size() for model in models]
    # fp8 keeps the matrices in a byte a weight.
    assert sizes[1] < 0.4 * sizes[0]
    mm.unload_all_models()
    assert not mm.current_loaded_models
