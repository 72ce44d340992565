"""The example workflows, described once; the page's form and the API's form are both made from this.

`UPDATE_WORKFLOWS=1 make test-host` writes them, with thumbnails. Shapes of the description: a node is its class and
its inputs; an input is a value or `Link(node, slot)`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

COLUMN, GAP = 340, 40


class Link(NamedTuple):
    """An output of another node of the same graph."""

    node: str
    slot: int = 0


@dataclass
class Graph:
    """One workflow.

    Attributes:
        title: shown as a note in the page.
        about: what it shows and what to change, markdown.
        nodes: by name, in the order in which they were added.
        shown: names of the preview nodes whose pictures make the thumbnail.
    """

    title: str
    about: str
    nodes: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)

    def add(self, name: str, kind: str, /, **inputs: Any) -> Link:
        """Add a node and answer its first output."""
        assert name not in self.nodes, name
        self.nodes[name] = kind, inputs
        return Link(name)

    def load(self) -> None:
        self.add("load", "PixWizardLoad", model="nano (bundled)", weight_dtype="default")

    def example(self, kind: str = "scene", prepared_for: str = "nothing: the clean picture", seed: int = 7) -> Link:
        return self.add("example", "PixWizardExample", kind=kind, prepared_for=prepared_for, seed=seed, size=128)

    def ask(self, task: str, image: Link, step: str = "", seed: int = 1, **words: Any) -> Link:
        """Instruction, conditioning, sampler and decoder; answers the picture."""
        given = dict(task=task, text="", caption="", color="red", class_name="", wording=0) | words
        told = self.add(f"instruction{step}", "PixWizardInstruction", clip=Link("load", 1), **given).node
        seen = self.add(
            f"conditioning{step}", "PixWizardImageConditioning", positive=Link(told), empty=Link(told, 1),
            clip_vision=Link("load", 2), vae=Link("load", 3), image=image, resolution=0,
        ).node  # fmt: skip
        latent = self.add(
            f"sampler{step}", "PixWizardSampler", model=Link("load"), positive=Link(seen), image_only=Link(seen, 1),
            negative=Link(seen, 2), latent=Link(seen, 3), seed=seed, points=Link(told, 4), text_guidance=Link(told, 5),
            image_guidance=Link(told, 6), solver="euler", shift=1.0, denoise=1.0, guided_channels="all",
        )  # fmt: skip
        return self.add(f"decode{step}", "VAEDecode", samples=latent, vae=Link("load", 3))

    def show(self, name: str, image: Link) -> None:
        self.add(name, "PreviewImage", images=image)
        self.shown.append(name)

    def finish(self, answer: Link, original: Link, **mask: Link) -> Link:
        """The answer at the picture's size, with `mask` in the picture itself."""
        return self.add("size", "PixWizardSourceSize", image=answer, original=original, **mask)

    # -- forms -----------------------------------------------------------------------------------------------------

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
        """What the page opens: form 0.4, nodes in columns by their distance from the start."""
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
        depth = self._depths()
        heights: dict[int, int] = {}
        nodes = [self._note()]
        for order, (name, (kind, inputs)) in enumerate(self.nodes.items()):
            entry = self._node(name, kind, inputs, classes[kind], incoming, outgoing)
            column = depth[name]
            top = heights.get(column, 0)
            entry |= {"id": numbers[name], "order": order, "pos": [column * (COLUMN + GAP), top]}
            heights[column] = top + entry["size"][1] + GAP + 30
            nodes.append(entry)
        return {
            "last_node_id": len(nodes), "last_link_id": len(links), "nodes": nodes, "links": links, "groups": [],
            "config": {}, "extra": {"ds": {"scale": 0.7, "offset": [60, 320]}}, "version": 0.4,
        }  # fmt: skip

    def _depths(self) -> dict[str, int]:
        depth: dict[str, int] = {}
        for name, (_, inputs) in self.nodes.items():
            before = [depth[given.node] for given in inputs.values() if isinstance(given, Link)]
            depth[name] = max(before, default=-1) + 1
        return depth

    def _note(self) -> dict[str, Any]:
        return {
            "id": len(self.nodes) + 1, "type": "MarkdownNote", "pos": [0, -250], "size": [2 * COLUMN + GAP, 200],
            "flags": {}, "order": len(self.nodes), "mode": 0, "inputs": [], "outputs": [],
            "properties": {}, "widgets_values": [f"# {self.title}\n\n{self.about}"],
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
        height = (
            60 + 22 * (max(len(slots), len(outputs)) + len(widgets)) + (60 if kind == "PixWizardInstruction" else 0)
        )
        if kind in {"PreviewImage", "PixWizardExample", "MaskPreview"} or "Decode" in kind or "Canvas" in kind:
            height += 220 if kind != "VAEDecode" else 0
        if "Sampler" in kind and kind != "KSamplerSelect":
            height += 240  # previews of latents
        ours = {"cnr_id": "pixwizard"} if kind.startswith("PixWizard") else {"cnr_id": "comfy-core"}
        return {
            "type": kind, "size": [COLUMN, height], "flags": {}, "mode": 0, "inputs": slots, "outputs": outputs,
            "properties": ours | {"Node name for S&R": kind}, "widgets_values": widgets,
        }  # fmt: skip


WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


def _inputs(node_class: Any) -> dict[str, Any]:
    found = node_class.INPUT_TYPES()
    return found.get("required", {}) | found.get("optional", {})


def declared(node_class: Any) -> list[tuple[str, str, bool]]:
    """Inputs in order: name, type, whether the page shows a widget for it."""
    entries = []
    for key, spec in _inputs(node_class).items():
        type_name = "COMBO" if isinstance(spec[0], list) else spec[0]
        options = spec[1] if len(spec) > 1 else {}
        entries.append((key, type_name, type_name in WIDGETS and not options.get("forceInput")))
    return entries


def default_of(node_class: Any, key: str) -> Any:
    """What a widget shows when nobody has set it."""
    spec = _inputs(node_class)[key]
    choices = spec[0] if isinstance(spec[0], list) else spec[1].get("options")
    return spec[1].get("default", choices[0] if choices else None) if len(spec) > 1 else choices[0]


def controls(node_class: Any, key: str) -> bool:
    """Whether the page adds "control after generate" behind a widget."""
    spec = _inputs(node_class)[key]
    return len(spec) > 1 and bool(spec[1].get("control_after_generate"))


def outputs_of(node_class: Any) -> list[tuple[str, str]]:
    """Outputs: shown name and type."""
    types = node_class.RETURN_TYPES
    names = getattr(node_class, "RETURN_NAMES", None) or types
    return [(str(name), str(kind)) for name, kind in zip(names, types, strict=True)]


def restore() -> Graph:
    graph = Graph(
        "Restore a picture",
        "Choose another task in **Instruction**, and a picture of your own with Load Image in place of **Example "
        "Picture**. nano works on any photograph, at up to 256 px; **Source Size** gives the answer its size back.",
    )
    graph.load()
    image = graph.example("shapes", "derain", seed=3)
    graph.show("before", image)
    graph.show("after", graph.finish(graph.ask("derain", image), image))
    return graph


def ground() -> Graph:
    graph = Graph(
        "Find what words mean",
        "The mask of a thing, by words. **Example Picture** says which things it shows; write your own into *caption*.",
    )
    graph.load()
    image = graph.example(seed=21)
    answer = graph.ask("referring_mask", image, caption=Link("example", 3))
    graph.add("mask", "PixWizardDecodeMask", image=answer, kind="black and white (mask)", color="magenta",
              source=Link("conditioning", 4), vae=Link("load", 3))  # fmt: skip
    graph.show("before", image)
    graph.show("after", Link("mask", 1))
    return graph


def control() -> Graph:
    graph = Graph(
        "Draw along lines",
        "A picture from line art. The other control tasks take Canny edges, depth, normals, classes or a "
        "skeleton; choose the same task in both nodes.",
    )
    graph.load()
    image = graph.example(prepared_for="line_art_to_image", seed=9)
    graph.show("before", image)
    answer = graph.ask("line_art_to_image", image, caption=Link("example", 2))
    graph.show("after", graph.finish(answer, image))
    return graph


def predict() -> Graph:
    graph = Graph(
        "Read depth, normals and classes",
        "Metres, unit vectors and class ids, each with a preview and with data for other nodes.",
    )
    graph.load()
    image = graph.example(seed=12)
    graph.add(
        "depth", "PixWizardDecodeDepth", image=graph.ask("depth", image, "_depth"), code="walk", near=1.0, far=13.0
    )
    graph.add("normals", "PixWizardDecodeNormals", image=graph.ask("normal", image, "_normal"))
    classes = "ignore, ground, background, sphere, box, cylinder, cone"
    graph.add("classes", "PixWizardDecodeSegmentation", image=graph.ask("segmentation", image, "_classes"),
              code="palette", class_names=classes, pick="ground")  # fmt: skip
    graph.show("before", image)
    for name in ("depth", "normals", "classes"):
        graph.show(f"show_{name}", Link(name))
    return graph


def edit() -> Graph:
    graph = Graph(
        "Change the light",
        "An edit of the whole picture. For local edits (edit_remove, edit_recolor, …) fill in *caption* with the "
        "thing, and put **Keep Unchanged** between VAE Decode and **Source Size**.",
    )
    graph.load()
    image = graph.example(seed=5)
    graph.show("before", image)
    graph.show("after", graph.finish(graph.ask("edit_global", image, caption="at night"), image))
    return graph


def inpaint() -> Graph:
    graph = Graph(
        "Fill holes",
        "Holes are black, white or grey areas of the picture. In a picture of your own cut them with **Inpaint "
        "Canvas**, and link its *mask* to **Source Size**, so that the rest stays as it is.",
    )
    graph.load()
    image = graph.example("shapes", "inpaint", seed=6)
    graph.show("before", image)
    graph.show("after", graph.finish(graph.ask("inpaint", image), image))
    return graph


def outpaint() -> Graph:
    graph = Graph("Continue a picture", "A blank margin is filled with what may lie there.")
    graph.load()
    graph.example("shapes", seed=8)
    margin = dict(left=32, top=0, right=32, bottom=0, fill="black")
    canvas = graph.add("canvas", "PixWizardOutpaintCanvas", image=Link("example", 1), **margin)
    graph.show("before", canvas)
    graph.show("after", graph.finish(graph.ask("outpaint", canvas), canvas, mask=Link("canvas", 1)))
    return graph


def text_to_image() -> Graph:
    graph = Graph("Draw from words", "A blank canvas is the source. nano draws scenes of simple solids, roughly.")
    graph.load()
    canvas = graph.add("canvas", "PixWizardBlankCanvas", width=128, height=128, batch_size=2)
    graph.show("after", graph.ask("text_to_image", canvas, caption="a red ball and a blue box on a wooden floor"))
    return graph


def remove_anything() -> Graph:
    graph = Graph("Remove anything", "Step 1 finds the thing by words, step 2 cuts it out and fills the hole.")
    graph.load()
    image = graph.example(seed=21)
    hole = _cut(graph, image)
    graph.show("before", image)
    graph.show("show_hole", hole)
    graph.show("after", graph.finish(graph.ask("inpaint", hole, "_fill"), image, mask=Link("hole", 1)))
    return graph


def replace_anything() -> Graph:
    graph = Graph(
        "Replace anything",
        "Step 1 finds the thing by words, step 2 cuts it out and fills the hole with what *caption* says. nano rarely "
        "puts the new thing there: it has not learned such sentences yet.",
    )
    graph.load()
    image = graph.example(seed=21)
    hole = _cut(graph, image)
    graph.show("before", image)
    graph.show("show_hole", hole)
    answer = graph.ask("inpaint", hole, "_fill", caption="a green ball")
    graph.show("after", graph.finish(answer, image, mask=Link("hole", 1)))
    return graph


def add_anything() -> Graph:
    graph = Graph(
        "Add anything",
        "*caption* says what and where. **Keep Unchanged** keeps every pixel outside of the new thing as it was. nano "
        "rarely puts it there. For a place of your own, cut a hole with **Inpaint Canvas** as in *Replace anything*.",
    )
    graph.load()
    image = graph.example(seed=14)
    answer = graph.ask("edit_add", image, caption="a large red ball in front")
    graph.show("before", image)
    graph.show("after", graph.add("keep", "PixWizardKeepUnchanged", image=answer, source=Link("conditioning", 4),
                                  vae=Link("load", 3), threshold=0.1, original=image))  # fmt: skip
    return graph


def _cut(graph: Graph, image: Link) -> Link:
    """The picture with a hole where the thing is that the example names."""
    answer = graph.ask("referring_mask", image, "_find", caption=Link("example", 3))
    mask = graph.add("mask", "PixWizardDecodeMask", image=answer, kind="black and white (mask)", color="magenta",
                     source=Link("conditioning_find", 4), vae=Link("load", 3))  # fmt: skip
    return graph.add("hole", "PixWizardInpaintCanvas", image=image, mask=mask, grow=4, fill="white")


def stock_sampler() -> Graph:
    graph = Graph(
        "With stock sampling nodes",
        "SamplerCustomAdvanced and DualCFGGuider, style *regular*: cfg_conds is the text guidance, "
        "cfg_cond2_negative the image guidance.",
    )
    graph.load()
    image = graph.example("shapes", "denoise", seed=4)
    given = dict(task="denoise", text="", caption="", color="red", class_name="", wording=0)
    graph.add("instruction", "PixWizardInstruction", clip=Link("load", 1), **given)
    graph.add("conditioning", "PixWizardImageConditioning", positive=Link("instruction"), empty=Link("instruction", 1),
              clip_vision=Link("load", 2), vae=Link("load", 3), image=image, resolution=0)  # fmt: skip
    guider = graph.add("guider", "DualCFGGuider", model=Link("load"), cond1=Link("conditioning"),
                       cond2=Link("conditioning", 1), negative=Link("conditioning", 2), cfg_conds=2.0,
                       cfg_cond2_negative=1.5, style="regular")  # fmt: skip
    sigmas = graph.add("schedule", "PixWizardFlowSchedule", points=4, shift=1.0, denoise=1.0)
    noise = graph.add("noise", "RandomNoise", noise_seed=2)
    sampler = graph.add("euler", "KSamplerSelect", sampler_name="euler")
    latent = graph.add("sampler", "SamplerCustomAdvanced", noise=noise, guider=guider, sampler=sampler, sigmas=sigmas,
                       latent_image=Link("conditioning", 3))  # fmt: skip
    graph.show("before", image)
    answer = graph.add("decode", "VAEDecode", samples=latent, vae=Link("load", 3))
    graph.show("after", graph.finish(answer, image))
    return graph


WORKFLOWS = {
    "pixwizard_restore": restore,
    "pixwizard_ground": ground,
    "pixwizard_control": control,
    "pixwizard_predict": predict,
    "pixwizard_edit": edit,
    "pixwizard_inpaint": inpaint,
    "pixwizard_outpaint": outpaint,
    "pixwizard_text_to_image": text_to_image,
    "pixwizard_remove_anything": remove_anything,
    "pixwizard_replace_anything": replace_anything,
    "pixwizard_add_anything": add_anything,
    "pixwizard_stock_sampler": stock_sampler,
}
