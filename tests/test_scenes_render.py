"""The renderer against geometry worked out another way: distances, finite differences, marching towards the light."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixwizard.training.render.scenes import HELD_OUT, SHAPES, Scenes, labels, render, sample_scenes
from pixwizard.training.render.scenes.trace import in_shadow, solid_pixels, trace, world_normals
from pixwizard.training.render.scenes.vocabulary import COLOR_NAMES

SIDE = 64
SEEDS = st.integers(0, 2**31 - 1)


def scenes_of(seed: int, n: int = 8, split: str = "train") -> Scenes:
    return sample_scenes(n, torch.Generator().manual_seed(seed), split)


def excess(scenes: Scenes, i: int, k: int, points: torch.Tensor, grow: float = 1.0) -> torch.Tensor:
    """[P] a function that is < 0 inside solid k, 0 on it and > 0 outside, in metres near it; world points [P,3]."""
    half, height, deep = (scenes.extent[i, k].double() * grow).tolist()
    x, z = (points[:, a] - scenes.position[i, k, b].double() for a, b in ((0, 0), (2, 1)))
    y = points[:, 1]
    shape = SHAPES[int(scenes.shape[i, k])]
    if shape == "sphere":
        return torch.sqrt(x**2 + (y - height / 2) ** 2 + z**2) - half
    ends = torch.maximum(-y, y - height)
    if shape == "box":
        c, s = math.cos(float(scenes.yaw[i, k])), math.sin(float(scenes.yaw[i, k]))
        sides = torch.maximum((c * x - s * z).abs() - half, (s * x + c * z).abs() - deep)
    elif shape == "cylinder":
        sides = torch.hypot(x, z) - half
    else:
        sides = (torch.hypot(x, z) - half * (1 - y / height)) * height / math.hypot(half, height)
    return torch.maximum(sides, ends)


def world_rays(scenes: Scenes, i: int, side: int) -> torch.Tensor:
    """[H,W,3] directions of the pixel centres with unit z-depth, worked out from a rotation matrix."""
    _, pitch, focal = scenes.camera[i].double().tolist()
    at = (torch.arange(side, dtype=torch.float64) + 0.5) / side - 0.5
    camera = torch.stack((*torch.meshgrid(-at, at, indexing="ij")[::-1], torch.full((side, side), -focal)), -1) / focal
    c, s = math.cos(pitch), math.sin(pitch)
    to_world = torch.tensor([[1, 0, 0], [0, c, s], [0, -s, c]], dtype=torch.float64)  # a turn by -pitch about X
    return camera @ to_world.T


def world_points(scenes: Scenes, i: int, depth: torch.Tensor) -> torch.Tensor:
    eye = torch.tensor([0.0, float(scenes.camera[i, 0]), 0.0], dtype=torch.float64)
    return eye + world_rays(scenes, i, depth.shape[-1]) * depth[..., None].double()


@settings(max_examples=5, deadline=None)
@given(SEEDS)
def test_every_pixel_lies_on_the_surface_that_it_names(seed):
    scenes = scenes_of(seed)
    found = labels(scenes, SIDE)
    for i in range(len(scenes)):
        points = world_points(scenes, i, found.depth[i])
        assert points[found.classes[i] == 1][:, 1].abs().max() < 1e-4
        yaw = float(scenes.wall[i, 1])
        behind = points[found.classes[i] == 2]
        off = behind[:, 0] * math.sin(yaw) + (behind[:, 2] + float(scenes.wall[i, 0])) * math.cos(yaw)
        assert (off.abs() < 1e-4).all()
        for k in range(4):
            on = points[found.instance[i] == k + 1]
            assert (excess(scenes, i, k, on).abs() < 2e-4).all(), f"{SHAPES[int(scenes.shape[i, k])]}"
            assert scenes.present[i, k] or len(on) == 0


@settings(max_examples=5, deadline=None)
@given(SEEDS)
def test_nothing_stands_between_the_camera_and_what_it_sees(seed):
    scenes = scenes_of(seed, 4)
    found = labels(scenes, SIDE)
    for i in range(len(scenes)):
        for part in torch.linspace(0.02, 0.995, 60).tolist():
            points = world_points(scenes, i, found.depth[i] * part).reshape(-1, 3)
            for k in torch.nonzero(scenes.present[i])[:, 0].tolist():
                assert (excess(scenes, i, k, points, grow=0.97) > -1e-6).all()


def test_sphere_depth_is_the_closed_form():
    scenes = scenes_of(1, 40)
    found = labels(scenes, SIDE)
    compared = 0
    for i, k in torch.nonzero(scenes.present & (scenes.shape == 0)).tolist():
        mask = found.instance[i] == k + 1
        ray, radius = world_rays(scenes, i, SIDE)[mask], float(scenes.extent[i, k, 0])
        x, z = scenes.position[i, k].double().tolist()
        middle = torch.tensor([x, radius - float(scenes.camera[i, 0]), z], dtype=torch.float64)
        a, b, c = (ray * ray).sum(-1), ray @ middle, middle @ middle - radius**2
        expected = (b - torch.sqrt((b * b - a * c).clamp(min=0))) / a
        # At the rim the depth is a square root of rounding: judge where the surface turns towards the camera.
        inner = (b * b - a * c) > 0.02 * a * radius**2
        assert torch.allclose(found.depth[i][mask][inner].double(), expected[inner], atol=2e-5)
        compared += int(inner.sum())
    assert compared > 2000


def test_normals_agree_with_finite_differences_of_depth():
    scenes = scenes_of(2, 16)
    side = 128
    found = labels(scenes, side)
    focal = scenes.camera[:, 2].double()
    at = (torch.arange(side, dtype=torch.float64) + 0.5) / side - 0.5
    y, x = torch.meshgrid(-at, at, indexing="ij")
    plane = torch.stack((x, y), 0)[None] / focal[:, None, None, None]
    depth = found.depth[:, None].double()
    points = torch.cat((plane * depth, -depth), 1)
    across = points[..., 1:-1, 2:] - points[..., 1:-1, :-2]
    up = points[..., :-2, 1:-1] - points[..., 2:, 1:-1]
    expected = torch.nn.functional.normalize(torch.linalg.cross(across, up, dim=1), dim=1)
    normal = found.normal.double()
    inner = normal[..., 1:-1, 1:-1]
    smooth = torch.ones_like(inner[:, 0], dtype=torch.bool)
    middle, before, after = slice(1, -1), slice(0, -2), slice(2, None)
    for rows, columns in ((before, middle), (after, middle), (middle, before), (middle, after)):
        same = found.instance[:, rows, columns] == found.instance[:, 1:-1, 1:-1]
        same &= found.classes[:, rows, columns] == found.classes[:, 1:-1, 1:-1]
        smooth &= same & ((normal[:, :, rows, columns] * inner).sum(1) > 0.985)
    angle = torch.rad2deg(torch.acos((inner * expected).sum(1).clamp(-1, 1)))
    on_solids = smooth & (found.instance[:, 1:-1, 1:-1] > 0)
    assert int(on_solids.sum()) > 5000
    assert angle[smooth].median() < 0.02
    assert angle[on_solids].quantile(0.95) < 2.0
    assert (normal.norm(dim=1) - 1).abs().max() < 1e-5
    facing = (normal * -torch.nn.functional.normalize(torch.cat((plane, -torch.ones_like(depth)), 1), dim=1)).sum(1)
    assert facing.min() > -1e-4, "every visible surface faces the camera"
    assert (found.normal[:, 1][found.classes == 1] > 0.8).all(), "the ground points up"


def test_classes_follow_instances_and_depth_stays_in_range():
    scenes = scenes_of(3, 64)
    found = labels(scenes, SIDE)
    assert found.depth.min() > 1.2 and found.depth.max() < 12.5
    for i, k in torch.nonzero(scenes.present).tolist():
        mask = found.instance[i] == k + 1
        assert mask.sum() > 0.008 * SIDE**2, "every solid of a sampled scene is seen"
        assert (found.classes[i][mask] == int(scenes.shape[i, k]) + 3).all()
        assert mask.sum() <= found.footprint[i, k]
    assert ((found.classes >= 3) == (found.instance > 0)).all()
    assert set(found.classes.unique().tolist()) == {1, 2, 3, 4, 5, 6}
    assert torch.equal(found.visible().sum(1), (found.instance > 0).sum((1, 2)))


def test_shadows_are_where_marching_to_the_light_meets_a_solid():
    scenes = scenes_of(4, 12)
    hits = trace(scenes, SIDE, SIDE)
    pixels = solid_pixels(scenes, hits)
    shadow = in_shadow(scenes, hits, pixels, world_normals(scenes, hits, pixels))
    steps = torch.linspace(0.003, 6, 1500, dtype=torch.float64)
    shadowed = 0
    for i in range(len(scenes)):
        chosen = torch.randperm(SIDE * SIDE, generator=torch.Generator().manual_seed(i))[:150]
        start = torch.stack([part[i, chosen] for part in hits.point], -1).double()
        points = (start[:, None] + steps[:, None] * scenes.light[i].double()).reshape(-1, 3)
        inner, outer = torch.zeros(150, dtype=torch.bool), torch.zeros(150, dtype=torch.bool)
        for k in torch.nonzero(scenes.present[i])[:, 0].tolist():
            distance = excess(scenes, i, k, points).reshape(150, -1).amin(1)
            other = hits.surface[i, chosen] != k + 2
            inner |= other & (distance < -0.015)
            outer |= other & (distance < 0.015)
        assert shadow[i, chosen][inner].all(), "a solid in the way gives shadow"
        assert not shadow[i, chosen][~outer].any(), "nothing in the way gives light"
        shadowed += int(inner.sum())
    assert shadowed > 20


@settings(max_examples=5, deadline=None)
@given(SEEDS)
def test_equal_seeds_give_equal_scenes_and_pictures(seed):
    first, second, other = scenes_of(seed, 3), scenes_of(seed, 3), scenes_of(seed + 1, 3)
    assert all(torch.equal(value, second.to_dict()[name]) for name, value in first.to_dict().items())
    assert torch.equal(render(first, 32).image, render(second, 32).image)
    assert not torch.equal(render(first, 32).image, render(other, 32).image)


@settings(max_examples=6, deadline=None)
@given(SEEDS, st.integers(1, 12))
def test_splits_keep_the_held_out_combinations_apart(seed, n):
    for split in ("train", "test"):
        scenes = scenes_of(seed, n, split)
        assert len(scenes) == n
        for i in range(n):
            places = torch.nonzero(scenes.present[i])[:, 0].tolist()
            pairs = [(COLOR_NAMES[int(scenes.color[i, k])], SHAPES[int(scenes.shape[i, k])]) for k in places]
            assert 1 <= len(places) <= 4
            assert any(pair in HELD_OUT for pair in pairs) == (split == "test")
    assert 0.12 < len(HELD_OUT) / (len(COLOR_NAMES) * len(SHAPES)) < 0.18


def test_scenes_slice_join_and_save(tmp_path):
    scenes = scenes_of(5, 7)
    torch.save(scenes.to_dict(), tmp_path / "scenes.pt")
    loaded = Scenes.from_dict(torch.load(tmp_path / "scenes.pt", weights_only=True))
    whole = render(scenes, SIDE).image
    assert torch.equal(render(loaded, SIDE).image, whole)
    joined = Scenes.cat([scenes[4:], scenes.index(0), scenes[torch.tensor([3, 1])]])
    order = [4, 5, 6, 0, 3, 1]
    assert len(joined) == len(order)
    assert torch.allclose(render(joined, SIDE).image, whole[order], atol=1e-5)
    assert torch.equal(scenes[-1].camera, scenes.camera[6:])
    with pytest.raises(IndexError, match="scene 7 of 7"):
        scenes.index(7)
    with pytest.raises(ValueError, match=r"missing \['camera'\], unknown \['lens'\]"):
        Scenes.from_dict({("lens" if name == "camera" else name): v for name, v in scenes.to_dict().items()})
    with pytest.raises(ValueError, match="at least one batch"):
        Scenes.cat([])


def test_pictures_do_not_depend_on_the_chunk(monkeypatch):
    scenes = scenes_of(6, 5)
    whole = render(scenes, 40)
    monkeypatch.setattr("pixwizard.training.render.scenes.renderer._CHUNK_RAYS", 1)
    single = render(scenes, 40)
    assert torch.equal(whole.instance, single.instance)
    assert torch.allclose(whole.image, single.image, atol=1e-5)
    assert torch.allclose(whole.depth, single.depth, atol=1e-5)


def test_sizes_that_are_not_square_show_the_same_middle():
    scenes = scenes_of(7, 4)
    square, wide, tall = render(scenes, 48), render(scenes, (48, 96)), render(scenes, (96, 48))
    assert wide.image.shape == (4, 3, 48, 96) and tall.normal.shape == (4, 3, 96, 48)
    assert torch.allclose(square.depth, wide.depth[..., 24:72], atol=1e-5)
    assert torch.allclose(square.depth, tall.depth[:, 24:72], atol=1e-5)


def test_antialiasing_changes_edges_only():
    scenes = scenes_of(8, 6)
    plain, smooth = render(scenes, SIDE), render(scenes, SIDE, samples=3)
    assert torch.equal(plain.instance, smooth.instance) and torch.equal(plain.depth, smooth.depth)
    assert smooth.image.min() >= 0 and smooth.image.max() <= 1
    change = (plain.image - smooth.image).abs()
    assert change.median() < 0.02 and change.max() > 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sample_scenes(0, torch.Generator()), "at least 1, found 0"),
        (lambda: sample_scenes(1, torch.Generator(), "val"), "found 'val'"),
        (lambda: render(scenes_of(0, 1), 0), "found 0 x 0"),
        (lambda: render(scenes_of(0, 1), 8, samples=0), "samples must be at least 1, found 0"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
