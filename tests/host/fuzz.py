"""Graphs with one or two mistakes each, drawn from the nodes' own schemas; and what other nodes may bring.

A case is a small graph that works, with inputs replaced by: numbers at and beyond their edges and no numbers at all,
in a widget or by a link; words of no language, of 5,000 characters, of control characters; no link, a link of another
type, and pictures, masks, latents, models and text of other sizes, channels, kinds and values.
"""

from __future__ import annotations

import copy
import json
import math
import random
from pathlib import Path
from typing import Any

import torch
from workflows_more import READERS_BRING, accelerated

FOLDER = Path(__file__).parent
# What costs minutes, reads outside, or has a test of its own with what the reader brings.
LEFT_OUT = {accelerated().title, *READERS_BRING}
SMALL = {"size": 64, "points": 2, "seed": 1}
WORDS = (
    "",
    " ",
    "\n\n\t",
    "Remove the rain. " * 300,
    "把红色的球移走，然后把背景变成夜晚",
    "Удали дождь с этой картинки",
    "أزل المطر من هذه الصورة",
    "🎈🎈🎈",
    "\x00\x07\x1b[31m",
    "{caption} {color} %s %d {0}",
    "<b>(red:1.3)</b> [a|b] embedding:none",
    "red, red, red, red, red",
    "nothing of this kind: " + "x" * 5000,
    '{"boxes": [[1, 2]]}',
    "[[[NaN, 1, 2, 3]]]",
)
NO_NUMBERS = (math.nan, math.inf, -math.inf, "seven", "", None, [], {}, True)


class FuzzBring:
    """What a node of another pack may bring, by kind and name."""

    RETURN_TYPES = ("*",)
    FUNCTION = "bring"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"kind": ("STRING", {}), "name": ("STRING", {})}}

    @classmethod
    def VALIDATE_INPUTS(cls, input_types: Any) -> bool:
        return True

    def bring(self, kind: str, name: str) -> tuple[Any]:
        return (BROUGHT[kind][name](),)


def _picture(*shape: int, value: float | None = None) -> torch.Tensor:
    drawn = torch.rand(shape, generator=torch.Generator().manual_seed(4))
    return drawn if value is None else torch.full(shape, value)


class _Foreign:
    """An object of another architecture: it has nothing that ours have."""


def _conditioning(*shape: int, **more: Any) -> list[Any]:
    return [[_picture(*shape), {"pooled_output": _picture(1, 1280), **more}]]


BROUGHT: dict[str, dict[str, Any]] = {
    "IMAGE": {
        "small": lambda: _picture(1, 17, 33, 3),
        "pixel": lambda: _picture(1, 1, 1, 3),
        "long": lambda: _picture(1, 16, 700, 3),
        "batch": lambda: _picture(3, 64, 64, 3),
        "none": lambda: _picture(0, 64, 64, 3),
        "grey": lambda: _picture(1, 64, 64, 1),
        "alpha": lambda: _picture(1, 64, 64, 4),
        "nan": lambda: _picture(1, 64, 64, 3, value=math.nan),
        "infinite": lambda: _picture(1, 64, 64, 3, value=math.inf),
        "bright": lambda: _picture(1, 64, 64, 3) * 300,
        "negative": lambda: _picture(1, 64, 64, 3) - 2,
        "half": lambda: _picture(1, 64, 64, 3).half(),
        "double": lambda: _picture(1, 64, 64, 3).double(),
        "bytes": lambda: (_picture(1, 64, 64, 3) * 255).to(torch.uint8),
        "flat": lambda: _picture(64, 64, 3),
    },
    "MASK": {
        "small": lambda: _picture(1, 17, 33),
        "empty": lambda: _picture(1, 64, 64, value=0.0),
        "full": lambda: _picture(1, 64, 64, value=1.0),
        "flat": lambda: _picture(64, 64),
        "batch": lambda: _picture(3, 64, 64),
        "none": lambda: _picture(0, 64, 64),
        "nan": lambda: _picture(1, 64, 64, value=math.nan),
        "bright": lambda: _picture(1, 64, 64) * 300,
    },
    "LATENT": {
        "other": lambda: {"samples": _picture(1, 4, 8, 8)},
        "video": lambda: {"samples": _picture(1, 16, 5, 8, 8)},
        "nan": lambda: {"samples": _picture(1, 16, 8, 8, value=math.nan)},
        "large": lambda: {"samples": _picture(1, 16, 24, 8)},
        "batch": lambda: {"samples": _picture(3, 16, 8, 8)},
        "none": lambda: {"samples": _picture(0, 16, 8, 8)},
        "empty": lambda: {},
    },
    "CONDITIONING": {
        "plain": lambda: _conditioning(1, 77, 768),
        "none": lambda: [],
        "two": lambda: _conditioning(1, 8, 256) + _conditioning(1, 8, 256),
        "nan": lambda: [[_picture(1, 8, 256, value=math.nan), {}]],
    },
    "MODEL": {"foreign": _Foreign},
    "CLIP": {"foreign": _Foreign},
    "CLIP_VISION": {"foreign": _Foreign},
    "VAE": {"foreign": _Foreign},
    "PIXWIZARD_TASK": {"foreign": _Foreign},
    "BOUNDING_BOX": {"none": list, "odd": lambda: [[{"x": math.nan, "y": -5, "width": 0, "height": 1e9}]]},
    "BBOX": {"none": list, "odd": lambda: [(1, 2)]},
    "POSE_KEYPOINT": {"none": list, "odd": lambda: [{"people": [{"pose_keypoints_2d": [1.0]}]}]},
    "STRING": {"number": lambda: 7, "long": lambda: "word " * 1000},
}


