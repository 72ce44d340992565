"""How messages say what to install: plain packages, by the Python that runs, nothing that no index has."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

from pixwizard.comfyui_pixwizard.optional import pip_install, required
from pixwizard.export.onnx_model import PACKAGES
from pixwizard.runtime.onnx_evaluator import PROVIDERS

ROOT = Path(__file__).resolve().parents[1]
# What people who run nodes or exports read.
READ = [
    path
    for pattern in (
        "comfyui_pixwizard/**/*.py",
        "runtime/*.py",
        "export/*.py",
        "nodes/*.py",
        "web/docs/**/*.md",
        "docs/export.md",
    )
    for path in ROOT.glob(pattern)
]


def test_the_line_is_for_this_python_and_quotes_what_shells_would_read() -> None:
    assert pip_install("onnx", "onnxruntime").endswith(" -m pip install onnx onnxruntime")
    assert pip_install("onnx").strip('"').startswith(sys.executable)
    assert pip_install("ray[data]>=2.40").endswith(' install "ray[data]>=2.40"')


def test_a_python_with_a_space_in_its_path_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", r"C:\Program Files\ComfyUI\python.exe")
    assert pip_install("onnx") == r'"C:\Program Files\ComfyUI\python.exe" -m pip install onnx'


def test_an_absent_module_is_named_with_the_line() -> None:
    with pytest.raises(ValueError, match="this needs that, which is not installed: do so"):
        required("no_such_module_anywhere", "this needs that", "do so")


def test_no_message_and_no_page_sends_people_to_a_package_that_no_index_has() -> None:
    wrong = re.compile(r"install +['\"]?pixwizard|pixwizard\[(?!…)")
    assert len(READ) > 100
    assert [path.name for path in READ if wrong.search(path.read_text(encoding="utf-8"))] == []


def test_the_packages_are_those_of_the_extras() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {
        re.split(r"[<>=;]", item)[0].strip() for name in ("export", "tensorrt", "tensorrt-rtx") for item in extras[name]
    }
    assert set(PACKAGES.values()) <= named
    assert set(PROVIDERS["cpu"].install.rpartition(" install ")[2].split()) <= named


def test_the_changelog_tells_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    newest = re.search(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert newest is not None and newest[1] == version
