"""Picture codes: encode, add noise, decode, bound the error."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.comfyui_pixwizard.tasks.codecs.mask import BINARY, COLORS
from pixwizard.comfyui_pixwizard.tasks.codecs.palette import ADE20K, ADE20K_COLORS, CLASSES, GRID_COLORS, palette

DEPTH, NORMAL, CLASS, MASK = (TASKS[n] for n in ("depth", "normal", "segmentation", "referring_segmentation"))
SEEDS = st.integers(0, 9999)
SIZES = st.integers(8, 40)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noisy(picture: torch.Tensor, sigma: float, seed: int = 0) -> torch.Tensor:
    return (picture + torch.randn(picture.shape, generator=seeded(seed)) * sigma).clamp(0, 1)


def blobs(values: list[float], size: int, seed: int) -> torch.Tensor:
    """A piecewise constant map [size,size]: discs of the values over a horizon of the first two."""
    draw = torch.rand(len(values), 3, generator=seeded(seed))
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    field = torch.where(y > size / 2, values[0], values[1])
    for value, (cy, cx, r) in zip(values[2:], (draw * size).tolist(), strict=False):
        field = torch.where((y - cy) ** 2 + (x - cx) ** 2 < (size / 10 + r / 5) ** 2, value, field)
    return field


def blurred(picture: torch.Tensor, sigma: float = 1.2) -> torch.Tensor:
    """What an autoencoder does to an edge: [3,H,W] Gaussian blur."""
    taps = torch.exp(-(torch.arange(-4, 5) ** 2) / (2 * sigma**2))
    kernel = torch.outer(taps, taps) / taps.sum() ** 2
    padded = torch.nn.functional.pad(picture[:, None], (4, 4, 4, 4), "replicate")
    return torch.nn.functional.conv2d(padded, kernel[None, None])[:, 0]


def rmse(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).square().mean().sqrt())


# Depth


@settings(max_examples=25, deadline=None)
@given(h=SIZES, w=SIZES, seed=SEEDS, far=st.floats(0.5, 200))
def test_depth_walk_inverts(h: int, w: int, seed: int, far: float) -> None:
    depth = torch.rand(2, h, w, generator=seeded(seed)) * far
    picture = DEPTH.encode(depth)
    assert picture.shape == (2, 3, h, w) and picture.min() >= 0 and picture.max() <= 1
    assert torch.allclose(DEPTH.decode(picture), depth, rtol=2e-3, atol=1e-4)
    assert DEPTH.confidence(picture) == 1.0


def test_depth_walk_is_continuous_and_one_channel_at_a_time() -> None:
    depth = torch.logspace(-2, 3, 20001)[None]
    steps = DEPTH.encode(depth)[:, 0].diff(dim=-1).abs()
    assert steps.max() < 0.02
    assert ((steps > 1e-4).sum(0) <= 1).float().mean() > 0.99
    assert DEPTH.decode(DEPTH.encode(torch.full((2, 2), math.inf))).min() > 900, "the sky is far"


def test_relative_depth_is_inverse_depth_between_its_own_ends() -> None:
    depth = torch.tensor([[[1.0, 2.0], [4.0, math.inf]], [[5.0, 5.0], [5.0, 5.0]]])
    picture = DEPTH.encode(depth, codec="relative")
    nearness = DEPTH.decode(picture, codec="relative")
    assert picture.shape == (2, 3, 2, 2) and DEPTH.confidence(picture, codec="relative") == 1
    torch.testing.assert_close(nearness, torch.tensor([[[1.0, 0.5], [0.25, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]))
    torch.testing.assert_close(DEPTH.encode(depth * 7, codec="relative"), picture), "metres are gone"
    walk = DEPTH.encode(0.3 + 9.7 * torch.rand(32, 32, generator=seeded(0)))
    assert DEPTH.confidence(walk, codec="relative") == 0, "metric colours are no grey"
    assert [DEPTH.label_kind(codec) for codec in (None, "gray", "relative")] == ["depth", "depth", "relative"]


@pytest.mark.parametrize("seed", range(3))
def test_depth_walk_beats_gray_under_noise(seed: int) -> None:
    """training.md 3.3: at sigma 0.02 the walk has RMSE 0.065 m, gray 0.115 (independent) or 0.199 (correlated)."""
    depth = 0.3 + 9.7 * torch.rand(96, 96, generator=seeded(seed))
    walk = rmse(DEPTH.decode(noisy(DEPTH.encode(depth), 0.02)), depth)
    gray = rmse(DEPTH.decode(noisy(DEPTH.encode(depth, codec="gray"), 0.02), codec="gray"), depth)
    assert walk < 0.075 and gray == pytest.approx(0.115, rel=0.1)
    assert walk < 0.65 * gray


@pytest.mark.parametrize("seed", range(4))
def test_depth_edges_make_no_third_depth(seed: int) -> None:
    values = [2.0, 30.0, 1.0, 5.0, 9.0]
    depth = blobs(values, 96, seed)
    picture = noisy(blurred(DEPTH.encode(depth)), 0.03)
    snapped, plain = DEPTH.decode(picture), DEPTH.decode(picture, snap_edges=False)
    assert (snapped / depth - 1).abs().mean() < (plain / depth - 1).abs().mean()

    # Few decoded depths lie far from all true ones (in the squashed range, where noise is even).
    true = 1 - (1 + torch.tensor(values) / 10) ** -2

    def third_depths(decoded: torch.Tensor) -> float:
        squashed = 1 - (1 + decoded / 10) ** -2
        return float(((squashed[..., None] - true).abs().amin(-1) > 0.04).float().mean())

    assert third_depths(snapped) < min(0.015, 0.6 * third_depths(plain))


@settings(max_examples=15, deadline=None)
@given(h=SIZES, w=SIZES, seed=SEEDS)
def test_depth_gray_inverts(h: int, w: int, seed: int) -> None:
    depth = 1 + 7 * torch.rand(h, w, generator=seeded(seed))
    picture = DEPTH.encode(depth, codec="gray", near=1, far=8)
    assert torch.equal(picture[0], picture[1]) and torch.equal(picture[0], picture[2])
    assert torch.allclose(DEPTH.decode(picture, codec="gray", near=1, far=8), depth, atol=1e-4)
    assert DEPTH.confidence(picture, codec="gray") == 1.0


def test_depth_confidence_tells_a_photograph_from_a_depth_map() -> None:
    depth = blobs([2.0, 20.0, 1.0, 5.0], 64, 0)
    assert DEPTH.confidence(noisy(DEPTH.encode(depth), 0.03)) > 0.9
    assert DEPTH.confidence(torch.rand(3, 64, 64, generator=seeded(0))) < 0.05


@pytest.mark.parametrize(
    ("depth", "options", "rule"),
    [
        (-torch.ones(4, 4), {}, "depth must be >= 0"),
        (torch.tensor(1.0), {}, r"depth is \[\.\.\., H, W\]"),
        (torch.ones(4, 4), {"codec": "gray", "near": 3.0, "far": 2.0}, "0 <= near < far"),
        (torch.ones(4, 4), {"codec": "grey"}, "codecs walk, gray"),
    ],
)
def test_depth_mistakes(depth: torch.Tensor, options: dict, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        DEPTH.encode(depth, **options)


# Normals


def random_normals(h: int, w: int, seed: int) -> torch.Tensor:
    vector = torch.randn(3, h, w, generator=seeded(seed))
    vector[2].abs_()
    return vector / vector.norm(dim=0, keepdim=True).clamp_min(1e-6)


@settings(max_examples=25, deadline=None)
@given(h=SIZES, w=SIZES, seed=SEEDS)
def test_normals_invert(h: int, w: int, seed: int) -> None:
    normal = random_normals(h, w, seed)
    picture = NORMAL.encode(normal)
    assert torch.allclose(NORMAL.decode(picture), normal, atol=1e-5)
    assert NORMAL.confidence(picture) > 0.999


def test_normals_under_noise() -> None:
    normal = random_normals(96, 96, 0)
    decoded = NORMAL.decode(noisy(NORMAL.encode(normal), 0.03))
    angle = torch.rad2deg(torch.acos((decoded * normal).sum(0).clamp(-1, 1)))
    assert angle.mean() < 5
    assert torch.allclose(decoded.norm(dim=0), torch.ones(96, 96), atol=1e-5)


def test_normal_axes_and_the_picture_without_direction() -> None:
    right, up, viewer = (NORMAL.encode(axis[:, None, None].expand(3, 2, 2))[:, 0, 0] for axis in torch.eye(3))
    assert right.tolist() == [1, 0.5, 0.5] and up.tolist() == [0.5, 1, 0.5] and viewer.tolist() == [0.5, 0.5, 1]
    assert NORMAL.decode(torch.full((3, 2, 2), 0.5))[:, 0, 0].tolist() == [0, 0, 1]


# Classes


def test_palette_is_spread_out() -> None:
    colours = palette().float()
    distance = torch.cdist(colours, colours) + torch.eye(CLASSES) * 1e6
    assert colours.shape == (151, 3) and (colours % 15 == 0).all()
    assert distance.min() >= 45
    assert distance[:8, :8].min() == 255 and palette()[0].tolist() == [0, 0, 0]
    nearest_before = [float(distance[k, :k].min()) for k in range(1, CLASSES)]
    assert all(a >= b - 1e-3 for a, b in itertools.pairwise(nearest_before)), "farthest first"


@settings(max_examples=20, deadline=None)
@given(h=SIZES, w=SIZES, seed=SEEDS)
def test_any_class_map_inverts(h: int, w: int, seed: int) -> None:
    ids = torch.randint(0, CLASSES, (2, h, w), generator=seeded(seed))
    picture = CLASS.encode(ids)
    assert torch.equal(CLASS.decode(picture), ids)
    assert CLASS.confidence(picture) > 0.999


@pytest.mark.parametrize(("sigma", "least"), [(4, 0.999), (8, 0.99), (12, 0.93)])
def test_classes_under_noise(sigma: float, least: float) -> None:
    """training.md 3.3: 1.000, 0.998, 0.942 for all 150 classes with independent noise."""
    ids = torch.randint(0, CLASSES, (96, 96), generator=seeded(1))
    decoded = CLASS.decode(noisy(CLASS.encode(ids), sigma / 255), cleanup=False)
    assert (decoded == ids).float().mean() >= least


@pytest.mark.parametrize("seed", range(3))
def test_class_edges_make_no_third_class(seed: int) -> None:
    ids = blobs([0, 1, 3, 6, 7, 12], 96, seed).long()
    picture = noisy(blurred(CLASS.encode(ids)), 12 / 255)
    decoded, plain = CLASS.decode(picture), CLASS.decode(picture, cleanup=False)
    assert (decoded == ids).float().mean() > 0.98 > (plain == ids).float().mean()
    known = CLASS.decode(picture, classes=range(13))
    assert set(known.unique().tolist()) <= set(range(13)) and (known == ids).float().mean() > 0.98


@pytest.mark.parametrize(("sigma", "plain_least", "least"), [(4, 0.85, 0.98), (8, 0.59, 0.95), (12, 0.44, 0.9)])
def test_ade20k_colours_are_read_by_averaging(sigma: float, plain_least: float, least: float) -> None:
    """training.md 3.3: 0.865, 0.603, 0.456 pixel by pixel; averaging over even windows beats that by far."""
    random = torch.randint(1, CLASSES, (96, 96), generator=seeded(1))
    plain = ADE20K.decode(noisy(ADE20K.encode(random), sigma / 255), cleanup=False)
    assert (plain == random).float().mean() >= plain_least
    ids = blobs([1, 5, 120, 21, 90], 128, 0).long()
    decoded = ADE20K.decode(noisy(ADE20K.encode(ids), sigma / 255))
    assert (decoded == ids).float().mean() >= least
    grid = CLASS.decode(noisy(CLASS.encode(ids), sigma / 255))
    assert (grid == ids).float().mean() >= 0.99


def test_ade20k_twins_share_a_colour() -> None:
    assert ADE20K_COLORS.twins == {49: 7} and GRID_COLORS.twins == {}
    ids = torch.arange(CLASSES)[None].expand(4, -1)
    expected = torch.where(ids == 49, 7, ids)
    picture = ADE20K.encode(ids)
    assert torch.equal(ADE20K.decode(picture), expected)
    assert (ADE20K.decode(picture, classes=[0, 49])[:, 7] == 49).all(), "unless only the other one may occur"
    assert picture[:, 0, 0].tolist() == [0, 0, 0] and (picture[:, 0, 7] * 255).round().tolist() == [140, 140, 140]
    assert ADE20K.confidence(picture) > 0.999 and ADE20K.confidence(torch.zeros(3, 8, 8)) == 0.0


@pytest.mark.parametrize(
    ("ids", "rule"),
    [(torch.zeros(4, 4), "integer map"), (torch.full((4, 4), 151), "0 to 150"), (torch.full((4, 4), -1), "0 to 150")],
)
def test_class_mistakes(ids: torch.Tensor, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        CLASS.encode(ids)


def test_unknown_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="classes must be ids"):
        CLASS.decode(torch.zeros(3, 4, 4), classes=[200])
    with pytest.raises(ValueError, match="1 to 151 classes"):
        palette(200)


# Masks


def photo(size: int, seed: int) -> torch.Tensor:
    small = torch.rand(1, 3, 6, 6, generator=seeded(seed))
    smooth = torch.nn.functional.interpolate(small, (size, size), mode="bicubic")[0]
    return (0.15 + 0.6 * smooth).clamp(0, 1)


def iou(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a & b).sum() / (a | b).sum())


@settings(max_examples=20, deadline=None)
@given(h=SIZES, w=SIZES, seed=SEEDS, color=st.sampled_from(sorted(COLORS)))
def test_overlay_inverts_for_any_mask(h: int, w: int, seed: int, color: str) -> None:
    source = 0.1 + 0.8 * torch.rand(2, 3, h, w, generator=seeded(seed))
    mask = torch.rand(2, h, w, generator=seeded(seed + 1)) < 0.4
    picture = MASK.encode(mask, source, color=color)
    assert torch.equal(MASK.decode(picture, source, color=color, cleanup=False), mask)
    outside = ~mask[:, None].expand_as(source)
    assert torch.equal(picture[outside], source[outside])


@pytest.mark.parametrize("seed", range(4))
def test_overlay_under_noise(seed: int) -> None:
    source = photo(96, seed)
    mask = blobs([0, 0, 1, 1], 96, seed).bool()
    picture = noisy(MASK.encode(mask, source), 0.045)
    assert iou(MASK.decode(picture, source), mask) > 0.93
    assert MASK.confidence(picture, source) > 0.6


def test_overlay_where_the_object_already_has_the_colour() -> None:
    """Pixels next to the overlay's colour say nothing; their neighbours decide for them."""
    source = photo(96, 0)
    mask = blobs([0, 0, 1], 96, 1).bool()
    source[:, 20:28, 20:28] = torch.tensor([1.0, 0.0, 1.0])[:, None, None]
    decoded = MASK.decode(noisy(MASK.encode(mask, source), 0.04), source)
    assert iou(decoded, mask) > 0.85


