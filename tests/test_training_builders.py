"""Pairs of every task, how they are mixed, and the sheet on which they are looked at."""

import pytest
import torch
from PIL import Image

from pixwizard.cli.main import main
from pixwizard.comfyui_pixwizard.encoders.nano_autoencoder import NanoAutoencoder, NanoAutoencoderConfig
from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.comfyui_pixwizard.tasks.codecs.asked import asked_codec, asked_options
from pixwizard.comfyui_pixwizard.tasks.codecs.marks import mark_color
from pixwizard.comfyui_pixwizard.tasks.language.templates import plural
from pixwizard.training.data.feed import mixture
from pixwizard.training.data.feed.mixture import GENERATION, Mixture, common_count, with_generation
from pixwizard.training.data.rendered import builders, grounding, pale_scenes
from pixwizard.training.data.rendered.builders import BUILDERS
from pixwizard.training.data.rendered.figure_pool import FacePool, FigurePool
from pixwizard.training.data.rendered.grounding import box_of
from pixwizard.training.data.rendered.marked_pictures import marked_pictures
from pixwizard.training.data.rendered.scene_pool import ScenePool
from pixwizard.training.data.rendered.shown_solids import shown_solids
from pixwizard.training.data.rendered.sources import RenderedSources
from pixwizard.training.recipes.nano import ADAPTED, MARKED, WEIGHTS
from pixwizard.training.render.dead_leaves import dead_leaves
from pixwizard.training.render.scenes import sample_scenes
from pixwizard.training.render.scenes.scene_words import solids
from pixwizard.training.render.scenes.vocabulary import SHAPE_WORDS

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
    """What a pool keeps must show what the pair shows, in the same order; of pairs in a mirror it keeps nothing."""
    monkeypatch.setattr(mixture, "MIRRORED", frozenset())
    pairs = BUILDERS[task](rendered, 5, generator(2))
    monkeypatch.setitem(BUILDERS, task, lambda *_: pairs)
    batch = Mixture(autoencoder, rendered, {task: 1.0}).batch(5, generator(3))
    assert torch.allclose(batch.picture, pairs.source * 2 - 1, atol=1.1 / 255)
    for latents, picture in ((batch.source, pairs.source), (batch.target, pairs.target)):
        bytes_of = (picture.clamp(0, 1) * 255).round() / 255
        assert torch.allclose(latents, autoencoder.encode(bytes_of * 2 - 1), atol=2e-2)


@pytest.mark.parametrize("task", ["depth", "normal", "segmentation"])
def test_a_map_and_its_picture_are_one_pair_both_ways(task, rendered, monkeypatch):
    monkeypatch.setattr(builders, "RELATIVE_SHARE", 0.0)
    monkeypatch.setattr(pale_scenes, "PALED_SHARE", 0.0)
    monkeypatch.setattr(builders, "PALED_SELDOM", 0.0)
    there, back = BUILDERS[task](rendered, 4, generator(3)), BUILDERS[f"{task}_to_image"](rendered, 4, generator(3))
    assert torch.equal(there.source, back.target) and torch.equal(there.target, back.source)


def test_some_depth_is_relative_and_its_sentence_says_so(rendered):
    pairs, task, relative = BUILDERS["depth"](rendered, 60, generator(4)), TASKS["depth"], 0
    plain = builders.dense("depth", rendered, 60, generator(4))
    assert torch.equal(pairs.source, plain.source) and torch.equal(pairs.scene, plain.scene)
    assert pairs.stored[1] is None, "the pool keeps metric depth alone"
    for sentence, target, metric in zip(pairs.sentences, pairs.target, plain.target, strict=True):
        codec = asked_codec("walk", sentence)
        relative += codec == "relative"
        if codec == "walk":
            assert torch.equal(target, metric)
            continue
        nearness, inverse = task.decode(target, codec=codec), 1 / task.decode(metric, snap_edges=False)
        assert nearness.aminmax() == (0.0, 1.0) and torch.equal(target[0], target[2])
        assert torch.allclose(nearness, (inverse - inverse.min()) / (inverse.max() - inverse.min()), atol=0.02)
    assert 8 <= relative <= 24


def test_boxes_hold_their_masks():
    mask = torch.zeros(20, 30, dtype=torch.bool)
    mask[4:9, 10:22] = True
    assert box_of(mask).tolist() == [[10.0, 4.0, 22.0, 9.0]]


def read(task, picture, source, sentence):
    return TASKS[task].decode(picture, source, **asked_options(TASKS[task].codec().name, sentence))


def test_decoded_pairs_mean_what_the_sentence_says(rendered, monkeypatch):
    """The three ways to answer a reference agree: mask, overlay and boxes are of the same solids, or of none."""
    monkeypatch.setattr(grounding, "CLASS_SHARE", 0.0)
    found = []
    for seed in range(12):
        # The scene and the expression are drawn first, so one seed asks all three tasks the same.
        mask, overlay, boxes = (
            read(task, pairs.target[0], pairs.source[0], pairs.sentences[0])
            for task in ("referring_mask", "referring_segmentation", "referring_box")
            for pairs in [BUILDERS[task](rendered, 1, generator(seed))]
        )
        found.append(len(boxes))
        if not mask.any():
            assert not overlay.any() and not len(boxes)
            continue
        assert (mask & overlay).sum() / (mask | overlay).sum() > 0.85
        hull = torch.cat([boxes[:, :2].amin(0), boxes[:, 2:].amax(0)])
        assert (box_of(mask)[0] - hull).abs().max() <= 4
    assert max(found) > 1 and found.count(1) > 6


