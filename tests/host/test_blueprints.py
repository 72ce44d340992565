"""Every blueprint is one sound node that runs in the host and answers as the core pipeline does."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from blueprints import BLUEPRINTS
from reference import Reference
from workflow_checks import ADVICE, check_links, check_places, pictures, psnr, stored
from workflow_graph import Graph, Link
from workflow_page import INPUTS, OUTPUTS, blueprint_page

FOLDER = Path(__file__).resolve().parents[2] / "subgraphs"
SCENE = dict(seed=21)
# What each is tried on: the picture, and inputs beside it.
TRIED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "PixWizard Restore": (dict(kind="photograph: cat", prepared_for="dehaze"), dict(task="dehaze")),
    "PixWizard Read": (SCENE, dict(task="normal", seed=3)),
    "PixWizard Edit": (SCENE, dict(instructions="Make it night.")),
    "PixWizard Inpaint": (SCENE, dict(mask=Link("example", 4))),
    "PixWizard Point": (SCENE, dict(words=Link("example", 3))),
}

each = pytest.mark.parametrize("name", BLUEPRINTS)


@each
def test_a_blueprint_runs_and_equals_the_pipeline(
    name: str, host: SimpleNamespace, node: Any, pipeline: Any, run_graph: Any
) -> None:
    blueprint = BLUEPRINTS[name]
    made = stored(blueprint_page(blueprint, host.nodes.NODE_CLASS_MAPPINGS))
    if os.environ.get("UPDATE_WORKFLOWS"):
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{name}.json").write_text(made)
    assert (FOLDER / f"{name}.json").read_text() == made, ADVICE
    picture, given = TRIED[name]
    graph = Graph(name, "", ("", ""))
    graph.step("Try")
    image = graph.example(**picture)
    graph.add("tried", blueprint, image=image, **given)
    slot = {"PixWizard Point": 1}.get(name, 0)
    graph.show("after", Link("tried", slot))
    api = graph.api()
    numbers = {entry["_meta"]["title"]: number for number, entry in api.items()}
    origin = graph.origin(Link("tried", slot))
    expected = Reference(api, node, pipeline).value([numbers[origin.node], origin.slot])
    for shown, truth in zip(pictures(run_graph(api), numbers["after"]), expected, strict=True):
        assert psnr(shown, truth) >= 50


def test_nothing_else_ships() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(BLUEPRINTS) == set(TRIED)


@each
def test_a_blueprint_is_one_sound_node(name: str) -> None:
    page = json.loads((FOLDER / f"{name}.json").read_text())
    (node,), (inside,) = page["nodes"], page["definitions"]["subgraphs"]
    assert node["type"] == inside["id"] and node["title"] == inside["name"] == name
    for end in ("inputs", "outputs"):
        assert [(slot["name"], slot["type"]) for slot in node[end]] == [(s["name"], s["type"]) for s in inside[end]]
        assert all(slot["linkIds"] for slot in inside[end]), "a port that nothing uses"
    widgets = [slot["name"] for slot in node["inputs"] if "widget" in slot]
    assert node["properties"]["proxyWidgets"] == [["-1", widget] for widget in widgets]
    assert len(node["widgets_values"]) == len(widgets) and {"model", "seed"} <= set(widgets)
    english, chinese = page["extra"]["BlueprintDescription"].split("\n")
    assert english.isascii() and not chinese.isascii()
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    links = [[link[key] for key in names] for link in inside["links"]]
    check_links(inside["nodes"], links, {INPUTS: ([], inside["inputs"]), OUTPUTS: (inside["outputs"], [])})
    boxes = check_places(inside["nodes"])
    left, right = inside["inputNode"]["bounding"], inside["outputNode"]["bounding"]
    assert left[0] + left[2] < min(box[0] for box in boxes) and max(box[2] for box in boxes) < right[0]
