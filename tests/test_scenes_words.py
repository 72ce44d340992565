"""Captions, expressions and edits, judged by a reader that knows English words and parameters, not the generator."""

import re
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixwizard.training.render.scenes import (
    COLOR_NAMES,
    EDITS,
    SHAPES,
    NoRoom,
    Scenes,
    caption,
    edit,
    labels,
    referring,
    sample_scenes,
)
from pixwizard.training.render.scenes.vocabulary import BACKDROP_NAMES, BACKGROUNDS, GROUNDS, SIZES, TEXTURES

SIDE = 64
SEEDS = st.integers(0, 2**31 - 1)
COUNTS = {"a": 1, "an": 1, "two": 2, "three": 3, "four": 4}
SHAPE_OF = {"sphere": "sphere", "ball": "sphere", "box": "box", "block": "box", "cube": "box"}
SHAPE_OF |= {"cylinder": "cylinder", "cone": "cone"}
SIZE_OF = {"small": "small", "little": "small", "large": "large", "big": "large"}
ANY = {"object", "solid", "thing"}


def drawn(seed: int, n: int = 4, split: str = "train") -> tuple[Scenes, torch.Generator]:
    generator = torch.Generator().manual_seed(seed)
    return sample_scenes(n, generator, split), generator


def facts(scenes: Scenes, i: int) -> dict[int, dict]:
    """What is true of each solid, by instance id."""
    found = {}
    for k in torch.nonzero(scenes.present[i])[:, 0].tolist():
        half, height, deep = scenes.extent[i, k].tolist()
        found[k + 1] = {
            "color": COLOR_NAMES[int(scenes.color[i, k])],
            "shape": SHAPES[int(scenes.shape[i, k])],
            "size": SIZES[int(scenes.size[i, k])],
            "texture": TEXTURES[int(scenes.texture[i, k])],
            "cube": abs(2 * half - height) < 1e-3 and abs(half - deep) < 1e-3,
            "edge": max(2 * half, height, 2 * deep),
        }
    return found


def read_words(words: list[str]) -> dict:
    """The attributes that a noun phrase claims."""
    claims = {}
    for word in words:
        singular = "box" if word == "boxes" else word if word in SHAPE_OF else word.removesuffix("s")
        if word in SIZE_OF:
            claims["size"] = SIZE_OF[word]
        elif word in TEXTURES:
            claims["texture"] = word
        elif word in COLOR_NAMES:
            claims["color"] = word
        elif singular in SHAPE_OF:
            claims["shape"] = SHAPE_OF[singular]
            if singular == "cube":
                claims["cube"] = True
        else:
            assert singular in ANY, f"unknown word {word}"
    return claims


def agrees(claims: dict, fact: dict) -> bool:
    return all(fact[name] == value for name, value in claims.items())


def check_caption(text: str, scenes: Scenes, i: int) -> None:
    things, floor, behind = re.fullmatch(r"(.*?)(?: on an? (.*?))?(?: (?:in front of|under) an? (.*))?", text).groups()
    known = list(facts(scenes, i).values())
    if things.startswith("an empty "):
        assert not known
        floor = things.removeprefix("an empty ")
    else:
        claimed = Counter()
        for phrase in re.split(r", | and ", things):
            count, *words = phrase.split()
            claims = read_words(words)
            assert {"color", "shape"} <= set(claims)
            assert sum(agrees(claims, fact) for fact in known) >= COUNTS[count], f"{phrase!r} in {known}"
            claimed[claims["color"], claims["shape"]] += COUNTS[count]
        assert claimed == Counter((fact["color"], fact["shape"]) for fact in known), text
    if floor:
        *words, _ = floor.split()
        check_backdrop(" ".join(words), GROUNDS[int(scenes.ground[i])], scenes.ground_color[i].tolist())
    if behind:
        name = BACKGROUNDS[int(scenes.background[i])]
        if "sky" in behind:
            assert behind == name
        else:
            check_backdrop(behind.removesuffix("wall").strip(), name.split()[0], scenes.background_color[i].tolist())


def check_backdrop(words: str, kind: str, colors: list[int]) -> None:
    """As in "tan and beige checkered": the kind is said unless plain, colours if said are those of the scene."""
    if kind != "plain" and words:
        assert words.endswith(kind)
        words = words.removesuffix(kind).strip()
    if words:
        said = words.split(" and ")
        assert said == [BACKDROP_NAMES[color] for color in colors][: len(said)]


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_captions_are_true_and_complete(seed):
    scenes, generator = drawn(seed)
    for i in range(len(scenes)):
        check_caption(caption(scenes, i, generator), scenes, i)


def test_the_caption_reader_refuses_false_captions():
    scenes, generator = drawn(0, 30)
    refused = 0
    for i in range(len(scenes) - 1):
        text = caption(scenes, i, generator)
        try:
            check_caption(text, scenes, i + 1)
        except AssertionError:
            refused += 1
    assert refused >= 28