@pytest.mark.parametrize("color", ["magenta", "cyan", "green"])
def test_overlay_without_a_source_goes_by_hue(color: str) -> None:
    grey = photo(96, 0).mean(0, keepdim=True)
    source = grey + 0.25 * (photo(96, 0) - grey)
    mask = blobs([0, 0, 1, 1], 96, 1).bool()
    for picture in (
        MASK.encode(mask, source, color=color),
        noisy(blurred(MASK.encode(mask, source, color=color)), 0.03),
    ):
        assert iou(MASK.decode(picture, color=color), mask) > 0.9
        assert MASK.confidence(picture, color=color) > 0.5
    assert not MASK.decode(source, color=color).any() and MASK.confidence(source, color=color) == 0.0


def test_an_empty_mask_is_an_answer_with_its_confidence() -> None:
    source = photo(48, 0)
    untouched = noisy(source, 0.03)
    assert not MASK.decode(untouched, source).any()
    assert MASK.confidence(source, source) == 1.0 and 0.6 < MASK.confidence(untouched, source) < 1
    faint = source + 0.2 * blobs([0, 0, 1], 48, 1) * (torch.tensor([1.0, 0, 1])[:, None, None] - source)
    assert not MASK.decode(faint, source).any() and MASK.confidence(faint, source) == pytest.approx(0.2, abs=0.02)
    assert BINARY.confidence(torch.zeros(3, 8, 8)) == 1.0
    assert BINARY.confidence(torch.full((3, 8, 8), 0.4)) == pytest.approx(0.2)


