"""Marks on pictures: boxes, keypoints, poses; encode, blur, add noise, decode, bound the error."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixwizard.comfyui_pixwizard.tasks.codecs import outlines
from pixwizard.comfyui_pixwizard.tasks.codecs.box import BOLD, BOX, THIN, line_width
from pixwizard.comfyui_pixwizard.tasks.codecs.keypoint import BOLD as LARGE
from pixwizard.comfyui_pixwizard.tasks.codecs.keypoint import KEYPOINT, SMALL, disc_radius
from pixwizard.comfyui_pixwizard.tasks.codecs.marks import MARK_COLORS
from pixwizard.comfyui_pixwizard.tasks.codecs.pose import JOINT_COLORS, JOINTS, LIMBS, POSE

SEEDS = st.integers(0, 9999)
SIDES = st.sampled_from([96, 128, 256])
SIGMAS = st.sampled_from([0, 4, 8, 12])
# A standing person, in shares of the picture.
STANDING = [
    [0.50, 0.15], [0.50, 0.27], [0.38, 0.27], [0.30, 0.42], [0.28, 0.56], [0.62, 0.27], [0.70, 0.42], [0.72, 0.56],
    [0.43, 0.55], [0.42, 0.73], [0.41, 0.92], [0.57, 0.55], [0.58, 0.73], [0.59, 0.92],
    [0.45, 0.11], [0.55, 0.11], [0.39, 0.14], [0.61, 0.14],
]  # fmt: skip


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photo(size: int | tuple[int, int], seed: int) -> torch.Tensor:
    small = torch.rand(1, 3, 6, 6, generator=seeded(seed))
    size = (size, size) if isinstance(size, int) else size
    return (0.15 + 0.6 * torch.nn.functional.interpolate(small, size, mode="bicubic")[0]).clamp(0, 1)


def spoiled(picture: torch.Tensor, sigma: float = 0, blur: float = 0, seed: int = 0) -> torch.Tensor:
    """What an autoencoder does: a Gaussian blur, and noise of sigma / 255."""
    if blur:
        taps = torch.exp(-(torch.arange(-4, 5) ** 2) / (2 * blur**2))
        padded = torch.nn.functional.pad(picture[:, None], (4, 4, 4, 4), "replicate")
        kernel = torch.outer(taps, taps) / taps.sum() ** 2
        picture = torch.nn.functional.conv2d(padded, kernel[None, None])[:, 0]
    return (picture + torch.randn(picture.shape, generator=seeded(seed)) * sigma / 255).clamp(0, 1)


def overlaps(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Intersection over union of every box with every other: [N,4], [M,4] -> [N,M]."""
    low, high = torch.maximum(a[:, None, :2], b[None, :, :2]), torch.minimum(a[:, None, 2:], b[None, :, 2:])
    both = (high - low).clamp_min(0).prod(-1)
    area = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (a, b)]
    return both / (area[0][:, None] + area[1][None] - both)


def some_box(side: int, seed: int, line: float) -> torch.Tensor:
    """A box whose sides are at least four outlines, or 0.13 of the picture's side."""
    low = torch.rand(2, generator=seeded(seed)) * 0.7 * side
    size = (0.15 + 0.85 * torch.rand(2, generator=seeded(seed + 1))) * (side - low)
    box = torch.cat([low, low + size.clamp_min(max(0.13, 4 * line) * side)])[None]
    return (box - (box[:, 2:] - side).clamp_min(0).repeat(1, 2)).clamp_min(0)


# Boxes


@settings(max_examples=30, deadline=None)
@given(
    side=SIDES,
    seed=SEEDS,
    sigma=SIGMAS,
    blur=st.sampled_from([0, 0.7]),
    color=st.sampled_from(sorted(MARK_COLORS)),
    line=st.sampled_from([THIN, BOLD]),
)
def test_a_box_comes_back(side: int, seed: int, sigma: int, blur: float, color: str, line: float) -> None:
    source, box = photo(side, seed), some_box(side, seed, line)
    picture = spoiled(BOX.encode(box, source, color=color, line=line), sigma, blur, seed)
    found = BOX.decode(picture, source, color=color, line=line)
    assert found.shape == (1, 4) and overlaps(box, found).min() > 0.9
    assert BOX.confidence(picture, source, color=color, line=line) > 0.5