def test_captions_vary_in_words_and_order():
    scenes, generator = drawn(1, 20)
    several = next(i for i in range(20) if int(scenes.present[i].sum()) >= 3)
    texts = {caption(scenes, several, generator) for _ in range(40)}
    assert len(texts) > 20
    assert len({re.split(" on | in front of | under ", text)[0].split()[-1] for text in texts}) > 2


EXTREMES = {
    "x": ("leftmost", "on the left", "furthest to the left"),
    "-x": ("rightmost", "on the right", "furthest to the right"),
    "depth": ("nearest", "closest to the camera", "in front"),
    "-depth": ("farthest", "farthest from the camera", "at the back"),
    "-pixels": ("largest", "biggest"),
    "pixels": ("smallest",),
}


def read_expression(expression: str, scene_facts: dict[int, dict]) -> tuple[str | None, dict[int, dict]]:
    """The comparison that an expression makes, if any, and the solids that its noun fits."""
    words = expression.removeprefix("the ")
    key = None
    for name, forms in EXTREMES.items():
        for form in sorted(forms, key=len, reverse=True):
            if key is None and (words.endswith(f" {form}") or words.startswith(f"{form} ")):
                key, words = name, words.removesuffix(f" {form}").removeprefix(f"{form} ")
    claims = read_words(words.split())
    claims.pop("cube", None)  # which boxes are cubes is checked apart: a reader may call every box one
    return key, {k: fact for k, fact in scene_facts.items() if agrees(claims, fact)}


def meant(expression: str, scene_facts: dict[int, dict]) -> set[int]:
    """The instances an English reader would accept, from attributes and what the picture shows."""
    key, rivals = read_expression(expression, scene_facts)
    if key is None:
        return set(rivals)
    sign = -1 if key.startswith("-") else 1
    values = {k: sign * fact[key.removeprefix("-")] for k, fact in rivals.items()}
    margin = {"x": 0.09, "depth": 0.3, "pixels": 0.0}[key.removeprefix("-")]
    return {k for k, value in values.items() if value <= min(values.values()) + margin}


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.sampled_from(["train", "test"]))
def test_expressions_mean_one_visible_solid(seed, split):
    scenes, generator = drawn(seed, split=split)
    found = labels(scenes, SIDE)
    for i in range(len(scenes)):
        scene_facts = facts(scenes, i)
        for k in list(scene_facts):
            mask = found.instance[i] == k
            if not mask.any():
                del scene_facts[k]
                continue
            columns = torch.nonzero(mask)[:, 1].double()
            scene_facts[k] |= {
                "x": float(columns.mean()) / SIDE,
                "depth": float(found.depth[i][mask].mean()),
                "pixels": int(mask.sum()),
            }
        expressions = referring(scenes, found, i, generator)
        assert expressions, "place 0 of a sampled scene can always be named"
        assert len(set(expressions)) == len(expressions)
        for expression, instance in expressions:
            assert meant(expression, scene_facts) == {instance}, f"{expression} in {scene_facts}"
            fact = scene_facts[instance]
            assert "cube" not in expression.split() or fact["cube"]
            assert fact["pixels"] >= 0.008 * SIDE**2
            assert fact["pixels"] >= 0.4 * int(found.footprint[i, instance - 1])
            key, rivals = read_expression(expression, scene_facts)
            if key == "-pixels":
                assert all(fact["edge"] > 1.19 * other["edge"] for k, other in rivals.items() if k != instance)


def test_expressions_use_every_kind_of_words():
    scenes, generator = drawn(2, 80)
    found = labels(scenes, SIDE)
    texts = " ".join(e for i in range(len(scenes)) for e, _ in referring(scenes, found, i, generator))
    for word in [form for forms in EXTREMES.values() for form in forms] + [*SHAPE_OF, *SIZE_OF, *COLOR_NAMES, *ANY]:
        assert re.search(rf"\b{word}\b", texts), word


def test_expressions_ask_for_the_labels_of_the_same_scenes():
    scenes, generator = drawn(3, 3)
    with pytest.raises(ValueError, match="3 scenes, 2 pictures"):
        referring(scenes, labels(scenes[:2], 32), 0, generator)


@pytest.mark.parametrize("kind", list(EDITS))
def test_captions_of_edited_scenes_are_true(kind):
    scenes, generator = drawn(6, 6)
    for i in range(len(scenes)):
        try:
            edited, words = edit(scenes, i, kind, generator)
        except NoRoom:
            continue
        check_caption(words["caption"], edited, 0)
        check_caption(words["source_caption"], scenes, i)


def test_a_scene_without_solids_has_a_caption_and_no_edit():
    scenes, generator = drawn(5, 1)
    empty = scenes.replace(present=torch.zeros_like(scenes.present))
    with pytest.raises(NoRoom, match="no solid that words single out"):
        edit(empty, 0, "remove", generator)
    check_caption(caption(empty, 0, generator), empty, 0)
