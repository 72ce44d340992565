"""The command table, tasks, demo, and which way imports point."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from pixwizard import comfyui_pixwizard as core
from pixwizard.cli.main import COMMANDS, Group, main
from pixwizard.comfyui_pixwizard.pipeline import PixWizardPipeline
from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.comfyui_pixwizard.version import VERSION
from pixwizard.training.render.scenes import CLASS_NAMES, DEPTH_RANGE


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def test_help_needs_no_torch_and_names_every_command() -> None:
    code = "import sys; from pixwizard.cli.main import main; code = main()\nsys.exit(code or 'torch' in sys.modules)"
    done = python(code, "--help")
    assert done.returncode == 0
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", done.stdout, re.MULTILINE)


def test_help_of_run_needs_no_torch() -> None:
    code = (
        "import sys\nfrom pixwizard.cli.main import main\n"
        "try: main(['run', '--help'])\nexcept SystemExit as end: code = end.code\n"
        "print(code, [name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    assert python(code).stdout.splitlines()[-1] == "0 []"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_exists_and_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = COMMANDS[name]
    for one in command.verbs.values() if isinstance(command, Group) else [command]:
        assert callable(one.kind().run)
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0 and f"usage: pixwizard {name}" in capsys.readouterr().out


def test_importing_the_core_imports_neither_training_nor_a_host() -> None:
    files = [path for path in Path(core.__file__).parent.rglob("*.py") if path.name != "__init__.py"]
    names = [".".join(path.relative_to(Path(core.__file__).parent).with_suffix("").parts) for path in files]
    code = (
        "import importlib, sys\n"
        f"for name in {names}: importlib.import_module('pixwizard.comfyui_pixwizard.' + name)\n"
        "print([n for n in sys.modules if n.startswith(('pixwizard.training', 'pixwizard.runtime', 'comfy.'))])"
    )
    done = python(code)
    assert done.stdout.strip() == "[]", done.stderr


def test_unknown_command_and_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["magic"]) == 2
    assert capsys.readouterr().err.startswith("pixwizard: error: the commands are run, demo")
    assert main([]) == 2
    assert "usage: pixwizard" in capsys.readouterr().err
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"pixwizard {VERSION}\n"


def test_a_bug_is_not_dressed_up_as_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    from pixwizard.cli.task_list import Tasks

    def broken(self: Tasks) -> int:
        raise KeyError("a bug")

    monkeypatch.setattr(Tasks, "run", broken)
    with pytest.raises(KeyError, match="a bug"):
        main(["tasks"])


def test_tasks_table_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in table] == ["task", *TASKS]
    assert main(["tasks", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["tasks"]
    assert {row["name"]: (row["text_guidance"], row["image_guidance"]) for row in rows} == {
        name: task.guidance for name, task in TASKS.items()
    }
    assert main(["tasks", "--json", str(tmp_path / "t.json")]) == 0
    assert json.loads((tmp_path / "t.json").read_text())["tasks"] == rows
    assert main(["tasks", str(tmp_path / "u.json")]) == 2 and not (tmp_path / "u.json").exists()


class Images(HTMLParser):
    """Sources of the images of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href") and value:
                self.found.append(value)


def test_demo_writes_a_page_and_a_sheet(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, model = tmp_path / "demo", tmp_path / "model"
    parts = PixWizardPipeline.from_pretrained(tiny_folder).parts
    PixWizardPipeline(**parts, class_names=CLASS_NAMES, depth_range=DEPTH_RANGE).save_pretrained(model)
    assert main(["demo", "--out", str(out), "--size", "64", "--scene-size", "64", "--model", str(model)]) == 0
    assert f"contact_sheet.png ({2 * len(TASKS)} examples" in capsys.readouterr().out
    page = (out / "index.html").read_text()
    images = Images()
    images.feed(page)
    assert {Path(name).name for name in images.found} == {path.name for path in (out / "images").iterdir()}
    for name in images.found:
        with Image.open(out / name) as image:
            assert image.size == (64, 64)
    for task in TASKS:
        assert len(re.findall(rf"images/\d+_{task}_output\.png", page)) == 2
    for task in ("depth", "normal", "segmentation", "referring_segmentation", "referring_box", "keypoint", "pose"):
        assert f"{task}_decoded.png" in page and f"{task}_truth.png" in page
    assert page.count("PSNR gain over the input") == 2 * 16
    with Image.open(out / "contact_sheet.png") as sheet:
        assert min(sheet.size) > 1000
    assert not list(out.rglob("*.tmp"))


def test_demo_is_the_same_for_the_same_seed(tiny_folder: Path, tmp_path: Path) -> None:
    from pixwizard.training.evaluate.examples import examples

    first, second, other = (examples(64, 64, seed) for seed in (3, 3, 4))
    for a, b in zip(first, second, strict=True):
        assert a.instruction == b.instruction and bool((a.truth == b.truth).all())
        assert bool((a.source == b.source).all())
    assert any(bool((a.truth != b.truth).any()) for a, b in zip(first, other, strict=True))


def test_demo_mistakes(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(tmp_path / "d"), "--size", "50", "--model", str(tiny_folder)]) == 2
    assert "multiples of 16" in capsys.readouterr().err and not (tmp_path / "d").exists()
    assert main(["demo", "--out", str(tmp_path / "d"), "--model", str(tmp_path)]) == 2
    assert "a model is 'nano' or a folder" in capsys.readouterr().err
