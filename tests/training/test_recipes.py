"""The recipes on shards, from a folder of pictures to a model that answers: whole runs in small."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from pixwizard.cli.main import main
from pixwizard.comfyui_pixwizard import PixWizardConfig, PixWizardPipeline
from pixwizard.comfyui_pixwizard.files.checkpoint import load_transformer
from pixwizard.comfyui_pixwizard.files.components import find_folder
from pixwizard.comfyui_pixwizard.files.released import read_released
from pixwizard.comfyui_pixwizard.files.safe_files import read_tensors
from pixwizard.comfyui_pixwizard.files.table_file import TABLE_FILE, load_table
from pixwizard.comfyui_pixwizard.task_table import TaskTable
from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.training.data.feed.plan import Plan, Source
from pixwizard.training.loop.checkpoints import newest
from pixwizard.training.loop.exporting import run_weights
from pixwizard.training.loop.lora import merged
from pixwizard.training.loop.velocity import FeatureModel
from pixwizard.training.recipes import estimate
from pixwizard.training.recipes.paper_recipes import Lora, Stage1, Stage2

pytest.importorskip("pyarrow")
from pixwizard.training.data.build.build import build
from pixwizard.training.data.build.recipe import read_recipe

SMALL = dict(
    sizes=(64,), tasks=("denoise", "canny"), batch_size=4, micro_batch=2, workers=0, device="cpu", model="nano"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    place = tmp_path_factory.mktemp("data")
    (place / "photos").mkdir()
    generator = np.random.default_rng(0)
    for i in range(12):
        small = generator.integers(0, 255, (6, 5 + i % 3, 3), dtype=np.uint8)
        Image.fromarray(small).resize((96 + 16 * (i % 3), 96), Image.Resampling.BICUBIC).save(place / f"photos/{i}.png")
    recipe = {"output": "shards", "smallest": 64, "inputs": [{"kind": "folder", "path": "photos"}]}
    (place / "recipe.json").write_text(json.dumps(recipe))
    build(read_recipe(place / "recipe.json"))
    return place / "shards"


@pytest.fixture(scope="module")
def stage1(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stage1")
    options = ["--data", str(data), "--folder", str(folder), "--per-task", "8", "--epochs", "2", "--model", "nano"]
    options += ["--sizes", "64", "--tasks", "denoise", "canny", "--batch-size", "4", "--micro-batch", "2"]
    options += ["--workers", "0", "--device", "cpu", "--no-bfloat16", "--validate-every", "8", "--validate-size", "64"]
    options += ["--validate-tasks", "depth", "--cache", str(folder / "latents"), "--log-every", "2"]
    assert main(["train", "stage1", *options]) == 0
    return folder


def test_stage1_ends_where_its_plan_ends_and_logs_on_its_way(stage1):
    assert newest(stage1).name == "step-00000008"  # 2 epochs of 2 tasks of 8 samples in batches of 4
    lines = [json.loads(line) for line in (stage1 / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    assert all(line["lr"] == 1e-4 and line["loss"] > 0 and line["gradient"] > 0 for line in lines)
    assert {"task/denoise", "task/canny"} <= {name for line in lines for name in line}
    events = next((stage1 / "tensorboard").iterdir()).read_bytes()
    for name in (b"train/loss", b"validation/depth", b"answers/depth"):
        assert name in events


def test_the_export_is_the_average_and_answers(stage1):
    average, step = run_weights(stage1)
    last, _ = run_weights(stage1, average=False)
    assert step == 8 and average.keys() == last.keys()
    assert any(not torch.equal(average[name], last[name]) for name in average)
    transformer = load_transformer(stage1 / "export")
    for name, value in transformer.state_dict().items():
        torch.testing.assert_close(value, average[name], rtol=1e-2, atol=1e-3)  # bfloat16
    parts = PixWizardPipeline.from_pretrained("nano").parts | {"transformer": transformer}
    result = PixWizardPipeline(**parts)(Image.new("RGB", (64, 64), "gray"), "Remove the noise", steps=2, size=64)
    assert result.image.size == (64, 64)


def test_the_released_form_is_read_back(stage1, tmp_path):
    out = tmp_path / "released"
    given = ["--run-folder", str(stage1), "--out", str(out), "--form", "released", "--dtype", "float32"]
    assert main(["train", "export", *given]) == 0
    assert main(["train", "export", *given, "--no-average"]) == 0
    for ema in (True, False):
        file, config, args = read_released(out, ema)
        found, wanted = file.read(list(file.specs)), run_weights(stage1, average=ema)[0]
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
        shape = PixWizardConfig.preset("nano").to_dict()
        assert {name: value for name, value in config.to_dict().items() if name != "multiple_of"} == {
            name: value for name, value in shape.items() if name != "multiple_of"
        }
        assert config.ffn_dim == PixWizardConfig.preset("nano").ffn_dim and args["sample_tokens"] == 48
    assert main(["convert", str(out), str(tmp_path / "back"), "--ema"]) == 0
    back = load_transformer(tmp_path / "back" / "model.safetensors").state_dict()
    assert all(torch.equal(back[name], value) for name, value in run_weights(stage1)[0].items())


def test_stage2_begins_with_what_stage1_made(stage1, data, tmp_path):
    recipe = Stage2(
        **SMALL | {"data": (data,), "folder": tmp_path, "start": stage1 / "export", "generation": 0.0},
        samples=8, steps=1, bfloat16=False,
    )  # fmt: skip
    assert recipe.run() and newest(tmp_path).name == "step-00000001"
    state, _ = run_weights(tmp_path, average=False)
    begun = load_transformer(stage1 / "export").state_dict()
    moved = max(float((state[name] - begun[name]).abs().max()) for name in begun)
    assert 0 < moved <= 1.01 * recipe.lr  # one step of Adam moves nothing further than the rate


def test_adapters_are_trained_alone_and_written_as_stock_loaders_read_them(data, tmp_path):
    recipe = Lora(
        **SMALL, data=(data,), folder=tmp_path, rank=2, alpha=4.0, samples=16, lr=1e-2, bfloat16=False, task_table=True
    )
    assert recipe.run()
    table = load_table(tmp_path / "export" / TABLE_FILE)
    before = load_table(find_folder("nano") / TABLE_FILE)
    moved = (table.vectors != before.rows(before.places(table.names)).vector).any(1)
    learned = {name for name, row in zip(table.names, moved, strict=True) if row}
    assert learned == {"denoise", "canny"} and table.fits(PixWizardConfig.preset("nano"))
    lora = read_tensors(tmp_path / "export" / "lora.safetensors")
    layers = {name.rsplit(".", 2)[0] if name.endswith(".weight") else name.rsplit(".", 1)[0] for name in lora}
    assert len(layers) == 11 * 6 and len(lora) == 3 * len(layers)
    base = PixWizardPipeline.from_pretrained("nano").transformer.state_dict()
    assert all(f"{layer.removeprefix('diffusion_model.')}.weight" in base for layer in layers)
    assert lora["diffusion_model.layers.0.attention.wq.lora_A.weight"].shape == (2, 256)
    assert lora["diffusion_model.layers.0.attention.wq.lora_B.weight"].shape == (256, 2)
    assert float(lora["diffusion_model.layers.0.attention.wq.alpha"]) == 4.0
    checkpoint, _ = run_weights(tmp_path, average=False)
    assert {name.rpartition(".")[2] for name in checkpoint} == {"lora_A", "lora_B"}
    changed = merged(base, tmp_path / "export" / "lora.safetensors")
    moved = {name for name in base if not torch.equal(changed[name], base[name])}
    assert moved and moved <= {f"{layer.removeprefix('diffusion_model.')}.weight" for layer in layers}
    name = "layers.0.attention.wo"
    a, b = (lora[f"diffusion_model.{name}.{kind}.weight"].float() for kind in ("lora_A", "lora_B"))
    torch.testing.assert_close(changed[f"{name}.weight"], base[f"{name}.weight"] + 2.0 * b @ a)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 5}, "--batch-size is a multiple of processes times --micro-batch, found 5, 1 and 2"),
        ({"model": None}, "needs --model, or all of --gemma, --clip, --vae and --start; found none"),
        ({"data": ()}, "--data names folders that pixwizard data build made, found none"),
        ({"drop_text": 0.9, "drop_both": 0.2}, "at most 1 together"),
        ({"start": "nowhere"}, "--start is a model's file or folder, found none at nowhere"),
    ],
)
def test_mistakes_are_one_clear_line(data, tmp_path, change, message):
    from pathlib import Path

    change = {name: Path(value) if name == "start" else value for name, value in change.items()}
    with pytest.raises(ValueError, match=message) as caught:
        Stage1(**SMALL | {"data": (data,), "folder": tmp_path / "run"} | change).run()
    assert "\n" not in str(caught.value)


def test_the_recipes_are_the_papers():
    one, two = Stage1(), Stage2()
    assert (one.lr, one.sizes, one.per_task, one.epochs) == (1e-4, (512, 768), 20_000, 4.0)
    assert (two.lr, two.sizes, two.samples, two.generation) == (5e-5, (768, 1024), 20_000_000, 0.5)
    for recipe in (one, two):
        assert (recipe.batch_size, recipe.ema, recipe.clip_norm, recipe.times) == (1024, 0.9999, 2.0, "uniform")
        assert (recipe.drop_text, recipe.drop_image, recipe.drop_both) == (0.05, 0.05, 0.05)
        config = recipe.trainer_config(1)
        assert (config.weight_decay, config.cooldown, config.lr) == (0.0, 0.0, recipe.lr)


def plan_of(counts, sizes=((512, 512),)):
    return Plan([Source(task, task, dict.fromkeys(sizes, n)) for task, n in counts.items()], group=8)


class Counted:
    """Items that are only counted."""

    def __init__(self, task, n):
        self.source = Source(task, task, {(64, 64): n})


def test_stage1_brings_every_task_to_the_same_count_and_stage2_half_to_text_to_image():
    counts = {"depth": 50, "denoise": 5_000, "text_to_image": 400}
    drawn = Stage1(per_task=1000).plan([Counted(*item) for item in counts.items()]).task_draws()
    assert all(abs(n - 1000) <= 1 for n in drawn.values())
    drawn = Stage2().plan([Counted(*item) for item in counts.items()]).task_draws()
    assert drawn["text_to_image"] == pytest.approx(5050, abs=2) and drawn["depth"] == pytest.approx(50, abs=1)


def test_a_dry_run_tells_counts_tokens_memory_and_time(data, tmp_path, capsys):
    folder = tmp_path / "none"
    recipe = Stage1(**SMALL | {"data": (data,), "folder": folder, "model": None}, per_task=8, dry_run=True, devices=64)
    assert recipe.run() and not folder.exists()
    told = capsys.readouterr().out
    for part in ("denoise", " latent tokens a sample", " steps of 4", "memory of one of 64 devices", "h in all"):
        assert part in told


def test_the_estimate_of_the_released_model():
    config = PixWizardConfig.preset("2b")
    flops = estimate.forward_flops(config, 1024, 576)
    # 24 blocks: 55.8 M weights meet 1024 tokens, 11.0 M the image's 576; attention over 1024 + 256 + 64 keys.
    by_hand = 2 * 24 * (55.8e6 * 1024 + 11.0e6 * 576 + 2 * 2304 * 1024 * 1344)
    assert flops == pytest.approx(by_hand, rel=0.02)
    room = estimate.memory(
        config, trained=2_011_441_976, devices=8, sharded=True, micro_batch=8, latent_tokens=1024, image_tokens=576,
        recompute=True, encoder_bytes=0,
    )  # fmt: skip
    assert room.state == pytest.approx(2_011_441_976 * 20 / 8) and room.gathered == 2 * 2_011_441_976
    alone = estimate.memory(
        config, trained=2_011_441_976, devices=8, sharded=False, micro_batch=8, latent_tokens=1024, image_tokens=576,
        recompute=False, encoder_bytes=0,
    )  # fmt: skip
    assert alone.total > room.total
    assert "2 size buckets" in estimate.report(
        plan_of({"depth": 100}, ((512, 512), (768, 512))), config, trained=1, steps=3, batch_size=8, micro_batch=1,
        devices=8, tflops=300, recompute=False, sharded=True, released_encoders=True,
    )  # fmt: skip


def test_a_validation_asks_with_the_table_as_it_is_trained(tmp_path):
    shown = {"validate_every": 1, "validate_tasks": ("denoise",), "validate_size": 64}
    recipe = Stage1(**SMALL, **shown, data=(), folder=tmp_path, task_table=True, bfloat16=False)
    pipeline = PixWizardPipeline.from_pretrained("nano")
    base = pipeline.transformer
    grid = recipe._grid(pipeline, base)
    model = FeatureModel(base, TaskTable.of(base.config, list(TASKS), pipeline.task_table))
    trained = {name: value.detach().clone() for name, value in model.named_parameters()}
    trained |= {name: value + 0.5 for name, value in trained.items() if name.startswith("table.")}
    assert grid(1, trained)["validation/denoise"]
    asked, first = grid.pipeline.task_table.state_dict(), pipeline.task_table.state_dict()
    assert asked.keys() == {name.removeprefix("table.") for name in trained if name.startswith("table.")}
    for name, value in asked.items():
        assert torch.equal(value, trained[f"table.{name}"]) and not torch.equal(value, first[name])
