"""The nano recipe from nothing to a model that runs, in small, continued by a second call."""

import json
import shutil

import pytest
import torch

from pixwizard.cli.train import Train
from pixwizard.comfyui_pixwizard import PixWizardConfig, PixWizardPipeline
from pixwizard.comfyui_pixwizard.files.digests import model_fingerprint
from pixwizard.comfyui_pixwizard.files.table_file import TABLE_FILE, load_table
from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.training.loop.checkpoints import newest
from pixwizard.training.recipes.nano import NanoRecipe
from pixwizard.training.recipes.table_recipe import TableRecipe
from pixwizard.training.recipes.towers import NanoModel, train_bpe
from pixwizard.training.render.dead_leaves import dead_leaves

SMALL = dict(
    sheets=1,
    scenes=24,
    large_scenes=12,
    figures=20,
    faces=20,
    batch_size=4,
    autoencoder_minutes=0.12,
    towers_minutes=0.05,
    sight_minutes=0.03,
    trunk_minutes=0.03,
    plan=0.3,
    compile=False,
    predictor=False,
)


def train(**options):
    return Train(NanoRecipe(**SMALL | options)).run()


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    assert train(folder=folder, minutes=0.12, task_table=True) == 0  # some steps, beside other tests too
    return folder


def steps(folder):
    return json.loads((folder / "export" / "pipeline.json").read_text())["provenance"]["steps"]


def test_the_export_runs(run_folder):
    pipeline = PixWizardPipeline.from_pretrained(run_folder / "export")
    result = pipeline(None, "Draw a red ball on a gray floor", steps=3, size=128, seed=1)
    assert result.image.size == (128, 128)
    table = pipeline.task_table
    assert table is not None and table.names == tuple(TASKS)
    moved = [bool(part.any()) for part in (table.vectors, table.tokens)]
    assert moved == [True, True], "the table is trained with the network"


def test_a_second_call_goes_on_and_keeps_the_first_stages(run_folder):
    before = steps(run_folder)
    autoencoder = newest(run_folder / "autoencoder").name
    assert before >= 1
    assert train(folder=run_folder, minutes=0.06, task_table=True) == 0
    assert steps(run_folder) > before
    assert newest(run_folder / "autoencoder").name == autoencoder


def test_a_run_can_begin_with_marked_pictures(run_folder, tmp_path, monkeypatch):
    (tmp_path / "pools").symlink_to(run_folder / "pools")
    stages, usual = [], NanoRecipe.mixture_stage

    def noted(self, model, *weights, marked=False):
        stages.append((weights[0] == {"text_to_image": 1.0}, marked))
        return usual(self, model, *weights, marked=marked)

    monkeypatch.setattr(NanoRecipe, "mixture_stage", noted)
    options = {"start": str(run_folder / "export"), "adaptation": 0.05, "task_table": True}
    assert train(folder=tmp_path, minutes=0.05, **options) == 0
    assert stages == [(False, False), (True, True)] and steps(tmp_path) >= 1
    assert train(folder=tmp_path, minutes=0.05, **options) == 0
    assert len(stages) >= 4 and not any(marked for _, marked in stages[2:])
    with pytest.raises(ValueError, match=r"part of the plan of 0\.3 minutes, found 0\.3"):
        train(folder=tmp_path, adaptation=0.3)


def test_a_run_can_begin_with_a_model(run_folder, tmp_path):
    options = {"start": str(run_folder / "export"), "task_table": True, "sight_minutes": 0.0, "trunk_minutes": 0.0}
    (tmp_path / "pools").symlink_to(run_folder / "pools")
    assert train(folder=tmp_path, minutes=0, **options) == 0
    same = [PixWizardPipeline.from_pretrained(f / "export") for f in (run_folder, tmp_path)]
    a, b = (pipeline(None, "Draw a cone", steps=2, size=64, seed=3).image for pipeline in same)
    assert a.tobytes() == b.tobytes()
    assert train(folder=tmp_path, minutes=0.05, task_table=True) == 0
    assert steps(tmp_path) >= 1
    with pytest.raises(ValueError, match="begins a new run, found one"):
        train(folder=run_folder, minutes=0, **options)


