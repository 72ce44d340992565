"""Labels drawn for people: what scales, legends and bars say is what the picture shows."""

import numpy as np
import pytest
import torch
from PIL import Image

from pixwizard.comfyui_pixwizard.pictures.labels import depth_range
from pixwizard.comfyui_pixwizard.pictures.legends import (
    BAR,
    COLUMN,
    INK,
    LARGEST,
    LINE,
    MARGIN,
    METRES,
    SIDE,
    TURNS,
    draw_for_people,
    side_by_side,
)
from pixwizard.comfyui_pixwizard.tasks.codecs.palette import palette

GRAY = torch.full((3, 64, 64), 0.5)
POINTS = torch.tensor([[10.0, 20.0, 1.0], [50.0, 40.0, 1.0], [0.0, 0.0, 0.0]])
POSE = torch.rand(2, 18, 3, generator=torch.Generator().manual_seed(0)) * 50 + 5
# Two labels of each kind, and whether a column stands beside them.
LABELS = {
    "depth": (torch.linspace(1, 9, 64).expand(64, 64), torch.full((64, 64), 3.0), True),
    "relative": (torch.linspace(0, 1, 64).expand(64, 64), torch.zeros(64, 64), True),
    "normal": (torch.zeros(3, 64, 64), torch.ones(3, 64, 64), True),
    "classes": (torch.zeros(64, 64, dtype=torch.long), torch.arange(64 * 64).reshape(64, 64) % 100, True),
    "mask": (torch.zeros(64, 64, dtype=torch.bool), torch.ones(64, 64, dtype=torch.bool), False),
    "boxes": (torch.zeros(0, 4), torch.tensor([[4.0, 5.0, 30.0, 60.0]]), False),
    "keypoints": (POINTS, POINTS[:0], False),
    "pose": (POSE, POSE[:0], False),
}


def drawn(kind: str, label: torch.Tensor, confidence: float = 0.5, **more) -> np.ndarray:
    return np.asarray(draw_for_people(kind, label, confidence, GRAY, **more)).astype(int)


@pytest.mark.parametrize("kind", LABELS)
def test_drawings_of_a_kind_have_one_size(kind: str) -> None:
    first, second, column = LABELS[kind]
    one, other = drawn(kind, first), drawn(kind, second)
    assert one.shape == other.shape == (SIDE + LINE, SIDE + COLUMN * column, 3)
    assert not np.array_equal(one, other)
    if not column:
        with pytest.raises(ValueError, match=f"kind {kind} needs the source picture, found none"):
            draw_for_people(kind, first, 0.5)


