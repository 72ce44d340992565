"""Weight files: conversion of released and Lumina checkpoints, our own single and sharded files, peak memory."""

import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pixwizard.comfyui_pixwizard import PixWizardConfig, PixWizardTransformer
from pixwizard.comfyui_pixwizard.files.checkpoint import ModelFiles, load_transformer, meta_specs, save_transformer
from pixwizard.comfyui_pixwizard.files.lumina import init_from_lumina, is_new
from pixwizard.comfyui_pixwizard.files.released import convert_released
from pixwizard.comfyui_pixwizard.files.safe_files import SAFETENSORS_NAMES, Spec, TensorFile, write_safetensors

# Stands for one that the released constructor made: fields that no shape shows have its defaults.
CONFIG = PixWizardConfig(
    patch_size=2,
    in_channels=4,
    dim=64,
    n_layers=2,
    n_heads=4,
    n_kv_heads=2,
    multiple_of=256,
    qk_norm=True,
    cap_feat_dim=40,
    cap_clip_feat_dim=24,
    clip_image_dim=20,
    sample_tokens=256,
)
ARGS = Namespace(model="PixWizard_2B_GQA_patch2", vae="sdxl", qk_norm=True, image_size="512-768", lr=1e-4, resume=None)


def random_model(config: PixWizardConfig = CONFIG, seed: int = 0) -> PixWizardTransformer:
    torch.manual_seed(seed)
    model = PixWizardTransformer(config)
    for parameter in model.parameters():
        parameter.data.normal_()
    return model


@pytest.fixture
def released(tmp_path: Path) -> tuple[Path, PixWizardTransformer]:
    folder = tmp_path / "released"
    folder.mkdir()
    model = random_model()
    torch.save(model.state_dict(), folder / "consolidated.00-of-01.pth")
    torch.save(random_model(seed=1).state_dict(), folder / "consolidated_ema.00-of-01.pth")
    torch.save(ARGS, folder / "model_args.pth")
    return folder, model


def assert_same(model: PixWizardTransformer, state: dict[str, torch.Tensor]) -> None:
    own = model.state_dict()
    assert own.keys() == state.keys()
    for name, value in own.items():
        assert torch.equal(value, state[name]), name


def test_released_folder_converts_exactly(released: tuple[Path, PixWizardTransformer], tmp_path: Path) -> None:
    folder, model = released
    path = convert_released(folder, tmp_path / "out.safetensors")
    assert path == tmp_path / "out.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert PixWizardConfig.from_dict(json.loads(metadata["config"])) == CONFIG
    provenance = json.loads(metadata["provenance"])
    source = folder / "consolidated.00-of-01.pth"
    assert provenance["source"] == source.name and provenance["bytes"] == source.stat().st_size
    assert len(provenance["sha256"]) == 64 and provenance["tool"].startswith("pixwizard convert")
    assert provenance["args"] == {"model": ARGS.model, "vae": "sdxl", "qk_norm": True, "image_size": "512-768"}
    loaded = load_transformer(path)
    assert loaded.config == CONFIG and not loaded.training
    assert_same(loaded, model.state_dict())
    assert load_file(path).keys() == model.state_dict().keys(), "any safetensors reader can read it"


def test_averaged_weights_dtype_and_folder_output(released: tuple[Path, PixWizardTransformer], tmp_path: Path) -> None:
    folder, _ = released
    path = convert_released(folder, tmp_path / "new" / "out", ema=True, dtype="bfloat16")
    assert path == tmp_path / "new" / "out" / "model.safetensors"
    assert {value.dtype for value in load_file(path).values()} == {torch.bfloat16}
    expected = {name: value.bfloat16().float() for name, value in random_model(seed=1).state_dict().items()}
    assert_same(load_transformer(path.parent), expected)
    (folder / "consolidated_ema.00-of-01.pth").unlink()
    with pytest.raises(ValueError, match="leave out --ema"):
        convert_released(folder, tmp_path / "x.safetensors", ema=True)
    with pytest.raises(ValueError, match="dtype must be one of"):
        convert_released(folder, tmp_path / "x.safetensors", dtype="int4")
    assert not (tmp_path / "x.safetensors").exists()


def test_values_that_half_cannot_hold_are_refused(tmp_path: Path, released: tuple[Path, PixWizardTransformer]) -> None:
    folder, model = released
    state = model.state_dict()
    state["x_embedder.bias"][3] = 1e6
    state["x_embedder.bias"][4] = float("nan")
    state["pad_token"][0] = float("inf")  # was infinite before: nothing is lost
    torch.save(state, folder / "consolidated.00-of-01.pth")
    with pytest.raises(ValueError, match=r"x_embedder.bias has 1 values too large for torch.float16"):
        convert_released(folder, tmp_path / "out" / "half.safetensors", dtype="float16")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"learn_sigma": False}, {}),
        ({"n_kv_heads": None}, {"n_kv_heads": 4}),
        ({"qk_norm": False}, {}),
        ({"in_channels": 16}, {}),
        ({"dim": 96, "multiple_of": 32}, {"multiple_of": 256}),  # 8/3 of 96 is 256 for either
        ({"dim": 80, "multiple_of": 8}, {"multiple_of": 8}),
    ],
)
def test_configuration_is_inferred_from_shapes(
    changes: dict[str, Any], expected: dict[str, Any], tmp_path: Path
) -> None:
    config = PixWizardConfig.from_dict(CONFIG.to_dict() | changes)
    torch.save(random_model(config).state_dict(), tmp_path / "consolidated.00-of-01.pth")
    args = Namespace(**vars(ARGS) | {"qk_norm": config.qk_norm})
    torch.save(args, tmp_path / "model_args.pth")
    files = ModelFiles(convert_released(tmp_path, tmp_path / "out.safetensors"))
    assert files.config == PixWizardConfig.from_dict(config.to_dict() | expected)


