"""Edits of scenes: each changes what it says and nothing else, its words are true, and it is plain to see."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixwizard.training.render.scenes import (
    COLOR_NAMES,
    EDIT_TASKS,
    EDITS,
    HELD_OUT,
    SHAPES,
    SWAPPED,
    NoRoom,
    Scenes,
    edit,
    labels,
    render,
    sample_scenes,
    task_words,
)
from pixwizard.training.render.scenes.scene_edits import LIGHTS
from pixwizard.training.render.scenes.vocabulary import BACKDROP_NAMES, BACKGROUNDS, SIZES, TEXTURES

SIDE = 64
SEEDS = st.integers(0, 2**31 - 1)
WHOLE = ("background", "global")
SHAPE_OF = {"sphere": "sphere", "ball": "sphere", "box": "box", "block": "box", "cube": "box"}
SHAPE_OF |= {"cylinder": "cylinder", "cone": "cone"}
SIZE_OF = {"small": "small", "little": "small", "large": "large", "big": "large"}
FIELDS = {
    "remove": {"present"},
    "add": {"present"},
    "recolor": {"color", "rgb", "texture_rgb"},
    "replace": {"shape", "color", "rgb", "texture", "texture_rgb", "extent", "yaw"},
    "texture": {"texture"},
    "local": {"extent", "size", "texture_scale"},
    "background": {"background", "background_color", "background_rgb", "background_frame"},
    "global": {"light_rgb", "ambient_rgb", "background_rgb"},
}


def drawn(seed: int, n: int = 4, split: str = "train") -> tuple[Scenes, torch.Generator]:
    generator = torch.Generator().manual_seed(seed)
    return sample_scenes(n, generator, split), generator


def edits(kind: str, seed: int, n: int = 4, split: str = "train"):
    """The edits of one kind that n scenes have room for: index, scene, edited scene, words."""
    scenes, generator = drawn(seed, n, split)
    for i in range(n):
        try:
            edited, words = edit(scenes, i, kind, generator)
        except NoRoom:
            continue
        yield scenes.index(i), edited, words


@settings(max_examples=3, deadline=None)
@given(SEEDS)
def test_what_plain_solids_do_not_show_is_as_usual(seed):
    scenes, _ = drawn(seed)
    plain = scenes.texture == TEXTURES.index("plain")
    torch.testing.assert_close(scenes.texture_scale[plain], 0.22 * scenes.extent[..., 1][plain])
    torch.testing.assert_close(scenes.texture_rgb[plain], 0.59 * scenes.rgb[plain])
    assert not scenes.yaw[plain & (scenes.shape != SHAPES.index("box"))].any()
    assert scenes.yaw[~plain].all() and len(scenes.texture_scale[~plain].unique()) == int((~plain).sum())


@pytest.mark.parametrize("kind", ["replace", "recolor"])
def test_what_nobody_can_know_of_an_edit_has_its_usual_value(kind: str) -> None:
    scenes, _ = drawn(3, 8)
    # What plain solids and round ones do not show, drawn anew.
    plain = scenes.texture == 0
    round_one = plain & (scenes.shape != SHAPES.index("box"))
    other = scenes.replace(
        texture_scale=torch.where(plain, scenes.texture_scale * 1.4, scenes.texture_scale),
        texture_rgb=torch.where(plain[..., None], scenes.rgb * 0.5, scenes.texture_rgb),
        yaw=torch.where(round_one, scenes.yaw + 1.0, scenes.yaw),
    )
    compared = 0
    for i in range(8):
        pictures = []
        for one in (scenes, other):
            try:
                edited, words = edit(one, i, kind, torch.Generator().manual_seed(i))
            except NoRoom:
                continue
            pictures.append((render(edited, SIDE).image, words))
        if len(pictures) == 2 and pictures[0][1] == pictures[1][1]:
            torch.testing.assert_close(pictures[0][0], pictures[1][0], atol=1e-5, rtol=0)
            compared += 1
    assert compared > 2


def shadowed_by(scenes: Scenes, k: int, points: torch.Tensor) -> torch.Tensor:
    """[P] bool: the way from world points [P,3] to the light passes within solid k's upright bounding cylinder."""
    half, height, deep = scenes.extent[0, k].tolist()
    reach = (half**2 + deep**2) ** 0.5 if SHAPES[int(scenes.shape[0, k])] == "box" else half
    way = points[:, None] + torch.linspace(0, 8, 800)[:, None] * scenes.light[0]
    off = (way[..., [0, 2]] - scenes.position[0, k]).norm(dim=-1)
    return ((off < reach + 0.03) & (way[..., 1] < height + 0.03) & (way[..., 1] > -0.03)).any(1)


