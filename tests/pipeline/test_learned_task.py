"""Task inversion: learned from pairs of pictures, kept in a small file, used by pipeline and command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from pixwizard.cli.main import main
from pixwizard.comfyui_pixwizard.files.learned_task import LearnedTask
from pixwizard.comfyui_pixwizard.files.table_file import save_table
from pixwizard.comfyui_pixwizard.pictures.images import metadata_of, unit_to_image
from pixwizard.comfyui_pixwizard.pipeline import PixWizardPipeline
from pixwizard.comfyui_pixwizard.task_table import TaskTable
from pixwizard.training.data.rendered import new_tasks
from pixwizard.training.data.rendered.new_tasks import LINE, NEW_TASKS
from pixwizard.training.loop.lora import LoraConfig
from pixwizard.training.loop.velocity import FeatureModel
from pixwizard.training.recipes.inversion import PairStage, encoded, learn

SIZE = 64


@pytest.fixture(scope="module", autouse=True)
def soft_pictures() -> Iterator[None]:
    """Soft colours in place of dead leaves, whose sheets take seconds."""

    def draw(n: int, size: int, generator: torch.Generator) -> torch.Tensor:
        return F.interpolate(torch.rand(n, 3, 6, 6, generator=generator), (size, size), mode="bilinear")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(new_tasks, "dead_leaves", draw)
        yield


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pairs, one of another size."""
    folder = tmp_path_factory.mktemp("pairs")
    source, target = NEW_TASKS["duotone"][1](3, 96, torch.Generator().manual_seed(0))
    for name, pictures in (("source", source), ("target", target)):
        (folder / name).mkdir()
        for number, picture in enumerate(pictures):
            unit_to_image(picture[:, : 96 - 32 * (number == 2)]).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def learned(pairs: Path, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("learned") / "two-tone.safetensors"
    options = ["--name", "two-tone", "--model", str(tiny_folder), "--out", str(out), "--steps", "30", "--size", "64"]
    options += ["--folder", str(out.parent / "run"), "--batch-size", "2", "--points", "3", "--device", "cpu"]
    assert main(["train", "task", str(pairs), *options]) == 0
    return out


def test_the_file_is_small_and_says_where_it_comes_from(learned: Path) -> None:
    task = LearnedTask.load(learned)
    assert learned.stat().st_size < 50_000
    assert (task.name, task.instruction, task.points) == ("two-tone", "two tone", 3)
    assert task.provenance["pairs"] == 3 and task.provenance["steps"] == 30 and task.provenance["model"]
    assert task.table.vectors.any() and task.table.tokens.any()


def test_only_the_row_moves_and_it_lowers_the_loss(fresh_tiny: Callable[[], PixWizardPipeline], tmp_path: Path) -> None:
    pipeline = fresh_tiny()
    source, target = NEW_TASKS["duotone"][1](1, SIZE, torch.Generator().manual_seed(1))
    pairs = [encoded(pipeline, source * 2 - 1, target * 2 - 1)]
    before = {name: value.clone() for name, value in pipeline.transformer.state_dict().items()}

    def loss(model: FeatureModel) -> float:
        stage = PairStage(model, pipeline, "new", "Do it.", pairs, 16)
        with torch.no_grad():
            return float(stage.losses(stage.batch(torch.Generator().manual_seed(9)))[0].mean())

    plain = loss(FeatureModel(pipeline.transformer))
    model, done = learn(pipeline, pairs, "new", "Do it.", tmp_path / "row", steps=60, batch_size=8)
    after = pipeline.transformer.state_dict()
    assert done and all(torch.equal(value, after[name]) for name, value in before.items())
    assert loss(model) < 0.97 * plain
    adapted, _ = learn(pipeline, pairs, "new", "Do it.", tmp_path / "lora", steps=2, lora=LoraConfig(2, 2.0))
    assert adapted.table is None and any("lora_A" in name for name in pipeline.transformer.state_dict())


def test_a_pipeline_does_what_the_file_says(tiny: PixWizardPipeline, learned: Path) -> None:
    picture = unit_to_image(torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(2)))
    by_path = tiny(picture, "", task=learned)
    by_value = tiny(picture, "two tone", task=LearnedTask.load(learned))
    assert by_path.image.tobytes() == by_value.image.tobytes()
    assert by_path.settings["steps"] == 3 and by_path.settings["text_guidance"] == 1.0
    assert by_path.settings["task"] == "two-tone" and by_path.settings["instruction"] == "two tone"
    told = dict(steps=3, text_guidance=1.0, image_guidance=1.0, keep_unchanged=False, task="edit_style")
    assert tiny(picture, "two tone", **told).image.tobytes() != by_path.image.tobytes()  # type: ignore[arg-type]
    both = tiny.generate(torch.zeros(2, 3, SIZE, SIZE), ["a", "a"], steps=2, seeds=[0, 0],
                         tasks=[None, LearnedTask.load(learned)])  # fmt: skip
    assert not torch.equal(both[0], both[1])
    with pytest.raises(ValueError, match="the task two-tone works on a picture, found none"):
        tiny(None, "", task=learned)
    other = LearnedTask(TaskTable(["other"], 31, 32), "other")
    with pytest.raises(ValueError, match=r"the task other must have widths 32 and 32 for this model, found 31 and 32"):
        tiny(picture, "", task=other)


