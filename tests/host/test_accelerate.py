"""Accelerate PixWizard: answers as the plain MODEL, LoRA on and off, a reason for each fallback, memory that is freed.

Runs what a processor has: copies, compiled code, ONNX Runtime. TensorRT's part is tested with stand-ins elsewhere.
"""

from __future__ import annotations

import gc
import importlib.util
import logging
import re
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import sampled
from torch import Tensor

NAME = "diffusion_model.layers.2.attention.wq"
TEXT = "diffusion_model.layers.1.attention.wk_y"


@pytest.fixture(scope="module", autouse=True)
def engines(host: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The host's engine folder for this module."""
    import folder_paths

    folder = tmp_path_factory.mktemp("engines")
    before = folder_paths.folder_names_and_paths.get("pixwizard_engines")
    folder_paths.folder_names_and_paths["pixwizard_engines"] = ([str(folder)], set())
    node = host.ours("nodes.accelerate_node")
    kept, node.engine_folders = node.engine_folders, lambda: [folder]
    yield folder
    node.engine_folders = kept
    if before:
        folder_paths.folder_names_and_paths["pixwizard_engines"] = before


@pytest.fixture(scope="module")
def plain(node: Any, parts: SimpleNamespace, given: tuple[Any, ...]) -> Tensor:
    return sampled(node, parts.model, given)


def with_lora(model: Any, seed: int = 0, name: str = NAME) -> Any:
    import comfy.sd

    weight = model.model.state_dict()[f"{name}.weight"]
    generator = torch.Generator().manual_seed(seed)
    up, down = (torch.randn(shape, generator=generator) * 0.3 for shape in ((len(weight), 4), (4, weight.shape[1])))
    values = {f"{name}.lora_B.weight": up, f"{name}.lora_A.weight": down}
    return comfy.sd.load_lora_for_models(model, None, values, 4.0, 0)[0]


def wrapper_of(model: Any) -> Any:
    (wrapper,) = model.wrappers["diffusion_model"]["pixwizard_accelerate"]
    return wrapper


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).square().mean().sqrt() / expected.square().mean().sqrt())


ONNX = ("onnx", "onnx_ir", "onnxscript", "onnxruntime")
LACKING = [name for name in ONNX if importlib.util.find_spec(name) is None]
# The host's requirements and ours bring none of them, and nobody has to have them.
with_onnx = pytest.mark.skipif(bool(LACKING), reason=f"the host's Python has no {', '.join(LACKING)}")
LIMITS = {"onnxruntime": 1e-4, "bfloat16": 2e-2, "compiled": 1e-3}


@pytest.mark.parametrize("backend", [pytest.param("onnxruntime", marks=with_onnx), "bfloat16", "compiled"])
def test_answers_are_the_models_with_and_without_lora(
    node: Any, parts: SimpleNamespace, given: tuple[Any, ...], plain: Tensor, backend: str
) -> None:
    precision = "float32" if backend == "compiled" else "auto"
    fast, status = node("PixWizardAccelerate", model=parts.model, backend=backend, precision=precision)
    assert "runs as it is" not in status, status
    wrapper, limit = wrapper_of(fast), LIMITS[backend]
    assert error(sampled(node, fast, given), plain) < limit and wrapper.runs == 2 and wrapper.fallbacks == 0
    accelerator = wrapper.held.accelerator
    loras = [(seed, name) for seed, name in ((1, NAME), (2, "diffusion_model.layers.0.feed_forward.w1"), (3, TEXT))]
    for seed, name in loras:
        expected = sampled(node, with_lora(parts.model, seed, name), given)
        found = sampled(node, with_lora(fast, seed, name), given)
        assert error(found, expected) < min(limit, error(found, plain) / 1.3), name
    # Base weights return, and it was one accelerator throughout.
    assert error(sampled(node, fast, given), plain) < limit
    assert wrapper.held.accelerator is accelerator and wrapper.fallbacks == 0
    # The MODEL that came in is as it was.
    assert not parts.model.wrappers.get("diffusion_model", {}).get("pixwizard_accelerate")
    torch.testing.assert_close(sampled(node, parts.model, given), plain)


@with_onnx
def test_a_lora_loaded_before_is_not_counted_twice(node: Any, parts: SimpleNamespace, given: tuple[Any, ...]) -> None:
    before = with_lora(parts.model, 4)
    expected = sampled(node, before, given)  # the LoRA is in the weights now, and must not enter the engine's base
    fast, _ = node("PixWizardAccelerate", model=before, backend="onnxruntime")
    assert error(sampled(node, fast, given), expected) < 1e-4 and wrapper_of(fast).fallbacks == 0