def world(scenes: Scenes, depth: torch.Tensor) -> torch.Tensor:
    eye, pitch, focal = scenes.camera[0]
    at = (torch.arange(SIDE) + 0.5) / SIDE - 0.5
    y, x = torch.meshgrid(-at / focal, at / focal, indexing="ij")
    up, back = y * pitch.cos() - pitch.sin(), -y * pitch.sin() - pitch.cos()
    return torch.stack((x * depth, eye + up * depth, back * depth), -1)


def read_thing(phrase: str) -> dict:
    """The attributes of a thing with its indefinite article."""
    article, *words, noun = phrase.split()
    assert article == ("an" if words[0][0] in "aeiou" else "a")
    claims = {"shape": SHAPE_OF[noun]}
    for word in words:
        if word in SIZE_OF:
            claims["size"] = SIZE_OF[word]
        elif word in TEXTURES:
            claims["texture"] = word
        else:
            assert word in COLOR_NAMES, word
            claims["color"] = word
    return claims


def solid(scene: Scenes, place: int) -> dict:
    return {
        "shape": SHAPES[int(scene.shape[0, place])],
        "color": COLOR_NAMES[int(scene.color[0, place])],
        "size": SIZES[int(scene.size[0, place])],
        "texture": TEXTURES[int(scene.texture[0, place])],
    }


@pytest.mark.parametrize("kind", list(EDITS))
@settings(max_examples=2, deadline=None)
@given(SEEDS)
def test_every_kind_changes_only_its_own_parameters(kind, seed):
    for scene, edited, words in edits(kind, seed):
        before, after = scene.to_dict(), edited.to_dict()
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert changed and changed <= FIELDS[kind]
        if kind not in WHOLE:
            others = torch.arange(4) != int(words["instance"]) - 1
            assert all(torch.equal(before[name][:, others], after[name][:, others]) for name in changed)


@pytest.mark.parametrize("kind", [kind for kind in EDITS if kind not in WHOLE])
@settings(max_examples=2, deadline=None)
@given(SEEDS)
def test_an_edit_of_a_solid_changes_the_solid_and_its_shadow_only(kind, seed):
    for scene, edited, words in edits(kind, seed):
        place = int(words["instance"]) - 1
        before, after = render(scene, SIDE), render(edited, SIDE)
        own = (before.instance[0] == place + 1) | (after.instance[0] == place + 1)
        for name in ("depth", "instance", "classes"):
            assert torch.equal(getattr(before, name)[0][~own], getattr(after, name)[0][~own]), name
        change = (before.image - after.image).abs().amax(1)[0]
        if kind not in ("remove", "add"):
            assert change[own].mean() >= 0.06, "plain to see"
        touched = (change > 1e-5) & ~own
        if kind in ("recolor", "texture"):
            assert not touched.any()
            assert torch.equal(before.instance, after.instance) and torch.equal(before.normal, after.normal)
        points = world(scene, before.depth[0])[touched]
        assert (shadowed_by(scene, place, points) | shadowed_by(edited, place, points)).all()


