"""Labels as files and as pictures to look at: what is written is read back."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pixwizard.comfyui_pixwizard.pictures.labels import ENDINGS, draw_label, save_label
from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.comfyui_pixwizard.tasks.codecs.pose import JOINTS

BOXES = torch.tensor([[4.0, 5.5, 30.25, 40.0], [0.0, 0.0, 64.0, 48.0]])
POINTS = torch.tensor([[10.5, 20.25, 1.0], [0.0, 0.0, 0.0]])
POSES = torch.rand(2, 18, 3, generator=torch.Generator().manual_seed(0)) * 40 + 2


def write(folder: Path, kind: str, label: torch.Tensor) -> dict:
    files = save_label(folder / "a.png", kind, label, size=(64, 48))
    assert [file.name for file in files] == [f"a{ending}" for ending in ENDINGS[kind]]
    found = json.loads(files[0].read_text())
    assert (found.pop("canvas_width"), found.pop("canvas_height")) == (64, 48)
    return found


def test_every_kind_of_task_can_be_written() -> None:
    kinds = {task.label_kind(codec) for task in TASKS.values() for codec in task.codecs}
    assert kinds == set(ENDINGS)


def test_boxes_and_keypoints_are_lists_of_numbers(tmp_path: Path) -> None:
    assert write(tmp_path, "boxes", BOXES) == {"boxes": BOXES.tolist()}
    assert write(tmp_path, "boxes", BOXES[:0]) == {"boxes": []}
    assert write(tmp_path, "keypoints", POINTS) == {"keypoints": POINTS.tolist()}


def test_a_pose_has_openposes_keys(tmp_path: Path) -> None:
    found = write(tmp_path, "pose", POSES)
    assert found["joints"] == list(JOINTS) and len(found["people"]) == 2
    rows = [torch.tensor(person["pose_keypoints_2d"]).reshape(18, 3) for person in found["people"]]
    assert torch.allclose(torch.stack(rows), POSES, atol=0.006)
    assert write(tmp_path, "pose", POSES[:0])["people"] == []


def test_relative_depth_has_no_metres(tmp_path: Path) -> None:
    nearness = torch.rand(48, 64, generator=torch.Generator().manual_seed(1))
    png, npy = save_label(tmp_path / "a.png", "relative", nearness)
    assert (png.name, npy.name) == ("a_relative_depth.png", "a_relative_depth.npy")
    with Image.open(png) as image:
        assert np.abs(np.asarray(image) / 65535 - nearness.numpy()).max() < 1e-5
    assert np.array_equal(np.load(npy), nearness.numpy())
    light = np.asarray(draw_label("relative", torch.tensor([[1.0, 0.0]]))).sum(-1)
    assert light[0, 0] > light[0, 1], "near is light, as metric depth is drawn"


def test_edges_keep_sixteen_bits(tmp_path: Path) -> None:
    edges = torch.rand(48, 64, generator=torch.Generator().manual_seed(1))
    (file,) = save_label(tmp_path / "a.png", "edges", edges)
    with Image.open(file) as image:
        assert image.mode.startswith("I;16") and image.size == (64, 48)
        assert np.abs(np.asarray(image) / 65535 - edges.numpy()).max() < 1e-5


def test_a_mask_is_black_and_white(tmp_path: Path) -> None:
    mask = torch.rand(48, 64) < 0.5
    (file,) = save_label(tmp_path / "a.png", "mask", mask)
    with Image.open(file) as image:
        assert np.array_equal(np.asarray(image), mask.numpy().astype(np.uint8) * 255)


@pytest.mark.parametrize(
    ("kind", "label"),
    [("boxes", BOXES[:1]), ("keypoints", POINTS), ("pose", POSES), ("edges", torch.rand(48, 64))],
)
def test_labels_are_drawn_on_the_picture(kind: str, label: torch.Tensor) -> None:
    picture = torch.full((3, 48, 64), 0.5)
    image = draw_label(kind, label, on=picture)
    assert image.size == (64, 48) and image.mode == "RGB"
    assert len(np.unique(np.asarray(image))) > 1
    if kind != "edges":
        with pytest.raises(ValueError, match="source"):
            draw_label(kind, label)
