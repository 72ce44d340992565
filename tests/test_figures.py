"""Rendered people: poses that lie on the bodies, true sentences, and their pool."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixwizard.comfyui_pixwizard.tasks.codecs.pose import JOINTS, POSE
from pixwizard.training.data.rendered import figure_pool
from pixwizard.training.data.rendered.figure_pool import FigurePool
from pixwizard.training.render.figures import HELD_OUT, joint_expressions, render_figures
from pixwizard.training.render.figures.body import Body
from pixwizard.training.render.figures.camera import Projected, project_body, sample_camera
from pixwizard.training.render.figures.raster import _capsules, rasterize
from pixwizard.training.render.figures.skeleton import ARMS, LEGS, sample_skeletons
from pixwizard.training.render.scenes.vocabulary import COLORS


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def figures():
    return render_figures(72, 128, generator(1))


def pairs(figures):
    return figures.pose[:, 1].flatten(1).any(1)


# -- pictures ------------------------------------------------------------------------------------------------------


def test_pictures_follow_the_generator():
    a, b, c = (render_figures(9, 64, generator(seed)) for seed in (5, 5, 6))
    assert torch.equal(a.image, b.image) and torch.equal(a.pose, b.pose) and a.captions == b.captions
    assert not torch.equal(a.image, c.image)
    assert a.image.shape == (9, 3, 64, 64) and a.image.min() >= 0 and a.image.max() <= 1
    assert a.pose.shape == (9, 2, 18, 3) and a.instance.shape == (9, 64, 64)


def test_pictures_do_not_depend_on_how_many_are_rendered_at_once(monkeypatch):
    whole = render_figures(6, 64, generator(2))
    monkeypatch.setattr("pixwizard.training.render.figures.render.CHUNK", 4)
    parts = render_figures(6, 64, generator(2))
    assert torch.allclose(whole.image, parts.image, atol=1e-5) and torch.equal(whole.pose, parts.pose)


def test_people_stand_before_the_backdrop():
    backdrop = torch.rand(12, 3, 64, 64, generator=generator(3)) * 0.8 + 0.1
    figures = render_figures(12, 64, generator(4), backdrop)
    empty = torch.nn.functional.max_pool2d((figures.instance > 0).float()[:, None], 5, 1, 2) == 0
    change = ((figures.image - backdrop) * empty).abs()
    assert ((figures.image - backdrop) * empty).max() < 1e-3, "shadows only darken"
    assert (change.amax(1, keepdim=True)[empty] < 1e-3).float().mean() > 0.7
    assert not any("floor" in caption or "wall" in caption for texts in figures.captions for caption in texts)


def test_wrong_requests_are_refused():
    for arguments, message in (
        ((0, 64), "at least 1, found 0"),
        ((2, 65), "even size of at least 32 pixels, found 65"),
        ((2, 16), "found 16"),
        ((2, 64, torch.zeros(1, 3, 64, 64)), r"\(2, 3, 64, 64\), found \(1, 3, 64, 64\)"),
        ((2, 64, None, "valid"), '"train" or "test"'),
    ):
        with pytest.raises(ValueError, match=message):
            render_figures(*arguments[:2], generator(), *arguments[2:])


# -- poses ---------------------------------------------------------------------------------------------------------


def test_joints_lie_on_their_own_person(figures):
    """The instance map shows the person at every visible joint, or at most a pixel beside it (ears, noses)."""
    own = total = 0
    for pose, instance in zip(figures.pose, figures.instance, strict=True):
        for person in range(2):
            seen = pose[person][pose[person, :, 2] > 0.5]
            mine = (instance == person + 1).float()[None]
            near = torch.nn.functional.max_pool2d(mine, 3, 1, 1)[0]
            x, y = seen[:, 0].long(), seen[:, 1].long()
            assert (near[y, x] == 1).all()
            own, total = own + int(mine[0, y, x].sum()), total + len(seen)
    assert total > 1200 and own / total > 0.985


def test_right_joints_lie_to_the_left_of_left_joints(figures):
    """People face the viewer or are turned at most 60 degrees; what is raised or crossed may change sides."""
    x = figures.pose[..., 0]
    for right, left in ((2, 5), (8, 11), (14, 15), (16, 17)):
        assert (x[:, 0, right] < x[:, 0, left]).all(), JOINTS[right]
        assert (x[:, 1, right] < x[:, 1, left])[pairs(figures)].all(), JOINTS[right]
    both = pairs(figures)
    assert 0.15 < both.float().mean() < 0.6
    hips = x[both][..., (8, 11)].mean(-1)
    assert (hips[:, 0] < hips[:, 1]).all(), "the first person is the one on the left"


def test_limbs_have_plausible_lengths():
    """Both sides of a person are equally long, and no knee or elbow bends the wrong way."""
    people = sample_skeletons(200, generator(7))
    joints = people.joints
    for first in (2, 3, 8, 9):
        right = (joints[:, first + 1] - joints[:, first]).norm(dim=1)
        left = (joints[:, first + 4] - joints[:, first + 3]).norm(dim=1)
        assert (right / left - 1).abs().max() < 0.16
    for first in (8, 11):
        thigh, shin = joints[:, first + 1] - joints[:, first], joints[:, first + 2] - joints[:, first + 1]
        bend = (people.pelvis_frame[:, :, 0] * torch.linalg.cross(thigh, shin, dim=1)).sum(1)
        assert (bend > -1e-4).all()
    assert joints[:, :, 1].min() > 0 and set(people.legs.tolist()) == set(range(len(LEGS)))
    assert set(people.arms.flatten().tolist()) == set(range(len(ARMS)))


def test_visible_says_inside_and_not_hidden(figures):
    size, hidden = 128, 0
    for pose, instance in zip(figures.pose, figures.instance, strict=True):
        for person in range(2):
            if not pose[person].any():
                continue
            for x, y, visible in pose[person].tolist():
                inside = 0 <= x < size and 0 <= y < size
                assert inside or not visible
                if inside and not visible:
                    hidden += 1
                    assert pose[1].any()
                    patch = instance[max(int(y) - 2, 0) : int(y) + 3, max(int(x) - 2, 0) : int(x) + 3]
                    assert (patch == 2 - person).float().mean() > 0.3
                if inside and instance[int(y), int(x)] == person + 1:
                    around = instance[max(int(y) - 3, 0) : int(y) + 4, max(int(x) - 3, 0) : int(x) + 4]
                    assert visible or (around == 2 - person).any()
    outside = (figures.pose[:, 0, :, 2] == 0).any(1)
    assert hidden >= 5 and outside.any()


def test_absent_people_are_zero(figures):
    alone = ~pairs(figures)
    assert alone.any() and (figures.pose[alone, 1] == 0).all() and not (figures.instance[alone] == 2).any()


def test_poses_survive_the_codec(figures):
    """What is drawn as a skeleton is read back: conventions of order and of coordinates agree."""
    index = int((figures.pose[:, 0, :, 2].sum(1) * ~pairs(figures)).argmax())
    pose = figures.pose[index, :1]
    size = (256, 256)
    scaled = pose * torch.tensor([2.0, 2.0, 1.0])
    found = POSE.decode(POSE.encode(scaled, size=size))
    assert len(found) == 1
    body = (scaled[0, :14, 2] > 0.5) & (found[0, :14, 2] > 0.5)
    assert body.sum() >= 11 and (found[0, :14] - scaled[0, :14])[body, :2].norm(dim=1).median() < 1


# -- impostors -----------------------------------------------------------------------------------------------------


def test_a_ball_is_drawn_where_the_camera_projects_it():
    """The middle and the area of a small ball's pixels are those of its projection."""
    points = torch.tensor([[[0.0, 0.2, 0.0], [0.4, 1.6, 0.2]]]).expand(20, 2, 3).contiguous()
    everything = torch.ones(20, 2, dtype=torch.bool)
    camera = sample_camera(points, everything, 128, generator(8), torch.zeros(20, dtype=torch.bool))
    radius = 0.05
    none = torch.zeros(20, 1, 3)
    body = Body(
        none, none, torch.zeros(20, 1, 2), torch.ones(20, 1), torch.zeros(20, 1, 2, dtype=torch.long),
        points[:, 1:], torch.eye(3).mul(radius).expand(20, 1, 3, 3), torch.zeros(20, 1, dtype=torch.long),
    )  # fmt: skip
    surface = rasterize(project_body(body, camera, torch.ones(20, 1, dtype=torch.bool)), 20, 128)
    place, scale = camera.project(points)
    for i in range(20):
        pixel = surface.pixel[surface.picture == i] - i * 128 * 128
        middle = torch.stack((pixel % 128, pixel // 128), 1).float().mean(0) + 0.5
        assert (middle - place[i, 1]).norm() < 0.4
        assert len(pixel) == pytest.approx(torch.pi * (radius * float(scale[i, 1])) ** 2, rel=0.15)
    assert torch.allclose(surface.normal.norm(dim=1), torch.ones(len(surface.normal)), atol=1e-4)


@given(
    st.lists(st.floats(8, 40), min_size=4, max_size=4),
    st.floats(-40, 40),
    st.floats(2, 8),
)
@settings(max_examples=25, deadline=None)
def test_capsules_have_the_depth_of_a_swept_ball(flat, rise, radius):
    start, end = torch.tensor([flat[0], flat[1], 0.0]), torch.tensor([flat[2], flat[3], rise])
    none, zero = torch.zeros(0, 3), torch.zeros(1, dtype=torch.long)
    scene = Projected(
        zero, zero, start[None], end[None], torch.tensor([[radius, radius]]), torch.ones(1), zero[:, None].expand(1, 2),
        zero[:0], zero[:0], none, torch.zeros(0, 3, 3), zero[:0],
    )  # fmt: skip
    _, pixel, depth, _, normal = _capsules(scene, 48)
    share = torch.linspace(0, 1, 1500)[:, None]
    middle = start + share * (end - start)
    x, y = pixel % 48 + 0.5, pixel // 48 + 0.5
    square = radius**2 - (x - middle[:, :1]) ** 2 - (y - middle[:, 1:2]) ** 2
    swept = (middle[:, 2:] + square.clamp_min(0).sqrt()).masked_fill(square < 0, -torch.inf).amax(0)
    steep = normal[:, 2] < 0.25 * radius
    assert torch.allclose(depth[~steep], swept[~steep], atol=0.15)
    assert (normal.norm(dim=1) - radius).abs().max() < 0.05 * radius


# -- sentences -----------------------------------------------------------------------------------------------------


def test_captions_say_what_arms_and_legs_do():
    figures = render_figures(120, 32, generator(9))
    said = dict.fromkeys(("raised", "hip", "sitting", "both"), 0)
    for pose, texts in zip(figures.pose, figures.captions, strict=True):
        if pose[1].any():
            continue
        person = pose[0]
        side_of = {"right": 2, "left": 5}
        for text in texts:
            for side in re.findall(r"the (right|left) arm raised", text) or (
                ["right", "left"] if "both arms raised" in text else []
            ):
                first = side_of[side]
                said["raised"] += 1
                assert person[first + 2, 1] < person[first, 1] and person[first + 2, 1] < person[0, 1] + 2, text
            for side in re.findall(r"the (right|left) hand on the hip", text):
                said["hip"] += 1
                wrist, hip = person[side_of[side] + 2], person[side_of[side] + 6]
                assert (wrist - hip)[:2].norm() < 0.75 * (person[1] - (person[8] + person[11]) / 2)[:2].norm(), text
            if "sitting" in text:
                said["sitting"] += 1
                thigh = (person[9, 1] - person[8, 1] + person[12, 1] - person[11, 1]).abs()
                shin = (person[10, 1] - person[9, 1] + person[13, 1] - person[12, 1]).abs()
                assert thigh < 0.75 * shin, text
            said["both"] += "both" in text
    assert min(said.values()) > 5, said


def test_captions_name_the_colours_of_clothes(figures):
    """The pixel below the neck is of the named colour, as far as light leaves the strongest channel alone."""
    strongest = {name: torch.tensor(COLORS[name]).argmax() for name in ("red", "green", "blue")}
    right = checked = 0
    for image, pose, texts in zip(figures.image, figures.pose, figures.captions, strict=True):
        for person, name in zip(range(2), re.findall(r"(\w+) shirt", texts[0]), strict=False):
            if name not in strongest:
                continue
            joints = pose[person]
            x, y = torch.lerp(joints[1], (joints[8] + joints[11]) / 2, 0.35)[:2].long().tolist()
            if 0 <= x < 128 and 0 <= y < 128:
                checked += 1
                right += int(image[:, y, x].argmax() == strongest[name])
    assert checked > 15 and right / checked > 0.85


def test_held_out_clothes_are_worn_in_the_test_split_only(figures):
    def outfits(texts):
        found = {pair for text in texts for pair in re.findall(r"(\w+) shirt and (\w+) (?:trousers|shorts)", text)}
        return found

    seen = outfits(text for texts in figures.captions for text in texts)
    kept = render_figures(20, 32, generator(10), split="test")
    tested = outfits(text for texts in kept.captions for text in texts)
    assert len(seen) > 40 and not seen & HELD_OUT
    assert len(tested) > 4 and tested <= HELD_OUT
    names = set(COLORS)
    assert names <= {shirt for shirt, _ in seen} | {trousers for _, trousers in seen}


def test_expressions_name_visible_joints(figures):
    both = int(pairs(figures).nonzero()[0])
    alone = int((~pairs(figures)).nonzero()[0])
    for i, ending in ((both, True), (alone, False)):
        found = joint_expressions(figures.pose[i])
        assert len(found) == int(figures.pose[i, :, :, 2].sum()) == len({expression for expression, _, _ in found})
        for expression, person, joint in found:
            place = f" of the person on the {('left', 'right')[person]}" if ending else ""
            assert expression == f"the {JOINTS[joint]}{place}"
            assert figures.pose[i, person, joint, 2] == 1


# -- pool ----------------------------------------------------------------------------------------------------------


def test_the_pool_is_rendered_once_and_kept(tmp_path, monkeypatch):
    first = FigurePool(tmp_path, 6, 64)
    assert [path.name for path in tmp_path.iterdir()] == ["figures-train-6-64-3.safetensors"]
    monkeypatch.setattr(figure_pool, "render_figures", None)
    again = FigurePool(tmp_path, 6, 64)
    assert torch.equal(first.image, again.image) and torch.equal(first.pose, again.pose)
    assert first.captions == again.captions and first.joints == again.joints
    assert first.image.dtype == torch.uint8 and len(again) == 6 and len(again.captions[0]) == 4
    assert again.draw(3, 48, generator()).shape == (3, 3, 48, 48)


def test_pools_of_other_splits_and_backdrops_differ(tmp_path):
    def white(n, size, generator):
        return torch.ones(n, 3, size, size)

    pools = [FigurePool(tmp_path, 4, 32), FigurePool(tmp_path, 4, 32, split="test")]
    pools.append(FigurePool(tmp_path, 4, 32, backdrop=white))
    assert len(list(tmp_path.iterdir())) == 3
    assert not torch.equal(pools[0].pose, pools[1].pose)
    assert (pools[2].image[2:, :, 0] > 200).float().mean() > 0.5
    with pytest.raises(ValueError, match='"train" or "test", found \'valid\''):
        FigurePool(tmp_path, 4, 32, split="valid")
