"""TensorRT-RTX: a real engine of the bundled model, built without a GPU where the wheel is installed, and read back."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

from pixwizard.cli.main import main
from pixwizard.export import rtx_build
from pixwizard.export.build_progress import BuildProgress
from pixwizard.export.engine_options import exported_graph, load_model
from pixwizard.export.rtx_build import BuildFailed, build_rtx, look_at, rtx_key
from pixwizard.runtime.engine_cache import EngineCache, EngineKey, Entry
from pixwizard.runtime.engine_profiles import size_profiles

PRESENT = sys.platform == "linux" and all(
    importlib.util.find_spec(name) for name in ("tensorrt_rtx_bindings", "tensorrt_rtx_libs", "onnx", "onnxscript")
)
needs_rtx = pytest.mark.skipif(
    not PRESENT, reason="the extra 'tensorrt-rtx' is not installed; on Linux: 100 MB that no other test uses"
)
KEY = EngineKey("tensorrt-rtx", "a" * 64, 1, "0.1.0", "float32", [], "TensorRT-RTX 1.7.1", "sm89", "linux-x86_64")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[EngineCache, Entry, list[float]]:
    """An engine for one size and one architecture, which is the quickest to build."""
    cache = EngineCache(tmp_path_factory.mktemp("engines"), cap=10**9)
    transformer = load_model("nano")
    key = rtx_key(transformer, "float32", size_profiles(transformer.config, [(64, 64)]), ("sm89",))
    seen: list[float] = []

    def tell(progress: BuildProgress) -> None:
        seen.append(progress.fraction)

    with exported_graph(transformer, "float32", cache.folder) as graph:
        return cache, build_rtx(cache, key, graph, "nano", tell), seen


@needs_rtx
def test_a_real_engine_is_built_without_a_gpu(built: tuple[EngineCache, Entry, list[float]]) -> None:
    cache, entry, seen = built
    assert entry.bytes > 10**7 and entry.key.builder.startswith("TensorRT-RTX 1.7")
    assert entry.notes["checked"] | {"loaded": None} == {
        "version": entry.key.builder.removeprefix("TensorRT-RTX "),
        "bytes": entry.bytes,
        "tensors": 13,
        "well_formed": True,
        "loaded": None,
    }
    assert len(cache.read(entry)) == entry.bytes and cache.find(entry.key) is not None
    assert seen == sorted(seen) and len(set(seen)) > 10 and seen[-1] == 1.0, "progress came step by step"
    assert {path.suffix for path in cache.folder.iterdir()} == {".engine", ".json", ".lock"}, "no graph, draft or log"


@needs_rtx
def test_the_commands_list_it_and_refuse_a_changed_byte(
    built: tuple[EngineCache, Entry, list[float]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, entry, _ = built
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in (entry.path, entry.sidecar):
        (folder / path.name).write_bytes(path.read_bytes())
    assert main(["export", "list", str(folder), "--verify", "--json", str(tmp_path / "list.json")]) == 0
    out = capsys.readouterr().out
    assert "nano" in out and "sm89" in out and " ok " in out
    (row,) = json.loads((tmp_path / "list.json").read_text())["engines"]
    assert row["sha256"] == entry.sha256 and row["state"] == "ok"
    with open(folder / entry.path.name, "r+b") as file:
        file.seek(entry.bytes // 2)
        byte = file.read(1)
        file.seek(entry.bytes // 2)
        file.write(bytes([byte[0] ^ 1]))
    copied = EngineCache(folder)
    with pytest.raises(ValueError, match="is not what was built"):
        copied.read(copied.entries()[0])
    assert main(["export", "list", str(folder), "--verify"]) == 1 and "damaged" in capsys.readouterr().out
    # The command that builds finds it, and says so in one line instead of using it.
    command = ["export", "tensorrt-rtx", "nano", str(folder), "--sizes", "64", "--targets", "sm89"]
    assert main(command) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "is not what was built" in said and "delete it and build again" in said
    assert main(["export", "prune", str(folder), "--max-gb", "0"]) == 0 and not list(folder.glob("*.engine"))


@needs_rtx
@pytest.mark.parametrize(
    "place, words",
    [(0, "is no TensorRT-RTX engine"), (16, "should have"), (None, "should have")],
    ids=["magic", "length", "cut short"],
)
def test_what_is_no_engine_is_seen_without_a_gpu(
    built: tuple[EngineCache, Entry, list[float]], tmp_path: Path, place: int | None, words: str
) -> None:
    data = bytearray(built[1].path.read_bytes())
    if place is None:
        data = data[:-1]
    else:
        data[place] ^= 1
    path = tmp_path / "x.engine"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=words):
        look_at(path, None)


@needs_rtx
def test_a_graph_that_is_not_understood_is_one_line_with_the_log(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    node = helper.make_node("NoSuchOperator", ["x"], ["velocity"], domain="nobody", name="strange")
    shape = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("velocity", TensorProto.FLOAT, [1])
    graph = helper.make_graph([node], "g", [shape], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("nobody", 1)])
    onnx.save(model, str(tmp_path / "strange.onnx"))
    cache = EngineCache(tmp_path / "engines")
    with pytest.raises(BuildFailed, match=r"strange.onnx was not understood: .*NoSuchOperator.*; its log is") as error:
        build_rtx(cache, KEY, tmp_path / "strange.onnx", "strange")
    log = Path(str(error.value).rpartition("its log is ")[2])
    assert "NoSuchOperator" in log.read_text() and cache.entries() == []


CRASHES = {
    "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)": r"crashed \(SIGSEGV\) while it was building an engine",
    'print(\'{"phase": "Timing", "parent": null, "steps": 2}\', flush=True); raise SystemExit(3)': (
        r"ended with exit code 3 while it was building an engine \(Timing\)"
    ),
}


@pytest.mark.parametrize("code", CRASHES, ids=["signal", "exit"])
def test_a_compiler_that_crashes_is_one_line_with_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    stand_in = tmp_path / "stand_in_worker.py"
    stand_in.write_text(code)
    monkeypatch.setattr(rtx_build, "WORKER", stand_in)
    cache = EngineCache(tmp_path / "engines")
    with pytest.raises(BuildFailed, match=CRASHES[code] + r"; its log is .*\.log") as error:
        build_rtx(cache, KEY, tmp_path / "any.onnx", "any")
    assert "\n" not in str(error.value) and cache.find(KEY) is None


def test_an_interrupt_ends_the_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    stand_in = tmp_path / "stand_in_worker.py"
    stand_in.write_text(
        "import os, time\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        'print(\'{"phase": "a", "parent": null, "steps": 2}\', flush=True)\n'
        "time.sleep(300)\n"
    )
    monkeypatch.setattr(rtx_build, "WORKER", stand_in)

    def interrupted(progress: BuildProgress) -> None:
        raise KeyboardInterrupt

    cache, start = EngineCache(tmp_path / "engines"), time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        build_rtx(cache, KEY, tmp_path / "any.onnx", "any", interrupted)
    assert time.monotonic() - start < 60 and not list(cache.folder.glob("*.engine"))
    import os

    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_unknown_targets_and_a_missing_wheel_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"targets are sm75, .* found 'sm90'"):
        rtx_key(load_model("nano"), "float32", [], ("sm90",))
    stand_in = tmp_path / "stand_in_worker.py"
    text = rtx_build.WORKER.read_text()
    stand_in.write_text(text.replace("import tensorrt_rtx_bindings", "import no_such_wheel"))
    assert stand_in.read_text() != text
    monkeypatch.setattr(rtx_build, "WORKER", stand_in)
    with pytest.raises(ValueError, match=r"not whole \(No module named 'no_such_wheel'\): .* -m pip install \"ten"):
        rtx_build.rtx_version()


def test_the_line_that_installs_names_the_packages_of_the_extra() -> None:
    root = Path(rtx_build.__file__).parents[1]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    packages = [item.partition(";")[0] for item in extras["tensorrt-rtx"] if item.startswith("tensorrt-rtx")]
    (line,) = re.findall(r"pip install (.*)'", rtx_build.WORKER.read_text())
    assert line.replace('"', "").split() == packages and len(packages) == 2


@needs_rtx
@pytest.mark.parametrize(
    "shapes, words",
    [([[5], [4], [3]], "refused the profile"), ([[1], [-1], [1]], r"refused the shapes .* of x: ")],
    ids=["order", "negative"],
)
def test_a_refused_profile_is_one_line(tmp_path: Path, shapes: list[list[int]], words: str) -> None:
    import onnx
    from onnx import TensorProto, helper

    node = helper.make_node("Neg", ["x"], ["velocity"])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "velocity")]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), str(tmp_path / "neg.onnx"))
    key = dataclasses.replace(KEY, profiles=[{"x": shapes}])
    with pytest.raises(BuildFailed, match=rf"{words}.*; its log is") as error:
        build_rtx(EngineCache(tmp_path / "engines"), key, tmp_path / "neg.onnx", "neg")
    assert "\n" not in str(error.value)


def test_keys_name_all_that_matters() -> None:
    assert dataclasses.replace(KEY, architecture="rtx").digest != KEY.digest