def test_released_configuration_from_the_released_names(golden_json: Callable[[str], Any], tmp_path: Path) -> None:
    from pixwizard.comfyui_pixwizard.files.released import infer_config

    entries = golden_json("manifest_2b_gqa")["entries"]
    specs = {entry["name"]: Spec(torch.float32, tuple(entry["shape"])) for entry in entries}
    assert infer_config(specs, vars(ARGS), tmp_path) == PixWizardConfig.preset("2b")


def lumina_state(config: PixWizardConfig = CONFIG) -> dict[str, torch.Tensor]:
    """A Lumina-Next of the same width: PixWizard's shared entries, half the patch embedding, a caption embedder."""
    state = {name: value for name, value in random_model(config).state_dict().items() if not is_new(name)}
    state["x_embedder.weight"] = state["x_embedder.weight"][:, : 4 * config.in_channels].clone()
    width = config.cap_feat_dim
    state["cap_embedder.0.weight"] = torch.ones(width)
    state["cap_embedder.0.bias"] = torch.zeros(width)
    state["cap_embedder.1.weight"] = torch.zeros(config.conditioning_dim, width)
    state["cap_embedder.1.bias"] = torch.zeros(config.conditioning_dim)
    return state


def test_new_entries_are_those_of_the_manifests(golden_json: Callable[[str], Any]) -> None:
    ours = {entry["name"]: entry["shape"] for entry in golden_json("manifest_2b_gqa")["entries"]}
    lumina = {entry["name"]: entry["shape"] for entry in golden_json("manifest_lumina_next_2b")["entries"]}
    assert {name for name in ours if is_new(name)} == ours.keys() - lumina.keys()
    assert len(ours.keys() - lumina.keys()) == 440
    assert lumina.keys() - ours.keys() == {f"cap_embedder.{i}.{kind}" for i in "01" for kind in ("weight", "bias")}
    assert {n for n in lumina.keys() & ours.keys() if lumina[n] != ours[n]} == {"x_embedder.weight"}
    assert (lumina["x_embedder.weight"], ours["x_embedder.weight"]) == ([2304, 16], [2304, 32])


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_start_from_lumina(kind: str, tmp_path: Path) -> None:
    state = lumina_state()
    source = tmp_path / f"consolidated_ema.00-of-01.{kind}"
    if kind == "pth":
        torch.save(state, source)
    else:
        save_file(state, source)
    path = init_from_lumina(tmp_path, tmp_path / "start.safetensors", CONFIG, seed=3)
    model = load_transformer(path)
    assert model.config == CONFIG
    start = model.state_dict()
    torch.manual_seed(0)
    fresh = PixWizardTransformer(CONFIG).state_dict()
    for name, value in start.items():
        if name == "x_embedder.weight":
            assert torch.equal(value[:, :16], state[name]) and not value[:, 16:].any()
        elif not is_new(name):
            assert torch.equal(value, state[name]), name
        elif value.numel() > 1 and fresh[name].unique().numel() == 1:
            assert torch.equal(value, fresh[name]), f"{name}: a constant in the model's own initialisation"
        elif value.numel() > 1:
            torch.testing.assert_close(value.std(), fresh[name].std(), rtol=0.35, atol=0, msg=name)
    assert not start["layers.1.attention.gate_for_ii"].any() and not start["task_embedder.1.weight"].any()
    name = "layers.{}.in_conv.1.weight"
    assert not torch.equal(start[name.format(0)], start[name.format(1)]), "layers differ"
    again = load_file(init_from_lumina(source, tmp_path / "again.safetensors", CONFIG, seed=3))
    assert all(torch.equal(value, again[key]) for key, value in start.items()), "the seed decides"
    other = load_file(init_from_lumina(source, tmp_path / "other.safetensors", CONFIG, seed=4))
    assert not torch.equal(other[name.format(0)], start[name.format(0)])