def test_a_table_is_learned_on_a_frozen_network(run_folder, tmp_path):
    (tmp_path / "pools").symlink_to(run_folder / "pools")
    small = {name: SMALL[name] for name in ("sheets", "scenes", "figures", "faces", "batch_size")}
    model, out = run_folder / "export", tmp_path / "table.safetensors"
    recipe = TableRecipe(model=str(model), out=out, folder=tmp_path, minutes=0.05, device="cpu", **small)
    begun, before = load_table(model / TABLE_FILE), model_fingerprint(model)
    assert recipe.run() and model_fingerprint(model) == before
    learned = load_table(out)
    assert learned.names == tuple(TASKS)
    assert not torch.allclose(learned.vectors, begun.vectors, atol=1e-4)


def test_a_run_can_begin_with_an_autoencoder_and_towers(run_folder, tmp_path):
    begun = shutil.copytree(run_folder / "export", tmp_path / "begun", ignore=shutil.ignore_patterns("transformer"))
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "pools").symlink_to(run_folder / "pools")
    assert train(folder=folder, minutes=0.05, start=str(begun)) == 0
    assert steps(folder) >= 1
    ours, given = ((f / "autoencoder" / "model.safetensors").read_bytes() for f in (folder / "export", begun))
    assert ours == given
    assert PixWizardPipeline.from_pretrained(folder / "export")(None, "Draw a cone", steps=2, size=64).image


@torch.no_grad()
def test_what_the_next_version_goes_on_from_is_in_the_repository(tmp_path):
    recipe = NanoRecipe(folder=tmp_path, start="begun", device="cpu")
    model = recipe._given()
    picture = dead_leaves(2, 64, torch.Generator().manual_seed(0)) * 2 - 1
    again = recipe.autoencoder.decode(recipe.autoencoder.encode(picture))
    assert (again - picture).square().mean() < 0.01
    # Its towers know words: as the network normalises them, sentences about different things point apart.
    names = model.task.encode(["Remove the red ball", "Remove the blue ball", "Estimate the depth"])
    alike = torch.corrcoef(names)
    assert alike[0, 1] < 0.9 and alike[0, 2] < 0.5


def test_minutes_cannot_be_negative(tmp_path):
    with pytest.raises(ValueError, match="cannot be negative and --plan is positive, found -1"):
        train(folder=tmp_path, minutes=-1)


@torch.no_grad()
def test_training_reads_text_as_the_pipeline_does():
    """The attention that training writes out has the same masks: causal, and blind to padding."""
    sentences = ["Remove the noise", "Segment this picture by class and show each kind of object in a color of its own"]
    model = NanoModel.build(train_bpe(sentences * 20), PixWizardConfig.preset("nano"), seed=0)
    fused, mask = model.text.encode(sentences)
    task = model.task.encode(sentences)
    model.use_plain_attention()
    plain, _ = model.text.encode(sentences)
    torch.testing.assert_close(plain[mask], fused[mask], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model.task.encode(sentences), task, atol=1e-4, rtol=1e-4)
    alone, _ = model.text.encode(sentences[:1])
    count = int(mask[0].sum())
    torch.testing.assert_close(alone[0, :count], plain[0, :count], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_short_and_long_sentences_of_a_batch_are_read_apart_and_mean_the_same():
    sentences = [
        "Draw a cone",
        "Remove the noise",
        "Remove rain",
        "Segment this picture by class, each in a color " * 2,
    ]
    model = NanoModel.build(train_bpe(sentences * 20), PixWizardConfig.preset("nano"), seed=0)
    features, mask = model.text.encode(sentences)
    found, known, task = model._said(sentences)
    assert torch.equal(known, mask)
    torch.testing.assert_close(found[mask], features[mask], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(task, model.task.encode(sentences), atol=1e-5, rtol=1e-5)
    alone, _, _ = model._said(sentences[:1])
    torch.testing.assert_close(alone[0, : int(mask[0].sum())], features[0][mask[0]], atol=1e-4, rtol=1e-4)
