"""What the page opens: workflows and blueprints in form 0.4, steps from left to right."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from workflow_graph import Blueprint, Graph, Link, Port
from workflow_inputs import controls, declared, default_of, multiline, outputs_of

COLUMN, GAP, TITLE = 310, 30, 30
# Around the nodes of a step, and for its heading above them.
MARGIN, HEADING = 15, 45
PICTURE = 220
# The answer stands large beside the input.
LARGE = 400
# Wires above the steps.
LANE = -TITLE - 12
# What is left of a usual window beside and between the page's own bars, and where that begins.
ROOM, CORNER = (1600, 830), (90, 110)
INPUTS, OUTPUTS = -10, -20
# Ids of nodes inside of blueprints, apart from those around.
INSIDE = 100


def page(graph: Graph, classes: dict[str, Any]) -> dict[str, Any]:
    """A workflow as the page opens it."""
    body = Body(graph, classes, first=1)
    note = _note(graph)
    groups = _arrange(graph, body.made, note)
    routes = _routes(graph, body, groups)
    kinds = [kind for kind, _ in graph.nodes.values()]
    blueprints = {kind.graph.title: kind for kind in kinds if isinstance(kind, Blueprint)}
    inside = {"definitions": {"subgraphs": [definition(one, classes) for one in blueprints.values()]}}
    return {
        "last_node_id": len(body.made) + 1, "last_link_id": len(body.links), "nodes": [note, *body.made.values()],
        "links": body.links, "groups": groups, "config": {}, "extra": {"ds": view(groups)} | routes, "version": 0.4,
    } | (inside if blueprints else {})  # fmt: skip


def blueprint_page(blueprint: Blueprint, classes: dict[str, Any]) -> dict[str, Any]:
    """A blueprint as the host's list of blueprints takes it: a workflow of the one node."""
    alone = Graph(blueprint.graph.title, "", ("", ""), {"node": (blueprint, {})})
    (node,) = Body(alone, classes, first=1).made.values()
    return {
        "revision": 0, "last_node_id": 1, "last_link_id": 0, "nodes": [node | {"pos": [0, 0]}], "links": [],
        "groups": [], "definitions": {"subgraphs": [definition(blueprint, classes)]}, "config": {},
        "extra": {"BlueprintDescription": "\n".join(blueprint.graph.about)}, "version": 0.4,
    }  # fmt: skip


def definition(blueprint: Blueprint, classes: dict[str, Any]) -> dict[str, Any]:
    """What is inside of a blueprint."""
    graph = blueprint.graph
    body = Body(graph, classes, first=INSIDE + 1, ports=list(blueprint.ports))
    groups = _place(graph, body.made, 0, -TITLE)
    for slot, link in enumerate(blueprint.outputs.values()):
        kind = outputs_of(classes[graph.nodes[link.node][0]])[link.slot][1]
        body.links.append([len(body.links) + 1, body.numbers[link.node], link.slot, OUTPUTS, slot, kind])
        slots = body.made[link.node]["outputs"][link.slot]
        slots["links"] = [*(slots["links"] or []), len(body.links)]
    right = max(group["bounding"][0] + group["bounding"][2] for group in groups)
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    return {
        "id": identity(blueprint), "version": 1, "revision": 0,
        "state": {"lastGroupId": len(groups), "lastNodeId": INSIDE + len(body.made), "lastLinkId": len(body.links),
                  "lastRerouteId": 0},
        "config": {}, "name": graph.title,
        "inputNode": {"id": INPUTS, "bounding": [-200, 0, 140, 40 + 20 * len(blueprint.ports)]},
        "outputNode": {"id": OUTPUTS, "bounding": [right + 60, 0, 120, 40 + 20 * len(blueprint.outputs)]},
        "inputs": _slots(blueprint, inputs_of(blueprint, classes), body.links, (1, 2), INPUTS, -80),
        "outputs": _slots(blueprint, outputs_of_kind(blueprint, classes), body.links, (3, 4), OUTPUTS, right + 80),
        "widgets": [], "nodes": list(body.made.values()), "groups": groups,
        "links": [dict(zip(names, link, strict=True)) for link in body.links], "extra": {},
    }  # fmt: skip


def _slots(
    blueprint: Blueprint, slots: list[Any], links: list[list[Any]], ends: tuple[int, int], end: int, x: float
) -> list[dict[str, Any]]:
    """Inputs or outputs of a definition; `ends` are the places of node and slot in a link."""
    node, slot = ends
    return [
        {
            "id": _uuid(f"{blueprint.graph.title} {end} {name}"), "name": name, "type": kind,
            "linkIds": [link[0] for link in links if link[node] == end and link[slot] == i], "pos": [x, 20 + 20 * i],
        }
        for i, (name, kind, *_) in enumerate(slots)
    ]  # fmt: skip


def identity(blueprint: Blueprint) -> str:
    """The type of a blueprint's nodes in the page."""
    return _uuid(blueprint.graph.title)