def formats() -> dict[str, Any]:
    """A graph of the nodes that no example workflow has."""
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("PixWizardLoad", dict(model="nano (bundled)", weight_dtype="default")),
        ("PixWizardExample", dict(kind="scene", prepared_for="nothing: the clean picture", seed=1, size=64)),
        ("PixWizardConvertDepth", dict(image=["2", 0], source_form="inverse, near white (MiDaS, Depth Anything)",
            target_form="PixWizard's picture of depth", near=1.0, far=13.0)),
        ("PixWizardDecodeDepth", dict(image=["3", 0], code="the model's", near=1.0, far=13.0, model=["1", 0])),
        ("PixWizardDepthMesh", dict(metres=["4", 1], field_of_view=50.0, tear=0.1, points=16)),
        ("PixWizardBoxesFromFormats", dict(image=["2", 0], json="[[[4, 6, 20, 30]]]", form="x, y, width, height")),
        ("PixWizardBoxesToFormats", dict(boxes=["6", 0], image=["2", 0], form="x0, y0, x1, y1", names="ball")),
        ("PixWizardMaskToEditor", dict(image=["2", 0], mask=["6", 1], name="fuzz")),
        ("PixWizardPoseMap", dict(json='{"people": []}', width=64, height=64)),
        ("PixWizardTaskEncoder", dict(clip=["1", 1], task="derain", text="", caption="", color="red", class_name="",
            wording=0)),
        ("PixWizardTaskEncoder", dict(clip=["1", 1], task="depth", text="", caption="", color="red", class_name="",
            wording=0)),
        ("PixWizardMixTasks", dict(first=["10", 0], second=["11", 0], weight=0.5)),
        ("PixWizardInstruction", dict(clip=["1", 1], task="derain", text="", caption="", color="red", class_name="",
            wording=0)),
        ("PixWizardSetTask", dict(text=["13", 0], task_vector=["12", 0])),
        ("PixWizardImageConditioning", dict(positive=["14", 0], empty=["13", 1], clip_vision=["1", 2], vae=["1", 3],
            image=["2", 0], resolution=0)),
        ("PixWizardGuider", dict(model=["1", 0], positive=["15", 0], image_only=["15", 1], negative=["15", 2],
            text_guidance=1.0, image_guidance=1.0, guided_channels="the model's")),
        ("PixWizardFlowSchedule", dict(points=2, shift=1.0, denoise=1.0)),
        ("RandomNoise", dict(noise_seed=1)),
        ("KSamplerSelect", dict(sampler_name="euler")),
        ("SamplerCustomAdvanced", dict(noise=["18", 0], guider=["16", 0], sampler=["19", 0], sigmas=["17", 0],
            latent_image=["15", 3])),
        ("VAEDecode", dict(samples=["20", 0], vae=["1", 3])),
        ("PreviewImage", dict(images=["21", 0])),
        ("PreviewImage", dict(images=["9", 0])),
        ("PreviewAny", dict(source=["7", 1])),
        ("PreviewAny", dict(source=["5", 0])),
    ]  # fmt: skip
    return {str(i): {"class_type": kind, "inputs": inputs} for i, (kind, inputs) in enumerate(kinds, start=1)}