def test_overlay_mistakes() -> None:
    mask, source = torch.zeros(8, 8, dtype=torch.bool), torch.rand(3, 8, 8)
    with pytest.raises(ValueError, match="needs the source picture, found none"):
        MASK.encode(mask)
    with pytest.raises(ValueError, match="in white has no hue and needs the source"):
        MASK.decode(source, color="white")
    with pytest.raises(ValueError, match="bool map"):
        MASK.encode(mask.float(), source)
    with pytest.raises(ValueError, match="same size"):
        MASK.decode(source, torch.rand(3, 9, 9))
    with pytest.raises(ValueError, match="overlay colours"):
        MASK.encode(mask, source, color="mauve")


@settings(max_examples=15, deadline=None)
@given(h=SIZES, w=SIZES, seed=SEEDS)
def test_binary_mask_inverts(h: int, w: int, seed: int) -> None:
    mask = torch.rand(h, w, generator=seeded(seed)) < 0.5
    assert torch.equal(BINARY.decode(BINARY.encode(mask), cleanup=False), mask)
    assert BINARY.confidence(BINARY.encode(torch.ones(h, w, dtype=torch.bool))) == 1.0


def test_binary_mask_under_noise() -> None:
    mask = blobs([0, 0, 1, 1, 1], 96, 2).bool()
    assert iou(BINARY.decode(noisy(blurred(BINARY.encode(mask)), 0.15)), mask) > 0.9