@settings(max_examples=3, deadline=None)
@given(SEEDS)
def test_nothing_of_a_removed_solid_is_left(seed):
    for scene, edited, words in edits("remove", seed):
        place = int(words["instance"]) - 1
        before, after = render(scene, SIDE), render(edited, SIDE)
        own = before.instance[0] == place + 1
        assert not (after.instance == place + 1).any() and not edited.present[0, place]
        assert ((after.image - before.image)[0][:, ~own] > -1e-5).all(), "a lifted shadow only brightens"
        never = edited.replace(extent=edited.extent.clone(), position=edited.position.clone())
        never.extent[0, place], never.position[0, place] = 1.0, -3.0
        assert torch.equal(render(never, SIDE).image, after.image)


@pytest.mark.parametrize("split", ["train", "test"])
@settings(max_examples=3, deadline=None)
@given(SEEDS)
def test_new_looks_are_those_that_the_words_say(split, seed):
    for kind in ("recolor", "replace", "texture"):
        for scene, edited, words in edits(kind, seed, split=split):
            place = int(words["instance"]) - 1
            old, new = solid(scene, place), solid(edited, place)
            assert old["color"] == words["color"] and old["shape"] == words["shape"]
            if kind == "recolor":
                assert new == old | {"color": words["new_color"]} and new["color"] != old["color"]
            elif kind == "texture":
                assert new == old | {"texture": words["new"]} and new["texture"] != old["texture"]
            else:
                assert new == old | {"texture": "plain"} | read_thing(words["new"])
                assert new["color"] != old["color"] and new["shape"] != old["shape"]
            assert split == "test" or (new["color"], new["shape"]) not in HELD_OUT


def test_held_out_pairs_come_about_in_test_edits():
    found = [solid(edited, int(words["instance"]) - 1) for _, edited, words in edits("replace", 11, 24, "test")]
    assert sum((one["color"], one["shape"]) in HELD_OUT for one in found) > 0


@settings(max_examples=4, deadline=None)
@given(SEEDS)
def test_growth_is_seen_and_stays_on_the_ground(seed):
    for scene, edited, words in edits("local", seed):
        place = int(words["instance"]) - 1
        ratio = (edited.extent / scene.extent)[0, place]
        assert torch.allclose(ratio, ratio[:1].expand(3))
        before, after = labels(scene, 96).visible()[0], labels(edited, 96).visible()[0]
        if words["new"] == "larger":
            assert ratio[0] > 1.5 and after[place] > 1.1 * before[place]
        else:
            assert words["new"] == "smaller" and ratio[0] < 0.7 and after[place] < 0.95 * before[place]
        assert after[place] > 0.006 * 96**2
        assert torch.equal(scene.position, edited.position)
        others = torch.arange(4) != place
        assert (after[others] >= 0.6 * before[others]).all(), "no other solid gets lost behind it"


def where(place: str, scene: Scenes, k: int) -> bool:
    """Whether a solid of a scene is where the words say, from its labels."""
    found = labels(scene, 96)
    depth = {j: float(found.depth[0][found.instance[0] == j + 1].mean()) for j in range(4) if found.visible()[0, j]}
    x = float(torch.nonzero(found.instance[0] == k + 1)[:, 1].double().mean()) / 96
    sides = {"on the left": x < 0.4, "in the middle": 0.36 < x < 0.64, "on the right": x > 0.6}
    return sides.get(place, (min if place == "in front" else max)(depth, key=lambda j: depth[j]) == k)


@settings(max_examples=4, deadline=None)
@given(SEEDS)
def test_an_added_solid_stands_where_the_words_say(seed):
    for scene, edited, words in edits("add", seed):
        k = int(words["instance"]) - 1
        thing, places = re.fullmatch(
            r"(.*?)((?: on the left| in the middle| on the right| at the back| in front)+)", words["new"]
        ).groups()
        claims = read_thing(thing)
        assert {"size", "color", "shape"} <= set(claims)
        assert {"texture": "plain"} | claims == solid(scene, k)
        assert scene.present[0, k] and not edited.present[0, k]
        found = re.findall(r"on the left|in the middle|on the right|at the back|in front", places)
        assert all(where(place, scene, k) for place in found)