def _uuid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"pixwizard {name}"))


def inputs_of(kind: str | Blueprint, classes: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Inputs in order: name, type, whether the page shows a widget for it."""
    if isinstance(kind, str):
        return declared(classes[kind])
    found = []
    for port in kind.ports:
        node, key = next(iter(kind.uses(port)))
        known = {name: rest for name, *rest in declared(classes[kind.graph.nodes[node][0]])}
        type_name, is_widget = known[key]
        found.append((port, type_name, is_widget))
    return found


def outputs_of_kind(kind: str | Blueprint, classes: dict[str, Any]) -> list[tuple[str, str]]:
    """Outputs: shown name and type."""
    if isinstance(kind, str):
        return outputs_of(classes[kind])
    nodes = kind.graph.nodes
    return [(name, outputs_of(classes[nodes[link.node][0]])[link.slot][1]) for name, link in kind.outputs.items()]


@dataclass
class Body:
    """Nodes and links of a graph, without places.

    Attributes:
        first: id of the first node.
        ports: inputs of the blueprint around.
    """

    graph: Graph
    classes: dict[str, Any]
    first: int
    ports: list[str] = field(default_factory=list)
    links: list[list[Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.numbers = {name: i for i, name in enumerate(self.graph.nodes, start=self.first)}
        self.incoming: dict[tuple[str, str], int] = {}
        self.outgoing: dict[tuple[str, int], list[int]] = {}
        for name, (kind, inputs) in self.graph.nodes.items():
            self._link(name, kind, inputs)
        self.made = {
            name: self._node(name, kind, inputs) | {"id": self.numbers[name], "order": self.numbers[name] - self.first}
            for name, (kind, inputs) in self.graph.nodes.items()
        }

    def _link(self, name: str, kind: str | Blueprint, inputs: dict[str, Any]) -> None:
        slot = 0
        for key, type_name, is_widget in inputs_of(kind, self.classes):
            given, number = inputs.get(key), len(self.links) + 1
            if isinstance(given, Link):
                shown = outputs_of_kind(self.graph.nodes[given.node][0], self.classes)[given.slot][1]
                self.links.append([number, self.numbers[given.node], given.slot, self.numbers[name], slot, shown])
                self.outgoing.setdefault((given.node, given.slot), []).append(number)
            elif isinstance(given, Port):
                origin = self.ports.index(given.name)
                self.links.append([number, INPUTS, origin, self.numbers[name], slot, type_name])
            if isinstance(given, Link | Port):
                self.incoming[name, key] = number
            # All inputs of a blueprint are slots, so that its widgets can be linked.
            slot += isinstance(given, Link | Port) or not is_widget or isinstance(kind, Blueprint)

    def _node(self, name: str, kind: str | Blueprint, inputs: dict[str, Any]) -> dict[str, Any]:
        slots, widgets, proxies, tall = [], [], [], 0
        for key, type_name, is_widget in inputs_of(kind, self.classes):
            link = self.incoming.get((name, key))
            if is_widget:
                node_class, inner, given = self._behind(kind, key, inputs)
                widgets.append(default_of(node_class, inner) if given is None else given)
                tall += 90 * multiline(node_class, inner)
                proxies.append(["-1", key])
                if controls(node_class, inner) and isinstance(kind, str):
                    widgets.append("fixed")
            if link is not None or not is_widget or isinstance(kind, Blueprint):
                widget = {"widget": {"name": key}} if is_widget else {}
                slots.append({"name": key, "type": type_name, **widget, "link": link})
        outputs = [
            {"name": shown, "type": type_name, "links": self.outgoing.get((name, i)), "slot_index": i}
            for i, (shown, type_name) in enumerate(outputs_of_kind(kind, self.classes))
        ]
        # The slot of a widget stands in the widget's own line.
        lines = max(sum("widget" not in slot for slot in slots), len(outputs))
        size = [LARGE if name in self.graph.wide else COLUMN, 40 + 22 * lines + 26 * len(widgets) + tall]
        title = {"title": self.graph.titles[name]} if name in self.graph.titles else {}
        if isinstance(kind, Blueprint):
            about: dict[str, Any] = {"cnr_id": "pixwizard", "proxyWidgets": proxies}
            shown, title = identity(kind), {"title": kind.graph.title} | title
            # What the nodes inside show while they work appears on this one.
            size[1] += PICTURE
        else:
            shown = kind
            about = {"cnr_id": "pixwizard" if kind.startswith("PixWizard") else "comfy-core", "Node name for S&R": kind}
            if has_picture(kind):
                size[1] += LARGE if name in self.graph.wide and kind != "PreviewImage" else PICTURE
        if name in self.graph.files:
            about["models"] = [file._asdict() for file in self.graph.files[name]]
        return {
            "type": shown, "size": size, "flags": {}, "mode": 0, "inputs": slots, "outputs": outputs,
            "properties": about, "widgets_values": widgets,
        } | title  # fmt: skip

    def _behind(self, kind: str | Blueprint, key: str, inputs: dict[str, Any]) -> tuple[Any, str, Any]:
        """The node class behind a widget, the widget's name there, and its value; None is the default."""
        given = inputs.get(key)
        if isinstance(kind, str):
            if isinstance(given, Link):
                given = None
            # The blueprint's own widget holds the value that counts.
            return self.classes[kind], key, None if isinstance(given, Port) else given
        node, inner = next(iter(kind.uses(key)))
        value = kind.ports[key] if given is None or isinstance(given, Link) else given
        return self.classes[kind.graph.nodes[node][0]], inner, value


def has_picture(kind: str) -> bool:
    """Whether a node shows pictures in the page, as samplers do while they work."""
    own = {f"PixWizard{name}" for name in ("Example", "EditChain", "SideBySide", "KeptTokens")}
    if kind in {"PreviewImage", "SaveImage", "LoadImage"} | own or "Canvas" in kind:
        return True
    return kind.startswith("PixWizardDecode") or ("Sampler" in kind and kind != "KSamplerSelect")


def _arrange(graph: Graph, made: dict[str, Any], note: dict[str, Any]) -> list[dict[str, Any]]:
    """Set places of nodes, the first step beside or beneath the note, whichever leaves the graph larger in view.

    Returns:
        Groups around the steps.
    """
    width, height = note["size"]
    starts = ((width + GAP, -TITLE), (0, height + 2 * GAP))
    return _place(graph, made, *max(starts, key=lambda start: view(_place(graph, made, *start))["scale"]))


def _place(graph: Graph, made: dict[str, dict[str, Any]], left: float, top: float) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = []
    for number, (heading, columns) in enumerate(graph.steps, start=1):
        bottom = first = top + HEADING + TITLE
        right = left + MARGIN
        for names in columns:
            at = first
            for name in names:
                made[name]["pos"] = [right, at]
                at += made[name]["size"][1] + TITLE + GAP
            bottom = max(bottom, at - TITLE - GAP)
            right += max(made[name]["size"][0] for name in names) + GAP
        for name, *others in columns:
            # A picture alone in its column is as high as the group.
            if not others and made[name]["type"] == "PreviewImage":
                made[name]["size"][1] = bottom - first
        width = right - GAP + MARGIN - left
        groups.append({
            "id": number, "title": f"{number}. {heading}", "bounding": [left, top, width, bottom + MARGIN - top],
            "color": "#3f789e", "font_size": 24, "flags": {},
        })  # fmt: skip
        left, top = left + width + GAP, -TITLE
    return groups


def _routes(graph: Graph, body: Body, groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Points that the wires of `Graph.lanes` run through: above the steps, and down before the step that takes them.

    The step beside that of the output needs no detour.
    """
    points: list[dict[str, Any]] = []
    extensions = []
    places = {body.numbers[name]: made["pos"][0] for name, made in body.made.items()}
    gutters = [group["bounding"][0] - GAP / 2 for group in groups]
    for lane in graph.lanes:
        ends: dict[float, list[int]] = {}
        for number, _, _, target, *_ in body.links:
            if number in body.outgoing[lane.node, lane.slot]:
                ends.setdefault(max(x for x in gutters if x < places[target]), []).append(number)
        beside = min(x for x in gutters if x > places[body.numbers[lane.node]])
        for i, x in enumerate(sorted({beside, *ends})):
            parent = {"parentId": len(points)} if i else {}
            far = [number for other in sorted(ends) if other >= x and other != beside for number in ends[other]]
            points.append({"id": len(points) + 1, "pos": [x, LANE], "linkIds": far} | parent)
            extensions += [{"id": number, "parentId": len(points)} for number in ends.get(x, ()) if i]
    return {"reroutes": points, "linkExtensions": extensions} if points else {}


def _note(graph: Graph) -> dict[str, Any]:
    text = f"# {graph.title}\n\n{graph.about[0]}\n\n**{graph.chinese}**\n\n{graph.about[1]}"
    height = 150 + 21 * (len(graph.about[0]) // 38 + len(graph.about[1]) // 19 + text.count("\n- "))
    return {
        "id": len(graph.nodes) + 1, "type": "MarkdownNote", "pos": [0, 0], "size": [COLUMN + 2 * MARGIN, height],
        "flags": {}, "order": len(graph.nodes), "mode": 0, "inputs": [], "outputs": [],
        "properties": {}, "widgets_values": [text],
    }  # fmt: skip


def view(groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Scale and offset at which all groups, and the note above the first of them, lie clear of the page's bars."""
    right = max(group["bounding"][0] + group["bounding"][2] for group in groups)
    bottom = max(group["bounding"][1] + group["bounding"][3] for group in groups)
    fitting = min(ROOM[0] / right, ROOM[1] / (bottom + TITLE))
    scale = min(1.0, int(fitting * 20) / 20)
    return {"scale": scale, "offset": [round(CORNER[0] / scale), round(CORNER[1] / scale) + TITLE]}
