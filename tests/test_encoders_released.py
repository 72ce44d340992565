"""The SDXL autoencoder on a small random model of the released class."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor

from pixwizard.comfyui_pixwizard.encoders.autoencoder import SdxlAutoencoder, autoencoder_class, to_diffusers


@pytest.fixture(scope="module")
def vae() -> Any:
    torch.manual_seed(0)
    blocks = 4
    return autoencoder_class()(
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        block_out_channels=(32, 32, 64, 64),
        layers_per_block=2,
        latent_channels=4,
        scaling_factor=0.13025,
    ).eval()


def _as_ldm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The original names, written out as the inverse of the documented mapping."""
    converted = {}
    for name, value in state.items():
        parts = name.split(".")
        if parts[1:2] == ["down_blocks"]:
            kind = {"resnets": f"block.{parts[4]}", "downsamplers": "downsample"}[parts[3]]
            parts[1:5] = ["down", parts[2], kind]
        elif parts[1:2] == ["up_blocks"]:
            kind = {"resnets": f"block.{parts[4]}", "upsamplers": "upsample"}[parts[3]]
            parts[1:5] = ["up", str(3 - int(parts[2])), kind]
        elif parts[1:2] == ["mid_block"] and parts[2] == "resnets":
            parts[1:4] = ["mid", f"block_{int(parts[3]) + 1}"]
        elif parts[1:2] == ["mid_block"]:
            names = {"to_q": "q", "to_k": "k", "to_v": "v", "to_out": "proj_out", "group_norm": "norm"}
            parts[1:] = ["mid", "attn_1", names[parts[4]], parts[-1]]
            value = rearrange(value, "o i -> o i 1 1") if value.ndim == 2 else value
        new = ".".join(parts).replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        converted[new] = value.contiguous()
    return converted


def test_autoencoder_scale_posterior_and_decoding(vae: Any) -> None:
    image = torch.rand(2, 3, 32, 48) * 2 - 1
    moments = vae.encode(image).latent_dist
    encoder = SdxlAutoencoder(vae)
    assert (encoder.channels, encoder.factor) == (4, 8)
    first = encoder.encode(image, generator=torch.Generator().manual_seed(1))
    again = encoder.encode(image, generator=torch.Generator().manual_seed(1))
    other = encoder.encode(image, generator=torch.Generator().manual_seed(2))
    assert first.shape == (2, 4, 4, 6) and torch.equal(first, again) and not torch.equal(first, other)
    noise = torch.randn(first.shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(first, (moments.mean + moments.std * noise) * 0.13025, atol=1e-6, rtol=0)
    mode = SdxlAutoencoder(vae, posterior="mode").encode(image)
    torch.testing.assert_close(mode, moments.mean * 0.13025, atol=1e-6, rtol=0)
    torch.testing.assert_close(encoder.decode(mode), vae.decode(moments.mean).sample, atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match=r"sides that 8 divides, found \[1, 3, 30, 32\]"):
        encoder.encode(torch.zeros(1, 3, 30, 32))
    with pytest.raises(ValueError, match="posterior is 'sample' or 'mode'"):
        SdxlAutoencoder(vae, posterior="mean")  # type: ignore[arg-type]


def test_autoencoder_file_forms_are_equal(vae: Any, tmp_path: Path) -> None:
    image = torch.rand(1, 3, 16, 16) * 2 - 1
    expected = vae.encode(image).latent_dist.mean * 0.13025
    vae.save_pretrained(tmp_path / "folder" / "vae")
    ldm = _as_ldm(vae.state_dict())
    assert "decoder.up.3.upsample.conv.weight" in ldm and "encoder.mid.attn_1.q.weight" in ldm
    save_file(ldm, tmp_path / "ldm.safetensors")
    other_parts = {"model.diffusion_model.out.weight": torch.zeros(2)}
    whole = {f"first_stage_model.{name}": value for name, value in ldm.items()} | other_parts
    torch.save({"state_dict": whole}, tmp_path / "whole.ckpt")
    old = {}
    for name, value in vae.state_dict().items():
        for new_name, old_name in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            name = name.replace(f"attentions.0.{new_name}", f"attentions.0.{old_name}")
        old[name] = value
    save_file(old, tmp_path / "old_diffusers.safetensors")
    for place in ("folder", "folder/vae", "ldm.safetensors", "whole.ckpt", "old_diffusers.safetensors"):
        loaded = SdxlAutoencoder.from_pretrained(tmp_path / place, posterior="mode")
        assert torch.equal(loaded.encode(image), expected), place


def test_autoencoder_names_equal_diffusers_own_conversion(vae: Any) -> None:
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    ldm = _as_ldm(vae.state_dict())
    theirs = convert_ldm_vae_checkpoint(dict(ldm), {"down_block_types": [None] * 4, "up_block_types": [None] * 4})
    ours = to_diffusers(ldm)
    assert ours.keys() == theirs.keys() == vae.state_dict().keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_autoencoder_takes_the_folders_scale(vae: Any, tmp_path: Path) -> None:
    vae.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"scaling_factor": 0.18215, "shift_factor": 0.5}))
    loaded = SdxlAutoencoder.from_pretrained(tmp_path)
    assert (loaded.scale, loaded.shift) == (0.18215, 0.5)
    assert SdxlAutoencoder.from_pretrained(tmp_path, scale=1.0).scale == 1.0


def test_autoencoder_refuses_foreign_and_incomplete_files(vae: Any, tmp_path: Path) -> None:
    def refuse(match: str, path: Path) -> None:
        with pytest.raises(ValueError, match=match) as caught:
            SdxlAutoencoder.from_pretrained(path)
        assert "\n" not in str(caught.value)

    refuse("found neither at", tmp_path)
    save_file({"x": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    refuse("found 'x'", tmp_path / "foreign.safetensors")
    ldm = _as_ldm(vae.state_dict())
    del ldm["decoder.mid.block_1.conv1.weight"]
    save_file(ldm, tmp_path / "incomplete.safetensors")
    refuse("does not hold this autoencoder's weights", tmp_path / "incomplete.safetensors")
    whole = (tmp_path / "incomplete.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-100])
    refuse("not a complete safetensors file", tmp_path / "cut.safetensors")
    assert load_file(tmp_path / "incomplete.safetensors").keys() == ldm.keys()
