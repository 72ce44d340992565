"""Truncated, misshapen, foreign and hostile files: one line, nothing executed, no partial output."""

import argparse
import io
import json
import os
import pickle
import struct
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pixwizard.comfyui_pixwizard import PixWizardConfig, PixWizardTransformer
from pixwizard.comfyui_pixwizard.files import safe_files
from pixwizard.comfyui_pixwizard.files.checkpoint import load_transformer, save_transformer
from pixwizard.comfyui_pixwizard.files.lumina import init_from_lumina
from pixwizard.comfyui_pixwizard.files.released import convert_released

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
)
WEIGHTS = "consolidated.00-of-01.pth"
ARGS = "model_args.pth"


class Attack:
    """Unpickling runs a shell command that leaves a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "released"
    folder.mkdir()
    torch.manual_seed(0)
    torch.save(PixWizardTransformer(CONFIG).state_dict(), folder / WEIGHTS)
    torch.save(Namespace(model="PixWizard_2B_GQA_patch2", qk_norm=True, vae="sdxl"), folder / ARGS)
    return folder


@pytest.fixture
def refused(folder: Path) -> Callable[[str], None]:
    """Converts the folder and checks that it fails with one line and leaves nothing behind."""

    def check(match: str) -> None:
        before = sorted(path for path in folder.parent.rglob("*"))
        with pytest.raises(ValueError, match=match) as caught:
            convert_released(folder, folder.parent / "out" / "model.safetensors")
        assert "\n" not in str(caught.value)
        assert sorted(path for path in folder.parent.rglob("*")) == before

    return check


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    state = torch.load(folder / WEIGHTS)
    torch.save(change(state) or state, folder / WEIGHTS)


def test_the_fixture_itself_converts(folder: Path) -> None:
    assert convert_released(folder, folder.parent / "out.safetensors").is_file()


@pytest.mark.parametrize("name", [WEIGHTS, ARGS])
@pytest.mark.parametrize("form", ["torch", "legacy", "plain"])
def test_hostile_pickles_execute_nothing(name: str, form: str, folder: Path, refused: Callable[[str], None]) -> None:
    mark = folder.parent / "executed"
    content = {"x_embedder.weight": Attack(mark)} if name == WEIGHTS else Namespace(model=Attack(mark))
    if form == "plain":
        (folder / name).write_bytes(pickle.dumps(content))
    else:
        torch.save(content, folder / name, _use_new_zipfile_serialization=form == "torch")
    refused(r"holds (posix|nt)\.system, which" if form == "torch" else "not a complete file of torch.save")
    assert not mark.exists()
    if form == "torch":  # the attack is real: an unrestricted load does execute it
        torch.load(folder / name, weights_only=False)
        assert mark.exists()


def test_hostile_lumina_file_executes_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    torch.save({"pad_token": Attack(mark)}, tmp_path / "lumina.pth")
    with pytest.raises(ValueError, match=r"holds (posix|nt)\.system, which"):
        init_from_lumina(tmp_path / "lumina.pth", tmp_path / "out.safetensors", CONFIG)
    assert not mark.exists() and not (tmp_path / "out.safetensors").exists()


def test_only_the_namespace_is_allowed(folder: Path, refused: Callable[[str], None]) -> None:
    """Not in the weights, not another class of argparse, not what other code of the process allowed."""
    edit(folder, lambda state: state | {"extra": Namespace(a=1)})
    refused("argparse.Namespace")
    torch.save(PixWizardTransformer(CONFIG).state_dict(), folder / WEIGHTS)
    torch.save(Namespace(path=Path("/tmp")), folder / ARGS)
    refused("pathlib")
    torch.save(argparse.FileType("r"), folder / ARGS)
    refused("argparse.FileType")
    torch.serialization.add_safe_globals([argparse.ArgumentTypeError])
    try:
        torch.save(argparse.ArgumentTypeError("x"), folder / ARGS)
        refused("argparse.ArgumentTypeError")
        assert argparse.ArgumentTypeError in torch.serialization.get_safe_globals(), "restored afterwards"
    finally:
        torch.serialization.clear_safe_globals()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"model": "PixWizard_2B_GQA_patch2"}, "should hold an argparse.Namespace, found dict"),
        ([1, 2], "should hold an argparse.Namespace, found list"),
        (torch.zeros(3), "should hold an argparse.Namespace, found Tensor"),
        (Namespace(model=torch.zeros(3)), "plain arguments, found 'model': Tensor"),
        (Namespace(qk_norm=False), "qk_norm=False in model_args.pth but the weights say True"),
        (Namespace(sample_tokens=-3), "sample_tokens must be at least 1"),
    ],
)
def test_arguments_of_another_kind(content: Any, match: str, folder: Path, refused: Callable[[str], None]) -> None:
    torch.save(content, folder / ARGS)
    refused(match)


@pytest.mark.parametrize("name", [WEIGHTS, ARGS])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_truncated_files(name: str, share: float, folder: Path, refused: Callable[[str], None]) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: int(len(whole) * share)])
    refused("not a complete file of torch.save")


def test_a_record_that_is_shorter_than_it_says(folder: Path, refused: Callable[[str], None]) -> None:
    """A zip archive that is complete, but one tensor's bytes are missing."""
    source = zipfile.ZipFile(io.BytesIO((folder / WEIGHTS).read_bytes()))
    with zipfile.ZipFile(folder / WEIGHTS, "w", zipfile.ZIP_STORED) as target:
        for entry in source.namelist():
            content = source.read(entry)
            target.writestr(entry, content[:8] if "/data/" in entry and len(content) > 1000 else content)
    refused("was refused")