def test_sizes_are_kept_where_letters_can_be_read() -> None:
    sizes = [draw_for_people("mask", torch.zeros(h, w) > 1, 0.5, torch.zeros(3, h, w)).size
             for h, w in ((100, 50), (300, 700), (1000, 2000))]  # fmt: skip
    assert sizes == [(250, 500 + LINE), (700, 300 + LINE), (LARGEST, LARGEST // 2 + LINE)]


def test_the_scale_of_depth_has_the_pictures_colours() -> None:
    depth = (1 / torch.linspace(1, 1 / 12, 448)).expand(448, 448)
    picture = drawn("depth", depth)
    ramp, tick = SIDE + 2 * MARGIN + 12, SIDE + 2 * MARGIN + 24 + 3
    rows = np.flatnonzero((picture[:SIDE, tick] == INK).all(-1))
    near, far = depth_range(depth)
    named = [m for m in METRES if far <= 1 / m <= near]
    assert len(rows) >= 6 and len(rows) <= len(named)
    for row in rows:
        shown = picture[row, ramp]
        column = np.abs(picture[100, :SIDE] - shown).sum(-1).argmin()
        nearest = min(named, key=lambda m: abs(1 / m - 1 / float(depth[0, column])))
        assert abs(1 / nearest - 1 / float(depth[0, column])) < 0.01


def test_a_narrow_depth_still_has_a_scale() -> None:
    picture = drawn("depth", torch.linspace(2.1, 2.2, 64).expand(64, 64))
    tick = SIDE + 2 * MARGIN + 24 + 3
    assert len(np.flatnonzero((picture[:SIDE, tick] == INK).all(-1))) == 2


def test_the_sphere_has_the_colours_of_its_normals() -> None:
    picture = drawn("normal", torch.zeros(3, 64, 64)) / 255
    side = COLUMN - 4 * MARGIN
    left, top = SIDE + 2 * MARGIN, LINE + MARGIN
    for x, y in ((0.95, 0.0), (-0.95, 0.0), (0.0, 0.9), (0.0, -0.9), (0.5, 0.5)):
        column, row = left + round((x + 1) / 2 * side - 0.5), top + round((1 - y) / 2 * side - 0.5)
        wanted = (np.array([x, y, (1 - x * x - y * y) ** 0.5]) + 1) / 2
        assert np.abs(picture[row, column] - wanted).max() < 0.06


@pytest.mark.parametrize("confidence", [0.0, 0.37, 1.0])
def test_confidence_is_a_bar(confidence: float) -> None:
    picture = drawn("mask", torch.zeros(64, 64, dtype=torch.bool), confidence)
    middle = SIDE + LINE // 2
    rows = picture[middle - 5 : middle + 6]
    full = int((rows == INK).all(-1).all(0).sum())
    assert full == (round(BAR * confidence) + 1 if confidence else 0)


def test_classes_are_named_with_their_colours() -> None:
    label = torch.ones(64, 64, dtype=torch.long)
    label[:16] = 3
    picture, other = drawn("classes", label, names=("", "ground", "", "box")), drawn("classes", label)
    swatch = picture[MARGIN + 5, SIDE + MARGIN + 5], picture[MARGIN + 22 + 5, SIDE + MARGIN + 5]
    assert np.array_equal(swatch, palette()[[1, 3]])
    assert not np.array_equal(picture, other), "the names are written"


def test_boxes_and_points_carry_their_names() -> None:
    box = torch.tensor([[8.0, 16.0, 40.0, 48.0]])
    picture, other = drawn("boxes", box, names=("cone",)), drawn("boxes", box, names=("sphere",))
    scale = SIDE // 64
    assert tuple(picture[30 * scale, 8 * scale + 1]) == TURNS[0] and tuple(picture[48 * scale, 20 * scale]) == TURNS[0]
    assert not np.array_equal(picture, other) and np.array_equal(picture[20 * scale : SIDE], other[20 * scale : SIDE])
    dots = drawn("keypoints", POINTS, names=("blue", "nose", "left"))
    assert tuple(dots[20 * scale, 10 * scale]) == (0, 0, 255)
    assert not np.array_equal(dots, drawn("keypoints", POINTS, names=("blue", "knee", "left")))
    crowded = torch.full((1, 18, 3), 30.0)
    assert np.array_equal(drawn("pose", crowded)[:SIDE], drawn("pose", crowded, names=("nose", "x"))[:SIDE])


def test_a_kind_without_a_drawing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"labels are drawn of depth, .*, found 'edges': look at the picture"):
        draw_for_people("edges", torch.zeros(64, 64), 0.5)


def test_pictures_stand_side_by_side_at_one_height() -> None:
    wide, tall = Image.new("RGB", (64, 32), "red"), Image.new("RGB", (30, 60), "blue")
    sheet = np.asarray(side_by_side([("input", wide), ("answer with a title that is far too long", tall)], 100))
    assert sheet.shape == (100 + LINE + MARGIN, 200 + 50 + 3 * MARGIN, 3)
    assert tuple(sheet[LINE + 50, MARGIN + 100]) == (255, 0, 0)
    assert tuple(sheet[LINE + 50, 2 * MARGIN + 200 + 25]) == (0, 0, 255)
    assert (sheet[:, -MARGIN:] == 255).all(), "the title is cut where its picture ends"
