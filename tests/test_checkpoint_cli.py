"""`pixwizard info` and `pixwizard convert` as the command line builds and runs them."""

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import tyro

from pixwizard.cli.model_files import Convert, Info, describe
from pixwizard.comfyui_pixwizard import PixWizardConfig, PixWizardTransformer
from pixwizard.comfyui_pixwizard.files.checkpoint import load_transformer, meta_specs, save_transformer
from pixwizard.comfyui_pixwizard.files.lumina import is_new
from pixwizard.comfyui_pixwizard.files.safe_files import Spec

SMALL = PixWizardConfig(dim=64, n_layers=2, n_heads=4, n_kv_heads=2, cap_feat_dim=16, qk_norm=True)


def run(command: type, *args: str) -> int:
    return tyro.cli(command, args=list(args)).run()


def test_the_2b_preset_has_the_manifests_entries(golden_json: Callable[[str], Any]) -> None:
    entries = golden_json("manifest_2b_gqa")["entries"]
    manifest = {entry["name"]: Spec(torch.float32, tuple(entry["shape"])) for entry in entries}
    config = PixWizardConfig.preset("2b")
    assert {name: spec.shape for name, spec in meta_specs(config).items()} == {
        name: spec.shape for name, spec in manifest.items()
    }
    assert describe(manifest, config)["equals_released"]
    changed = manifest | {"pad_token": Spec(torch.float32, (2305,))}
    assert not describe(changed, config)["equals_released"]
    del changed["pad_token"]
    assert not describe(changed, config)["equals_released"]


def test_info_of_the_2b_preset(golden_json: Callable[[str], Any], tmp_path: Path, capsys) -> None:
    assert run(Info, "--preset", "2b", "--json", str(tmp_path / "info.json")) == 0
    report = json.loads((tmp_path / "info.json").read_text())
    manifest = golden_json("manifest_2b_gqa")
    assert report["parameters"] == manifest["total_parameters"] == 2_011_441_976
    assert report["entries"] == manifest["n_entries"] == 1003
    assert report["equals_released"] is True
    assert PixWizardConfig.from_dict(report["config"]) == PixWizardConfig.preset("2b")
    parts = report["components"].values()
    assert sum(part["parameters"] for part in parts) == report["parameters"]
    assert sum(part["entries"] for part in parts) == report["entries"]
    printed = capsys.readouterr().out
    assert "2,011,441,976" in printed and "equal the released 2B model" in printed


def test_info_of_our_files_and_of_released_folders(tmp_path: Path, capsys) -> None:
    model = PixWizardTransformer(SMALL)
    save_transformer(model, tmp_path / "ours", torch.float16, max_shard_bytes=200_000, provenance={"recipe": "none"})
    assert run(Info, str(tmp_path / "ours"), "--json", str(tmp_path / "ours.json")) == 0
    report = json.loads((tmp_path / "ours.json").read_text())
    assert report["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert report["equals_released"] is False and report["provenance"] == {"recipe": "none"}
    assert "differ from the released 2B model" in capsys.readouterr().out
    folder = tmp_path / "released"
    folder.mkdir()
    torch.save(model.state_dict(), folder / "consolidated_ema.00-of-01.pth")
    torch.save(Namespace(model="PixWizard_2B_GQA_patch2", vae="sdxl"), folder / "model_args.pth")
    assert run(Info, str(folder), "--json", str(tmp_path / "released.json")) == 0
    released = json.loads((tmp_path / "released.json").read_text())
    assert released["components"] == report["components"]
    assert PixWizardConfig.from_dict(released["config"]) == SMALL


def test_info_needs_exactly_one_source() -> None:
    with pytest.raises(ValueError, match=r"needs a path or --preset .*found none"):
        run(Info)
    with pytest.raises(ValueError, match="found both"):
        run(Info, "x.safetensors", "--preset", "nano")
    with pytest.raises(ValueError, match=r"found neither at x.safetensors"):
        run(Info, "x.safetensors")


def test_convert_both_ways(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    model = PixWizardTransformer(SMALL)
    torch.save(model.state_dict(), tmp_path / "consolidated_ema.00-of-01.pth")
    torch.save(Namespace(vae="sdxl"), tmp_path / "model_args.pth")
    out = tmp_path / "out.safetensors"
    assert run(Convert, str(tmp_path), str(out), "--ema", "--dtype", "float16") == 0
    assert f"wrote {out}" in capsys.readouterr().out
    assert load_transformer(out).config == SMALL
    with pytest.raises(ValueError, match="pass --ema"):
        run(Convert, str(tmp_path), str(out))

    with pytest.raises(ValueError, match="--ema chooses between the files of a released folder"):
        run(Convert, "--init-from-lumina", "--ema", str(tmp_path), str(out))
    state = {name: value for name, value in model.state_dict().items() if not is_new(name)}
    state["x_embedder.weight"] = state["x_embedder.weight"][:, :16].clone()
    torch.save(state, tmp_path / "lumina.pth")
    monkeypatch.setattr(PixWizardConfig, "preset", classmethod(lambda cls, name: SMALL))
    start = tmp_path / "start"
    assert run(Convert, "--init-from-lumina", str(tmp_path / "lumina.pth"), str(start)) == 0
    loaded = load_transformer(start).state_dict()
    assert torch.equal(loaded["layers.0.attention.wq.weight"], state["layers.0.attention.wq.weight"])