def test_missing_files(folder: Path, refused: Callable[[str], None]) -> None:
    (folder / ARGS).rename(folder / "elsewhere")
    refused(f"holds {ARGS}, .* does not")
    (folder / "elsewhere").rename(folder / ARGS)
    (folder / WEIGHTS).rename(folder / "consolidated.00-of-02.pth")
    refused(r"should hold consolidated.00-of-01.pth, found consolidated.00-of-02.pth")
    (folder / "consolidated.00-of-02.pth").rename(folder / "consolidated_ema.00-of-01.pth")
    refused("pass --ema")
    with pytest.raises(ValueError, match="found none at"):
        convert_released(folder / "nope", folder / "x.safetensors")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda s: s.pop("layers.1.attention.wq.weight"),
            r"lacks 1 of \d+ entries, the first is 'layers.1.att",
        ),
        (lambda s: s.pop("x_embedder.weight"), "not a PixWizard model: it should hold x_embedder.weight"),
        (lambda s: s.update(extra=torch.zeros(1)), "has 1 entries of another model, the first is 'extra'"),
        (lambda s: s.update({"layers.7.x": torch.zeros(1)}), "lacks"),
        (lambda s: s.update({"layers.0.attention.wo.weight": torch.zeros(64, 63)}), r"floating \[64, 64\], found"),
        (lambda s: s.update({"pad_token": torch.zeros(64, dtype=torch.int64)}), r"floating \[64\], found torch.int64"),
        (lambda s: s.update({"pad_token": torch.zeros(64, dtype=torch.complex64)}), "named tensors only"),
        (lambda s: s.update({"pad_token": torch.zeros(64).to_sparse()}), "named tensors only"),
        (lambda s: s.update({"pad_token": torch.zeros(64, device="meta")}), "named tensors only"),
        (lambda s: s.update({"pad_token": [1.0, 2.0]}), "'pad_token': list"),
        (lambda s: s.update({3: torch.zeros(1)}), "named tensors only, found '3'"),
        (lambda s: s.update({"layers.0.feed_forward.w1.weight": torch.zeros(7, 64)}), "feed-forward width 7"),
        (lambda s: s.update({"layers.0.attention.gate": torch.zeros(5)}), "dim must be a multiple"),
        (lambda s: {"weight": torch.zeros(3), "bias": torch.zeros(3)}, "not a PixWizard model"),
        (lambda s: [torch.zeros(3)], "a dictionary of tensors, found list"),
        (lambda s: {"state_dict": {}}, "a dictionary of tensors, found dict|found"),
    ],
)
def test_misshapen_and_foreign_weights(
    change: Callable[[dict[str, Any]], Any], match: str, folder: Path, refused: Callable[[str], None]
) -> None:
    def apply(state: dict[str, Any]) -> Any:
        result = change(state)
        return result if isinstance(result, dict | list) else None

    edit(folder, apply)
    refused(match)


