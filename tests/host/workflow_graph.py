"""The description of a workflow, of its steps and of the blueprints in it, and the form that the API takes.

Shapes of the description: a node is its class and its inputs; an input is a value, `Link(node, slot)`, or within a
blueprint `Port(name)`. The class may be a blueprint, which stands for the nodes inside.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Link(NamedTuple):
    """An output of another node of the same graph."""

    node: str
    slot: int = 0


# MODEL, CLIP, CLIP_VISION and VAE of `Graph.load`.
PARTS = tuple(Link("load", slot) for slot in range(4))


class Port(NamedTuple):
    """An input of the blueprint around."""

    name: str


class ModelFile(NamedTuple):
    """A file that a loader names: what the host's dialog of missing models shows."""

    name: str
    url: str
    directory: str


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
        lanes: outputs whose wires run above the steps, so that none passes behind a node.
        files: what a newcomer lacks, by the node that loads it.
        least: PSNR at which its pictures equal the pipeline's.
    """

    title: str
    chinese: str
    about: tuple[str, str]
    nodes: dict[str, tuple[str | Blueprint, dict[str, Any]]] = field(default_factory=dict)
    shown: dict[str, Link] = field(default_factory=dict)
    steps: list[tuple[str, list[list[str]]]] = field(default_factory=list)
    titles: dict[str, str] = field(default_factory=dict)
    wide: set[str] = field(default_factory=set)
    lanes: list[Link] = field(default_factory=list)
    files: dict[str, list[ModelFile]] = field(default_factory=dict)
    least: float = 50.0

    def step(self, heading: str) -> None:
        """Begin a group of nodes."""
        self.steps.append((heading, [[]]))

    def column(self) -> None:
        """Begin a column in the group."""
        self.steps[-1][1].append([])

    def add(self, name: str, kind: str | Blueprint, /, **inputs: Any) -> Link:
        """Add a node and answer its first output."""
        assert name not in self.nodes, name
        self.nodes[name] = kind, inputs
        self.steps[-1][1][-1].append(name)
        return Link(name)

    def load(self, heading: str = "Model and picture", model: str | Port = "nano (bundled)") -> None:
        self.step(heading)
        self.add("load", "PixWizardLoad", model=model, weight_dtype="default")

    def example(
        self, kind: str = "scene", prepared_for: str = "nothing: the clean picture", seed: int = 7, size: int = 0
    ) -> Link:
        size = size or (256 if kind.startswith("photograph") else 128)
        return self.add("example", "PixWizardExample", kind=kind, prepared_for=prepared_for, seed=seed, size=size)

    def ask(
        self, task: str | Port, image: Link | Port, heading: str, step: str = "", seed: int | Port = 1,
        parts: tuple[Link, ...] = PARTS, settings: dict[str, Any] | None = None, **words: Any,
    ) -> Link:  # fmt: skip
        """A step of instruction and conditioning, and of the sampler in a column of its own; answers the latent.

        Args:
            parts: MODEL, CLIP, CLIP_VISION and VAE.
            settings: inputs of the sampler that do not come from the instruction.
        """
        self.step(heading)
        model, clip, vision, vae = parts
        given = dict(task=task, text="", caption="", color="red", class_name="", wording=0) | words
        told = self.add(f"instruction{step}", "PixWizardInstruction", clip=clip, **given).node
        seen = self.add(
            f"conditioning{step}", "PixWizardImageConditioning", positive=Link(told), empty=Link(told, 1),
            clip_vision=vision, vae=vae, image=image, resolution=0,
        ).node  # fmt: skip
        self.column()
        return self.add(
            f"sampler{step}", "PixWizardSampler", model=model, positive=Link(seen), image_only=Link(seen, 1),
            negative=Link(seen, 2), latent=Link(seen, 3), seed=seed,
            **dict(points=Link(told, 4), text_guidance=Link(told, 5), image_guidance=Link(told, 6)) | (settings or {}),
            solver="the model's", shift=1.0, denoise=1.0, guided_channels="the model's",
        )  # fmt: skip

    def decode(self, latent: Link, step: str = "", column: int = -1, vae: Link = PARTS[3]) -> Link:
        """The picture; its node stands in one of the columns that the group has."""
        picture = self.add(f"decode{step}", "VAEDecode", samples=latent, vae=vae)
        columns = self.steps[-1][1]
        columns[column].append(columns[-1].pop())
        return picture

    def show(self, name: str, image: Link) -> None:
        """A preview that is called what its name says."""
        self.add(name, "PreviewImage", images=image)
        self.shown[name] = image
        self.titles[name] = name.capitalize().replace("_", " ")

    def finish(self, answer: Link, original: Link | Port, **mask: Link | Port) -> Link:
        """The answer at the picture's size, with `mask` in the picture itself."""
        return self.add("size", "PixWizardSourceSize", image=answer, original=original, **mask)

    def keep(self, answer: Link, original: Link | Port, vae: Link = PARTS[3]) -> Link:
        """The picture at its own size with what the task changes of it."""
        return self.add(
            "keep", "PixWizardKeepUnchanged", image=answer, source=Link("conditioning", 4), vae=vae, threshold=0.1,
            original=original, task=Link("instruction", 3),
        )  # fmt: skip

    def compare(self, before: Link, after: Link) -> None:
        """Both at the end, the answer large and in a column of its own."""
        self.show("before", before)
        self.column()
        self.show("after", after)
        self.wide.add("after")

    def flat(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """Class and inputs of all nodes, those inside of blueprints under BLUEPRINT.NODE."""
        found: dict[str, tuple[str, dict[str, Any]]] = {}
        for name, (kind, inputs) in self.nodes.items():
            inputs = {key: self._origin(given) for key, given in inputs.items()}
            if isinstance(kind, Blueprint):
                found |= kind.placed(name, inputs)
            else:
                found[name] = kind, inputs
        return found

    def _origin(self, given: Any) -> Any:
        """The output of a node inside where a link leaves a blueprint."""
        if isinstance(given, Link) and isinstance(kind := self.nodes[given.node][0], Blueprint):
            inside = list(kind.outputs.values())[given.slot]
            return Link(f"{given.node}.{inside.node}", inside.slot)
        return given

    def origin(self, link: Link) -> Link:
        """A link as `flat` has it."""
        return Link(*self._origin(link))

    def api(self) -> dict[str, Any]:
        """What POST /prompt takes."""
        nodes = self.flat()
        numbers = {name: str(i) for i, name in enumerate(nodes, start=1)}

        def value(given: Any) -> Any:
            return [numbers[given.node], given.slot] if isinstance(given, Link) else given

        return {
            numbers[name]: {
                "class_type": kind,
                "inputs": {key: value(given) for key, given in inputs.items()},
                "_meta": {"title": name},
            }
            for name, (kind, inputs) in nodes.items()
        }


@dataclass
class Blueprint:
    """One node that stands for several.

    Attributes:
        graph: the nodes inside; some of their inputs are `Port`s.
        ports: inputs of the node, and what their widgets show; None for those that are links.
        outputs: of the node, from those inside.
    """

    graph: Graph
    ports: dict[str, Any]
    outputs: dict[str, Link]

    def uses(self, port: str) -> Iterable[tuple[str, str]]:
        """Nodes inside and their inputs that a port feeds."""
        for name, (_, inputs) in self.graph.nodes.items():
            yield from ((name, key) for key, given in inputs.items() if given == Port(port))

    def placed(self, name: str, given: dict[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
        """The nodes inside with their inputs, for a blueprint of this name with these inputs."""
        assert set(given) <= set(self.ports), sorted(set(given) - set(self.ports))
        ports = self.ports | given

        def value(inside: Any) -> Any:
            if isinstance(inside, Link):
                return Link(f"{name}.{inside.node}", inside.slot)
            return ports[inside.name] if isinstance(inside, Port) else inside

        found = {}
        for node, (kind, inputs) in self.graph.nodes.items():
            assert isinstance(kind, str), "blueprints hold no blueprints"
            values = {key: value(inside) for key, inside in inputs.items()}
            found[f"{name}.{node}"] = kind, {key: inside for key, inside in values.items() if inside is not None}
        return found
