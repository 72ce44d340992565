"""open_clip's towers and the SDXL autoencoder on small random models of the released classes."""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor

from pixwizard.comfyui_pixwizard.encoders.autoencoder import SdxlAutoencoder, autoencoder_class, to_diffusers
from pixwizard.comfyui_pixwizard.encoders.clip import preprocess
from pixwizard.comfyui_pixwizard.encoders.open_clip_towers import OpenClipTextEncoder, OpenClipVisionEncoder
from pixwizard.comfyui_pixwizard.encoders.transformers_models import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModel,
)

TEXTS = ["", "Remove the noise from the photo.", "a very long instruction, " * 40]
LIBRARIES: list[torch.library.Library] = []  # operators live as long as their library
ARCHITECTURE: dict[str, Any] = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 42, "layers": 2, "width": 32, "head_width": 8, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 2},
}


@pytest.fixture(scope="module")
def open_clip() -> Any:
    """open_clip, beside whichever torchvision is installed.

    A CUDA build of torchvision beside a CPU build of torch lacks its compiled operators; declared, the import works.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        LIBRARIES.append(library)
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
    import open_clip.model

    return open_clip


@pytest.fixture(scope="module")
def small_clip(open_clip: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    torch.manual_seed(0)
    model = open_clip.model.CLIP(**copy.deepcopy(ARCHITECTURE)).eval()
    path = tmp_path_factory.mktemp("open_clip") / "open_clip_model.safetensors"
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
    return model, path


def _as_transformers(state: dict[str, Tensor], prefix: str, inner: str) -> dict[str, Tensor]:
    """One tower's blocks in transformers' names."""
    renames = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    converted = {}
    for name, value in state.items():
        if not name.startswith(f"{prefix}transformer.resblocks."):
            continue
        number, rest = name.removeprefix(f"{prefix}transformer.resblocks.").split(".", 1)
        base = f"{inner}encoder.layers.{number}."
        if rest.startswith("attn.in_proj_"):
            for letter, part in zip("qkv", value.chunk(3), strict=True):
                converted[f"{base}self_attn.{letter}_proj.{rest.removeprefix('attn.in_proj_')}"] = part
            continue
        rest = rest.replace("attn.out_proj", "self_attn.out_proj")
        for old, new in renames.items():
            rest = rest.replace(old, new)
        converted[base + rest] = value
    return converted


def test_open_clip_text_equals_open_clip_and_transformers(small_clip: tuple[Any, Path]) -> None:
    model, path = small_clip
    encoder = OpenClipTextEncoder.from_checkpoint(path, ARCHITECTURE)
    tokens = encoder.tokenizer(TEXTS)
    assert tokens.shape == (3, 77)
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (3, encoder.features) == (3, 24)
    torch.testing.assert_close(vectors, model.encode_text(tokens, normalize=False), atol=1e-6, rtol=0)
    assert not any("visual" in name for name in encoder.state_dict())

    state = model.state_dict()
    config = CLIPTextConfig(
        hidden_size=32, projection_dim=24, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4
    )
    reference = CLIPTextModelWithProjection(config).eval()
    own = {name.removeprefix("text_model.") for name in reference.state_dict()}
    weights = _as_transformers(state, "", "") | {
        "embeddings.token_embedding.weight": state["token_embedding.weight"],
        "embeddings.position_embedding.weight": state["positional_embedding"],
        "final_layer_norm.weight": state["ln_final.weight"],
        "final_layer_norm.bias": state["ln_final.bias"],
        "text_projection.weight": state["text_projection"].T,
    }
    assert weights.keys() == own
    full = {name: weights[name.removeprefix("text_model.")] for name in reference.state_dict()}
    reference.load_state_dict(full)
    end = 49407
    hidden = reference(input_ids=tokens).last_hidden_state
    states = torch.stack([hidden[row, tokens[row].tolist().index(end)] for row in range(3)])
    torch.testing.assert_close(vectors, reference.text_projection(states), atol=1e-5, rtol=0)


def test_open_clip_vision_equals_transformers(small_clip: tuple[Any, Path]) -> None:
    model, path = small_clip
    encoder = OpenClipVisionEncoder.from_checkpoint(path, ARCHITECTURE)
    image = torch.rand(2, 3, 33, 50, requires_grad=True) * 2 - 1
    tokens = encoder.encode(image)
    assert tokens.shape == (2, encoder.tokens, encoder.features) == (2, 9, 32)

    state = model.state_dict()
    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=42,
        patch_size=14,
    )
    reference = CLIPVisionModel(config).eval()
    weights = _as_transformers(state, "visual.", "") | {
        "embeddings.class_embedding": state["visual.class_embedding"],
        "embeddings.patch_embedding.weight": state["visual.conv1.weight"],
        "embeddings.position_embedding.weight": state["visual.positional_embedding"],
        "pre_layrnorm.weight": state["visual.ln_pre.weight"],
        "pre_layrnorm.bias": state["visual.ln_pre.bias"],
        "post_layernorm.weight": state["visual.ln_post.weight"],
        "post_layernorm.bias": state["visual.ln_post.bias"],
    }
    reference.load_state_dict({name: weights[name.removeprefix("vision_model.")] for name in reference.state_dict()})
    expected = reference(pixel_values=preprocess(image, 42)).last_hidden_state[:, 1:]
    torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=0)
    tokens.square().sum().backward()
    assert encoder.visual.conv1.weight.grad is not None


def test_open_clip_pickled_and_half_checkpoints(small_clip: tuple[Any, Path], tmp_path: Path) -> None:
    model, path = small_clip
    half = {f"module.{name}": value.half() for name, value in model.state_dict().items()}
    torch.save({"state_dict": half}, tmp_path / "epoch_1.pt")
    image = torch.rand(1, 3, 42, 42)
    from_half = OpenClipVisionEncoder.from_checkpoint(tmp_path / "epoch_1.pt", ARCHITECTURE)
    assert from_half.visual.conv1.weight.dtype == torch.float32
    exact = OpenClipVisionEncoder.from_checkpoint(path, ARCHITECTURE)
    torch.testing.assert_close(from_half.encode(image), exact.encode(image), atol=2e-2, rtol=0)


def test_open_clip_released_architectures_and_wrong_files(small_clip: tuple[Any, Path], tmp_path: Path) -> None:
    _, path = small_clip
    with pytest.raises(ValueError, match=r"should hold .* \[.*\] of open_clip's ViT-L-14-336-quickgelu, found \["):
        OpenClipVisionEncoder.from_checkpoint(path)
    with pytest.raises(ValueError, match="of open_clip's ViT-L-14-quickgelu"):
        OpenClipTextEncoder.from_checkpoint(path)
    with pytest.raises(ValueError, match="no architecture 'ViT-nope'"):
        OpenClipTextEncoder.from_checkpoint(path, "ViT-nope")
    with pytest.raises(ValueError, match="found none at"):
        OpenClipTextEncoder.from_checkpoint(tmp_path / "absent.safetensors", ARCHITECTURE)


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
