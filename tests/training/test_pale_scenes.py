"""Pale scenes: what they keep, and that no colour says what shape a solid has where shapes are taught."""

import math

import pytest
import torch

from pixwizard.comfyui_pixwizard import PixWizardPipeline
from pixwizard.training.data.feed.mixture import Mixture
from pixwizard.training.data.rendered.builders import BUILDERS
from pixwizard.training.data.rendered.figure_pool import FacePool, FigurePool
from pixwizard.training.data.rendered.pale_scenes import (
    PALE,
    TELLING,
    names_color,
    paled_scenes,
    turning,
    without_hints,
)
from pixwizard.training.data.rendered.patch_labels import CHANNELS, PARTS, SOLIDS
from pixwizard.training.data.rendered.pools import LeafPool
from pixwizard.training.data.rendered.scene_pool import ScenePool
from pixwizard.training.data.rendered.sources import RenderedSources
from pixwizard.training.recipes.teachers import label_losses, labels_by_token
from pixwizard.training.render.scenes import COLOR_NAMES, HELD_OUT


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pools")
    pools = ScenePool(folder, 40, 64), FigurePool(folder, 4, 64), FacePool(folder, 4, 64)
    return RenderedSources(64, LeafPool(folder, 1).draw, *pools)


def test_turning_goes_round_about_gray():
    assert torch.allclose(turning(0.0, 1.0), torch.eye(3), atol=1e-6)
    assert torch.allclose(turning(1.2, 1.0) @ turning(-1.2, 1.0), torch.eye(3), atol=1e-6)
    assert torch.allclose(turning(0.7, 0.4) @ torch.full((3,), 0.3), torch.full((3,), 0.3), atol=1e-6)
    red = torch.tensor([1.0, 0.0, 0.0])
    assert torch.allclose(turning(2 * math.pi / 3, 1.0) @ red, torch.tensor([0.0, 1.0, 0.0]), atol=1e-6)


def strength_of(pictures):
    """How far pixels [n,3,S,S] are from gray, on average [n]."""
    return (pictures - pictures.mean(1, keepdim=True)).square().sum(1).sqrt().mean((1, 2))


def test_pale_scenes_have_little_colour_and_any_hue(rendered):
    given = rendered.scenes.picture(torch.arange(40)) / 2 + 0.25  # half as strong, so that nothing is clipped
    shown, paled = paled_scenes(given, torch.Generator().manual_seed(0))
    assert 28 <= int(paled.sum()) < 40 and torch.equal(shown[~paled], given[~paled])
    assert (strength_of(shown) <= PALE * strength_of(given) + 1e-5)[paled].all()
    assert torch.allclose(shown.mean(1), given.mean(1), atol=1e-5), "brightness stays"
    redder = (shown[:, 0] - shown[:, 1]).mean((1, 2))[paled]
    assert (redder > 0.002).any() and (redder < -0.002).any()


def test_colours_tell_nothing_of_shapes_where_classes_are_taught():
    """In scenes as they are only solids are left whose colour comes with every shape."""
    assert sorted(name for name, telling in zip(COLOR_NAMES, TELLING.tolist(), strict=True) if telling) == sorted(
        {color for color, _ in HELD_OUT}
    )
    labels = torch.zeros(2 * len(COLOR_NAMES), CHANNELS, 2, 2)
    labels[:, 1, :, 1], labels[:, SOLIDS.start, :, 0] = 1.0, 1.0  # a solid on the left
    for k in range(len(COLOR_NAMES)):
        labels[2 * k : 2 * k + 2, PARTS["colors"].start + k, :, 0] = 1.0
    labels[1::2, SOLIDS.start, 0, 0], labels[1::2, PARTS["colors"], 0, 0] = 1.0, 0.0  # and a white one above it
    labels[1::2, PARTS["colors"].start + COLOR_NAMES.index("white"), 0, 0] = 1.0
    classes = without_hints(labels, torch.zeros(len(labels), dtype=torch.bool))[:, PARTS["classes"]]
    for k, telling in enumerate(TELLING.tolist()):
        alone, beside = classes[2 * k], classes[2 * k + 1]
        assert bool((alone == -1).all()) == telling
        assert bool((beside[:, 1, 0] == -1).all()) == telling, "its patch alone"
        assert (beside[:, 0] >= 0).all() and (beside[:, :, 1] >= 0).all()
    pale = without_hints(labels, torch.ones(len(labels), dtype=torch.bool))
    assert torch.equal(pale[:, PARTS["classes"]], labels[:, PARTS["classes"]])
    assert (pale[:, PARTS["colors"]] == -1).all()