def test_a_box_is_exact_without_noise() -> None:
    source, box = photo(128, 1), torch.tensor([[20.0, 30.0, 90.0, 101.0]])
    assert torch.allclose(BOX.decode(BOX.encode(box, source), source), box, atol=0.01)
    assert BOX.confidence(BOX.encode(box, source), source) > 0.99
    half = box + 0.5
    assert torch.allclose(BOX.decode(BOX.encode(half, source), source), half, atol=0.3)


ARRANGEMENTS = {
    "apart": [[10, 10, 60, 50], [70, 60, 120, 120], [10, 70, 50, 110]],
    "nested": [[10, 10, 118, 118], [30, 30, 90, 80], [40, 40, 60, 60]],
    "crossing": [[10, 20, 80, 90], [45, 50, 120, 115]],
    "cross": [[10, 50, 118, 80], [50, 10, 80, 118]],
    "side by side": [[10, 10, 60, 90], [60, 10, 110, 90]],
    "nearly in line": [[12, 12, 116, 90], [94, 13, 120, 104]],
    "from edge to edge": [[0, 0, 128, 128], [0, 40, 128, 90]],
}


@pytest.mark.parametrize("line", [THIN, BOLD])
@pytest.mark.parametrize("sigma", [0, 8])
@pytest.mark.parametrize("name", sorted(ARRANGEMENTS))
def test_several_boxes_come_apart(name: str, sigma: int, line: float) -> None:
    source, boxes = photo(128, 3), torch.tensor(ARRANGEMENTS[name]).float()
    found = BOX.decode(spoiled(BOX.encode(boxes, source, line=line), sigma), source, line=line)
    best = overlaps(boxes, found)
    assert len(found) == len(boxes) and best.amax(1).min() > 0.9, found
    assert best.argmax(1).unique().numel() == len(boxes)


@pytest.mark.parametrize("name", sorted(ARRANGEMENTS))
def test_of_many_marked_pixels_a_part_is_enough(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source, boxes = photo(128, 3), torch.tensor(ARRANGEMENTS[name]).float()
    monkeypatch.setattr(outlines, "MOST_PIXELS", 700)
    found = BOX.decode(BOX.encode(boxes, source), source)
    assert len(found) == len(boxes) and overlaps(boxes, found).amax(1).min() > 0.9, found


def test_the_rectangles_that_noise_has_are_not_all_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    chosen = outlines._chosen
    monkeypatch.setattr(outlines, "_chosen", lambda e, *more: seen.append(e.shape) or chosen(e, *more))
    speckled = torch.rand(1, 128, 128, generator=torch.Generator().manual_seed(1)) < 0.85
    marks = torch.where(speckled, torch.tensor([1.0, 0, 0])[:, None, None], torch.full((3, 128, 128), 0.5))
    grid = marks.clone()
    grid[:, ::8] = grid[:, 2::8] = 0.5
    grid[:, 1::8] = grid[:, :, 1::8] = torch.tensor([1.0, 0, 0])[:, None, None]
    for picture in (marks, grid):
        BOX.decode(picture, torch.full((3, 128, 128), 0.5))
    assert seen and max(rectangles for rectangles, _ in seen) == outlines.MOST_CANDIDATES


def test_a_box_on_things_of_its_colour() -> None:
    source, box = photo(128, 5), torch.tensor([[20.0, 20.0, 100.0, 90.0]])
    source[:, 60:, 70:] = torch.tensor([0.95, 0.05, 0.05])[:, None, None]
    source[:, 10:14, 5:60] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    found = BOX.decode(spoiled(BOX.encode(box, source), 8), source)
    assert len(found) == 1 and overlaps(box, found) > 0.9


def test_a_crooked_box_with_gaps_is_still_one() -> None:
    source, box = photo(128, 6), torch.tensor([[20.0, 25.0, 100.0, 90.0]])
    picture = BOX.encode(box, source)
    picture[:, 40:48] = source[:, 40:48]
    picture[:, :60] = picture[:, :60].roll(1, -1)
    found = BOX.decode(picture, source)
    assert len(found) == 1 and overlaps(box, found) > 0.9


@pytest.mark.parametrize("color", ["red", "green", "blue", "white"])
def test_a_box_without_a_source(color: str) -> None:
    source, box = 0.3 + 0.3 * photo(128, 2), torch.tensor([[20.0, 25.0, 100.0, 90.0]])
    found = BOX.decode(spoiled(BOX.encode(box, source, color=color), 8), color=color)
    assert len(found) == 1 and overlaps(box, found) > 0.9


def test_a_frame_is_found_round_what_is_no_rectangle() -> None:
    source, ring = torch.full((3, 128, 128), 0.5), torch.arange(128) + 0.5
    distance = torch.hypot(ring - 70, (ring - 60)[:, None])
    picture = torch.where(((distance - 30).abs() < 2), torch.tensor([1.0, 0, 0])[:, None, None], source)
    assert torch.allclose(BOX.decode(picture, source), torch.tensor([[38.0, 28.0, 102.0, 92.0]]), atol=3)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, off=st.sampled_from([2, 4]))