@with_onnx
def test_any_size_and_batch_go_through_without_a_new_export(
    node: Any, parts: SimpleNamespace, example: Any, conditioned: Any, engines: Path
) -> None:
    fast, _ = node("PixWizardAccelerate", model=parts.model, backend="onnxruntime")
    folders = sorted(path.name for path in engines.iterdir() if path.is_dir())
    for count, size in ((2, 48), (1, 96)):
        given = conditioned(example(count=count, size=size))
        assert error(sampled(node, fast, given), sampled(node, parts.model, given)) < 1e-4
    import node_helpers

    positive, image_only, negative, _, _ = conditioned(example(size=64))
    source = torch.randn(1, 16, 7, 9, generator=torch.Generator().manual_seed(0))
    odd = [node_helpers.conditioning_set_values(c, {"concat_latent_image": source}) for c in (positive, image_only)]
    given = (*odd, negative, {"samples": torch.zeros(1, 16, 7, 9)}, None)
    assert error(sampled(node, fast, given), sampled(node, parts.model, given)) < 1e-4
    assert wrapper_of(fast).fallbacks == 0
    assert sorted(path.name for path in engines.iterdir() if path.is_dir()) == folders


def patched(model: Any, kind: str) -> Any:
    made = model.clone()
    options = made.model_options["transformer_options"]
    if kind == "patch":
        made.set_model_patch(lambda args: {"img": args["img"]}, "double_block")
    elif kind == "replace":
        made.set_model_patch_replace(lambda args, extra: extra["original_block"](args), "dit", "double_block", 0)
    elif kind == "override":
        options["optimized_attention_override"] = lambda function, *args, **kwargs: function(*args, **kwargs)
    elif kind == "object":
        made.add_object_patch("diffusion_model.pad_token", made.model.diffusion_model.pad_token)
    return made