def test_a_failure_while_writing_leaves_the_old_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = folder.parent / "out.safetensors"
    out.write_bytes(b"old")
    written = []

    def fail(name: str, *rest: Any) -> list[bytes]:
        written.append(name)
        if len(written) > 5:
            raise OSError(28, "No space left on device")
        return [b"x"]

    monkeypatch.setattr(safe_files, "_pieces", fail)
    with pytest.raises(OSError, match="No space left"):
        convert_released(folder, out)
    assert len(written) == 6 and out.read_bytes() == b"old"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["out.safetensors", "released"]


def test_unwritable_output(folder: Path) -> None:
    blocked = folder.parent / "file"
    blocked.write_text("not a folder")
    with pytest.raises(ValueError, match=r"cannot write .*choose another place"):
        convert_released(folder, blocked / "out.safetensors")


def _rewrite_header(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + length])
    change(header)
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + whole[8 + length :])


def test_our_own_files_are_checked_too(tmp_path: Path) -> None:
    def refused(match: str, path: Path) -> None:
        with pytest.raises(ValueError, match=match) as caught:
            load_transformer(path)
        assert "\n" not in str(caught.value)

    model = PixWizardTransformer(CONFIG)
    refused("found neither at", tmp_path / "absent")
    save_transformer(model, tmp_path / "one", max_shard_bytes=10**9)
    file = tmp_path / "one" / "model.safetensors"
    assert load_transformer(file).config == CONFIG
    whole = file.read_bytes()
    for share in (0, 4, 1000, len(whole) - 1):
        file.write_bytes(whole[:share])
        refused("not a complete safetensors file", file)
    for change, match in (
        (lambda h: h["__metadata__"].update(config="{"), "broken JSON"),
        (lambda h: h["__metadata__"].update(config="[1]"), "should hold a JSON object"),
        (lambda h: h["__metadata__"].update(config='{"dim": 64, "os": 1}'), "unknown config fields"),
        (lambda h: h["__metadata__"].update(config='{"dim": "64"}'), "wrong types"),
        (lambda h: h["__metadata__"].update(provenance="["), "broken JSON"),
        (lambda h: h["__metadata__"].pop("config"), "no PixWizard configuration"),
        (lambda h: h["__metadata__"].update(config=json.dumps(CONFIG.to_dict() | {"n_layers": 10**9})), "found 2"),
        (lambda h: h["__metadata__"].update(config=json.dumps(CONFIG.to_dict() | {"dim": 2**40})), "should|model"),
        (lambda h: h.update(extra=h.pop("pad_token")), "lacks 1 of"),
    ):
        file.write_bytes(whole)
        _rewrite_header(file, change)
        refused(match, file)


def test_sharded_folders_are_checked_too(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    save_transformer(PixWizardTransformer(CONFIG), folder, max_shard_bytes=100_000)
    index = folder / "model.safetensors.index.json"
    entries = json.loads(index.read_text())
    first = folder / next(iter(sorted(set(entries["weight_map"].values()))))
    whole = first.read_bytes()
    first.unlink()
    with pytest.raises(ValueError, match="found none at"):
        load_transformer(folder)
    first.write_bytes(whole)
    save_file(dict(list(load_file(first).items())[1:]), first)
    with pytest.raises(ValueError, match="lacks 1 of"):
        load_transformer(folder)
    first.write_bytes(whole)
    outside = {name: f"../{file}" for name, file in entries["weight_map"].items()}
    index.write_text(json.dumps({"weight_map": outside}))
    with pytest.raises(ValueError, match="should name files beside it"):
        load_transformer(folder)
    index.write_text("{")
    with pytest.raises(ValueError, match="broken JSON"):
        load_transformer(folder)