@settings(max_examples=4, deadline=None)
@given(SEEDS)
def test_a_new_background_is_named_and_leaves_all_else(seed):
    for scene, edited, words in edits("background", seed):
        before, after = render(scene, SIDE), render(edited, SIDE)
        behind = before.classes[0] == 2
        for name in ("depth", "normal", "instance", "classes"):
            assert torch.equal(getattr(before, name), getattr(after, name)), name
        change = (before.image - after.image).abs().amax(1)[0]
        assert change[~behind].max() < 1e-5 and change[behind].mean() >= 0.08 and behind.float().mean() >= 0.1
        kind = BACKGROUNDS[int(edited.background[0])]
        assert kind != BACKGROUNDS[int(scene.background[0])]
        colors = [BACKDROP_NAMES[c] for c in edited.background_color[0].tolist()]
        if "sky" in kind:
            assert words["new"] == f"a {kind}"
        elif kind == "plain wall":
            assert words["new"] == f"a {colors[0]} wall"
        else:
            forms = {kind, f"{colors[0]} {kind}"} if kind == "tiled wall" else {kind, f"{' and '.join(colors)} {kind}"}
            assert words["new"].removeprefix("a ") in forms


def test_light_changes_as_the_words_say_and_nothing_moves():
    seen = set()
    for scene, edited, words in edits("global", 3, 24):
        before, after = render(scene, SIDE), render(edited, SIDE)
        for name in ("depth", "normal", "instance", "classes"):
            assert torch.equal(getattr(before, name), getattr(after, name)), name
        assert (before.image - after.image).abs().amax(1).mean() > 0.08
        ground = after.classes[0] == 1
        (r, _, b), (r0, _, b0) = (one.image[0][:, ground].mean(1).tolist() for one in (after, before))
        change = float((after.image - before.image)[0][:, ground].mean())
        seen.add(words["new"])
        assert {
            "at night": change < -0.1 and b / r > b0 / r0,
            "in dim light": change < -0.1,
            "in warm evening light": b / r < 0.8 * b0 / r0,
            "in cold morning light": b / r > 1.2 * b0 / r0,
            "in bright noon light": change > 0.02,
        }[words["new"]], words["new"]
    assert seen == set(LIGHTS)


@pytest.mark.parametrize("kind", list(EDITS))
def test_edits_are_deterministic_leave_their_input_alone_and_take_a_view(kind):
    scenes, _ = drawn(4)
    kept = {name: value.clone() for name, value in scenes.to_dict().items()}
    runs = [edit(scenes, 1, kind, torch.Generator().manual_seed(9), labels(scenes, 96)) for _ in range(2)]
    alone = edit(scenes, 1, kind, torch.Generator().manual_seed(9))
    assert runs[0][1] == runs[1][1] == alone[1]
    for other in (runs[1][0], alone[0]):
        assert all(torch.equal(value, other.to_dict()[name]) for name, value in runs[0][0].to_dict().items())
    assert all(torch.equal(kept[name], value) for name, value in scenes.to_dict().items())


def test_every_task_gets_its_words():
    want = {
        "edit_remove": {"caption"},
        "edit_recolor": {"caption", "color"},
        "edit_replace": {"caption", "class"},
        "edit_add": {"caption"},
        "edit_background": {"caption"},
        "edit_texture": {"caption", "class"},
        "edit_local": {"caption", "class"},
        "edit_global": {"caption"},
    }
    assert set(EDIT_TASKS) == set(want) and {"add"} == SWAPPED
    for task, kind in EDIT_TASKS.items():
        _, _, words = next(edits(kind, 8))
        asked = task_words(kind, words)
        assert set(asked) == want[task] and all(asked.values())


def test_edits_name_mistakes():
    scenes, generator = drawn(5, 1)
    with pytest.raises(ValueError, match=r"one of remove, recolor, replace, .*, found 'melt'"):
        edit(scenes, 0, "melt", generator)
    low = scenes.replace(camera=scenes.camera * torch.tensor([1.0, 3.0, 1.0]))
    with pytest.raises(NoRoom, match="no room for an edit 'background'"):
        edit(low, 0, "background", generator)
