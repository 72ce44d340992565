"""CLIP's towers of OpenCLIP's checkpoints, against open_clip's own model on a small configuration."""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pixwizard.cli.main import main
from pixwizard.comfyui_pixwizard.encoders.clip import ClipTextEncoder, ClipVisionEncoder, preprocess
from pixwizard.comfyui_pixwizard.encoders.transformers_models import CLIPModel
from pixwizard.comfyui_pixwizard.files.components import kind_of, load_part
from pixwizard.comfyui_pixwizard.files.open_clip import CONFIG_FILE, MARK, OpenClip, clip_tokenizer, origin
from pixwizard.comfyui_pixwizard.files.safe_files import TensorFile

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
    path.with_name(CONFIG_FILE).write_text(json.dumps({"model_cfg": ARCHITECTURE, "preprocess_cfg": {}}))
    return model, path


def _as_transformers(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """One tower's blocks in transformers' names, written out as the inverse of what the product does."""
    renames = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    converted = {}
    for name, value in state.items():
        if not name.startswith(f"{prefix}transformer.resblocks."):
            continue
        number, rest = name.removeprefix(f"{prefix}transformer.resblocks.").split(".", 1)
        base = f"encoder.layers.{number}."
        if rest.startswith("attn.in_proj_"):
            for letter, part in zip("qkv", value.chunk(3), strict=True):
                converted[f"{base}self_attn.{letter}_proj.{rest.removeprefix('attn.in_proj_')}"] = part
            continue
        rest = rest.replace("attn.out_proj", "self_attn.out_proj")
        for old, new in renames.items():
            rest = rest.replace(old, new)
        converted[base + rest] = value
    return converted


def _own_tokens(model: Any, image: Tensor) -> Tensor:
    """What open_clip's own vision tower gives: the last block's tokens without the class token."""
    pixels = preprocess(image, ARCHITECTURE["vision_cfg"]["image_size"])
    output = model.visual.forward_intermediates(pixels, indices=1, intermediates_only=True, output_fmt="NLC")
    return output["image_intermediates"][0]


def test_the_text_tower_equals_open_clips(open_clip: Any, small_clip: tuple[Any, Path]) -> None:
    model, path = small_clip
    encoder = ClipTextEncoder.from_pretrained(path)
    ids = open_clip.tokenizer.SimpleTokenizer()(TEXTS)
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (3, encoder.features) == (3, 24) and encoder.max_tokens == 77
    torch.testing.assert_close(vectors, model.encode_text(ids, normalize=False), atol=1e-6, rtol=0)
    assert not any("visual" in name for name in encoder.state_dict())
    state = model.state_dict()
    weights = _as_transformers(state, "") | {
        "embeddings.token_embedding.weight": state["token_embedding.weight"],
        "embeddings.position_embedding.weight": state["positional_embedding"],
        "final_layer_norm.weight": state["ln_final.weight"],
        "final_layer_norm.bias": state["ln_final.bias"],
        "text_projection.weight": state["text_projection"].T,
    }
    ours = {name.removeprefix("text_model."): value for name, value in encoder.model.state_dict().items()}
    assert weights.keys() == ours.keys() and all(torch.equal(weights[name], ours[name]) for name in ours)


def test_the_vision_tower_equals_open_clips(small_clip: tuple[Any, Path]) -> None:
    model, path = small_clip
    encoder = ClipVisionEncoder.from_pretrained(path)
    image = torch.rand(2, 3, 33, 50, requires_grad=True) * 2 - 1
    tokens = encoder.encode(image)
    assert tokens.shape == (2, encoder.tokens, encoder.features) == (2, 9, 32)
    torch.testing.assert_close(tokens, _own_tokens(model, image), atol=1e-5, rtol=0)
    tokens.square().sum().backward()
    assert all(parameter.grad is not None for name, parameter in encoder.named_parameters() if "pre_layrnorm" in name)
    state = model.state_dict()
    weights = _as_transformers(state, "visual.") | {
        "embeddings.class_embedding": state["visual.class_embedding"],
        "embeddings.patch_embedding.weight": state["visual.conv1.weight"],
        "embeddings.position_embedding.weight": state["visual.positional_embedding"],
        "pre_layrnorm.weight": state["visual.ln_pre.weight"],
        "pre_layrnorm.bias": state["visual.ln_pre.bias"],
        "post_layernorm.weight": state["visual.ln_post.weight"],
        "post_layernorm.bias": state["visual.ln_post.bias"],
    }
    ours = {name.removeprefix("vision_model."): value for name, value in encoder.model.state_dict().items()}
    assert weights.keys() == ours.keys() and all(torch.equal(weights[name], ours[name]) for name in ours)


def test_the_released_towers_names_and_shapes_are_open_clips(open_clip: Any, tmp_path: Path) -> None:
    for name, rows in (("ViT-L-14-336-quickgelu", 577), ("ViT-L-14-quickgelu", 257)):
        with torch.device("meta"):
            theirs = open_clip.model.CLIP(**open_clip.get_model_config(name)).state_dict()
        path = tmp_path / f"{name}.safetensors"
        save_file({MARK: torch.zeros(1), "visual.positional_embedding": torch.zeros(rows, 1)}, path)
        checkpoint = OpenClip(path)
        assert checkpoint.architecture == name
        wanted = {origin(new).name: origin(new).shape(shape) for new, shape in checkpoint.shapes.items()}
        assert wanted == {old: tuple(tensor.shape) for old, tensor in theirs.items()}


def test_the_activation_is_the_architectures(open_clip: Any, small_clip: tuple[Any, Path], tmp_path: Path) -> None:
    """OpenCLIP's own weights have GELU, OpenAI's QuickGELU, and no tensor tells which."""
    _, path = small_clip
    architecture = {name: value for name, value in ARCHITECTURE.items() if name != "quick_gelu"}
    exact = open_clip.model.CLIP(**copy.deepcopy(architecture)).eval()
    exact.load_state_dict(load_file(path))
    (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / CONFIG_FILE).write_text(json.dumps({"model_cfg": architecture}))
    image = torch.rand(1, 3, 42, 42) * 2 - 1
    tokens = ClipVisionEncoder.from_pretrained(tmp_path).encode(image)
    torch.testing.assert_close(tokens, _own_tokens(exact, image), atol=1e-5, rtol=0)
    quick = ClipVisionEncoder.from_pretrained(path).encode(image)
    assert (quick - tokens).abs().max() > 1e-4
    vectors = ClipTextEncoder.from_pretrained(tmp_path).encode(TEXTS)
    ids = open_clip.tokenizer.SimpleTokenizer()(TEXTS)
    torch.testing.assert_close(vectors, exact.encode_text(ids), atol=1e-6, rtol=0)


def test_the_tokenizer_is_open_clips(open_clip: Any) -> None:
    theirs, ours = open_clip.tokenizer.SimpleTokenizer(), clip_tokenizer()
    assert len(ours) == theirs.vocab_size and (ours.bos_token_id, ours.eos_token_id) == (49406, 49407)
    texts = [
        *TEXTS,
        "It's 2024; they'll RE-draw\tÉtude №5, naïve café 北京 🙂🙂",
        "  a  b\n\nc ",
        "x" * 300,
        "___--'s 'S",
    ]
    for text, ids in zip(texts, theirs(texts).tolist(), strict=True):
        found = ours(text, truncation=True, max_length=77)["input_ids"]
        assert found == ids[: len(found)] and not any(ids[len(found) :]), text


def test_converted_once_it_is_transformers_folder(small_clip: tuple[Any, Path], tmp_path: Path, capsys: Any) -> None:
    model, path = small_clip
    out = tmp_path / "clip"
    assert main(["convert", str(path), str(out)]) == 0
    said = capsys.readouterr().out
    assert f"both towers of {path.with_name(CONFIG_FILE)}" in said and f"wrote {out / 'model.safetensors'}" in said
    image = torch.rand(1, 3, 40, 60) * 2 - 1
    for encoder, question in ((ClipTextEncoder, TEXTS), (ClipVisionEncoder, image)):
        again, first = encoder.from_pretrained(out), encoder.from_pretrained(path)
        ours, theirs = again.state_dict(), first.state_dict()
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
        torch.testing.assert_close(again.encode(question), first.encode(question), atol=1e-5, rtol=0)
    whole = CLIPModel.from_pretrained(out).eval()
    ids = ClipTextEncoder.from_pretrained(out).tokenize(TEXTS)
    scale, pixels = model.logit_scale.exp(), preprocess(image, 42)
    expected = scale * model.encode_image(pixels, normalize=True) @ model.encode_text(ids, normalize=True).T
    torch.testing.assert_close(whole(ids, pixels).logits_per_image, expected, atol=1e-4, rtol=0)
    assert json.loads(TensorFile(out / "model.safetensors").metadata["provenance"])["source"] == path.name
    assert main(["convert", str(path.parent), str(tmp_path / "half"), "--dtype", "float16"]) == 0
    specs = TensorFile(tmp_path / "half" / "model.safetensors").specs
    assert {spec.dtype for spec in specs.values()} == {torch.float16}


def test_a_model_folder_takes_open_clips_towers(small_clip: tuple[Any, Path], tmp_path: Path) -> None:
    path = small_clip[1]
    for part, encoder in (("task_encoder", ClipTextEncoder), ("image_encoder", ClipVisionEncoder)):
        (tmp_path / part).mkdir()
        for name in (path.name, CONFIG_FILE):
            (tmp_path / part / name).write_bytes(path.with_name(name).read_bytes())
        found = load_part(tmp_path, part, "clip", torch.float16)
        assert type(found) is encoder and found.model.dtype == torch.float16 and kind_of(part, found) == "clip"
        found.save_pretrained(tmp_path / "saved" / part)
        assert type(load_part(tmp_path / "saved", part, "clip", torch.float32)) is encoder
    # A folder with both forms is one of transformers.
    (tmp_path / "image_encoder" / "config.json").write_text('{"model_type": "clip_vision_model"}')
    with pytest.raises(ValueError, match=r"needs weights \(model.safetensors\)"):
        load_part(tmp_path, "image_encoder", "clip", torch.float32)


def test_pickled_and_half_checkpoints(small_clip: tuple[Any, Path], tmp_path: Path) -> None:
    model, path = small_clip
    half = {f"module.{name}": value.half() for name, value in model.state_dict().items()}
    torch.save({"epoch": 1, "state_dict": half}, tmp_path / "epoch_1.pt")
    (tmp_path / CONFIG_FILE).write_bytes(path.with_name(CONFIG_FILE).read_bytes())
    image = torch.rand(1, 3, 42, 42)
    from_half = ClipVisionEncoder.from_pretrained(tmp_path / "epoch_1.pt")
    assert from_half.model.dtype == torch.float32
    exact = ClipVisionEncoder.from_pretrained(path)
    torch.testing.assert_close(from_half.encode(image), exact.encode(image), atol=2e-2, rtol=0)


def test_an_architecture_may_be_named(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {f"visual.{MARK}": torch.zeros(1), "visual.positional_embedding": torch.zeros(577, 1)}
    save_file(rows, tmp_path / "openai.safetensors")
    found = OpenClip(tmp_path / "openai.safetensors")
    assert found.architecture == "ViT-L-14-336-quickgelu"
    text, vision = found.config.text_config, found.config.vision_config
    assert (text.hidden_size, text.num_attention_heads, text.num_hidden_layers) == (768, 12, 12)
    assert (vision.hidden_size, vision.num_attention_heads, vision.image_size) == (1024, 16, 336)
    assert text.hidden_act == vision.hidden_act == "quick_gelu"
    named = OpenClip(tmp_path / "openai.safetensors", "ViT-L-14")
    assert named.config.text_config.hidden_act == "gelu" and named.config.vision_config.image_size == 224
    save_file({MARK: torch.zeros(1)}, tmp_path / "text.safetensors")
    assert OpenClip(tmp_path / "text.safetensors").architecture == "ViT-L-14-quickgelu"
    command = ["convert", str(tmp_path / "openai.safetensors"), str(tmp_path / "out"), "--architecture", "ViT-L-14"]
    assert main(command) == 2
    assert "by ViT-L-14, found no such entry: put its own" in capsys.readouterr().err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"need open_clip_torch, which is not installed: .* -m pip install open_clip"):
        OpenClip(tmp_path / "openai.safetensors")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vision_cfg": {"attentional_pool": True}}, "has attentional_pool, which transformers' CLIP has not"),
        ({"init_logit_bias": -10}, "has init_logit_bias"),
        ({"text_cfg": {"width": 64}}, r"should hold \w.* \[.*64.*\] by .*, found \["),
        ({"text_cfg": {"layers": 3}}, "resblocks.2.* found no such entry: put its own"),
        ({"text_cfg": {"layers": 1}}, "the text tower of .* alone, found transformer.resblocks.1.* too"),
        ({"text_cfg": {"heads": None}}, "should describe a CLIP as open_clip does, found TypeError"),
    ],
    ids=["pool", "siglip", "width", "too few", "too many", "no heads"],
)
def test_what_does_not_fit_is_refused(
    small_clip: tuple[Any, Path], tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    architecture = copy.deepcopy(ARCHITECTURE)
    for name, value in change.items():
        architecture[name] = architecture[name] | value if isinstance(value, dict) else value
    with pytest.raises(ValueError, match=words) as caught:
        OpenClip(small_clip[1], architecture).tower("text")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--architecture", "ViT-nope"], "no architecture 'ViT-nope': use one of open_clip.list_models"),
        (["--architecture", "../ViT-L-14"], "no architecture '../ViT-L-14'"),
        (["--ema"], "--ema chooses between the files of a released folder, found OpenCLIP's"),
        (["--init-from-lumina", "--architecture", "ViT-L-14"], "--architecture goes with an OpenCLIP checkpoint"),
    ],
    ids=["name", "place", "ema", "lumina"],
)
def test_options_that_do_not_fit_are_refused(
    small_clip: tuple[Any, Path], tmp_path: Path, capsys: Any, more: list[str], words: str
) -> None:
    assert main(["convert", str(small_clip[1]), str(tmp_path / "out"), *more]) == 2
    said = capsys.readouterr().err
    assert words in said and not (tmp_path / "out").exists()
    assert main(["convert", str(small_clip[1]), str(tmp_path / "out.safetensors")]) == 2
    assert "becomes a folder, found the file" in capsys.readouterr().err
    assert main(["convert", str(tmp_path), str(tmp_path / "out"), "--architecture", "ViT-L-14"]) == 2
    assert "found none at" in capsys.readouterr().err
