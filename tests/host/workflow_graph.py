"""The description of a workflow, and its two forms: the page's and the API's.

Shapes of the description: a node is its class and its inputs; an input is a value or `Link(node, slot)`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from workflow_inputs import controls, declared, default_of, outputs_of

COLUMN, GAP, TITLE = 310, 30, 30
# Around the nodes of a step, and for its heading above them.
MARGIN, HEADING = 15, 45
PICTURE = 220
# The answer stands large beside the input.
LARGE = 480
# What is left of a usual window beside and between the page's own bars, and where that begins.
ROOM, CORNER = (1600, 830), (90, 110)


class Link(NamedTuple):
    """An output of another node of the same graph."""

    node: str
    slot: int = 0


@dataclass
class Graph:
    """One workflow.

    Attributes:
        title: heading of the note in the page, and name of the file, which the template browser shows.
        chinese: the title in Chinese.
        about: what it shows and what to change, markdown; then the same in Chinese, because the page shows the notes
            of a workflow as they are in every language.
        nodes: by name, in the order in which they were added.
        shown: the pictures of the thumbnail, by the node that shows them in the page.
        steps: heading of a step, and its columns of names of nodes.
        titles: what the page calls a node, where that is not the title of its class.
        wide: nodes that are shown large.
    """

    title: str
    chinese: str
    about: tuple[str, str]
    nodes: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    shown: dict[str, Link] = field(default_factory=dict)
    steps: list[tuple[str, list[list[str]]]] = field(default_factory=list)
    titles: dict[str, str] = field(default_factory=dict)
    wide: set[str] = field(default_factory=set)

    def step(self, heading: str) -> None:
        """Begin a group of nodes."""
        self.steps.append((heading, [[]]))

    def column(self) -> None:
        """Begin a column in the group."""
        self.steps[-1][1].append([])

    def add(self, name: str, kind: str, /, **inputs: Any) -> Link:
        """Add a node and answer its first output."""
        assert name not in self.nodes, name
        self.nodes[name] = kind, inputs
        self.steps[-1][1][-1].append(name)
        return Link(name)

    def load(self) -> None:
        self.step("Model and picture")
        self.add("load", "PixWizardLoad", model="nano (bundled)", weight_dtype="default")

    def example(self, kind: str = "scene", prepared_for: str = "nothing: the clean picture", seed: int = 7) -> Link:
        size = 256 if kind.startswith("photograph") else 128
        return self.add("example", "PixWizardExample", kind=kind, prepared_for=prepared_for, seed=seed, size=size)

    def ask(self, task: str, image: Link, heading: str, step: str = "", seed: int = 1, **words: Any) -> Link:
        """A step of instruction and conditioning, and of the sampler in a column of its own; answers the latent."""
        self.step(heading)
        given = dict(task=task, text="", caption="", color="red", class_name="", wording=0) | words
        told = self.add(f"instruction{step}", "PixWizardInstruction", clip=Link("load", 1), **given).node
        seen = self.add(
            f"conditioning{step}", "PixWizardImageConditioning", positive=Link(told), empty=Link(told, 1),
            clip_vision=Link("load", 2), vae=Link("load", 3), image=image, resolution=0,
        ).node  # fmt: skip
        self.column()
        return self.add(
            f"sampler{step}", "PixWizardSampler", model=Link("load"), positive=Link(seen), image_only=Link(seen, 1),
            negative=Link(seen, 2), latent=Link(seen, 3), seed=seed, points=Link(told, 4), text_guidance=Link(told, 5),
            image_guidance=Link(told, 6), solver="the model's", shift=1.0, denoise=1.0,
            guided_channels="the model's",
        )  # fmt: skip

    def decode(self, latent: Link, step: str = "", column: int = -1) -> Link:
        """The picture; its node stands in one of the columns that the group has."""
        picture = self.add(f"decode{step}", "VAEDecode", samples=latent, vae=Link("load", 3))
        columns = self.steps[-1][1]
        columns[column].append(columns[-1].pop())
        return picture

    def show(self, name: str, image: Link) -> None:
        """A preview that is called what its name says."""
        self.add(name, "PreviewImage", images=image)
        self.shown[name] = image
        self.titles[name] = name.capitalize().replace("_", " ")

    def finish(self, answer: Link, original: Link, **mask: Link) -> Link:
        """The answer at the picture's size, with `mask` in the picture itself."""
        return self.add("size", "PixWizardSourceSize", image=answer, original=original, **mask)

    def compare(self, before: Link, after: Link) -> None:
        """Both at the end, the answer large and in a column of its own."""
        self.show("before", before)
        self.column()
        self.show("after", after)
        self.wide.add("after")

    def api(self) -> dict[str, Any]:
        """What POST /prompt takes."""
        numbers = {name: str(i) for i, name in enumerate(self.nodes, start=1)}

        def value(given: Any) -> Any:
            return [numbers[given.node], given.slot] if isinstance(given, Link) else given

        return {
            numbers[name]: {
                "class_type": kind,
                "inputs": {key: value(given) for key, given in inputs.items()},
                "_meta": {"title": name},
            }
            for name, (kind, inputs) in self.nodes.items()
        }

    def page(self, classes: dict[str, Any]) -> dict[str, Any]:
        """What the page opens: form 0.4, steps from left to right."""
        numbers = {name: i for i, name in enumerate(self.nodes, start=1)}
        links: list[list[Any]] = []
        incoming: dict[tuple[str, str], int] = {}
        outgoing: dict[tuple[str, int], list[int]] = {}
        for name, (kind, inputs) in self.nodes.items():
            slot = 0
            for key, _, is_widget in declared(classes[kind]):
                given = inputs.get(key)
                if isinstance(given, Link):
                    number = len(links) + 1
                    shown = outputs_of(classes[self.nodes[given.node][0]])[given.slot][1]
                    links.append([number, numbers[given.node], given.slot, numbers[name], slot, shown])
                    incoming[name, key] = number
                    outgoing.setdefault((given.node, given.slot), []).append(number)
                if isinstance(given, Link) or not is_widget:
                    slot += 1
        made = {
            name: self._node(name, kind, inputs, classes[kind], incoming, outgoing)
            | {"id": numbers[name], "order": numbers[name] - 1}
            for name, (kind, inputs) in self.nodes.items()
        }
        note = self._note()
        groups = self.arrange(made, note)
        return {
            "last_node_id": len(made) + 1, "last_link_id": len(links), "nodes": [note, *made.values()],
            "links": links, "groups": groups, "config": {}, "extra": {"ds": view(groups)}, "version": 0.4,
        }  # fmt: skip

    def arrange(self, made: dict[str, dict[str, Any]], note: dict[str, Any]) -> list[dict[str, Any]]:
        """Set places of nodes, the first step beside or beneath the note, whichever leaves the graph larger in view.

        Returns:
            Groups around the steps.
        """
        width, height = note["size"]
        starts = ((width + GAP, -TITLE), (0, height + 2 * GAP))
        return self._place(made, *max(starts, key=lambda start: view(self._place(made, *start))["scale"]))

    def _place(self, made: dict[str, dict[str, Any]], left: int, top: int) -> list[dict[str, Any]]:
        groups: list[dict[str, Any]] = []
        for number, (heading, columns) in enumerate(self.steps, start=1):
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

    def _note(self) -> dict[str, Any]:
        text = f"# {self.title}\n\n{self.about[0]}\n\n**{self.chinese}**\n\n{self.about[1]}"
        height = 150 + 21 * (len(self.about[0]) // 38 + len(self.about[1]) // 19)
        return {
            "id": len(self.nodes) + 1, "type": "MarkdownNote", "pos": [0, 0], "size": [COLUMN + 2 * MARGIN, height],
            "flags": {}, "order": len(self.nodes), "mode": 0, "inputs": [], "outputs": [],
            "properties": {}, "widgets_values": [text],
        }  # fmt: skip

    def _node(
        self, name: str, kind: str, inputs: dict[str, Any], node_class: Any, incoming: Any, outgoing: Any
    ) -> dict[str, Any]:
        slots, widgets = [], []
        for key, type_name, is_widget in declared(node_class):
            link = incoming.get((name, key))
            given = inputs.get(key)
            if is_widget:
                widgets.append(default_of(node_class, key) if given is None or isinstance(given, Link) else given)
                if controls(node_class, key):
                    widgets.append("fixed")
            if link is not None or not is_widget:
                widget = {"widget": {"name": key}} if is_widget else {}
                slots.append({"name": key, "type": type_name, **widget, "link": link})
        outputs = [
            {"name": shown, "type": type_name, "links": outgoing.get((name, i)), "slot_index": i}
            for i, (shown, type_name) in enumerate(outputs_of(node_class))
        ]
        # The slot of a widget stands in the widget's own line.
        lines = max(sum("widget" not in slot for slot in slots), len(outputs))
        height = 40 + 22 * lines + 26 * len(widgets) + (90 if kind == "PixWizardInstruction" else 0)
        previews = kind in {"PreviewImage", "PixWizardExample"} or "Canvas" in kind
        if previews or kind.startswith("PixWizardDecode"):
            height += PICTURE
        if "Sampler" in kind and kind != "KSamplerSelect":
            height += PICTURE  # previews of latents
        ours = {"cnr_id": "pixwizard"} if kind.startswith("PixWizard") else {"cnr_id": "comfy-core"}
        title = {"title": self.titles[name]} if name in self.titles else {}
        return {
            "type": kind, "size": [LARGE if name in self.wide else COLUMN, height], "flags": {}, "mode": 0,
            "inputs": slots, "outputs": outputs,
            "properties": ours | {"Node name for S&R": kind}, "widgets_values": widgets,
        } | title  # fmt: skip


def view(groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Scale and offset at which all groups, and the note above the first of them, lie clear of the page's bars."""
    right = max(group["bounding"][0] + group["bounding"][2] for group in groups)
    bottom = max(group["bounding"][1] + group["bounding"][3] for group in groups)
    fitting = min(ROOM[0] / right, ROOM[1] / (bottom + TITLE))
    scale = min(1.0, int(fitting * 20) / 20)
    return {"scale": scale, "offset": [round(CORNER[0] / scale), round(CORNER[1] / scale) + TITLE]}