def test_the_mean_of_where_a_box_may_be_is_read_as_a_box(seed: int, off: int) -> None:
    """A smudge with no straight side; its bounds lie outside of the box by twice the spread."""
    source, box = photo(128, seed), some_box(128, seed, BOLD)
    spread = off * torch.randn(24, 1, 4, generator=seeded(seed))
    places = (box + spread).clamp(0, 128)
    picture = torch.stack([BOX.encode(place, source) for place in places]).mean(0)
    found = BOX.decode(spoiled(picture, 4, seed=seed), source)
    assert len(found) and overlaps(box, found[:1]).max() > 0.6


def test_no_box() -> None:
    source = photo(128, 0)
    none = BOX.encode(torch.zeros(0, 4), source)
    assert torch.equal(none, source)
    for picture in (source, spoiled(source, 8)):
        assert BOX.decode(picture, source).shape == (0, 4) and BOX.confidence(picture, source) == 0.0
    outside = BOX.encode(torch.tensor([[-20.0, -20, -5, -5]]), source)
    assert torch.equal(outside, source)


# Keypoints


@settings(max_examples=30, deadline=None)
@given(
    side=SIDES, seed=SEEDS, sigma=SIGMAS, blur=st.sampled_from([0, 1.2]), count=st.integers(1, 5),
    radius=st.sampled_from([SMALL, LARGE]),
)  # fmt: skip
def test_keypoints_come_back(side: int, seed: int, sigma: int, blur: float, count: int, radius: float) -> None:
    colors = [sorted(MARK_COLORS)[i] for i in torch.randperm(len(MARK_COLORS), generator=seeded(seed))[:count]]
    grid = torch.randperm(16, generator=seeded(seed + 1))[:count]
    jitter = torch.rand(count, 2, generator=seeded(seed + 2)) * 0.6
    place = (torch.stack([grid % 4, grid // 4], dim=1) + 0.2 + jitter) * side / 4
    joints = torch.cat([place, torch.ones(count, 1)], dim=1)
    joints[seed % count] *= seed % 3 > 0
    source = photo(side, seed)
    picture = spoiled(KEYPOINT.encode(joints, source, colors=colors, radius=radius), sigma, blur, seed)
    found = KEYPOINT.decode(picture, source, colors=colors, radius=radius)
    assert torch.equal(found[:, 2], joints[:, 2])
    assert (found - joints).abs().max() < 1


def test_a_keypoint_is_placed_within_a_tenth_of_a_pixel_also_at_the_border() -> None:
    source = photo(128, 0)
    for x, y in ((40.3, 77.8), (1.0, 60.5), (127.0, 127.0)):
        joint = torch.tensor([[x, y, 1.0]])
        found = KEYPOINT.decode(KEYPOINT.encode(joint, source), source)
        assert torch.allclose(found, joint, atol=0.2), (x, y)


def test_a_half_hidden_keypoint_and_one_on_its_own_colour() -> None:
    source = photo(128, 0)
    pair = torch.tensor([[60.0, 60.0, 1.0], [65.0, 60.0, 1.0]])
    found = KEYPOINT.decode(KEYPOINT.encode(pair, source, colors=("red", "blue")), source, colors=("red", "blue"))
    assert (found - pair).abs().max() < 1
    source[:, 80:, 80:] = torch.tensor([1.0, 0, 0])[:, None, None]
    joint = torch.tensor([[30.0, 30.0, 1.0]])
    assert (KEYPOINT.decode(KEYPOINT.encode(joint, source), source) - joint).abs().max() < 0.2
    assert (KEYPOINT.decode(KEYPOINT.encode(joint, source)) - joint).abs().max() < 0.5, "its shape tells it"


def test_no_keypoint() -> None:
    source = spoiled(photo(96, 0))
    hidden = KEYPOINT.encode(torch.tensor([[40.0, 40.0, 0.0]]), source)
    assert torch.equal(hidden, source)
    assert KEYPOINT.decode(spoiled(hidden, 8), source).tolist() == [[0.0, 0.0, 0.0]]
    assert KEYPOINT.confidence(spoiled(hidden, 8), source) == 0.0
    visible = KEYPOINT.encode(torch.tensor([[40.0, 40.0, 1.0]]), source)
    assert KEYPOINT.confidence(visible, source) > 0.8 and disc_radius(96, 128, SMALL) == pytest.approx(3.75)
    assert KEYPOINT.confidence(visible, source, colors=("red", "blue")) > 0.4


# Poses


def person(side: int, seed: int, middle: float = 0.5, width: float = 1.0) -> torch.Tensor:
    joints = torch.tensor(STANDING) + 0.008 * torch.randn(18, 2, generator=seeded(seed))
    joints[:, 0] = middle + width * (joints[:, 0] - 0.5)
    return torch.cat([joints * side, torch.ones(18, 1)], dim=1)


@settings(max_examples=25, deadline=None)
@given(side=st.sampled_from([128, 192, 256]), seed=SEEDS, sigma=SIGMAS, blur=st.booleans())
def test_a_pose_comes_back(side: int, seed: int, sigma: int, blur: bool) -> None:
    pose = person(side, seed)[None]
    picture = spoiled(POSE.encode(pose, size=(side, side)), sigma, 1.2 * side / 256 if blur else 0, seed)
    found = POSE.decode(picture)
    assert found.shape == (1, 18, 3) and bool((found[..., 2] == 1).all())
    assert (found - pose).norm(dim=-1).max() < 2
    assert POSE.confidence(picture) > (0.4 if blur else 0.65)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, sigma=SIGMAS, missing=st.sets(st.integers(0, 17), min_size=1, max_size=5))
def test_joints_that_are_not_seen_stay_unseen(seed: int, sigma: int, missing: set[int]) -> None:
    pose = person(256, seed)[None]
    pose[:, sorted(missing)] = 0
    found = POSE.decode(spoiled(POSE.encode(pose, size=(256, 256)), sigma, 0, seed))
    assert torch.equal(found[..., 2], pose[..., 2])
    assert (found - pose).norm(dim=-1).max() < 2


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, sigma=SIGMAS, blur=st.sampled_from([0, 0.7]))
def test_two_people_come_apart_from_left_to_right(seed: int, sigma: int, blur: float) -> None:
    pose = torch.stack([person(256, seed, 0.25, 0.8), person(256, seed + 1, 0.75, 0.8)])
    found = POSE.decode(spoiled(POSE.encode(pose.flip(0), size=(256, 256)), sigma, blur, seed))
    assert found.shape == pose.shape and (found - pose).norm(dim=-1).max() < 2


def smudged(pose: torch.Tensor, side: int, scatter: float) -> torch.Tensor:
    """The mean of two dozen skeletons whose joints lie some pixels off."""
    moves = scatter * torch.randn(24, *pose.shape, generator=seeded(3)) * torch.tensor([1.0, 1.0, 0.0])
    return torch.stack([POSE.encode(pose + move, size=(side, side)) for move in moves]).mean(0)


@pytest.mark.parametrize("side", [128, 256])
def test_the_mean_of_skeletons_that_may_be_is_read(side: int) -> None:
    pose = person(side, 0)[None]
    picture = smudged(pose, side, 0.04 * side)
    found = POSE.decode(picture)
    assert found.shape == (1, 18, 3)
    assert int(((found - pose)[..., :2].norm(dim=-1) < 0.05 * side).sum()) >= 14
    assert POSE.confidence(picture) < 0.3, "and it is not sure"
    pose[:, [9, 10, 12, 13]] = 0
    legless = POSE.decode(smudged(pose, side, 0.04 * side))
    assert len(legless) == 1 and legless[..., 1].max() < 0.66 * side, "nothing where nobody drew"


def test_two_people_in_smudges_come_apart() -> None:
    pose = torch.stack([person(256, 1, 0.25, 0.7), person(256, 2, 0.75, 0.7)])
    found = POSE.decode(smudged(pose, 256, 9.0))
    assert found.shape == pose.shape
    assert int(((found - pose)[..., :2].norm(dim=-1) < 13).sum()) >= 24


def test_the_skeleton_is_openposes() -> None:
    colors = [[round(255 * value) for value in color] for color in JOINT_COLORS]
    assert colors[:4] == [[255, 0, 0], [255, 85, 0], [255, 170, 0], [255, 255, 0]] and colors[17] == [255, 0, 85]
    assert len(JOINTS) == 18 and len(LIMBS) == 17 and {joint for a, b, _ in LIMBS for joint in (a, b)} == set(range(18))
    drawn = POSE.encode(person(256, 0)[None], photo((256, 320), 0))
    assert drawn.shape == (3, 256, 320) and drawn.amin() == 0 and drawn.amax() == 1
    wrist = person(256, 0)[4].long()
    assert torch.allclose(drawn[:, wrist[1], wrist[0]], torch.tensor(JOINT_COLORS[4]))


def test_nobody() -> None:
    gray = torch.rand(1, 96, 128, generator=seeded(0)).expand(3, -1, -1)
    for picture in (torch.zeros(3, 96, 96), spoiled(torch.zeros(3, 96, 96), 12), gray):
        assert POSE.decode(picture).shape == (0, 18, 3) and POSE.confidence(picture) == 0.0
    absent = torch.zeros(2, 18, 3)
    assert not POSE.encode(absent, size=(64, 64)).any()
    assert POSE.confidence(torch.rand(3, 96, 96, generator=seeded(0))) < 0.1


# Mistakes

SOURCE = torch.full((3, 16, 16), 0.5)


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda: BOX.encode(torch.zeros(1, 4), SOURCE), "needs x0 < x1 and y0 < y1"),
        (lambda: BOX.encode(torch.zeros(4), SOURCE), r"boxes are \[N, 4\]"),
        (lambda: BOX.encode(torch.tensor([[0.0, 0, 9, 9]])), "a box needs the source picture"),
        (lambda: BOX.decode(SOURCE, torch.zeros(3, 8, 8)), "same size"),
        (lambda: BOX.decode(SOURCE, color="mauve"), "colours of marks are"),
        (lambda: BOX.decode(SOURCE[None], SOURCE), r"one picture \[3, H, W\] at a time"),
        (lambda: KEYPOINT.encode(torch.ones(2, 3), SOURCE, colors=("red",)), "2 different colours, found red"),
        (lambda: KEYPOINT.decode(SOURCE, colors=("red", "red")), "different colours"),
        (lambda: KEYPOINT.encode(torch.ones(1, 2), SOURCE), r"keypoints are \[K, 3\]"),
        (lambda: KEYPOINT.encode(torch.ones(1, 3)), "a keypoint needs the source picture"),
        (lambda: POSE.encode(torch.zeros(18, 3), SOURCE), r"a pose is \[P, 18, 3\]"),
        (lambda: POSE.encode(torch.zeros(1, 18, 3)), r"pass source=<picture> or size=\(height, width\)"),
    ],
)
def test_mistakes(call, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        call()


def test_lines_grow_with_the_picture() -> None:
    assert [line_width(side, 2 * side, THIN) for side in (64, 128, 256, 512)] == [2, 2, 4, 8]
    assert [line_width(side, 2 * side) for side in (64, 128, 256, 512)] == [3, 6, 12, 24]


def test_thin_lines_are_found_where_bold_ones_are_expected() -> None:
    source, box = photo(128, 3), torch.tensor([[20.0, 30.0, 90.0, 101.0]])
    found = BOX.decode(BOX.encode(box, source, line=THIN), source)
    assert len(found) == 1 and overlaps(box, found) > 0.8