def truth(rendered):
    """The solids of the pool's scenes, sampled once more: colour and shape by instance number."""
    scenes = sample_scenes(12, generator(2 * 1_000_003 + SIZE), split="train")
    return [{one.place + 1: (one.color, one.shape) for one in solids(scenes, i)} for i in range(12)]


def test_solids_of_a_stored_scene_are_those_that_were_rendered(rendered):
    known, seen = truth(rendered), 0
    for i, solids_of_scene in enumerate(known):
        shown = shown_solids(rendered.scenes, i)
        if shown is not None:
            assert {one.instance: (one.color, one.shape) for one in shown}.items() <= solids_of_scene.items()
            assert len(shown) == len(rendered.scenes.instance[i].unique()) - 1
            seen += 1
    assert seen >= 10


def test_classes_name_all_that_belong_to_them_and_nothing_else(rendered):
    known, kinds, draw = truth(rendered), [], generator(3)
    for _ in range(300):
        i = rendered.scenes.referable[int(torch.randint(len(rendered.scenes.referable), (), generator=draw))]
        words, numbers = grounding.referring_words("referring_box", rendered, i, draw)
        kinds.append(("class" in words, min(len(numbers), 2), "color" in words))
        noun = words.get("class", words.get("caption", "")).removeprefix("the ").removeprefix("all ")
        if "class" in words or not numbers or words["caption"].startswith("all "):
            color, _, word = noun.rpartition(" ")
            shapes = [shape for shape, names in SHAPE_WORDS.items() if any(word in (n, plural(n)) for n in names)]
            visible = set(rendered.scenes.instance[i].unique().tolist())
            meant = {
                number for number, (c, shape) in known[i].items()
                if number in visible and (not color or c == color) and (not shapes or shape in shapes)
            }  # fmt: skip
            assert meant == set(numbers), (words, numbers)
    for kind in ((False, 1), (False, 0), (False, 2), (True, 0), (True, 1), (True, 2)):
        assert any(found[:2] == kind for found in kinds), kind
    assert 0.4 < sum(colored for *_, colored in kinds) / len(kinds) < 0.6


def test_one_to_five_joints_come_back_in_the_order_of_the_sentence(rendered):
    counts, draw = [], generator(4)
    for step in range(60):
        i = step % len(rendered.figures)
        words, joints, colors = grounding.joint_words(rendered.figures, i, draw)
        picture, sentence = rendered.figures.picture(torch.tensor([i]))[0], TASKS["keypoint"].instruction(draw, **words)
        assert asked_options("keypoint", sentence) == {"colors": colors}, sentence
        found = read("keypoint", TASKS["keypoint"].encode(joints, picture, colors=colors), picture, sentence)
        assert (found[:, :2] - joints[:, :2]).abs().max() < 1 and bool(found[:, 2].all())
        counts.append(len(joints))
    assert set(counts) == {1, 2, 3, 4, 5}


def test_a_described_hole_hides_the_thing_that_the_sentence_names(rendered):
    pairs, known = grounding.described_holes(rendered, 20, generator(6)), truth(rendered)
    for source, target, sentence, i in zip(
        pairs.source, pairs.target, pairs.sentences, pairs.stored[1][1], strict=True
    ):
        hole = (source != target).any(0)
        hidden = {n for n in known[i] if hole[rendered.scenes.instance[i] == n].float().mean() > 0.95}
        named = [known[i][n] for n in hidden if known[i][n][0] in sentence.lower()]
        assert named and 0.005 < hole.float().mean() < 0.6
        assert len(source[:, hole].unique()) == 1, "one flat value"


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


def test_marked_pictures_show_what_their_sentences_say(rendered):
    """Plain pictures of the pool under them, marks of the colours that are named, and nothing else changed."""
    pairs = marked_pictures(rendered, 24, generator(3))
    again = marked_pictures(rendered, 24, generator(3))
    assert torch.equal(pairs.target, again.target) and pairs.sentences == again.sentences
    kinds = {kind for kind in ("mask", "box", "dot") for text in pairs.sentences if kind in text}
    assert kinds == {"mask", "box", "dot"}
    pools = torch.cat((rendered.scenes.picture(torch.arange(12)), rendered.figures.picture(torch.arange(6))))
    for target, source, sentence in zip(pairs.target, pairs.source, pairs.sentences, strict=True):
        assert source.unique().numel() == 1
        changed = (pools - target).abs().amax(1) > 1e-4
        share = changed.flatten(1).float().mean(1)
        nearest = int(share.argmin())
        assert 0 < share[nearest] < 0.7
        if sentence.count(" box ") == 1 and " mask " not in sentence and " dot" not in sentence:
            color = next(name for name in grounding.PAINTS if f"{name} box" in sentence)
            paint = mark_color(color)
            assert (target[:, changed[nearest]].mean(1) - paint).abs().max() < 0.2


def test_a_mixture_takes_other_pairs_of_a_task(rendered, autoencoder):
    batch = Mixture(autoencoder, rendered, *ADAPTED[:1], builders=MARKED).batch(6, generator())
    assert batch.tasks == ["text_to_image"] * 6
    assert all(any(kind in text for kind in ("mask", "box", "dot")) for text in batch.sentences)
    assert not batch.truth.known.any()
