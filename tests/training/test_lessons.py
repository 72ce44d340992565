"""What helps a small model to learn: balanced losses, teachers, emphasis; and that they fade."""

import copy
import json

import pytest
import torch

from pixwizard.comfyui_pixwizard import PixWizardPipeline
from pixwizard.comfyui_pixwizard.config import PixWizardConfig
from pixwizard.training.data.feed.mixture import Mixture
from pixwizard.training.data.rendered.facts import FACTS, UNKNOWN, facts, sentences
from pixwizard.training.data.rendered.figure_pool import FacePool, FigurePool
from pixwizard.training.data.rendered.pale_scenes import PALE, turning
from pixwizard.training.data.rendered.patch_labels import CELLS, PARTS, PATCH, each_cell, joint_cells
from pixwizard.training.data.rendered.pools import LeafPool
from pixwizard.training.data.rendered.scene_pool import ScenePool
from pixwizard.training.data.rendered.sources import RenderedSources
from pixwizard.training.loop.trainer import Trainer, TrainerConfig
from pixwizard.training.loop.velocity import Drawing
from pixwizard.training.recipes.balance import Balance
from pixwizard.training.recipes.mixture_stage import BLIND, OPEN, MixtureStage
from pixwizard.training.recipes.sight_stage import SightStage, scale_colors, seeing_pale
from pixwizard.training.recipes.teachers import change_of, emphasis, news_of
from pixwizard.training.recipes.tower_stage import TowerStage, likeness
from pixwizard.training.recipes.towers import NanoModel, train_bpe
from pixwizard.training.recipes.trunk_stage import trunk_stage


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pools")
    leaves = LeafPool(folder, 1)
    pools = ScenePool(folder, 40, 64), FigurePool(folder, 20, 64), FacePool(folder, 20, 64)
    return RenderedSources(64, leaves.draw, *pools)


def model_of(rendered, **options):
    torch.manual_seed(0)
    words = sentences(["edit_remove", "referring_mask", "denoise"] * 40, rendered, torch.Generator().manual_seed(0))[0]
    return NanoModel.build(train_bpe(words), PixWizardConfig.preset("nano"), **options)


# -- balance ---------------------------------------------------------------------------------------------------------


def test_losses_of_unlike_size_get_one_voice():
    balance = Balance(["small", "large"], decay=0.9)
    tasks, t = ["small", "large"] * 4, torch.tensor([0.1, 0.1] * 4)
    for _ in range(30):
        losses = torch.tensor([0.02, 0.06] * 4)
        weighted = losses * balance.factors(tasks, t, losses)
    assert weighted[0] == pytest.approx(float(weighted[1]), rel=1e-3)
    assert float(weighted.mean()) == pytest.approx(0.04, rel=1e-3)


def test_factors_are_bounded_and_know_the_quarter_of_t():
    balance = Balance(["one"], decay=0.5, most=4.0)
    t = torch.tensor([0.1, 0.9])
    factors = balance.factors(["one", "one"], t, torch.tensor([1e-6, 1.0]))
    assert factors.tolist() == pytest.approx([4.0, 0.5], rel=1e-3)


def test_running_means_go_on_from_their_state():
    one, other = Balance(["a", "b"]), Balance(["a", "b"])
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        one.factors(["a", "b"], torch.rand(2, generator=generator), torch.rand(2, generator=generator))
    other.load(one.state())
    given = ["b", "a"], torch.tensor([0.3, 0.6]), torch.tensor([0.2, 0.4])
    assert torch.equal(one.factors(*given), other.factors(*given))


# -- teachers and emphasis -------------------------------------------------------------------------------------------


def test_emphasis_goes_where_things_change_and_has_mean_one():
    source = torch.zeros(2, 4, 8, 8)
    target = source.clone()
    target[0, :, :2, :2] = 3.0
    weight = emphasis(change_of(source, target, 2))
    assert torch.allclose(weight.mean((1, 2)), torch.ones(2))
    assert weight[0, 0, 0] > 10 * weight[0, 3, 3]
    assert torch.all(weight[1] == 1)