def test_run_takes_the_file(
    learned: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (SIZE, SIZE), "gray").save(tmp_path / "in.png")
    given = ["run", str(tmp_path / "in.png"), "-o", str(tmp_path / "out.png"), "--model", str(tiny_folder)]
    given += ["--task-file", str(learned), "--device", "cpu"]
    assert main(given) == 0
    told = metadata_of(tmp_path / "out.png")
    assert told["instruction"] == "two tone" and told["steps"] == "3" and len(told["task_sha256"]) == 64
    assert main(given) == 0 and "kept" in capsys.readouterr().out
    assert main([*given, "--task", "depth"]) == 2
    assert "--task-file does one thing to a picture" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "source" / "0.png").unlink(), "found 0 in one of them"),
        (lambda folder: [path.unlink() for path in folder.rglob("[12].png")] and (folder / "x").mkdir(), None),
        (lambda folder: (folder / "source" / "0.jpg").write_bytes((folder / "source" / "0.png").read_bytes()), "alike"),
    ],
)
def test_pairs_must_be_pairs(
    pairs: Path,
    tiny_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Path], object],
    message: str | None,
) -> None:
    folder = Path(shutil.copytree(pairs, tmp_path / "pairs"))
    change(folder)
    given = ["train", "task", str(folder), "--name", "one", "--model", str(tiny_folder), "--steps", "1", "--batch-size"]
    given += ["1", "--folder", str(tmp_path / "run"), "--out", str(tmp_path / "one.safetensors"), "--device", "cpu"]
    assert main(given) == (0 if message is None else 2)
    error = capsys.readouterr().err
    assert message is None or message in error
    assert main([*given[:4], "a/b", *given[5:]]) == 2 and "--name names the task" in capsys.readouterr().err


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    save_table(TaskTable(["depth"], 4, 4), tmp_path / "table.safetensors")
    with pytest.raises(ValueError, match="should hold a learned task, found none in its metadata"):
        LearnedTask.load(tmp_path / "table.safetensors")


def test_new_tasks_have_true_answers() -> None:
    source, target = NEW_TASKS["outline-red"][1](4, SIZE, torch.Generator().manual_seed(3))
    changed = (source - target).abs().amax(1) > 0
    assert (changed.flatten(1).float().mean(1) > 0.005).all() and changed.float().mean() < 0.2
    line = torch.tensor(LINE).view(1, 3, 1, 1).expand_as(target)
    assert torch.equal(target.permute(0, 2, 3, 1)[changed], line.permute(0, 2, 3, 1)[changed])
    source, target = NEW_TASKS["duotone"][1](2, SIZE, torch.Generator().manual_seed(3))
    assert torch.linalg.matrix_rank(target[0].flatten(1) - target[0].flatten(1).mean(1, keepdim=True), rtol=1e-4) == 1


def test_the_bench_compares_ways(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [
        "bench",
        "inversion",
        "--model",
        str(tiny_folder),
        "--tasks",
        "duotone",
        "--pairs",
        "1",
        "2",
        "--steps",
        "2",
    ]
    given += ["--held-out", "2", "--size", "64", "--points", "2", "--folder", str(tmp_path), "--json"]
    assert main([*given, str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())["tasks"]["duotone"]
    assert {"told in words", "the picture itself", "vector and token", "LoRA"} <= found.keys()
    assert found["vector and token"].keys() == {"1", "2"} and found["bytes"] < 50_000
    assert "duotone: mean absolute error of 255" in capsys.readouterr().out