# Pictures and clean-up


@pytest.mark.parametrize("name", ["denoise", "inpaint", "edit_remove", "text_to_image"])
def test_picture_tasks_leave_the_picture_alone(name: str) -> None:
    picture = torch.rand(3, 8, 8)
    task = TASKS[name]
    assert torch.equal(task.encode(picture), picture) and torch.equal(task.decode(picture, picture), picture)
    with pytest.raises(ValueError, match=r"float tensor \[\.\.\., 3, H, W\]"):
        task.decode(torch.zeros(8, 8, 3, dtype=torch.uint8))


@pytest.mark.parametrize("name", sorted(TASKS))
def test_numpy_labels_are_accepted(name: str) -> None:
    labels = {
        "image": torch.rand(3, 8, 8),
        "depth": torch.rand(8, 8) * 5,
        "normal": random_normals(8, 8, 0),
        "classes": torch.randint(0, 9, (8, 8)),
        "mask": torch.rand(8, 8) < 0.5,
        "edges": torch.rand(8, 8),
        "boxes": torch.tensor([[1.0, 2.0, 6.0, 7.0]]),
        "keypoints": torch.tensor([[4.0, 5.0, 1.0]]),
        "pose": torch.rand(1, 18, 3) * 8,
    }
    task, source = TASKS[name], torch.rand(3, 8, 8) * 0.8
    label = labels[task.kind]
    picture = task.encode(label.numpy(), source.numpy())
    assert torch.equal(picture, task.encode(label, source))
    assert 0 <= task.confidence(picture, source) <= 1


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_walk_within_a_range_never_leaves_it_and_loses_nothing(seed):
    generator = torch.Generator().manual_seed(seed)
    depth = torch.rand(1, 12, 12, generator=generator) * 11 + 1.5
    walk = TASKS["depth"].encode(depth)
    inside = TASKS["depth"].decode(walk, near=1.0, far=13.0, snap_edges=False)
    assert torch.allclose(inside, depth, rtol=1e-4)
    anything = TASKS["depth"].decode(torch.rand(1, 3, 12, 12, generator=generator), near=1.0, far=13.0)
    assert anything.min() >= 1.0 - 1e-3 and anything.max() <= 13.0 + 1e-3
