"""Encoders' folders read without transformers' models: weights in one file or several, a whole CLIP or one tower."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pixwizard.comfyui_pixwizard.encoders.transformers_models import CLIPConfig, CLIPModel
from pixwizard.comfyui_pixwizard.files.tower_folder import read_tower, read_weights

SHAPE = dict(hidden_size=16, intermediate_size=32, num_attention_heads=2, num_hidden_layers=2)


@pytest.fixture(scope="module")
def clip() -> CLIPModel:
    text, vision = SHAPE | {"vocab_size": 50}, SHAPE | {"image_size": 32, "patch_size": 16}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24))


@pytest.mark.parametrize("largest", ["5GB", "8KB"])
def test_a_tower_of_a_whole_clip(clip: CLIPModel, tmp_path: Path, largest: str) -> None:
    clip.save_pretrained(tmp_path, max_shard_size=largest)
    assert (tmp_path / "model.safetensors.index.json").is_file() == (largest == "8KB")
    whole = clip.state_dict()
    for tower, others in (("text", "vision_model."), ("vision", "text_model.")):
        config, state = read_tower(tmp_path, tower)
        assert config["hidden_size"] == 16 and config["num_hidden_layers"] == 2 and config["projection_dim"] == 24
        assert f"{'text' if tower == 'text' else 'visual'}_projection.weight" in state
        assert not any(name.startswith(others) for name in state)
        assert all(torch.equal(value, whole[name]) for name, value in state.items())


def test_an_index_that_names_files_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../other.safetensors"}}')
    with pytest.raises(ValueError, match="should name files beside it"):
        read_weights(tmp_path)
