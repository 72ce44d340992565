"""`pixwizard run`: files in and out, exit codes, one line for every mistake."""

import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixwizard.cli.evaluate import Eval
from pixwizard.cli.jobs import plan
from pixwizard.cli.main import main
from pixwizard.cli.run import Run, parse_size
from pixwizard.comfyui_pixwizard.files.components import read_declared
from pixwizard.comfyui_pixwizard.pictures.images import metadata_of
from pixwizard.comfyui_pixwizard.pipeline import PixWizardPipeline
from pixwizard.comfyui_pixwizard.solvers import DEFAULT_SOLVER
from pixwizard.comfyui_pixwizard.tasks.codecs.palette import palette

FAST = ["--steps", "2", "--size", "64"]


def photo(path: Path, size: tuple[int, int] = (80, 60), seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def shell(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The real program, in a process of its own."""
    command = [sys.executable, "-m", "pixwizard.cli", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def run(*arguments: object) -> int:
    return main(["run", *map(str, arguments)])


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("pixwizard: error: "), lines
    return lines[0]


def test_the_program_cleans_a_picture(tiny_folder: Path, tmp_path: Path) -> None:
    source = photo(tmp_path / "in.jpg")
    done = shell("run", source, "-i", "Remove the noise", "-o", tmp_path / "out.png", "--model", tiny_folder, *FAST)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out.png") as image:
        assert image.format == "PNG" and image.size == (80, 60)
    assert "out.png (80x60" in done.stdout and "step" in done.stderr


def test_the_program_tells_mistakes_in_one_line(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    done = shell("run", tmp_path / "notes.txt", "-i", "x", "-o", tmp_path / "o.png", "--model", tiny_folder)
    assert done.returncode == 2 and not (tmp_path / "o.png").exists()
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("pixwizard: error: ")
    assert "cannot be read as a picture" in done.stderr and "Traceback" not in done.stderr
    usage = shell("run", "--nonsense")
    assert usage.returncode == 2 and "Traceback" not in usage.stderr


def test_one_bad_picture_of_several_exits_1(tiny_folder: Path, tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.jpg").write_bytes(b"broken")
    photo(tmp_path / "in" / "c.webp")
    done = shell(
        "run", tmp_path / "in", "-i", "Remove the noise", "-o", tmp_path / "out", "--model", tiny_folder, *FAST
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]
    assert "b.jpg cannot be read as a picture" in done.stderr and "1 of 3 pictures failed" in done.stderr


def test_settings_are_in_the_file_and_make_it_again(tiny_folder: Path, tmp_path: Path) -> None:
    source = photo(tmp_path / "in.png")
    words = 'Remove the grain: "all of it", please…'
    options = ["--model", tiny_folder, "--seed", 7, "--steps", 3, "--solver", "heun", "--text-guidance", 2.5]
    assert run(source, "-i", words, "-o", tmp_path / "a.png", *options) == 0
    found = metadata_of(tmp_path / "a.png")
    assert found["instruction"] == words and found["model"] == str(tiny_folder) and "pixwizard" in found["version"]
    kept = {name: found[name] for name in ("seed", "steps", "solver", "text_guidance", "image_guidance", "size")}
    assert kept == dict(
        seed="7",
        steps="3",
        solver="heun",
        text_guidance="2.5",
        image_guidance=found["image_guidance"],
        size=found["size"],
    )
    result = PixWizardPipeline.from_pretrained(tiny_folder)(
        source, words, seed=7, steps=3, solver="heun", text_guidance=2.5
    )
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), np.asarray(result.image))


def test_another_backend_says_so_and_gives_the_same_picture(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = photo(tmp_path / "in.png")
    options = ["-i", "Remove the noise", "--model", tiny_folder, "--steps", 3, "--device", "cpu"]
    assert run(source, "-o", tmp_path / "a.png", *options) == 0
    assert "backend" not in metadata_of(tmp_path / "a.png")
    capsys.readouterr()
    assert run(source, "-o", tmp_path / "b.png", *options, "--backend", "bfloat16") == 0
    assert capsys.readouterr().out.startswith("bfloat16: products in bfloat16")
    assert metadata_of(tmp_path / "b.png")["backend"] == "bfloat16"
    with Image.open(tmp_path / "a.png") as one, Image.open(tmp_path / "b.png") as other:
        difference = np.asarray(one, dtype=float) - np.asarray(other, dtype=float)
    assert 0 < np.abs(difference).max() < 12


def test_guidance_can_act_for_a_while(tiny_folder: Path, tmp_path: Path) -> None:
    source = photo(tmp_path / "in.png")
    options = ["-i", "Remove the noise", "--model", tiny_folder, "--steps", 5, "--text-guidance", 3]
    pictures = []
    for interval in ([], ["--guidance-interval", 0.3, 0.6], ["--guidance-interval", 0, 1]):
        assert run(source, "-o", tmp_path / "a.png", "--again", *options, *interval) == 0
        with Image.open(tmp_path / "a.png") as image:
            pictures.append(np.asarray(image))
    assert not np.array_equal(pictures[0], pictures[1]) and np.array_equal(pictures[0], pictures[2])


def test_the_programs_take_the_default_solver() -> None:
    asked = {kind: field.default for kind in (Run, Eval) for field in fields(kind) if field.name == "solver"}
    # Both take what the model declares.
    assert asked == {Run: None, Eval: None}
    assert {row["solver"] for row in read_declared("nano").rows()} == {DEFAULT_SOLVER}


@pytest.mark.parametrize(
    ("instruction", "endings"),
    [
        ("Estimate the depth of this picture.", {"_depth.png", "_depth.npy"}),
        ("Estimate the surface normals of this picture.", {"_normal.npy"}),
        ("Segment this picture by class.", {"_segmentation.png", "_segmentation.json"}),
        ("Highlight the red ball.", {"_mask.png"}),
        ("Remove the noise from this picture.", set()),
    ],
)
def test_decode_writes_the_label_beside(tiny_folder: Path, tmp_path: Path, instruction: str, endings: set[str]) -> None:
    source = photo(tmp_path / "in.png")
    options = ["--decode", "--model", tiny_folder, "--steps", 2, "--size", "96x64"]
    assert run(source, "-i", instruction, "-o", tmp_path / "out" / "a.png", *options) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.png"} | {f"a{ending}" for ending in endings}
    label = PixWizardPipeline.from_pretrained(tiny_folder)(
        source, instruction, steps=2, size=(96, 64), decode=True
    ).label
    check_files(tmp_path / "out", label.numpy(), endings)


def check_files(folder: Path, label: np.ndarray, endings: set[str]) -> None:
    """Every file holds the label, whatever its format."""
    for ending in endings:
        path = folder / f"a{ending}"
        if path.suffix == ".npy":
            found = np.load(path)
            assert found.dtype == np.float32
            assert np.array_equal(found, label.transpose(1, 2, 0) if label.ndim == 3 else label)
        elif ending == "_depth.png":
            with Image.open(path) as image:
                assert image.mode.startswith("I;16")
                assert np.abs(np.asarray(image).astype(float) - np.minimum(label * 1000, 65535)).max() <= 0.51
        elif ending == "_segmentation.png":
            with Image.open(path) as image:
                assert image.mode == "P" and np.array_equal(np.asarray(image), label)
                assert np.array_equal(np.asarray(image.convert("RGB")), palette().numpy()[label])
        elif ending == "_segmentation.json":
            classes = json.loads(path.read_text())["classes"]
            assert [entry["id"] for entry in classes] == np.unique(label).tolist()
            assert {entry["name"] for entry in classes} <= {"ground", "background", "sphere"}
            assert abs(sum(entry["share"] for entry in classes) - 1) < 1e-4
        else:
            with Image.open(path) as image:
                assert np.array_equal(np.asarray(image), label.astype(np.uint8) * 255)


def test_blank_canvas_and_model_size(tiny_folder: Path, tmp_path: Path) -> None:
    options = ["--model", tiny_folder, "--steps", 2]
    assert run("-i", "Draw a red ball.", "-o", tmp_path / "a.png", "--size", "96x64", *options) == 0
    assert Image.open(tmp_path / "a.png").size == (96, 64)
    source = photo(tmp_path / "in.png", (200, 100))
    assert (
        run(source, "-i", "Remove the noise", "-o", tmp_path / "b.png", "--size", 64, "--keep-model-size", *options)
        == 0
    )
    width, height = Image.open(tmp_path / "b.png").size
    assert width % 16 == height % 16 == 0 and width * height <= 64 * 64


def test_a_folder_says_how_fast_it_goes_and_what_pictures_lost(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(tmp_path / "in" / "a.png")
    Image.new("RGBA", (64, 64), (10, 20, 30, 40)).save(tmp_path / "in" / "b.png")
    options = ["--model", tiny_folder, *FAST]
    assert run(tmp_path / "in", "-i", "Remove the noise", "-o", tmp_path / "out", *options) == 0
    told = capsys.readouterr()
    assert f"{tmp_path / 'in' / 'b.png'}: transparent parts are laid on white" in told.out.splitlines()
    assert "a.png: " not in told.out
    assert re.search(r"^2 pictures in \d+ s, \d+ an hour$", told.out, flags=re.MULTILINE)
    assert re.search(r"\d\d:\d\d<\d\d:\d\d.*\d pictures/h", told.err)


def test_what_is_not_read_of_an_instruction_is_said(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, options = "Draw " + "a red ball and " * 40 + "a cube.", ["--model", tiny_folder, *FAST, "--size", 64]
    assert run("-i", words, "-o", tmp_path / "a.png", *options) == 0
    out = capsys.readouterr().out
    assert re.search(rf"^{tmp_path}/a.png: the task encoder reads at most 77 tokens, found \d\d\d ", out, re.M)
    assert run("-i", "Draw a red ball.", "-o", tmp_path / "b.png", *options) == 0
    assert "reads at most" not in capsys.readouterr().out


def test_nothing_is_left_of_a_write_that_fails(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = photo(tmp_path / "in.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_bytes(b"old")

    def fail(self: Image.Image, file: object, *_: object, **__: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    assert run(source, "-i", "Remove the noise", "-o", tmp_path / "out" / "a.png", "--model", tiny_folder, *FAST) == 2
    assert "No space left" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]
    assert (tmp_path / "out" / "a.png").read_bytes() == b"old"


def test_a_picture_that_needs_too_much_memory_is_told_in_one_line(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("not enough memory: you tried to allocate 99 bytes")

    monkeypatch.setattr(PixWizardPipeline, "__call__", fail)
    source = photo(tmp_path / "in.png")
    assert run(source, "-i", "Remove the noise", "-o", tmp_path / "a.png", "--model", tiny_folder, *FAST) == 2
    last = capsys.readouterr().err.replace("\r", "\n").strip().splitlines()[-1]
    assert last.startswith("pixwizard: error: RuntimeError: not enough memory") and not (tmp_path / "a.png").exists()


MISTAKES = [
    (["none.png", "-i", "Remove the noise", "-o", "o.png"], "an input must be a picture or a folder, found none at"),
    (["in.png", "-i", "Remove the noise", "-o", "o.jpg"], "answers are PNG files, found o.jpg"),
    (["in.png", "-i", "Remove the noise", "-o", "in.png"], "an input is never overwritten, found output in.png"),
    (["in.png", "-i", " ", "-o", "o.png"], "an instruction must say what to do"),
    (["in.png", "-o", "o.png"], "an instruction must say what to do, found none"),
    (["in.png", "-i", "x", "-o", "o.png", "--task", "magic"], "the tasks are"),
    (["in.png", "-i", "x", "-i", " ", "-o", "o.png"], "an instruction must say what to do"),
    (
        ["in.png", *["-i", "x"] * 3, *["--task", "denoise"] * 2, "-o", "o.png"],
        "--task is named once or once for each of 3 instructions, found 2",
    ),
    (["in.png", "-i", "x", "-o", "o.png", "--threshold", "0"], "the threshold lies above 0 and up to 1, found 0"),
    (["in.png", "-i", "x", "-o", "o.png", "--whole-answer", "--threshold", "0.1"], "--whole-answer keeps nothing"),
    (["in.png", "in_step1.png", "-i", "x", "-i", "y", "-o", "o"], "every output needs a name of its own"),
    (["in_step1.png", "in.png", "-i", "x", "-i", "y", "-o", "."], "an input is never overwritten"),
    (["in.png", "-i", "x", "-o", "o.png", "--solver", "magic"], "--solver must be one of euler"),
    (["in.png", "-i", "x", "-o", "o.png", "--steps", "1"], "--steps counts points"),
    (["in.png", "-i", "x", "-o", "o.png", "--backend", "magic"], "the backends are eager"),
    (["in.png", "-i", "x", "-o", "o.png", "--provider", "cuda"], "--provider cuda is one of ONNX Runtime's, found --b"),
    (["in.png", "-i", "x", "-o", "o.png", "--device", "gpu"], "--device is auto, cpu, cuda or cuda:N, found 'gpu'"),
    (["in.png", "-i", "x", "-o", "o.png", "--guidance-interval", "0.9", "0.1"], "interval must be 0 <= low < high"),
    (["in.png", "-i", "x", "-o", "o.png", "--size", "big"], "--size must be a number or WIDTHxHEIGHT"),
    (["in.png", "-i", "x", "-o", "o.png", "--size", "50"], "found 50: take 64"),
    (["in.png", "-i", "x", "-o", "o.png", "--guided-channels", "-1"], "guided_channels must be"),
    (["in.png", "-i", "x", "-o", "o.png", "--patch-grids", "0"], "patch grids are 1, 2, 4, found 0"),
    (["in.png", "-i", "x", "-o", "o.png", "--seed", "-1"], "seeds lie in"),
    (["in.png", "in2.png", "-i", "x", "-o", "out", "--seed", "-1"], "seeds lie in"),
    (["in.png", "in2.png", "-i", "x", "-o", "out", "--text-guidance", "nan"], "guidance must be a finite number"),
    (["in.png", "-i", "x", "-o", "o.png", "--model", "nowhere"], "a model is 'nano' or a folder"),
    (["in.png", "-i", "qwertz uiop", "-o", "o.png", "--decode"], "--decode needs to know the task"),
    (["-i", "Remove the noise", "-o", "o.png"], "task denoise needs a picture, found none"),
    (["empty", "-i", "Remove the noise", "-o", "out"], "a folder of pictures is needed, found none in empty"),
    ([".", "-i", "Remove the noise", "-o", "../{here}"], "answers go to another folder than their pictures, found"),
    (["in.png", "in2.png", "-i", "x", "-o", "o.png"], "several pictures are written to a folder"),
    (["in.png", "-i", "x", "-o", "file/o.png"], "cannot write file/o.png"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[message[:28] for _, message in MISTAKES])
def test_mistakes(
    arguments: list[str],
    message: str,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "in.png")
    photo(tmp_path / "in2.png")
    photo(tmp_path / "in_step1.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("not a folder")
    before = (tmp_path / "in.png").read_bytes()
    model = [] if "--model" in arguments else ["--model", str(tiny_folder)]
    assert run(*(argument.format(here=tmp_path.name) for argument in arguments), *model) == 2
    error = capsys.readouterr().err
    last = error.replace("\r", "\n").strip().splitlines()[-1]
    assert last.startswith("pixwizard: error: ") and message in last
    assert (tmp_path / "in.png").read_bytes() == before
    assert not list(tmp_path.glob("o*"))


def test_a_label_never_overwrites_an_input(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "a_depth.png")
    inputs = [tmp_path / "a.jpg", tmp_path / "a_depth.png"]
    code = run(*inputs, "-i", "Estimate the depth.", "-o", tmp_path, "--decode", "--model", tiny_folder)
    assert code == 2 and "an input is never overwritten" in only_line(capsys)


def test_plan_names_answers(tmp_path: Path) -> None:
    a, b, c = (photo(tmp_path / "in" / name) for name in ("a.jpg", "a.webp", "c.png"))
    out = tmp_path / "out"
    assert [job.output.name for job in plan([tmp_path / "in"], out)] == ["a.jpg.png", "a.webp.png", "c.png"]
    assert [job.output for job in plan([c, a], out)] == [out / "c.png", out / "a.png"]
    out.mkdir()
    assert plan([b], out)[0].output == out / "a.png"
    assert plan([], out)[0].output == out / "canvas.png"
    with pytest.raises(ValueError, match=r"different names, found .* twice"):
        plan([c, photo(tmp_path / "other" / "c.png")], out)


def test_parse_size() -> None:
    assert parse_size(None) is None and parse_size("256") == 256 and parse_size("320x192") == (320, 192)
    for text in ("", "x", "12x", "-5", "1.5", "12x13x14"):
        with pytest.raises(ValueError, match="--size must be"):
            parse_size(text)
