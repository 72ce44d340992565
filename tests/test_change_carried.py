"""Carrying a change from the model's size to the picture's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pixwizard.comfyui_pixwizard.pictures.change import find_change
from pixwizard.comfyui_pixwizard.pictures.images import to_image, to_tensor
from pixwizard.training.render.dead_leaves import dead_leaves

SIDE, TIMES = 96, 4


def smaller(picture: Tensor) -> Tensor:
    return F.avg_pool2d(picture, TIMES)


def softened(picture: Tensor) -> Tensor:
    """As an autoencoder does it."""
    return F.avg_pool2d(F.pad(picture, (1,) * 4, mode="replicate"), 3, 1)


def larger(picture: Tensor) -> Tensor:
    return F.interpolate(picture, scale_factor=TIMES, mode="bicubic").clamp(-1, 1)


@pytest.fixture(scope="module")
def picture() -> Tensor:
    """A large picture of 8 bits [1, 3, H, W] in [-1, 1], textured everywhere."""
    generator = torch.Generator().manual_seed(3)
    leaves = dead_leaves(1, SIDE * TIMES, generator) * 2 - 1
    grain = 0.02 * torch.randn(leaves.shape, generator=generator)
    return to_tensor(to_image((0.8 * leaves + grain).clamp(-1, 1)[0]))


@pytest.fixture(scope="module")
def disc() -> Tensor:
    """Where something changes, [1, 1, H, W] of 0 and 1."""
    place = torch.arange(SIDE * TIMES) - SIDE * TIMES / 2
    return ((place[:, None] ** 2 + place**2) < (SIDE * TIMES / 5) ** 2).float()[None, None]


def edited(kind: str, picture: Tensor, disc: Tensor) -> Tensor:
    """What the edit would be at the large size."""
    other = {
        "recolor": picture[:, [2, 0, 1]],
        "darken": picture * 0.5 - 0.4,
        "replace": torch.tensor([0.8, -0.2, -0.6])[None, :, None, None].expand_as(picture),
    }[kind]
    return picture + disc * (other - picture)


def carried(truth: Tensor, picture: Tensor) -> tuple[Tensor, Tensor]:
    """The change of an ideal model at the small size, carried; and its softened answer, enlarged."""
    answer, reference = (softened(smaller(item)) for item in (truth, picture))
    return find_change(answer, reference, 0.05).onto(picture), larger(answer)


def error(found: Tensor, truth: Tensor, where: Tensor) -> float:
    """Root mean square error of full scale 255 in a region."""
    return float(((found - truth).square().mean(1, keepdim=True) * where).sum() / where.sum()) ** 0.5 * 127.5


@pytest.mark.parametrize(
    ("kind", "edge", "inside"), [("recolor", 0.65, 0.9), ("darken", 0.85, 0.5), ("replace", 0.95, None)]
)
def test_the_large_picture_keeps_its_edges_and_texture(
    kind: str, edge: float, inside: float | None, picture: Tensor, disc: Tensor
) -> None:
    truth = edited(kind, picture, disc)
    found, enlarged = carried(truth, picture)
    core = 1 - F.max_pool2d(1 - disc, 17, 1, 8)
    rim = F.max_pool2d(disc, 17, 1, 8) - core  # within 8 px of the disc's edge
    assert error(found, truth, rim) < edge * error(enlarged, truth, rim)
    # A new object without texture is what an enlarged picture shows best; a little of the old one's stays.
    assert error(found, truth, core) < (6 if inside is None else inside * error(enlarged, truth, core))


@pytest.mark.parametrize("kind", ["recolor", "replace"])
def test_outside_of_the_change_every_bit_is_the_pictures_own(kind: str, picture: Tensor, disc: Tensor) -> None:
    found, _ = carried(edited(kind, picture, disc), picture)
    far = F.max_pool2d(disc, 2 * (SIDE * TIMES // 8) + 1, 1, SIDE * TIMES // 8) == 0
    same = (found == picture).all(1, keepdim=True)
    assert bool(same[far].all()) and float(far.float().mean()) > 0.2
    assert bool((to_tensor(to_image(found[0])) == picture).all(1, keepdim=True)[same].all()), "nor does a file lose any"
    # No seam: where the taken change ends, the steps between neighbours are the picture's.
    seam = F.max_pool2d((~same).float(), 3, 1, 1) * F.max_pool2d(same.float(), 3, 1, 1)
    steps = [(item - item.roll(1, 3)).abs().mean(1, keepdim=True) for item in (found, picture)]
    assert float(((steps[0] - steps[1]).abs() * seam).sum() / seam.sum()) * 127.5 < 0.5


def test_no_change_is_the_picture_and_a_whole_change_is_taken_everywhere(picture: Tensor) -> None:
    reference = softened(smaller(picture))
    assert torch.equal(find_change(reference, reference, 0.05).onto(picture), picture)
    found = find_change(reference * 0.5, reference, None).onto(picture)
    assert error(found, picture * 0.5, torch.ones(1, 1, SIDE * TIMES, SIDE * TIMES)) < 3
