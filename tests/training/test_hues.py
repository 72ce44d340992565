"""Scenes in other hues: what they keep, and that no held-out pair of colour and shape comes about."""

import math

import pytest
import torch

from pixwizard.comfyui_pixwizard import PixWizardPipeline
from pixwizard.training.data.feed.mixture import Mixture
from pixwizard.training.data.rendered.builders import BUILDERS
from pixwizard.training.data.rendered.figure_pool import FacePool, FigurePool
from pixwizard.training.data.rendered.hues import FORBIDDEN, HUES, NEAR, PALE, names_color, turned, turning
from pixwizard.training.data.rendered.patch_labels import CHANNELS, PARTS, SOLIDS
from pixwizard.training.data.rendered.pools import LeafPool
from pixwizard.training.data.rendered.scene_pool import ScenePool
from pixwizard.training.data.rendered.sources import RenderedSources
from pixwizard.training.recipes.teachers import label_losses
from pixwizard.training.render.scenes import COLOR_NAMES, HELD_OUT, SHAPES
from pixwizard.training.render.scenes.vocabulary import COLORS


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


def hue_of(color):
    r, g, b = color.tolist()
    return math.atan2((g - b) * math.sqrt(3) / 2, r - (g + b) / 2), math.hypot(
        (g - b) * math.sqrt(3) / 2, r - (g + b) / 2
    )


def test_no_held_out_pair_comes_about():
    assert int(FORBIDDEN.sum()) == len(HELD_OUT) == 7
    generator, seen = torch.Generator().manual_seed(0), set()
    for k, color in enumerate(COLOR_NAMES):
        for m, shape in enumerate(SHAPES):
            if (color, shape) in HELD_OUT:
                continue
            patches = torch.zeros(CHANNELS, 1, 1)
            patches[SOLIDS][m], patches[PARTS["colors"]][k] = 1.0, 1.0
            # Half as strong, so that nothing is clipped, which would move hues.
            given = torch.tensor(COLORS[color]) / 2 + 0.25
            for _ in range(15):
                hue, strength = hue_of(turned(given[:, None, None], patches, generator)[:, 0, 0])
                seen.add(round(math.degrees(hue) / 30))
                if strength <= PALE * hue_of(given)[1] or color in ("white", "gray"):
                    continue
                for other, is_held_out in zip(HUES.tolist(), FORBIDDEN[:, m].tolist(), strict=True):
                    away = abs(math.remainder(hue - other, 2 * math.pi))
                    assert not is_held_out or away > NEAR - 0.01, (color, shape)
    assert len(seen) == 13, "all hues occur, and those at either end of the circle"


def test_sentences_with_colours_are_told_from_others():
    assert names_color("the Red ball") and names_color("the cone and the cyan box")
    assert not names_color("the smallest thing") and not names_color("the bored cylinder")


@pytest.mark.parametrize("task", ["segmentation", "depth", "referring_mask", "referring_box"])
def test_some_scenes_are_turned_where_no_colour_is_named(rendered, task):
    pairs = BUILDERS[task](rendered, 60, torch.Generator().manual_seed(1))
    as_rendered = rendered.scenes.picture(pairs.scene)
    changed = ~torch.isclose(pairs.source, as_rendered).flatten(1).all(1)
    assert not (changed & ~pairs.turned).any() and changed.sum() >= 5
    assert not pairs.turned.all()
    if task == "referring_mask":
        # "in white on black" is about the mask.
        said = [names_color(sentence.lower().replace("white", "")) for sentence in pairs.sentences]
        assert any(said) and not any(a and b for a, b in zip(said, pairs.turned.tolist(), strict=True))


def test_boxes_are_painted_on_the_turned_scene(rendered):
    pairs = BUILDERS["referring_box"](rendered, 60, torch.Generator().manual_seed(2))
    kept = (pairs.source - pairs.target).abs().amax(1).flatten(1) < 1e-6
    assert (kept.float().mean(1)[pairs.turned] > 0.5).all(), "all but the frame is the source"


def test_edits_are_turned_before_and_after_alike(rendered):
    pairs = BUILDERS["edit_remove"](rendered, 60, torch.Generator().manual_seed(4))
    assert 5 <= int(pairs.turned.sum()) < 60
    said = [names_color(sentence) for sentence in pairs.sentences]
    assert any(said) and not any(a and b for a, b in zip(said, pairs.turned.tolist(), strict=True))
    # Outside of the solid and its shadow nothing changes.
    kept = (pairs.source - pairs.target).abs().amax(1).flatten(1) < 0.01
    assert (kept.float().mean(1) > 0.3).all()
    assert BUILDERS["edit_recolor"](rendered, 8, torch.Generator().manual_seed(4)).turned is None


def test_colours_are_taught_of_scenes_as_they_are_and_shapes_of_turned_ones(rendered):
    mixture = Mixture(PixWizardPipeline.from_pretrained("nano").autoencoder, rendered, {"segmentation": 1.0})
    truth = mixture.draw(60, torch.Generator().manual_seed(3)).truth
    unknown = {name: (truth.labels[:, PARTS[name]] == -1).flatten(1) for name in ("colors", "classes")}
    assert all(torch.equal(part.all(1), part.any(1)) for part in unknown.values())
    turned_ones = unknown["colors"].all(1)
    assert torch.equal(turned_ones, ~unknown["classes"].all(1)) and 40 <= int(turned_ones.sum()) < 60
    losses = label_losses(torch.ones_like(truth.labels), truth.labels, truth.known)
    assert torch.equal(losses["colors"] == 0, turned_ones)
    assert torch.equal(losses["classes"] == 0, ~turned_ones)
    assert (losses["normal"] > 0).all()
