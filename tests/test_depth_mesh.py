"""Depth as a surface: where its corners lie, how it faces, where it is torn."""

import math

import pytest
import torch

from pixwizard.comfyui_pixwizard.pictures.depth_mesh import depth_mesh


def test_corners_lie_where_the_camera_saw_them() -> None:
    depth = torch.rand(20, 30, generator=torch.Generator().manual_seed(0)) + 1
    corners, _ = depth_mesh(depth, 60.0, 100.0, 64)
    x, y, z = corners.T
    focal = 15 / math.tan(math.radians(30))
    column, row = x / -z * focal + 15 - 0.5, 10 - y / -z * focal - 0.5
    torch.testing.assert_close(column.reshape(20, 30), torch.arange(30.0).expand(20, 30), atol=1e-4, rtol=0)
    torch.testing.assert_close(row.reshape(20, 30), torch.arange(20.0)[:, None].expand(20, 30), atol=1e-4, rtol=0)
    torch.testing.assert_close(-z.reshape(20, 30), depth)


def test_triangles_face_the_viewer_and_cover_the_map() -> None:
    corners, faces = depth_mesh(torch.full((9, 7), 3.0), 50.0, 0.1, 64)
    a, b, c = corners[faces].unbind(1)
    normals = torch.linalg.cross(b - a, c - a)
    assert len(faces) == 2 * 8 * 6 and bool((normals[:, 2] > 0).all()) and float(normals[:, :2].abs().max()) < 1e-6
    width, height = ((corners[:, k].max() - corners[:, k].min()) for k in (0, 1))
    assert float(normals[:, 2].sum() / 2) == pytest.approx(float(width * height), rel=1e-5)


def test_a_step_tears_and_a_slope_does_not() -> None:
    depth = torch.linspace(1, 1.5, 16).expand(16, 16).clone()
    depth[:, 8:] += 2
    _, faces = depth_mesh(depth, 50.0, 0.2, 64)
    columns = faces % 16
    assert len(faces) == 2 * 15 * 14 and not bool(((columns < 8).any(1) & (columns >= 8).any(1)).any())
    assert len(depth_mesh(depth, 50.0, 10.0, 64)[1]) == 2 * 15 * 15


def test_large_maps_are_thinned() -> None:
    depth = torch.arange(1.0, 101.0).expand(60, 100)
    corners, _ = depth_mesh(depth, 50.0, 0.1, 25)
    assert len(corners) == 15 * 25 and torch.equal(-corners[:25, 2], torch.arange(3.0, 101.0, 4))


@pytest.mark.parametrize(
    ("depth", "words"),
    [
        (torch.zeros(4, 4), "needs depth in metres above 0, found 0"),
        (torch.full((4, 4), math.inf), "needs depth in metres above 0, found inf"),
        (torch.ones(1, 9), r"needs two rows and two columns, found a map of \[1, 9\]"),
    ],
)
def test_what_is_no_depth_is_refused(depth: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        depth_mesh(depth, 50.0, 0.1, 64)
