"""Scenes in a mirror: pictures, sentences, directions and labels exchange left and right together."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pixwizard.comfyui_pixwizard.encoders.nano_autoencoder import NanoAutoencoder
from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.comfyui_pixwizard.tasks.codecs.pose import JOINTS
from pixwizard.training.data.feed.mixture import Mixture
from pixwizard.training.data.rendered.builders import BUILDERS
from pixwizard.training.data.rendered.figure_pool import FacePool, FigurePool
from pixwizard.training.data.rendered.mirrored import (
    MIRRORED,
    in_a_mirror,
    mirrored_labels,
    mirrored_poses,
    other_side,
)
from pixwizard.training.data.rendered.patch_labels import PARTS, in_cells, pooled
from pixwizard.training.data.rendered.scene_pool import ScenePool
from pixwizard.training.data.rendered.sources import RenderedSources
from pixwizard.training.render.dead_leaves import dead_leaves

SIZE = 64


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pools")
    pools = ScenePool(folder, 8, SIZE), FigurePool(folder, 2, SIZE), FacePool(folder, 2, SIZE)
    return RenderedSources(SIZE, dead_leaves, *pools)


@pytest.mark.parametrize(
    ("sentence", "other"),
    [
        ("Mask the leftmost cone", "Mask the rightmost cone"),
        ("the ball furthest to the right, on the left", "the ball furthest to the left, on the right"),
        ("Left or RIGHT", "Right or LEFT"),
        ("Remove the bright copyright of what is leftover", "Remove the bright copyright of what is leftover"),
    ],
)
def test_sides_of_a_sentence_change_places(sentence, other):
    assert other_side(sentence) == other


@given(st.text("leftrighmos TL,", max_size=40))
def test_a_mirror_in_a_mirror_shows_what_is(sentence):
    assert other_side(other_side(sentence)) == sentence


@pytest.mark.parametrize("task", sorted(MIRRORED - {"pose"}))
def test_pairs_are_mirrored_twice_or_not_at_all(rendered, task):
    pairs = BUILDERS[task](rendered, 2, torch.Generator().manual_seed(3))
    once = in_a_mirror(task, pairs, rendered.figures.pose)
    twice = in_a_mirror(task, once, rendered.figures.pose)
    assert once.mirrored and once.stored == (None, None)
    torch.testing.assert_close(twice.source, pairs.source)
    torch.testing.assert_close(twice.target, pairs.target)
    assert twice.sentences == pairs.sentences


def test_a_mirrored_person_has_the_same_skeleton_with_left_and_right_exchanged(rendered):
    pairs = BUILDERS["pose"](rendered, 4, torch.Generator().manual_seed(3))
    once = in_a_mirror("pose", pairs, rendered.figures.pose)
    assert torch.equal(once.source, pairs.source.flip(-1))
    lit, expected = (picture.amax(1) > 0.1 for picture in (once.target, pairs.target.flip(-1)))
    assert lit.any() and (lit != expected).float().mean() < 2e-3
    poses = rendered.figures.pose
    mirrored = mirrored_poses(poses, SIZE)
    assert torch.equal(mirrored[..., JOINTS.index("left wrist"), 1:], poses[..., JOINTS.index("right wrist"), 1:])
    torch.testing.assert_close(mirrored[..., 0, 0], SIZE - poses[..., 0, 0])
    torch.testing.assert_close(mirrored_poses(mirrored, SIZE), poses)


def test_normals_point_the_other_way(rendered):
    pairs = BUILDERS["normal"](rendered, 2, torch.Generator().manual_seed(3))
    turned = in_a_mirror("normal", pairs, rendered.figures.pose)
    before, after = (TASKS["normal"].decode(one.target) for one in (pairs, turned))
    signs = torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
    torch.testing.assert_close(after, before.flip(-1) * signs, atol=2e-2, rtol=0)
    labels = rendered.scenes.patches[pairs.scene].float()
    normal = pooled(after)
    torch.testing.assert_close(mirrored_labels(labels)[:, PARTS["normal"]], normal, atol=3e-2, rtol=0)


def test_what_a_batch_knows_is_mirrored_with_it(rendered):
    mixture = Mixture(NanoAutoencoder().requires_grad_(False), rendered, {"referring_mask": 1.0, "segmentation": 1.0})
    turned = 0
    for seed in range(6):
        drawn = mixture.draw(8, torch.Generator().manual_seed(seed))
        targets = iter(drawn.target.float() / 255)
        kept = [part[2] is not None for part in drawn.stored for _ in range(part[0])]
        for row, (task, stored) in enumerate(zip(drawn.tasks, kept, strict=True)):
            target = None if stored else next(targets)
            if task == "referring_mask" and drawn.truth.asked[row]:
                assert target is not None
                torch.testing.assert_close(in_cells(target[:1])[0], drawn.truth.named[row], atol=5e-3, rtol=0)
            if task == "segmentation" and target is not None:
                # No latents are kept of what is mirrored, so only that is here.
                ground = TASKS["segmentation"].decode(target) == 1
                known = drawn.truth.labels[row, PARTS["classes"]][0]
                sure = known >= 0
                torch.testing.assert_close(
                    pooled(ground[None, None].float())[0, 0][sure], known[sure], atol=5e-3, rtol=0
                )
                turned += 1
    assert turned
