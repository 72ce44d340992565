"""The rules of ComfyUI's registry for what is published, as its documentation and comfy-cli 1.23 have them.

comfy-cli drops a field that breaks a rule and warns; a name or publisher that was published once can never be changed.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
COMFY: dict[str, Any] = PROJECT["tool"]["comfy"]
ICON = ROOT / "docs" / "icon.svg"
FIELDS = {"PublisherId", "DisplayName", "Icon", "requires-comfyui", "includes", "Models", "web", "Banner"}
SYSTEMS = ("Microsoft", "POSIX", "MacOS", "OS Independent")
ACCELERATORS = {
    "GPU :: NVIDIA CUDA",
    "GPU :: AMD ROCm",
    "GPU :: Intel Arc",
    "NPU :: Huawei Ascend",
    "GPU :: Apple Metal",
}
VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
# What a person who clones it into custom_nodes/ runs, and nothing but it should be needed there.
SHIPPED = ("__init__.py", "nodes", "web", "locales", "example_workflows", "subgraphs", "comfyui_pixwizard", "runtime")
LARGEST_BYTES = 100 * 2**20


def ignored() -> list[str]:
    return [line for line in (ROOT / ".comfyignore").read_text().split() if not line.startswith("#")]


def headings() -> list[str]:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return re.findall(r"^## (.+)$", text, flags=re.MULTILINE)


def test_the_name_can_stay_for_ever() -> None:
    name = PROJECT["project"]["name"]
    assert re.fullmatch(r"[a-z][a-z0-9._-]{0,98}[a-z0-9]", name) and "comfyui" not in name


def test_what_a_reader_sees_is_there() -> None:
    about = PROJECT["project"]
    assert 20 <= len(about["description"]) <= 200 and about["license"] == "MIT" and COMFY["DisplayName"]
    assert (ROOT / about["readme"]).exists() and about["requires-python"].startswith(">=")
    assert set(COMFY) <= FIELDS


def test_classifiers_are_those_that_are_known() -> None:
    classifiers = PROJECT["project"]["classifiers"]
    systems = [c.removeprefix("Operating System :: ") for c in classifiers if c.startswith("Operating System :: ")]
    accelerators = {c.removeprefix("Environment :: ") for c in classifiers if c.startswith("Environment ::")}
    assert systems and all(system.startswith(SYSTEMS) for system in systems)
    assert accelerators and accelerators <= ACCELERATORS


def test_the_oldest_host_is_named() -> None:
    assert re.fullmatch(r">=\d+\.\d+\.\d+", COMFY["requires-comfyui"])
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert COMFY["requires-comfyui"].removeprefix(">=") in readme


def test_requirements_bring_neither_torch_nor_options() -> None:
    lines = [line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    wanted = [line for line in lines if line]
    assert wanted and set(wanted) <= set(PROJECT["project"]["dependencies"])
    assert not any(line.startswith(("-", "torch")) or "@" in line for line in wanted)


def test_the_icon_is_a_small_square() -> None:
    drawing = ElementTree.parse(ICON).getroot()
    assert drawing.get("width") == drawing.get("height") and int(drawing.get("width", "0")) <= 400


def test_the_account_is_given_whole_or_not_at_all() -> None:
    repository = PROJECT["project"].get("urls", {}).get("Repository", "")
    given = {"PublisherId": COMFY["PublisherId"], "Icon": COMFY["Icon"], "Repository": repository}
    assert all(given.values()) or not any(given.values()), given
    if repository:
        assert repository.startswith("https://") and re.fullmatch(r"[a-z0-9-]+", COMFY["PublisherId"])
        assert COMFY["Icon"].startswith("https://") and COMFY["Icon"].endswith(ICON.name)


def test_the_changelog_begins_with_this_version() -> None:
    versions = [VERSION.match(heading) for heading in headings()]
    assert versions and all(versions)
    numbers = [tuple(map(int, version.groups())) for version in versions if version]
    assert numbers == sorted(numbers, reverse=True) and len(set(numbers)) == len(numbers)
    assert ".".join(map(str, numbers[0])) == PROJECT["project"]["version"]
    assert all(re.search(r", (not released yet|\d{4}-\d{2}-\d{2})$", heading) for heading in headings())
    assert not any(heading.endswith("not released yet") for heading in headings()[1:])


def test_tags_are_versions_of_the_changelog() -> None:
    found = subprocess.run(["git", "tag", "--list"], cwd=ROOT, capture_output=True, text=True)
    if found.returncode:
        pytest.skip("no git repository, so no tags")
    assert {f"v{heading.split(',')[0]}" for heading in headings() if "not released" not in heading} == set(
        found.stdout.split()
    )


def test_a_tag_publishes_only_what_passed() -> None:
    """Both workflows run what is run here, and publishing comes after it."""
    folder = ROOT / ".github" / "workflows"
    test, publish = ((folder / f"{name}.yml").read_text(encoding="utf-8") for name in ("test", "publish"))
    oldest = COMFY["requires-comfyui"].removeprefix(">=")
    assert "run: .ci/run" in test and f"v{oldest}" in test and "make test-host" in test
    steps = [publish.index(step) for step in ("The tag is the version", "run: .ci/run", "publish-node-action")]
    assert steps == sorted(steps) and 'tags: ["v*.*.*"]' in publish


def test_the_archive_has_what_runs_and_is_small() -> None:
    found = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if found.returncode:
        pytest.skip("no git repository, so no list of files")
    left_out = tuple(ignored())
    files = [name for name in found.stdout.split("\0") if name and not name.startswith(left_out)]
    assert {name.split("/")[0] for name in files} >= set(SHIPPED)
    assert not any(name.startswith("tests/") for name in files)
    assert sum((ROOT / name).stat().st_size for name in files if (ROOT / name).exists()) < LARGEST_BYTES
