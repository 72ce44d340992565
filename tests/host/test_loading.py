"""The loaders: models and text encoders from files and folders, and what a file declares."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch


def test_files_and_folders_of_models(host: SimpleNamespace, node: Any, pipeline: Any, tmp_path: Any) -> None:
    import folder_paths
    from comfy_execution.graph_utils import ExecutionBlocker

    folder_paths.add_model_folder_path("pixwizard", str(tmp_path), is_default=True)
    pipeline.save_pretrained(tmp_path / "mine", torch.float16)
    host.ours("comfyui_pixwizard.files.checkpoint").save_transformer(
        pipeline.transformer, tmp_path / "one", max_shard_bytes=2**40
    )
    (tmp_path / "one" / "model.safetensors").rename(tmp_path / "alone.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    torch.save(pipeline.transformer.state_dict(), tmp_path / "released.pth")
    names = host.ours("nodes.loading").model_names()
    assert names[0] == "nano (bundled)" and {"mine", "alone.safetensors", "released.pth"} <= set(names)
    assert not any(name.startswith("mine/") for name in names)
    weight = pipeline.transformer.x_embedder.weight
    for name in ("mine", "alone.safetensors", "released.pth"):
        model, *others = node("PixWizardLoad", model=name)
        torch.testing.assert_close(model.model.diffusion_model.x_embedder.weight, weight, atol=1e-3, rtol=1e-3)
        assert all(isinstance(other, ExecutionBlocker) for other in others) == (name != "mine")
    with pytest.raises(ValueError, match=r"broken\.safetensors"):
        node("PixWizardLoad", model="broken.safetensors")


def test_a_file_carries_what_its_model_declares(
    host: SimpleNamespace, node: Any, pipeline: Any, parts: SimpleNamespace, encode: Any, tmp_path: Any
) -> None:
    import folder_paths

    released = host.ours("comfyui_pixwizard.tasks.released_codes").released()
    save = host.ours("comfyui_pixwizard.files.checkpoint").save_transformer
    folder_paths.add_model_folder_path("pixwizard", str(tmp_path), is_default=True)
    before, pipeline.transformer.declared = pipeline.transformer.declared, released
    try:
        save(pipeline.transformer, tmp_path / "one", max_shard_bytes=2**40)
    finally:
        pipeline.transformer.declared = before
    (tmp_path / "one" / "model.safetensors").rename(tmp_path / "grey.safetensors")
    model = node("PixWizardLoad", model="grey.safetensors")[0]
    assert model.clone().model.declared == released
    depth = torch.linspace(1.5, 9.5, 64).repeat(64, 1)
    grey = encode("depth", depth, codec="gray", near_bright=True)
    for image, carrier in ((grey, dict(model=model)), (encode("depth", depth), dict(vae=parts.vae))):
        metres = node("PixWizardDecodeDepth", image=image, **carrier)[1]
        torch.testing.assert_close(metres[0, ..., 0], depth, atol=0.05, rtol=0.01)
    assert node("PixWizardInstruction", clip=parts.clip, model=model, task="derain")[4:] == (60, 4.0, 1.0)
    assert node("PixWizardInstruction", clip=parts.clip, task="derain")[4:] == (2, 1.0, 1.0)


def test_text_encoders_from_files(
    node: Any, parts: SimpleNamespace, tmp_path: Path, gemma: Path, clip_l_config: dict[str, Any]
) -> None:
    from safetensors.torch import save_file

    tower = parts.clip.cond_stage_model.clip_l.transformer
    clip_l = type(tower)(clip_l_config, torch.float32, "cpu", torch.nn)
    save_file({n: v.contiguous() for n, v in clip_l.state_dict().items()}, tmp_path / "clip_l.safetensors")
    given = dict(gemma="gemma.safetensors", clip_l="clip_l.safetensors")
    with pytest.raises(ValueError, match=r"put tokenizer\.model"):
        node("PixWizardLoadTextEncoders", **given)
    (tmp_path / "tokenizer.json").write_bytes((gemma / "tokenizer.json").read_bytes())
    clip = node("PixWizardLoadTextEncoders", **given)[0]
    ((mine, more),) = clip.encode_from_tokens_scheduled(clip.tokenize("Remove the rain."))
    ((theirs, _),) = parts.clip.encode_from_tokens_scheduled(parts.clip.tokenize("Remove the rain."))
    torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)
    assert more["pooled_output"].shape == (1, 768)
    with pytest.raises(ValueError, match="Gemma 1"):
        node("PixWizardLoadTextEncoders", gemma="clip_l.safetensors", clip_l="clip_l.safetensors")