def bases(known: set[str]) -> dict[str, dict[str, Any]]:
    """Graphs that work, made small: the example workflows whose nodes a host has, and `formats`."""
    found = {"formats": formats()}
    for path in sorted((FOLDER / "api").glob("*.json")):
        graph = json.loads(path.read_text())
        if path.stem in LEFT_OUT or {entry["class_type"] for entry in graph.values()} - known:
            continue
        for entry in graph.values():
            inputs = entry["inputs"]
            inputs |= {name: value for name, value in SMALL.items() if name in inputs}
        found[path.stem] = graph
    return found


class Cases:
    """Draws cases.

    Args:
        schemas: what `schema.json` holds.
        graphs: what `bases` answers.
    """

    def __init__(self, schemas: dict[str, Any], graphs: dict[str, dict[str, Any]]) -> None:
        self.graphs = graphs
        self.inputs = {kind: {item["id"]: item for item in entry["inputs"]} for kind, entry in schemas.items()}
        self.places = [
            (name, number, item)
            for name, graph in graphs.items()
            for number, entry in graph.items()
            for item in self.inputs.get(entry["class_type"], {})
        ]

    def case(self, number: int) -> tuple[str, dict[str, Any]]:
        """What is wrong in it, in words, and the graph."""
        draw = random.Random(number)
        # Every kind of node and every input equally often, however many graphs have it.
        kinds = sorted({self.graphs[name][n]["class_type"] for name, n, _ in self.places})
        kind = kinds[number % len(kinds)]
        item = draw.choice(sorted(self.inputs[kind]))
        name, node, _ = draw.choice([p for p in self.places if self._kind(p) == kind and p[2] == item])
        graph = copy.deepcopy(self.graphs[name])
        told = [self._spoil(graph, node, item, draw)]
        if draw.random() < 0.3:
            other = draw.choice([p for p in self.places if p[0] == name and p[1:] != (node, item)])
            told.append(self._spoil(graph, *other[1:], draw))
        return f"{name}: " + "; ".join(told), graph

    def _kind(self, place: tuple[str, str, str]) -> str:
        return str(self.graphs[place[0]][place[1]]["class_type"])

    def _spoil(self, graph: dict[str, Any], node: str, item: str, draw: random.Random) -> str:
        entry = graph[node]
        about = self.inputs[entry["class_type"]][item]
        inputs, place = entry["inputs"], f"{entry['class_type']}.{item}"
        kind = about["type"]
        if kind in BROUGHT and (kind != "STRING" or draw.random() < 0.3):
            return self._brought(graph, inputs, item, kind, place, draw)
        if kind in ("INT", "FLOAT"):
            value = draw.choice([*self._edges(about), *NO_NUMBERS])
            if isinstance(value, int | float) and math.isfinite(value) and draw.random() < 0.4:
                primitive = "PrimitiveInt" if kind == "INT" else "PrimitiveFloat"
                graph["by link"] = {"class_type": primitive, "inputs": {"value": value}}
                inputs[item] = ["by link", 0]
                return f"{place} = {value} by a link"
        elif kind == "COMBO":
            value = draw.choice(["no such choice", "", None, 3, ["7", 0]])
        elif kind == "BOOLEAN":
            value = draw.choice([True, False, "yes", None, 2])
        else:
            value = draw.choice(WORDS)
        inputs[item] = value
        return f"{place} = {str(value)[:40]!r}"

    def _edges(self, about: dict[str, Any]) -> list[float]:
        low, high = about.get("min"), about.get("max")
        found: list[float] = [0, -1, 10**9, 2**63, -(2**63)]
        if low is not None and high is not None:
            found += [low, high if high <= 1000 and about["id"] not in ("points", "size") else low, high + 1, low - 1]
        return found if about["type"] == "INT" else [*map(float, found), 0.5, 1e-9, 1e30]

    def _brought(
        self, graph: dict[str, Any], inputs: dict[str, Any], item: str, kind: str, place: str, draw: random.Random
    ) -> str:
        choice = draw.random()
        if choice < 0.1:
            inputs.pop(item, None)
            return f"{place} without a link"
        if choice < 0.2:
            node = draw.choice(sorted(graph))
            slot = draw.randrange(4)
            inputs[item] = [node, slot]
            return f"{place} from output {slot} of {graph[node]['class_type']}"
        name = draw.choice(sorted(BROUGHT[kind]))
        number = f"brought {len(graph)}"
        graph[number] = {"class_type": "FuzzBring", "inputs": {"kind": kind, "name": name}}
        inputs[item] = [number, 0]
        return f"{place} = {kind} {name}"
