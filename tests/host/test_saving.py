"""What the host's own nodes save of our MODEL is our MODEL again, in our loader and in theirs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import sampled

NAME = "diffusion_model.layers.2.attention.wq"


@pytest.fixture(scope="module")
def changed(parts: SimpleNamespace) -> Any:
    """The bundled MODEL with a LoRA on it."""
    import comfy.sd

    generator = torch.Generator().manual_seed(1)
    up, down = (torch.randn(shape, generator=generator) * 0.3 for shape in ((256, 4), (4, 256)))
    values = {f"{NAME}.lora_B.weight": up, f"{NAME}.lora_A.weight": down}
    return comfy.sd.load_lora_for_models(parts.model, None, values, 4.0, 0)[0]


@pytest.fixture(scope="module")
def saved(host: SimpleNamespace, node: Any, changed: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the file that ModelSave wrote, known to all loaders."""
    import folder_paths
    from comfy_extras.nodes_model_merging import ModelSave

    folder = tmp_path_factory.mktemp("saved")
    saver = ModelSave()
    saver.output_dir = str(folder)
    about = {"workflow": {"nodes": []}}
    with torch.inference_mode():
        saver.save(changed, "mine", prompt={"1": {"class_type": "ModelSave"}}, extra_pnginfo=about)
    (file,) = folder.glob("*.safetensors")
    file.rename(folder / "mine.safetensors")
    for kind in ("pixwizard", "diffusion_models", "checkpoints"):
        folder_paths.add_model_folder_path(kind, str(folder), is_default=True)
    return folder


@pytest.mark.parametrize("loader", ["PixWizardLoad", "UNETLoader", "CheckpointLoaderSimple"])
def test_a_saved_model_is_loaded_again(
    node: Any, parts: SimpleNamespace, changed: Any, saved: Path, given: tuple[Any, ...], loader: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    inputs = {
        "PixWizardLoad": {"model": "mine.safetensors"},
        "UNETLoader": {"unet_name": "mine.safetensors", "weight_dtype": "default"},
        "CheckpointLoaderSimple": {"ckpt_name": "mine.safetensors"},
    }[loader]
    model = node(loader, **inputs)[0]
    assert "unet missing" not in caplog.text and "unet unexpected" not in caplog.text
    ours = parts.model.model.diffusion_model
    network = model.model.diffusion_model
    assert type(network) is type(ours) and network.config == ours.config
    assert type(model.model.latent_format) is type(parts.model.model.latent_format)
    torch.testing.assert_close(sampled(node, model, given), sampled(node, changed, given), atol=1e-4, rtol=1e-4)


def test_the_hosts_unet_loader_takes_fp8_and_converted_files(
    host: SimpleNamespace, node: Any, parts: SimpleNamespace, pipeline: Any, saved: Path, given: tuple[Any, ...]
) -> None:
    fp8 = node("UNETLoader", unet_name="mine.safetensors", weight_dtype="fp8_e4m3fn")[0]
    network = fp8.model.diffusion_model
    assert network.layers[0].attention.wq.weight.dtype == torch.float8_e4m3fn
    assert network.layers[0].attention_norm1.weight.dtype == torch.float32
    save = host.ours("comfyui_pixwizard.files.checkpoint").save_transformer
    save(pipeline.transformer, saved / "converted", max_shard_bytes=2**40)
    shutil.move(saved / "converted" / "model.safetensors", saved / "converted.safetensors")
    model = node("UNETLoader", unet_name="converted.safetensors", weight_dtype="default")[0]
    torch.testing.assert_close(sampled(node, model, given), sampled(node, parts.model, given), atol=1e-4, rtol=1e-4)


def test_a_damaged_configuration_is_named(host: SimpleNamespace, node: Any, saved: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(saved / "mine.safetensors")
    key = "model.diffusion_model.pixwizard_config"
    config = json.loads(bytes(state[key].tolist()))
    for text, words in (
        ("{", "holds no configuration of a PixWizard"),
        (json.dumps(config | {"n_layers": 10**6}), "should hold 1000000 layers, found 6"),
        (json.dumps(config | {"cap_feat_dim": 7}), r"should hold .* as floating"),
        (json.dumps(config | {"surprise": 1}), "unknown config fields"),
    ):
        state[key] = torch.tensor(list(text.encode()), dtype=torch.uint8)
        save_file(state, saved / "damaged.safetensors")
        with pytest.raises(ValueError, match=words) as caught:
            node("PixWizardLoad", model="damaged.safetensors")
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="unknown config fields"):
        node("UNETLoader", unet_name="damaged.safetensors", weight_dtype="default")


def test_other_architectures_are_detected_as_before(host: SimpleNamespace) -> None:
    import comfy.model_detection

    host.ours("nodes.host_detection").install()
    names = {
        "cap_embedder.1.weight": torch.zeros(2304, 2304),
        "noise_refiner.0.attention.k_norm.weight": torch.ones(96),
    }
    assert comfy.model_detection.model_config_from_unet({"x": torch.zeros(1)}, "") is None
    assert type(comfy.model_detection.model_config_from_unet(names, "")).__module__ == "comfy.supported_models"
