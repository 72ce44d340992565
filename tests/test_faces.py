"""Drawn portraits and their pool."""

import pytest
import torch
import torch.nn.functional as F

from pixwizard.training.data.rendered import figure_pool
from pixwizard.training.data.rendered.figure_pool import FacePool
from pixwizard.training.render.faces import draw_faces
from pixwizard.training.render.faces.canvas import head_coordinates
from pixwizard.training.render.faces.traits import draw_traits


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_faces_follow_the_generator():
    a, b, c = (draw_faces(9, 64, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert a.shape == (9, 3, 64, 64) and a.isfinite().all() and a.min() >= 0 and a.max() <= 1
    distances = torch.pdist(a.flatten(1))
    assert distances.min() > 5, "no two faces alike"


def test_faces_are_the_same_at_every_size():
    """A face drawn at twice the size and averaged down is nearly the face drawn small: edges are smooth."""
    small, large = draw_faces(8, 96, generator(3)), draw_faces(8, 192, generator(3))
    assert (F.avg_pool2d(large, 2) - small).abs().mean() < 0.02


def test_eyes_are_where_the_head_has_them():
    """The head's coordinates find two dark pupils beside bright whites in every face without a turn."""
    faces, traits = draw_faces(24, 192, generator(4)), draw_traits(24, generator(4))
    head = head_coordinates(traits, 192)
    for side in (-1, 1):
        x = head.face_x * side - traits["eye_x"]
        away = torch.hypot(x - traits["gaze_x"] * side, head.face_y - traits["eye_y"])
        eye = (away < 0.14) & (head.face_z > 0.3)
        gray = faces.mean(1)
        contrast = torch.stack([g[e].max() - g[e].min() for g, e in zip(gray, eye, strict=True)])
        assert (contrast > 0.35).float().mean() > 0.95


def test_wrong_requests_are_refused():
    with pytest.raises(ValueError, match="at least 32 pixels, found 8"):
        draw_faces(1, 8, generator())
    with pytest.raises(ValueError, match="at least 1, found 0"):
        draw_faces(0, 64, generator())


def test_the_pool_is_drawn_once_and_kept(tmp_path, monkeypatch):
    first = FacePool(tmp_path, 5, 48)
    other = FacePool(tmp_path / "other", 5, 48, seed=9)
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["faces-5-48-4.safetensors"]
    monkeypatch.setattr(figure_pool, "draw_faces", None)
    again = FacePool(tmp_path, 5, 48)
    assert torch.equal(first.image, again.image) and first.image.shape == (5, 3, 48, 48)
    assert torch.equal(again.picture(torch.tensor([2]))[0], first.image[2].float() / 255)
    assert not torch.equal(other.image, first.image)
