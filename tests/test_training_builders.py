"""Pairs of every task, how they are mixed, and the sheet on which they are looked at."""

import pytest
import torch
from PIL import Image

from pixwizard.cli.main import main
from pixwizard.comfyui_pixwizard.encoders.nano_autoencoder import NanoAutoencoder, NanoAutoencoderConfig
from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.training.data.feed.mixture import GENERATION, Mixture, common_count, with_generation
from pixwizard.training.data.rendered.builders import BUILDERS, box_of
from pixwizard.training.data.rendered.figure_pool import FacePool, FigurePool
from pixwizard.training.data.rendered.scene_pool import ScenePool
from pixwizard.training.data.rendered.sources import RenderedSources
from pixwizard.training.recipes.nano import WEIGHTS
from pixwizard.training.render.dead_leaves import dead_leaves

SIZE = 128


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pools")
    pools = FigurePool(folder, 6, SIZE), FacePool(folder, 6, SIZE)
    return RenderedSources(SIZE, dead_leaves, ScenePool(folder, 12, SIZE, edits_per_scene=4), *pools)


@pytest.fixture(scope="module")
def autoencoder():
    torch.manual_seed(0)
    model = NanoAutoencoder(NanoAutoencoderConfig(width=16, encoder_blocks=1, decoder_blocks=1))
    model.start_from_components(dead_leaves(24, 64, generator()) * 2 - 1)
    return model.requires_grad_(False)


def test_every_task_of_the_registry_has_a_builder_and_a_weight():
    assert set(BUILDERS) == set(TASKS) == set(WEIGHTS)


@pytest.mark.parametrize("task", sorted(BUILDERS))
def test_every_task_makes_pairs(task, rendered, autoencoder):
    pairs = BUILDERS[task](rendered, 3, generator(5))
    assert pairs.source.shape == pairs.target.shape == (3, 3, SIZE, SIZE)
    for picture in (pairs.source, pairs.target):
        assert picture.isfinite().all() and picture.min() >= -1e-6 and picture.max() <= 1 + 1e-6
    assert len(pairs.sentences) == 3 and all(len(s) > 5 and "{" not in s for s in pairs.sentences)
    assert ((pairs.source - pairs.target).abs().amax((1, 2, 3)) > 0.02).all()
    again = BUILDERS[task](rendered, 3, generator(5))
    assert again.sentences == pairs.sentences
    assert torch.equal(again.source, pairs.source) and torch.equal(again.target, pairs.target)
    batch = Mixture(autoencoder, rendered, {task: 1.0}).batch(3, generator(1))
    assert batch.tasks == [task] * 3 and batch.source.shape == batch.target.shape == (3, 16, SIZE // 8, SIZE // 8)


@pytest.mark.parametrize("task", sorted(BUILDERS))
def test_latents_of_a_batch_are_those_of_the_pictures(task, rendered, autoencoder, monkeypatch):
    """What a pool keeps must show what the pair shows, in the same order."""
    pairs = BUILDERS[task](rendered, 5, generator(2))
    monkeypatch.setitem(BUILDERS, task, lambda *_: pairs)
    batch = Mixture(autoencoder, rendered, {task: 1.0}).batch(5, generator(3))
    assert torch.allclose(batch.picture, pairs.source * 2 - 1, atol=1.1 / 255)
    for latents, picture in ((batch.source, pairs.source), (batch.target, pairs.target)):
        bytes_of = (picture.clamp(0, 1) * 255).round() / 255
        assert torch.allclose(latents, autoencoder.encode(bytes_of * 2 - 1), atol=2e-2)


@pytest.mark.parametrize("task", ["depth", "normal", "segmentation"])
def test_a_map_and_its_picture_are_one_pair_both_ways(task, rendered):
    there, back = BUILDERS[task](rendered, 4, generator(3)), BUILDERS[f"{task}_to_image"](rendered, 4, generator(3))
    assert torch.equal(there.source, back.target) and torch.equal(there.target, back.source)


def test_boxes_hold_their_masks():
    mask = torch.zeros(20, 30, dtype=torch.bool)
    mask[4:9, 10:22] = True
    assert box_of(mask).tolist() == [[10.0, 4.0, 22.0, 9.0]]


def test_decoded_pairs_mean_what_the_sentence_says(rendered):
    """The three ways to answer a reference agree: mask, overlay and box are of one solid."""
    for seed in range(4):
        # The scene and the expression are drawn first, so one seed asks all three tasks the same.
        mask, overlay, box = (
            TASKS[task].decode(pairs.target[0], pairs.source[0])
            for task in ("referring_mask", "referring_segmentation", "referring_box")
            for pairs in [BUILDERS[task](rendered, 1, generator(seed))]
        )
        assert (mask & overlay).sum() / (mask | overlay).sum() > 0.85
        assert (box_of(mask) - box[0]).abs().max() <= 4


def test_the_mixture_follows_its_weights(rendered, autoencoder):
    mixture = Mixture(autoencoder, rendered, {"depth": 3.0, "normal": 1.0})
    tasks = [t for s in range(10) for t in mixture.batch(40, generator(s)).tasks]
    assert tasks.count("depth") / len(tasks) == pytest.approx(0.75, abs=0.06)


def test_the_two_stages_weigh_tasks_as_the_paper_does():
    first = common_count()
    assert set(first) == set(TASKS) and len(set(first.values())) == 1
    second = with_generation(WEIGHTS, 0.5)
    assert second[GENERATION] == 0.5 and sum(second.values()) == pytest.approx(1.0)
    assert second["segmentation"] / second["derain"] == pytest.approx(WEIGHTS["segmentation"] / WEIGHTS["derain"])
    with pytest.raises(ValueError, match=r"lies in \[0, 1\), found 1"):
        with_generation(WEIGHTS, 1.0)


def test_an_unknown_task_is_refused(rendered, autoencoder):
    with pytest.raises(ValueError, match=r"tasks of the registry, found \['cook'\]"):
        Mixture(autoencoder, rendered, {"cook": 1.0})


def test_preview_draws_a_sheet_and_refuses_what_it_cannot(tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    options = ["--out", str(sheet), "--scenes", "8", "--pairs", "1"]
    assert main(["data", "preview", "--task", "depth", "edit_add", "watermark", *options]) == 0
    with Image.open(sheet) as picture:
        assert picture.width > 4 * 2 * SIZE and picture.height > SIZE
    assert main(["data", "preview", "--task", "cook", *options]) == 2
    assert "found cook" in capsys.readouterr().err
