"""The example of CONTRIBUTING.md, followed to the letter in a copy of the tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ROOMS = ("comfyui_pixwizard", "runtime", "training", "cli")
STEP = re.compile(r"(New file|In) `([\w/.]+)`:\n\n((?:```\w+\n.*?```\n\n?)+)", re.DOTALL)
BLOCK = re.compile(r"```\w+\n(.*?)```", re.DOTALL)


def changed(text: str, block: str) -> str:
    """A file with the hunk of a block in it: lines of context and without "-" or "+"."""
    lines = block.splitlines()
    before = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "+")
    after = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "-")
    assert text.count(before) == 1, f"the page changes what is not there, or not once:\n{before}"
    return text.replace(before, after)


def follow(root: Path) -> list[str]:
    """Do all steps of the page in a tree; the files."""
    files = []
    for kind, name, blocks in STEP.findall(PAGE):
        path = root / name
        if kind == "New file":
            assert not path.exists()
            (block,) = BLOCK.findall(blocks)
            path.write_text(block, encoding="utf-8")
        else:
            for block in BLOCK.findall(blocks):
                path.write_text(changed(path.read_text(encoding="utf-8"), block), encoding="utf-8")
        files.append(name)
    return files


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the example needs, with the example in it."""
    root = tmp_path_factory.mktemp("tree") / "pixwizard"
    for room in ROOMS:
        shutil.copytree(ROOT / room, root / room, ignore=shutil.ignore_patterns("__pycache__", "weights"))
    shutil.copy(ROOT / "__init__.py", root)
    assert len(follow(root)) == 5
    return root


def python(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(tree.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=tree.parent, env=environment, capture_output=True, text=True, check=False
    )


def test_the_task_of_the_page_works(tree: Path, tmp_path: Path) -> None:
    script = Path(__file__).with_name("use_inverse_depth.py")
    done = python(tree, str(script), str(tree), str(tmp_path / "pools"))
    assert done.returncode == 0, done.stderr


def test_the_check_finds_what_the_page_says_is_left(tree: Path) -> None:
    done = python(tree, "-m", "pixwizard.cli", "tasks", "--check")
    (left,) = re.findall(r"^empty: .*$", PAGE, flags=re.MULTILINE)
    assert done.returncode == 1 and done.stdout.splitlines()[-1] == left, done.stdout + done.stderr


def test_the_example_keeps_the_rules_of_formatting(tree: Path) -> None:
    files = [str(tree / name) for _, name, _ in STEP.findall(PAGE) if name.endswith(".py")]
    config = ["--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    for command in (["check"], ["format", "--check"]):
        done = python(tree, "-m", "ruff", *command, *config, *files)
        assert done.returncode == 0, done.stdout + done.stderr