def test_labels_by_token_know_what_all_of_their_patches_know():
    labels = torch.rand(1, CHANNELS, 8, 8, generator=torch.Generator().manual_seed(1))
    labels[:, PARTS["normal"]] -= 0.5
    labels[:, PARTS["classes"], 0, 0] = -1.0
    pooled = labels_by_token(labels, 6)
    assert (pooled[:, PARTS["classes"], 0, 0] == -1).all()
    expected = torch.nn.functional.adaptive_avg_pool2d(labels, 6)
    expected[:, PARTS["classes"], 0, 0] = -1.0
    assert torch.equal(pooled, expected)


def test_sentences_with_colours_are_told_from_others():
    assert names_color("the Red ball") and names_color("the cone and the cyan box")
    assert not names_color("the smallest thing") and not names_color("the bored cylinder")


@pytest.mark.parametrize("task", ["segmentation", "depth", "referring_mask", "referring_box"])
def test_some_scenes_are_pale_where_no_colour_is_named(rendered, task):
    pairs = BUILDERS[task](rendered, 60, torch.Generator().manual_seed(1))
    as_rendered = rendered.scenes.picture(pairs.scene)
    changed = ~torch.isclose(pairs.source, as_rendered).flatten(1).all(1)
    assert not (changed & ~pairs.paled).any() and changed.sum() >= 5
    assert not pairs.paled.all()
    if task == "referring_mask":
        # "in white on black" is about the mask.
        said = [names_color(sentence.lower().replace("white", "")) for sentence in pairs.sentences]
        assert any(said) and not any(a and b for a, b in zip(said, pairs.paled.tolist(), strict=True))


def test_boxes_are_painted_on_the_pale_scene(rendered):
    pairs = BUILDERS["referring_box"](rendered, 60, torch.Generator().manual_seed(2))
    kept = (pairs.source - pairs.target).abs().amax(1).flatten(1) < 1e-6
    assert (kept.float().mean(1)[pairs.paled] > 0.5).all(), "all but the frame is the source"


def test_edits_are_pale_before_and_after_alike(rendered):
    pairs = BUILDERS["edit_remove"](rendered, 60, torch.Generator().manual_seed(4))
    assert 5 <= int(pairs.paled.sum()) < 60
    said = [names_color(sentence) for sentence in pairs.sentences]
    assert any(said) and not any(a and b for a, b in zip(said, pairs.paled.tolist(), strict=True))
    # Outside of the solid and its shadow nothing changes.
    kept = (pairs.source - pairs.target).abs().amax(1).flatten(1) < 0.01
    assert (kept.float().mean(1) > 0.3).all()
    assert BUILDERS["edit_recolor"](rendered, 8, torch.Generator().manual_seed(4)).paled is None


def test_colours_are_taught_of_scenes_as_they_are_and_shapes_of_pale_ones(rendered):
    mixture = Mixture(PixWizardPipeline.from_pretrained("nano").autoencoder, rendered, {"segmentation": 1.0})
    truth = mixture.draw(60, torch.Generator().manual_seed(3)).truth
    colors, classes = ((truth.labels[:, PARTS[name]] == -1).all(1) for name in ("colors", "classes"))
    paled, untold = colors.flatten(1).any(1), classes.flatten(1).all(1)
    assert torch.equal(paled, colors.flatten(1).all(1)) and 40 <= int(paled.sum()) < 60
    assert not classes[paled].any() and (classes[~paled].flatten(1).any(1)).any() and untold.any()
    losses = label_losses(torch.ones_like(truth.labels), truth.labels, truth.known)
    assert torch.equal(losses["colors"] == 0, paled)
    assert torch.equal(losses["classes"] == 0, untold)
    assert (losses["normal"] > 0).all()


def test_what_is_not_told_does_not_count(rendered):
    """A patch without a class can say what it will."""
    labels = rendered.scenes.patches[:8].float()
    labels[:, PARTS["classes"], 2] = -1.0
    known, out = torch.ones(8, dtype=torch.bool), torch.randn(labels.shape, generator=torch.Generator().manual_seed(2))
    other = out.clone()
    other[:, PARTS["classes"], 2] += 5 * torch.randn(other[:, PARTS["classes"], 2].shape)
    assert torch.equal(label_losses(out, labels, known)["classes"], label_losses(other, labels, known)["classes"])
    other[:, PARTS["classes"], 1] += torch.randn(other[:, PARTS["classes"], 1].shape)
    assert not torch.equal(label_losses(out, labels, known)["classes"], label_losses(other, labels, known)["classes"])