KINDS = {
    "patch": "a model patch needs the network itself",
    "replace": "a patch that replaces a block needs the network itself",
    "override": "an attention override needs the network itself",
    "object": "an exchanged part of the network needs the network itself",
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_engine_cannot_do_runs_in_the_network_with_one_reason(
    node: Any,
    parts: SimpleNamespace,
    given: tuple[Any, ...],
    plain: Tensor,
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fast, _ = node("PixWizardAccelerate", model=parts.model, backend="bfloat16")
    with caplog.at_level(logging.WARNING):
        torch.testing.assert_close(sampled(node, patched(fast, kind), given), plain, atol=1e-5, rtol=1e-5)
    said = [record.getMessage() for record in caplog.records if "Accelerate PixWizard" in record.getMessage()]
    assert said == [f"Accelerate PixWizard: the network runs as it is: {KINDS[kind]}"], said
    strict, _ = node("PixWizardAccelerate", model=parts.model, backend="bfloat16", on_missing="error")
    with pytest.raises(ValueError, match=f"Accelerate PixWizard: {KINDS[kind]}"):
        sampled(node, patched(strict, kind), given)


@with_onnx
def test_an_int8_engine_leaves_loras_to_the_network(
    node: Any, parts: SimpleNamespace, given: tuple[Any, ...], plain: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    fast, status = node("PixWizardAccelerate", model=parts.model, backend="onnxruntime", precision="int8")
    assert "int8" in status
    assert 1e-6 < error(sampled(node, fast, given), plain) < 0.1 and wrapper_of(fast).fallbacks == 0
    expected = sampled(node, with_lora(parts.model), given)
    torch.testing.assert_close(sampled(node, with_lora(fast), given), expected, atol=1e-5, rtol=1e-5)
    assert "cannot take a LoRA: take float32" in caplog.text


PYTHON = f"which is not installed: {re.escape(sys.executable)}"
NO_CARD = "found no GPU: run this on a machine with one, or take onnxruntime, compiled or bfloat16$"


@pytest.mark.parametrize(
    "inputs, blocked, words",
    [
        ({"backend": "onnxruntime"}, "onnxruntime", PYTHON + " -m pip install (onnx onnxscript onnx-ir )?onnxruntime$"),
        ({"backend": "tensorrt"}, "tensorrt", NO_CARD),
        ({"backend": "tensorrt", "on_missing": "eager"}, "tensorrt", NO_CARD),
        ({"backend": "compiled", "precision": "int8"}, "", "compiled computes in bfloat16 or float32, not in int8"),
    ],
)
def test_what_cannot_be_had_is_said_on_the_node(
    node: Any,
    parts: SimpleNamespace,
    given: tuple[Any, ...],
    plain: Tensor,
    inputs: dict[str, str],
    blocked: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    host: SimpleNamespace,
) -> None:
    host.ours("nodes.accelerate_node").HELD.clear()
    if blocked:
        monkeypatch.setitem(sys.modules, blocked, None)
    made, status = node("PixWizardAccelerate", model=parts.model, **inputs)
    assert status.startswith("the network runs as it is: ") and re.search(words, status), status
    assert "pixwizard[" not in status and ("pip" not in status or blocked == "onnxruntime")
    torch.testing.assert_close(sampled(node, made, given), plain, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match=words):
        node("PixWizardAccelerate", model=parts.model, **(inputs | {"on_missing": "error"}))


@with_onnx
def test_a_missing_engine_is_not_built_unless_asked(
    node: Any, parts: SimpleNamespace, host: SimpleNamespace, tmp_path: Path
) -> None:
    module = host.ours("nodes.accelerate_node")
    module.HELD.clear()
    kept, module.engine_folders = module.engine_folders, lambda: [tmp_path]
    try:
        _, status = node("PixWizardAccelerate", model=parts.model, backend="onnxruntime", on_missing="eager")
    finally:
        module.engine_folders = kept
    assert f"no exported graph of this model in {tmp_path}" in status and not list(tmp_path.iterdir())


def test_the_host_sees_the_memory_and_frees_it(
    node: Any, parts: SimpleNamespace, given: tuple[Any, ...], plain: Tensor
) -> None:
    import comfy.model_management as mm

    fast, _ = node("PixWizardAccelerate", model=parts.model, backend="bfloat16")
    held = wrapper_of(fast).held
    (engine,) = fast.additional_models["pixwizard_accelerate"]
    sampled(node, fast, given)
    kept = held.accelerator
    sampled(node, fast, given)
    assert kept is not None and held.accelerator is kept, "the host's cleanup after a sampling must not free it"
    assert engine.model_size() == engine.loaded_size() == kept.bytes > 10**7
    assert any(loaded.model.model is held for loaded in mm.current_loaded_models if loaded.model is not None)
    mm.unload_all_models()
    assert held.accelerator is None and engine.loaded_size() == 0
    assert error(sampled(node, fast, given), plain) < 5e-2 and wrapper_of(fast).fallbacks == 0


def test_executing_it_again_leaves_nothing_in_the_hosts_list(
    node: Any, parts: SimpleNamespace, given: tuple[Any, ...], plain: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    import comfy.model_management as mm

    mm.unload_all_models()
    sampled(node, parts.model, given)

    def again(i: int) -> None:
        """As the host does when a widget changes: the outputs of the last execution are let go."""
        model = with_lora(parts.model, i) if i % 2 else parts.model
        precision = "float32" if i % 3 else "auto"
        fast, status = node("PixWizardAccelerate", model=model, backend=("bfloat16", "compiled")[precision != "auto"],
                            precision=precision, on_missing="eager")  # fmt: skip
        assert "runs as it is" not in status
        sampled(node, with_lora(fast, i + 1) if i % 5 == 0 else fast, given)

    for i in range(3):
        again(i)
    loaded = len(mm.current_loaded_models)
    with caplog.at_level(logging.INFO):
        for i in range(50):
            again(i)
            torch.testing.assert_close(sampled(node, parts.model, given), plain)
            assert not any(entry.is_dead() for entry in mm.current_loaded_models)
            assert len(mm.current_loaded_models) <= loaded
    assert "memory leak" not in caplog.text


def test_models_are_not_kept_alive(node: Any, host: SimpleNamespace, given: tuple[Any, ...]) -> None:
    import comfy.model_management as mm

    model = node("PixWizardLoad")[0]
    fast, _ = node("PixWizardAccelerate", model=model, backend="bfloat16")
    sampled(node, fast, given)
    alive = weakref.ref(model.model)
    mm.unload_all_models()
    del model, fast
    gc.collect()
    mm.cleanup_models()
    gc.collect()
    assert alive() is None


def test_another_kind_of_model_is_refused(node: Any) -> None:
    with pytest.raises(ValueError, match="needs a PixWizard MODEL, found SimpleNamespace: connect Load PixWizard"):
        node("PixWizardAccelerate", model=SimpleNamespace(model=SimpleNamespace()))