def test_a_skeleton_is_news_and_the_black_round_it_is_not():
    generator = torch.Generator().manual_seed(0)
    source, target = torch.randn(1, 4, 8, 8, generator=generator), torch.zeros(1, 4, 8, 8)
    target[0, :, 4:6, 2:4] = 2.0
    news = news_of(source, target, 2)
    assert news[0, 2, 1] > 1 and news.sum() == news[0, 2, 1]
    # Nor is what stays as it is.
    assert news_of(target, target, 2).sum() == 0


def test_joints_lie_in_their_cells(rendered):
    pose = rendered.figures.pose
    marked = joint_cells(pose, rendered.size)
    seen = pose[..., 2] > 0.5
    for n, person, joint in torch.nonzero(seen).tolist():
        column, row = (int(at) * CELLS // PATCH for at in pose[n, person, joint, :2])
        if max(row, column) < marked.shape[-1]:
            assert marked[n, joint, row, column] > 0.5
    assert marked.any() and not marked[~seen.any(1)].any()
    # A batch has them for people alone.
    given = PixWizardPipeline.from_pretrained("nano")
    mixture = Mixture(given.autoencoder, rendered, {"pose": 1.0, "keypoint": 1.0, "depth": 1.0})
    truth = mixture.batch(12, torch.Generator().manual_seed(1)).truth
    assert torch.equal(truth.posed, ~truth.known) and truth.posed.any() and truth.known.any()
    assert torch.equal(truth.joints.sum((1, 2, 3)) > 0, truth.posed)


def test_what_has_one_answer_is_asked_at_the_first_times(rendered):
    stage = stage_of(rendered)
    stage.drawing = Drawing("uniform_0.5_1", early="uniform_0_0.1")
    batch = stage.batch(torch.Generator().manual_seed(0))
    batch.tasks[:3] = ["text_to_image", "depth_to_image", "outpaint"]
    _, draws, _ = stage.answers(batch)
    late = [task in OPEN for task in batch.tasks]
    assert (draws.t > 0.5).tolist() == late and sum(late) == 3


def test_patch_labels_are_the_renderers_truth(rendered):
    scenes = rendered.scenes
    labels = scenes.patches.float()
    side = scenes.size // PATCH
    assert labels.shape[2:] == (side, side)
    classes = labels[:, PARTS["classes"]]
    assert torch.allclose(classes.sum(1), torch.ones(len(scenes), side, side), atol=2e-3)
    solids = classes[:, 2:].sum(1)
    assert torch.allclose(labels[:, PARTS["colors"]].sum(1), solids, atol=2e-3)
    # What is red by the labels looks red.
    row, column, scene = None, None, None
    red = labels[:, PARTS["colors"]][:, 0]
    scene, row, column = (int(i) for i in torch.nonzero(red == red.max())[0])
    patch = scenes.picture(torch.tensor([scene]))[0, :, row * PATCH :, column * PATCH :][:, :PATCH, :PATCH]
    assert red.max() > 0.5 and patch[0].mean() > patch[1:].mean()


def test_a_batch_knows_what_its_sentences_name(rendered):
    given = PixWizardPipeline.from_pretrained("nano")
    mixture = Mixture(given.autoencoder, rendered, {"referring_mask": 1.0, "denoise": 1.0})
    batch = mixture.batch(12, torch.Generator().manual_seed(1))
    marked = torch.tensor([task == "referring_mask" for task in batch.tasks])
    assert torch.equal(batch.truth.known, marked)
    # Sentences that name one thing; others name several or none.
    asked = batch.truth.asked
    assert not (asked & ~marked).any() and asked.sum() > marked.sum() / 2
    # Cells say of classes what patches say, in more detail, or nothing where these say nothing.
    classes, patches = batch.truth.classes[marked], batch.truth.labels[marked, PARTS["classes"]]
    told = (patches >= 0).all(1)
    assert torch.equal((classes >= 0).all(1), each_cell(told)) and told.any()
    means = torch.nn.functional.avg_pool2d(classes, CELLS).movedim(1, -1)
    torch.testing.assert_close(means[told], patches.movedim(1, -1)[told], atol=2e-3, rtol=0)
    # The target of a mask is white where the sentence points.
    shown = given.autoencoder.decode(batch.target[asked]).mean(1) / 2 + 0.5
    white = torch.nn.functional.avg_pool2d(shown, PATCH // CELLS)
    assert (white - batch.truth.named[asked]).abs().mean() < 0.1


def stage_of(rendered, **options):
    given = PixWizardPipeline.from_pretrained("nano")
    weights = {"referring_mask": 1.0, "edit_remove": 1.0, "denoise": 1.0}
    mixture = Mixture(given.autoencoder, rendered, weights)
    return MixtureStage(model_of(rendered).with_teachers(), [(1.0, 6, mixture)], Drawing(), **options)


def test_teachers_reach_the_first_blocks_and_fade(rendered):
    stage = stage_of(rendered)
    generator = torch.Generator().manual_seed(0)
    batch = stage.batch(generator)
    stage.rate_is(1.0)
    torch.nn.init.normal_(stage.model.teachers.head.weight, std=0.02)
    loss, records = stage.loss(batch, generator)
    loss.backward()
    # The network's output begins at zero weights, so at first only the teachers reach the blocks, whose gates are shut.
    moved = [block.adaLN_modulation[1].weight.grad.abs().max() > 0 for block in stage.model.transformer.blocks]
    assert moved == [True] * 3 + [False] * 3
    assert {"teacher/change", "teacher/named", "teacher/colors"} <= set(records)
    assert stage.drawing.dropout.image == 0.02
    stage.rate_is(0.0)
    assert stage.teaching == pytest.approx(0.1) and stage.emphasis == 0 and stage.drawing.dropout.image == 0.05


def test_the_first_blocks_can_learn_alone_and_are_the_networks_own(rendered, tmp_path):
    given = PixWizardPipeline.from_pretrained("nano")
    model = model_of(rendered).with_teachers()
    mixture = Mixture(given.autoencoder, rendered, {"referring_mask": 1.0, "keypoint": 1.0})
    before = copy.deepcopy(model)
    stage = trunk_stage(model, mixture, 8, Drawing(), False)
    assert len(model.transformer.layers) == 6 and len(stage.model.transformer.layers) == 3
    trainer = Trainer(stage, tmp_path, TrainerConfig(warmup=1, log_every=1))
    trainer.run(steps=7)
    losses = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    # Colours first: a head of zeros says 0.69 of each.
    assert losses[-1]["teacher/colors"] < losses[0]["teacher/colors"] * 0.9
    assert not any(name.startswith("task/") for name in losses[-1]), "nothing is asked of the whole network"

    def moved(part):
        now, then = (dict(m.named_parameters()) for m in (model, before))
        return any(not torch.equal(now[name], then[name]) for name in now if name.startswith(part))

    assert [moved(f"transformer.layers.{i}.") for i in range(6)] == [True] * 3 + [False] * 3
    assert moved("teachers.") and moved("text.") and not moved("transformer.final_layer.")


def test_some_samples_go_without_their_row_of_the_table(rendered):
    stage = stage_of(rendered)
    stage.model.with_table()
    batch = stage.batch(torch.Generator().manual_seed(0))
    batch.seeds = [10, 11, 12, 13, 14, 15]
    no_text = torch.tensor([False, True, False, False, False, False])
    places = stage.places(batch, no_text)["places"].tolist()
    rows = [stage.model.table.names.index(task) for task in batch.tasks]
    assert places == [-1, -1, *rows[2:]]


def test_the_trainer_tells_the_rate_and_keeps_the_running_means(rendered, tmp_path):
    stage = stage_of(rendered)
    trainer = Trainer(stage, tmp_path, TrainerConfig(cooldown=0.5, save_minutes=0.0))
    trainer.run(steps=3, plan_steps=4)
    assert stage.drawing.dropout.image == 0.02
    trainer.run(steps=4, plan_steps=4)
    assert stage.drawing.dropout.image == 0.05
    again = stage_of(rendered)
    other = Trainer(again, tmp_path, TrainerConfig())
    assert other.resume() and other.step == 4
    assert again.balance.state() == stage.balance.state()
    assert BLIND in again.balance.rows


# -- facts and towers --------------------------------------------------------------------------------------------------


def test_facts_of_a_sentence():
    words = {"caption": "the leftmost small red cube", "class": "two blue boxes"}
    found = dict(zip(FACTS, facts("edit_replace", words), strict=True))
    assert (found["color"], found["shape"], found["size"], found["place"]) == (1, 2, 1, 1)
    assert (found["new_color"], found["new_shape"], found["new_size"], found["texture"]) == (3, 2, 0, 0)
    # A class is what a box is asked for, and the colour is the box's.
    found = dict(zip(FACTS, facts("referring_box", {"class": "red ball", "color": "green"}), strict=True))
    assert (found["color"], found["shape"], found["new_color"], found["new_shape"]) == (1, 1, 2, 0)
    assert facts("denoise", {})[1:] == [UNKNOWN] * (len(FACTS) - 1)


def test_towers_learn_to_tell_sentences_apart(rendered, tmp_path):
    model = model_of(rendered)
    before = likeness(model, "Remove the red ball", "Remove the blue ball")
    stage = TowerStage(model, rendered, each=(32, 8))
    trainer = Trainer(stage, tmp_path, TrainerConfig(warmup=5, cooldown=0.5, ema=0.5, log_every=5))
    records = [trainer.train_step(0.0) for _ in range(32)]
    trainer.load_average()
    share = [sum(r["task/task"][0] for r in part) / sum(r["task/task"][1] for r in part) for part in
             (records[:8], records[-8:])]  # fmt: skip
    assert share[1] > 2 * share[0]
    assert likeness(model, "Remove the red ball", "Remove the blue ball") < before
    assert likeness(model, "Remove the red ball", "Estimate the depth") < 0.8


def test_the_vision_tower_learns_what_its_tokens_show_and_can_stay_near_its_first(rendered):
    model = model_of(rendered)
    free, held = (SightStage(copy.deepcopy(model.vision), rendered, keep, batch_size=16) for keep in (False, True))
    losses = {}
    for name, stage in (("free", free), ("held", held)):
        optimizer = torch.optim.Adam(stage.model.parameters(), 2e-3)
        generator = torch.Generator().manual_seed(0)
        for _ in range(25):
            total, records = stage.loss(stage.batch(generator), generator)
            losses.setdefault(name, []).append({key: value / n for key, (value, n) in records.items()})
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
    first, last = losses["free"][0], losses["free"][-1]
    assert all(last[f"sight/{part}"] < first[f"sight/{part}"] for part in ("classes", "depth", "joints"))
    assert "sight/colors" not in first, "its pictures are pale"
    pictures = rendered.scenes.picture(torch.arange(8)) * 2 - 1
    with torch.no_grad():
        moved = [
            float((stage.model.vision.encode(pictures) - model.vision.encode(pictures)).norm())
            for stage in (free, held)
        ]
    assert moved[1] < 0.7 * moved[0]


def test_outside_of_its_stage_a_tower_sees_pictures_pale(rendered):
    vision = model_of(rendered).vision
    pictures = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    pale = torch.einsum("ij,njhw->nihw", turning(0.0, PALE), pictures)
    with torch.no_grad():
        before = vision.encode(pictures * 2 - 1)
        with seeing_pale(vision):
            pass
        assert torch.allclose(vision.encode(pictures * 2 - 1), before, atol=1e-4), "back where it was"
        wanted = vision.encode(pale * 2 - 1)
        scale_colors(vision, PALE)
        assert torch.allclose(vision.encode(pictures * 2 - 1), wanted, atol=1e-4)
        assert not torch.allclose(wanted, before, atol=1e-2)
