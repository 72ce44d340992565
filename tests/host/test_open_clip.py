"""OpenCLIP's checkpoints of CLIP in the loaders: the same answers as those of transformers' form."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

TEXT = "Remove the rain from this picture."
TOWER = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 2}


@pytest.fixture(scope="module")
def theirs(host: SimpleNamespace) -> Any:
    """Makes OpenCLIP's tensors of transformers'."""
    origin = host.ours("comfyui_pixwizard.files.open_clip").origin

    def make(state: dict[str, Tensor]) -> dict[str, Tensor]:
        found: dict[str, dict[int, Tensor]] = {}
        for name, tensor in state.items():
            place = origin(name)
            found.setdefault(place.name, {})[place.third or 0] = tensor.T if place.transposed else tensor
        return {name: torch.cat([parts[i] for i in sorted(parts)]).contiguous() for name, parts in found.items()}

    return make


def test_a_folder_with_open_clips_towers(
    host: SimpleNamespace, node: Any, parts: SimpleNamespace, pipeline: Any, theirs: Any, example: Any, tmp_path: Path
) -> None:
    import folder_paths

    folder_paths.add_model_folder_path("pixwizard", str(tmp_path), is_default=True)
    pipeline.save_pretrained(tmp_path / "mine", torch.float32)
    vision = pipeline.image_encoder.model.config
    architecture = {
        "embed_dim": 32,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": vision.image_size,
            "layers": vision.num_hidden_layers,
            "width": vision.hidden_size,
            "patch_size": vision.patch_size,
            "head_width": vision.hidden_size // vision.num_attention_heads,
            "mlp_ratio": vision.intermediate_size / vision.hidden_size,
        },
        "text_cfg": TOWER,
    }
    state = {
        f"vision_model.{name.removeprefix('vision_model.')}": tensor
        for name, tensor in pipeline.image_encoder.model.state_dict().items()
    }
    checkpoint = host.ours("comfyui_pixwizard.files.open_clip").OpenClip
    for part in ("task_encoder", "image_encoder"):
        place = tmp_path / "mine" / part
        for old in place.iterdir():
            old.unlink()
        (place / "open_clip_config.json").write_text(json.dumps({"model_cfg": architecture}))
        save_file(theirs(state), place / "open_clip_model.safetensors")
    generator = torch.Generator().manual_seed(0)
    tower = checkpoint(tmp_path / "mine" / "task_encoder" / "open_clip_model.safetensors").shapes
    text = {n: 0.1 * torch.randn(s, generator=generator) for n, s in tower.items() if n.startswith("text_")}
    save_file(theirs(text), tmp_path / "mine" / "task_encoder" / "open_clip_model.safetensors")

    _, clip, clip_vision, _ = node("PixWizardLoad", model="mine")
    encode = host.ours("nodes.host_vision").encode_tokens
    picture = example(1, 96).movedim(-1, 1) * 2 - 1
    torch.testing.assert_close(encode(clip_vision, picture), encode(parts.vision, picture), atol=1e-5, rtol=1e-5)
    ((_, more),) = clip.encode_from_tokens_scheduled(clip.tokenize(TEXT))
    encoder = host.ours("comfyui_pixwizard.encoders.clip").ClipTextEncoder
    with torch.inference_mode():
        expected = encoder.from_pretrained(tmp_path / "mine" / "task_encoder").encode([TEXT])
    torch.testing.assert_close(more["pooled_output"], expected, atol=1e-4, rtol=1e-4)


def test_a_file_of_a_text_tower(
    node: Any, theirs: Any, tmp_path: Path, gemma: Path, clip_l_config: dict[str, Any]
) -> None:
    import comfy.clip_model

    (tmp_path / "tokenizer.json").write_bytes((gemma / "tokenizer.json").read_bytes())
    tower = comfy.clip_model.CLIPTextModel(clip_l_config, torch.float32, "cpu", torch.nn)
    state = {name: value.contiguous() for name, value in tower.state_dict().items()}
    save_file(state, tmp_path / "clip_l.safetensors")
    save_file(theirs(state), tmp_path / "open_clip.safetensors")
    answers = []
    for name in ("clip_l.safetensors", "open_clip.safetensors"):
        clip = node("PixWizardLoadTextEncoders", gemma="gemma.safetensors", clip_l=name)[0]
        ((_, more),) = clip.encode_from_tokens_scheduled(clip.tokenize(TEXT))
        answers.append(more["pooled_output"])
    assert answers[0].shape == (1, 768) and torch.equal(*answers)
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {"embed_dim": 768}}')
    with pytest.raises(ValueError, match="should describe a CLIP as open_clip does, found KeyError"):
        node("PixWizardLoadTextEncoders", gemma="gemma.safetensors", clip_l="open_clip.safetensors")
