"""The engine cache: found by what an engine depends on, opened only unchanged, built once, bounded."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixwizard.runtime.engine_cache import (
    CAP,
    DRAFT_SECONDS,
    EngineCache,
    EngineKey,
    Entry,
    cap_bytes,
    engines_folder,
    read_sidecar,
)

KEY = EngineKey(
    kind="tensorrt-rtx",
    weights="a" * 64,
    graph=1,
    version="0.1.0",
    precision="float32",
    profiles=[{"x": [[1, 4], [2, 8], [4, 16]]}],
    builder="TensorRT-RTX 1.7.1",
    architecture="sm89",
    system="linux-x86_64",
)
# Stands in for a compiler in this file.
CONTENT = b"not a real engine " * 100


def stand_in(path: Path) -> None:
    path.write_bytes(CONTENT)


def other(**changes: Any) -> EngineKey:
    return dataclasses.replace(KEY, **changes)


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines", cap=10**9)


def test_an_engine_is_built_once_and_found_again(cache: EngineCache) -> None:
    assert cache.find(KEY) is None
    entry = cache.build(KEY, "nano", stand_in)
    assert cache.read(entry) == CONTENT
    again = cache.build(KEY, "nano", lambda path: pytest.fail("built twice"))
    assert again.path == entry.path and again.sha256 == entry.sha256
    assert EngineCache(cache.folder).find(KEY) is not None


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "tensorrt"},
        {"weights": "b" * 64},
        {"graph": 2},
        {"version": "0.2.0"},
        {"precision": "bfloat16"},
        {"profiles": [{"x": [[1, 4], [2, 8], [4, 32]]}]},
        {"builder": "TensorRT-RTX 1.8.0"},
        {"architecture": "sm120"},
        {"system": "windows-x86_64"},
        {"settings": {"refittable": True}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_engine_for_anything_else_is_not_found(cache: EngineCache, change: dict[str, Any]) -> None:
    cache.build(KEY, "nano", stand_in)
    assert cache.find(other(**change)) is None
    assert len({f.name for f in dataclasses.fields(EngineKey)}) == 10, "a new field needs a case here"


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(profiles=plain, precision=st.text(max_size=10), graph=st.integers(0, 99))
def test_a_sidecar_gives_back_the_entry(
    tmp_path_factory: pytest.TempPathFactory, profiles: Any, precision: str, graph: int
) -> None:
    folder = tmp_path_factory.mktemp("sidecar")
    key = other(profiles=profiles, precision=precision, graph=graph)
    built = EngineCache(folder, cap=10**9).build(key, "some title", stand_in)
    assert read_sidecar(built.sidecar) == built


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("place", [0, 900, -1])
def test_a_changed_byte_is_refused(cache: EngineCache, place: int) -> None:
    entry = cache.build(KEY, "nano", stand_in)
    flip(entry.path, place)
    with pytest.raises(ValueError, match=r"is not what was built: .* damaged or was exchanged, delete it"):
        cache.read(entry)


def test_a_shorter_file_is_built_again_with_a_reason(cache: EngineCache, caplog: pytest.LogCaptureFixture) -> None:
    entry = cache.build(KEY, "nano", stand_in)
    entry.path.write_bytes(CONTENT[:-1])
    assert cache.find(KEY) is None and "is damaged, it will be built again" in caplog.text
    assert cache.read(cache.build(KEY, "nano", stand_in)) == CONTENT


def test_engines_elsewhere_and_engines_that_strangers_may_write_are_refused(cache: EngineCache, tmp_path: Path) -> None:
    entry = cache.build(KEY, "nano", stand_in)
    moved = tmp_path / entry.path.name
    moved.write_bytes(CONTENT)
    with pytest.raises(ValueError, match="opened from the cache only"):
        cache.read(dataclasses.replace(entry, path=moved))
    entry.path.chmod(0o666)
    with pytest.raises(ValueError, match="chmod o-w"):
        cache.read(entry)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 1, "key": {}}', "\x00", '{"format": 2}'])
def test_a_bad_sidecar_hides_its_engine(cache: EngineCache, text: str) -> None:
    entry = cache.build(KEY, "nano", stand_in)
    entry.sidecar.write_text(text)
    assert cache.find(KEY) is None and cache.entries() == []
    assert set(cache.prune()) == {entry.path, entry.sidecar}


def test_a_sidecar_under_another_name_is_refused(cache: EngineCache) -> None:
    entry = cache.build(KEY, "nano", stand_in)
    renamed = cache.folder / (other(precision="int8").digest + ".engine.json")
    entry.sidecar.rename(renamed)
    with pytest.raises(ValueError, match="another engine than its name says"):
        read_sidecar(renamed)


def test_a_failed_build_leaves_nothing(cache: EngineCache) -> None:
    def fails(path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        cache.build(KEY, "nano", fails)
    assert [path.suffix for path in cache.folder.iterdir()] == [".lock"]


def test_the_longest_unused_go_first(cache: EngineCache) -> None:
    entries = [cache.build(other(graph=i), f"model {i}", stand_in) for i in range(4)]
    cache.read(entries[0])
    assert [entry.key.graph for entry in cache.entries()] == [0, 3, 2, 1]
    gone = cache.prune(cap=2 * len(CONTENT))
    assert {path.name for path in gone} == {entries[1].path.name, entries[2].path.name}
    assert [entry.key.graph for entry in cache.entries()] == [0, 3]


def test_a_build_beyond_the_cap_removes_others_but_not_itself(tmp_path: Path) -> None:
    small = EngineCache(tmp_path, cap=1)
    small.build(other(graph=1), "first", stand_in)
    small.build(other(graph=2), "second", stand_in)
    assert [entry.key.graph for entry in small.entries()] == [2]


def test_pruning_takes_leftovers_and_spares_what_is_being_built(cache: EngineCache) -> None:
    def build_while_pruning(path: Path) -> None:
        stand_in(path)
        assert EngineCache(cache.folder).prune(cap=0) == [] and path.is_file()

    cache.build(KEY, "nano", build_while_pruning)
    orphan = cache.folder / f"{'0' * 64}.engine"
    orphan.write_bytes(b"x")
    draft = cache.folder / f".{'0' * 64}.abcdef12.part"
    draft.write_bytes(b"x")
    assert cache.prune() == [orphan]
    import os

    os.utime(draft, (0, time.time() - 2 * DRAFT_SECONDS))
    assert cache.prune() == [draft] and cache.find(KEY) is not None


def test_other_folders_are_read_and_never_changed(cache: EngineCache, tmp_path: Path) -> None:
    entry = cache.build(KEY, "nano", stand_in)
    before = entry.sidecar.read_text()
    mine = EngineCache(tmp_path / "mine", others=[cache.folder], cap=0)
    found = mine.find(KEY)
    assert found is not None and mine.read(found) == CONTENT
    mine.prune()
    assert entry.sidecar.read_text() == before and entry.path.is_file()


def test_notes_are_kept(cache: EngineCache) -> None:
    entry = cache.annotate(cache.build(KEY, "nano", stand_in), error=0.01)
    assert entry.notes == {"error": 0.01} and read_sidecar(entry.sidecar).notes == {"error": 0.01}


def test_the_folder_and_the_cap_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIXWIZARD_CACHE", str(tmp_path))
    assert engines_folder() == tmp_path / "engines"
    monkeypatch.setenv(CAP, "1.5")
    assert cap_bytes() == 1_500_000_000
    for wrong in ("much", "0", "-1", "nan"):
        monkeypatch.setenv(CAP, wrong)
        with pytest.raises(ValueError, match="set it to a number above 0"):
            cap_bytes()


BUILDER = """
import json, sys, time
from pathlib import Path
from pixwizard.runtime.engine_cache import EngineCache, EngineKey

folder, key = Path(sys.argv[1]), EngineKey(**json.loads(sys.argv[2]))

def make(path):
    (folder / f"built-by-{sys.argv[3]}").touch()
    time.sleep(1.0)
    path.write_bytes(b"one engine")

cache = EngineCache(folder, cap=10**9)
print(cache.read(cache.build(key, "nano", make, tell=lambda words: print(words, file=sys.stderr))).decode())
"""


def test_of_two_processes_one_builds_and_the_other_waits(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BUILDER, str(tmp_path), json.dumps(dataclasses.asdict(KEY))]
    pipe = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    runs = [subprocess.Popen([*command, name], **pipe) for name in "ab"]  # type: ignore[call-overload]
    answers = [run.communicate(timeout=120) for run in runs]
    assert [out.strip() for out, _ in answers] == ["one engine", "one engine"], answers
    assert len(list(tmp_path.glob("built-by-*"))) == 1
    entry = EngineCache(tmp_path).find(KEY)
    assert isinstance(entry, Entry) and entry.bytes == len(b"one engine")