def test_lumina_mistakes(tmp_path: Path) -> None:
    save_file(lumina_state(), tmp_path / "lumina.safetensors")
    with pytest.raises(ValueError, match="another file than the source"):
        init_from_lumina(tmp_path / "lumina.safetensors", tmp_path / "lumina.safetensors", CONFIG)
    with pytest.raises(ValueError, match=r"should hold|lacks"):
        init_from_lumina(tmp_path / "lumina.safetensors", tmp_path / "out.safetensors")  # a 2B is expected
    save_file(random_model().state_dict(), tmp_path / "wizard.safetensors")
    with pytest.raises(ValueError, match="entries of another model"):
        init_from_lumina(tmp_path / "wizard.safetensors", tmp_path / "out.safetensors", CONFIG)
    with pytest.raises(ValueError, match="found none at"):
        init_from_lumina(tmp_path / "absent", tmp_path / "out.safetensors", CONFIG)
    folder = tmp_path / "folder"
    folder.mkdir()
    torch.save(lumina_state(), folder / "consolidated.00-of-01.pth")
    torch.save(ARGS, folder / "model_args.pth")
    with pytest.raises(ValueError, match="is a Lumina-Next model, not a PixWizard: use --init-from-lumina"):
        convert_released(folder, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("limit", [10**9, 100_000, 1])
def test_save_and_load_sharded(limit: int, tmp_path: Path) -> None:
    model = random_model()
    save_transformer(model, tmp_path, torch.float32, max_shard_bytes=5_000)
    save_transformer(model, tmp_path, torch.float16, max_shard_bytes=limit, provenance={"recipe": "test"})
    files = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    if limit == 10**9:
        assert files == ["model.safetensors"] and not (tmp_path / "model.safetensors.index.json").exists()
    else:
        total = len(files)
        assert files == [f"model-{i:05d}-of-{total:05d}.safetensors" for i in range(1, total + 1)]
        for file in files:
            assert len(load_file(tmp_path / file)) == 1 or (tmp_path / file).stat().st_size <= limit + 20_000
    loaded = load_transformer(tmp_path)
    assert loaded.config == CONFIG
    assert_same(loaded, {name: value.half().float() for name, value in model.state_dict().items()})
    assert ModelFiles(tmp_path).provenance == {"recipe": "test"}
    assert load_transformer(tmp_path, dtype=torch.bfloat16).x_embedder.weight.dtype == torch.bfloat16
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]


@settings(max_examples=25, deadline=None)
@given(
    entries=st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(list(SAFETENSORS_NAMES)), st.lists(st.integers(0, 4), max_size=3)),
        min_size=1,
        max_size=6,
    ),
    metadata=st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=20), max_size=2),
)
def test_written_safetensors_read_back(entries: dict, metadata: dict, tmp_path_factory: pytest.TempPathFactory) -> None:
    metadata.pop("format", None)
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.randint(0, 2, shape, generator=generator).to(dtype) for name, (dtype, shape) in entries.items()
    }
    specs = {name: Spec(value.dtype, tuple(value.shape)) for name, value in tensors.items()}
    path = tmp_path_factory.mktemp("written") / "file.safetensors"
    write_safetensors(path, specs, lambda names: {name: tensors[name] for name in names}, metadata)
    loaded = load_file(path)
    assert loaded.keys() == tensors.keys()
    for name, value in tensors.items():
        assert loaded[name].dtype == value.dtype and torch.equal(loaded[name], value)
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "pt", **metadata}
    assert TensorFile(path).specs == specs


# Not getrusage: a child inherits its parent's ru_maxrss.
MEASURE = r"""
import re, sys
from pixwizard.comfyui_pixwizard.files.lumina import init_from_lumina
from pixwizard.comfyui_pixwizard.files.released import convert_released
from pixwizard.comfyui_pixwizard.config import PixWizardConfig
peak = lambda: 1024 * int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1])
before = peak()
kind, source, out, config = sys.argv[1:]
if kind == "released":
    convert_released(source, out, dtype="float16")
else:
    init_from_lumina(source, out, PixWizardConfig.from_dict(__import__("json").loads(config)))
print(before, peak())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize("kind", ["released", "lumina"])
def test_peak_memory_of_a_conversion(kind: str, tmp_path: Path) -> None:
    config = PixWizardConfig.from_dict(CONFIG.to_dict() | {"dim": 512, "n_layers": 12, "n_heads": 8})
    with torch.device("meta"):
        names = PixWizardTransformer(config).state_dict()
    state = {name: torch.zeros(value.shape) for name, value in names.items()}
    if kind == "lumina":
        state = {name: value for name, value in state.items() if not is_new(name)}
        state["x_embedder.weight"] = torch.zeros(config.dim, 16)
    torch.save(state, tmp_path / "consolidated.00-of-01.pth")
    torch.save(ARGS, tmp_path / "model_args.pth")
    size = (tmp_path / "consolidated.00-of-01.pth").stat().st_size
    del state
    assert size > 1.9e8
    command = [sys.executable, "-c", MEASURE, kind, str(tmp_path), str(tmp_path / "out.safetensors")]
    result = subprocess.run([*command, json.dumps(config.to_dict())], capture_output=True, text=True, check=True)
    before, after = map(int, result.stdout.split())
    assert (tmp_path / "out.safetensors").stat().st_size > size / 2.1
    print(before, after, size)
    assert after - before < 1.3 * size, f"{(after - before) / size:.2f} times the file"
    assert meta_specs(config) == {
        name: Spec(torch.float32, spec.shape) for name, spec in TensorFile(tmp_path / "out.safetensors").specs.items()
    }
