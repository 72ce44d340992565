"""What a model declares: written by convert, carried by files, pipeline and nodes, refused where it is unusable."""

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pixwizard.cli.main import main
from pixwizard.comfyui_pixwizard.files.checkpoint import load_transformer
from pixwizard.comfyui_pixwizard.files.components import read_declared
from pixwizard.comfyui_pixwizard.pictures.images import metadata_of
from pixwizard.comfyui_pixwizard.pipeline import PixWizardPipeline
from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.comfyui_pixwizard.tasks.codecs.palette import ade20k_palette, palette
from pixwizard.comfyui_pixwizard.tasks.declared import FREE, Declared
from pixwizard.comfyui_pixwizard.tasks.released_codes import ADE20K_NAMES, released
from pixwizard.training.loop.exporting import write_released

ARGS = Namespace(model="PixWizard_patch2", qk_norm=True, sample_tokens=16, image_size="512-768")


def of(pipeline: PixWizardPipeline, path: Path) -> PixWizardPipeline:
    """A whole model around the weights of a file."""
    parts = [part for name, part in pipeline.parts.items() if name != "transformer"]
    return PixWizardPipeline(load_transformer(path), *parts)


@pytest.fixture(scope="module")
def converted(tiny: PixWizardPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that convert makes of a small checkpoint in the released form."""
    folder = tmp_path_factory.mktemp("released")
    torch.save(tiny.transformer.state_dict(), folder / "consolidated.00-of-01.pth")
    torch.save(ARGS, folder / "model_args.pth")
    assert main(["convert", str(folder), str(folder / "one.safetensors")]) == 0
    return folder / "one.safetensors"


@pytest.fixture(scope="module")
def folder(tiny: PixWizardPipeline, converted: Path) -> Path:
    """The same as a whole model on disk."""
    of(tiny, converted).save_pretrained(converted.parent / "whole")
    return converted.parent / "whole"


def shown(model: Path | str, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    assert main(["tasks", "--model", str(model), "--json"]) == 0
    return {row.pop("name"): row for row in json.loads(capsys.readouterr().out)}


def test_convert_declares_the_released_codes(converted: Path, folder: Path, capsys: Any) -> None:
    rows = shown(converted, capsys)
    assert list(rows) == list(TASKS) and rows == shown(folder, capsys)
    assert rows["depth"]["codec"] == "gray" and rows["depth"]["codec_options"] == dict(
        near=0.0, far=10.0, near_bright=True
    )
    assert rows["segmentation"]["codec_options"] == {"classes": list(range(1, 151)), "cleanup": False}
    assert rows["referring_box"]["codec_options"] == {"color": "instruction", "line": 1 / 64}, "as thin as InstructCV's"
    for row in rows.values():
        assert (row["solver"], row["points"], row["guided_channels"], row["size"]) == ("euler", 60, 3, 768)
        assert (row["text_guidance"], row["image_guidance"]) == (4.0, 1.0)
    assert main(["tasks", "--model", str(folder)]) == 0
    depth = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("depth "))
    assert " ".join(depth.split()[1:]) == "gray near=0, far=10, near_bright=True euler 60 4, 1 3 1 768"


def test_depths_are_declared_as_the_data_had_them(converted: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "streets.safetensors"
    assert main(["convert", str(converted.parent), str(out), "--depths", "streets"]) == 0
    assert "wrote" in capsys.readouterr().out
    options = shown(out, capsys)["depth"]["codec_options"]
    assert options == {"near": 0.0, "far": 80.0, "near_bright": True}


def test_the_bundled_model_has_the_projects_own(capsys: pytest.CaptureFixture[str]) -> None:
    rows = shown("nano", capsys)
    for name, task in TASKS.items():
        row = rows[name]
        assert (row["points"], (row["text_guidance"], row["image_guidance"])) == (task.steps, task.guidance)
        assert row["codec"] == next(iter(task.codecs)) and row["guided_channels"] is None
    assert rows["depth"]["codec_options"] == {"near": 1.0, "far": 13.0}
    assert rows["segmentation"]["codec_options"] == {"classes": list(range(1, 7))}


def test_run_takes_code_and_settings_of_the_model(folder: Path, tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 60).convert("RGB").save(tmp_path / "in.png")
    command = ["run", str(tmp_path / "in.png"), "-i", "Estimate the depth of this picture", "--model", str(folder)]
    out = tmp_path / "out.png"
    assert main([*command, "-o", str(out), "--steps", "2", "--decode", "--keep-model-size"]) == 0
    grey = np.asarray(Image.open(out)).astype(float).mean(-1) / 255
    metres = np.load(tmp_path / "out_depth.npy")
    assert np.abs(metres - (10 - 10 * grey)).max() <= 10 / 255
    kept = metadata_of(out)
    assert (kept["solver"], kept["text_guidance"], kept["guided_channels"]) == ("euler", "4.0", "3")
    other = ["--solver", "heun", "--text-guidance", "1", "--guided-channels", "0"]
    assert main([*command, "-o", str(tmp_path / "b.png"), "--steps", "3", *other]) == 0
    kept = metadata_of(tmp_path / "b.png")
    assert (kept["solver"], kept["steps"], kept["text_guidance"], kept["guided_channels"]) == ("heun", "3", "1.0", "0")


@pytest.mark.parametrize("words", ["Make a relative depth map", "Estimate the depth of this picture"])
def test_run_says_whether_depth_is_relative(words: str, folder: Path, tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 60).convert("RGB").save(tmp_path / "in.png")
    out = tmp_path / "out.png"
    command = ["run", str(tmp_path / "in.png"), "-i", words, "--model", str(folder), "--steps", "2", "-o", str(out)]
    assert main([*command, "--decode", "--keep-model-size"]) == 0
    grey = np.asarray(Image.open(out)).astype(float).mean(-1) / 255
    labels = {path.name for path in tmp_path.glob("out_*")}
    if "relative" not in words:
        assert labels == {"out_depth.png", "out_depth.npy"}
        return
    assert labels == {"out_relative_depth.png", "out_relative_depth.npy"}
    assert np.abs(np.load(tmp_path / "out_relative_depth.npy") - grey).max() <= 1 / 255


def test_a_result_says_what_its_label_is(tiny: PixWizardPipeline) -> None:
    picture = Image.new("RGB", (64, 64), "gray")
    kinds = [
        tiny(picture, words, task="depth", steps=2, decode=decode).label_kind
        for words, decode in (("Depth map", None), ("Depth map", True), ("Relative depth map", True))
    ]
    assert kinds == [None, "depth", "relative"]


def test_a_grey_picture_is_the_linear_map(tiny: PixWizardPipeline, converted: Path) -> None:
    model = of(tiny, converted)
    ramp = torch.linspace(0, 1, 256).repeat(3, 8, 1)
    metres = model.read_label(TASKS["depth"], ramp * 2 - 1, torch.zeros(3, 8, 256))
    torch.testing.assert_close(metres, 10 * (1 - ramp[0]), atol=1e-4, rtol=0)
    ids = torch.arange(1, 151).repeat(2, 1)
    colours = (ade20k_palette()[ids].float() / 255).movedim(-1, 0)
    found = model.read_label(TASKS["segmentation"], colours * 2 - 1, torch.zeros(3, 2, 150))
    assert torch.equal(found, torch.where(ids == 49, 7, ids))
    black = model.read_label(TASKS["segmentation"], torch.full((3, 4, 4), -1.0), torch.zeros(3, 4, 4))
    assert bool((black > 0).all()), "black is no class of the released model"


def test_marks_have_the_colours_that_the_sentence_names() -> None:
    for declared in (released(), Declared.own()):
        overlay, dots = declared["referring_segmentation"], declared["keypoint"]
        assert overlay.reading("Mark the dog in green")["color"] == "green"
        assert overlay.reading("Mark the dog")["color"] == "magenta"
        assert dots.reading("Put a blue dot on the nose")["colors"] == ("blue",)


def test_the_sentence_says_whether_depth_is_relative() -> None:
    for declared in (released(), Declared.own(depth_range=(1.0, 13.0))):
        depth = declared["depth"]
        assert depth.reading("Relative depth") == {"codec": "relative"}
        assert depth.reading("Depth") == depth.reading() == {"codec": depth.codec} | depth.codec_options
        assert declared.label_kind(TASKS["depth"], "Relative depth") == "relative"
        assert declared.label_kind(TASKS["depth"], "Depth") == "depth"
        assert declared.label_kind(TASKS["normal"], "Normals relative to each other") == "normal"


def test_a_run_of_this_projects_training_declares_its_own(tiny: PixWizardPipeline, tmp_path: Path) -> None:
    transformer = tiny.transformer
    write_released(transformer.state_dict(), transformer.config, tmp_path / "run", average=False)
    assert main(["convert", str(tmp_path / "run"), str(tmp_path / "own.safetensors")]) == 0
    assert read_declared(tmp_path / "own.safetensors") == Declared.own()


def test_declarations_survive_files(fresh_tiny: Callable[[], PixWizardPipeline], tmp_path: Path) -> None:
    tiny = fresh_tiny()
    parts = list(tiny.parts.values())
    grey = replace(released(), class_names=("nothing", "wall"))
    PixWizardPipeline(*parts, declared=grey, max_size=128).save_pretrained(tmp_path / "a")
    loaded = PixWizardPipeline.from_pretrained(tmp_path / "a")
    assert loaded.declared == replace(grey, max_size=128) and loaded.class_names == ["nothing", "wall"]
    assert "tasks" not in json.loads((_saved(tiny, tmp_path / "b") / "pipeline.json").read_text())


def _saved(pipeline: PixWizardPipeline, folder: Path) -> Path:
    pipeline.save_pretrained(folder)
    return folder


def test_names_of_ade20k() -> None:
    assert len(ADE20K_NAMES) == 151
    assert [ADE20K_NAMES[i] for i in (1, 7, 49, 65, 150)] == ["wall", "road", "skyscraper", "coffee table", "flag"]


@pytest.mark.parametrize(
    "change, told",
    [
        ({"codec": "walls"}, "the code 'walls', known are walk, gray"),
        ({"codec_options": {"nearest": 1}}, "the option 'nearest'"),
        ({"codec_options": {"source": 1}}, "the option 'source'"),
        ({"codec_options": [1]}, "the option"),
        ({"codec_options": {"near": "instruction"}}, "says nothing of it"),
        ({"solver": "newton"}, "the solver 'newton'"),
        ({"points": 1}, "1 points"),
        ({"points": True}, "True points"),
        ({"text_guidance": float("nan")}, "the guidance nan"),
        ({"guided_channels": 0}, "0 guided channels"),
        ({"patch_grids": 3}, "3 patch grids, of which there are 1, 2, 4"),
        ({"patch_grids": True}, "True patch grids"),
        ({"wishes": 3}, "should declare codec, codec_options"),
    ],
)
def test_what_cannot_be_used_is_refused(change: dict[str, Any], told: str, folder: Path, tmp_path: Path) -> None:
    values = released().to_dict()
    values["tasks"]["depth"] |= change
    with pytest.raises(ValueError, match=told):
        Declared.read(values["tasks"], values["class_names"], values["max_size"], "pipeline.json")


def test_rows_of_before_there_were_patch_grids() -> None:
    values = Declared.own().to_dict()
    assert values["tasks"]["pose"].pop("patch_grids") == 4
    found = Declared.read(values["tasks"], values["class_names"], values["max_size"], "x")
    assert found["pose"].patch_grids == 1 and found["normal"].patch_grids == 4
    assert {row.patch_grids for row in released().tasks.values()} == {1}, "its script has none"


def test_rows_that_are_missing_or_new() -> None:
    values = released().to_dict()
    del values["tasks"]["depth"]
    values["tasks"]["task_of_tomorrow"] = values["tasks"][FREE]
    found = Declared.read(values["tasks"], [], 64, "x")
    assert found["depth"].codec == "walk" and found["depth"].points == 60
    assert "task_of_tomorrow" not in found.tasks and found[None].points == 60
    with pytest.raises(ValueError, match="should declare rows of tasks and of 'none'"):
        Declared.read({}, [], 64, "x")


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Node modules without a host: of its API they get what nodes are made of, and give what they answer."""
    before = {name for name in sys.modules if name.startswith("pixwizard.nodes")}
    latest: Any = ModuleType("comfy_api.latest")
    latest.io = SimpleNamespace(ComfyNode=type("ComfyNode", (), {}), NodeOutput=lambda *values, ui=None: values)
    latest.ui = SimpleNamespace(PreviewImage=lambda *values, cls: None)
    monkeypatch.setitem(sys.modules, "comfy_api", ModuleType("comfy_api"))
    monkeypatch.setitem(sys.modules, "comfy_api.latest", latest)
    import importlib

    names = ("carried", "decode_nodes", "instruction_nodes")
    yield SimpleNamespace(**{name: importlib.import_module(f"pixwizard.nodes.{name}") for name in names})
    for name in [name for name in sys.modules if name.startswith("pixwizard.nodes") and name not in before]:
        del sys.modules[name]


def run(node: Any, **given: Any) -> Any:
    """What a node answers, without the host's limits of widgets."""
    return node.execute.__wrapped__(node, **given)


def test_the_same_nodes_read_each_model_by_its_own_code(nodes: Any, converted: Path) -> None:
    models = {}
    for name, declared in (("nano", nodes.carried.nano()), ("released", read_declared(converted))):
        models[name] = SimpleNamespace(model=torch.nn.Identity(), first_stage_model=None)
        nodes.carried.carry(declared, models[name])
    depth = torch.linspace(1.5, 9.5, 64).repeat(64, 1)
    classes = torch.ones(64, 64, dtype=torch.long)
    classes[16:40, 16:40] = 4
    pictures = {
        "nano": (TASKS["depth"].encode(depth), palette()[classes] / 255),
        "released": ((1 - depth / 10).repeat(3, 1, 1), ade20k_palette()[classes] / 255),
    }
    graph = dict(code="the model's", near=1.0, far=13.0)
    for name, (grey, colours) in pictures.items():
        image = grey.movedim(0, -1)[None]
        metres = run(nodes.decode_nodes.DecodeDepth, image=image, model=models[name], **graph)[1]
        torch.testing.assert_close(metres[0, ..., 0], depth, atol=0.05, rtol=0.01)
        answer = run(
            nodes.decode_nodes.DecodeSegmentation, image=colours[None], code="the model's", class_names="", pick="",
            model=models[name],
        )  # fmt: skip
        assert torch.equal(answer[2][0, ..., 0].long(), classes)
        named = {entry["name"] for entry in json.loads(answer[-2])[0]["classes"]}
        assert named == {"nano": {"ground", "box"}, "released": {"wall", "floor"}}[name]
    grey = pictures["released"][0].movedim(0, -1)[None]
    own_choice = dict(code="gray", near=0.0, far=80.0, near_bright=True, model=models["nano"])
    metres = run(nodes.decode_nodes.DecodeDepth, image=grey, **own_choice)[1]
    torch.testing.assert_close(metres[0, ..., 0], 8 * depth, atol=1e-3, rtol=1e-5)


def test_instructions_give_the_models_settings(nodes: Any, converted: Path) -> None:
    words = SimpleNamespace(
        tokenize=str,
        encode_from_tokens_scheduled=lambda tokens: [[torch.zeros(1, 2, 3), {}]],
        cond_stage_model=torch.nn.Identity(),
    )
    asked = dict(task="derain", text="", caption="", color="", class_name="", wording=0)
    node = nodes.instruction_nodes.Instruction
    assert run(node, clip=words, **asked)[4:] == (2, 1.0, 1.0), "nano's, where nothing is declared"
    nodes.carried.carry(read_declared(converted), words)
    assert run(node, clip=words, **asked)[4:] == (60, 4.0, 1.0)
    model = SimpleNamespace(model=torch.nn.Identity())
    nodes.carried.carry(nodes.carried.nano(), model)
    assert run(node, clip=words, model=model, **asked)[4:] == (2, 1.0, 1.0), "a linked MODEL comes first"
