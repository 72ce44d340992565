"""Every example workflow runs in the host as it ships, and answers as the core pipeline does."""

from __future__ import annotations

import json
import os
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor
from workflow_graph import Graph
from workflows import WORKFLOWS

ROOT = Path(__file__).resolve().parents[2]
API = Path(__file__).parent / "api"
PAGE = ROOT / "example_workflows"
LEAST_PSNR = 50.0
THUMBNAIL = 192
# What the pipeline takes unless told otherwise.
DEFAULT_SOLVER = "unipc"


def stored(text: Any) -> str:
    return json.dumps(text, indent=1, ensure_ascii=False) + "\n"


def pictures(executor: Any, number: str) -> list[Image.Image]:
    """What a preview node showed."""
    import folder_paths

    shown = executor.history_result["outputs"][number]["images"]
    folders = [Path(folder_paths.get_directory_by_type(entry["type"])) for entry in shown]
    return [Image.open(f / entry["subfolder"] / entry["filename"]) for f, entry in zip(folders, shown, strict=True)]


class Reference:
    """Works a graph out with the core pipeline where the workflow samples, and with the nodes themselves elsewhere."""

    def __init__(self, graph: dict[str, Any], node: Any, pipeline: Any) -> None:
        self.graph, self.node, self.pipeline = graph, node, pipeline
        self.done: dict[str, tuple[Any, ...]] = {}

    def value(self, given: Any) -> Any:
        return self.outputs(given[0])[given[1]] if isinstance(given, list) else given

    def outputs(self, number: str) -> tuple[Any, ...]:
        if number not in self.done:
            entry = self.graph[number]
            work = getattr(self, entry["class_type"], None)
            self.done[number] = work(entry["inputs"]) if work else self._run(entry)
        return self.done[number]

    def _run(self, entry: dict[str, Any]) -> tuple[Any, ...]:
        return self.node(entry["class_type"], **{key: self.value(given) for key, given in entry["inputs"].items()})

    def PixWizardInstruction(self, inputs: dict[str, Any]) -> tuple[Any, ...]:
        _, _, *rest = self._run({"class_type": "PixWizardInstruction", "inputs": inputs})
        return (rest[0], "", *rest)

    def PixWizardImageConditioning(self, inputs: dict[str, Any]) -> tuple[Any, ...]:
        source, sentence = self.value(inputs["image"]), self.value(inputs["positive"])
        assert inputs["resolution"] == 0, "the workflows' pictures already have the model's size"
        question = (source, sentence)
        return question, question, question, question, source

    def _sample(
        self, question: Any, points: int, text: float, image: float, seed: int, solver: str = DEFAULT_SOLVER
    ) -> tuple[Any, ...]:
        source, sentence = question
        answers = self.pipeline.generate(
            source.permute(0, 3, 1, 2) * 2 - 1,
            [sentence] * len(source),
            steps=points,
            solver=solver,
            guidance=(text, image),
            seeds=[seed + i for i in range(len(source))],
        )
        return ((answers / 2 + 0.5).permute(0, 2, 3, 1),)

    def PixWizardSampler(self, inputs: dict[str, Any]) -> tuple[Any, ...]:
        assert inputs["solver"] == "the model's"
        names = ("positive", "points", "text_guidance", "image_guidance", "seed")
        return self._sample(*(self.value(inputs[name]) for name in names))

    def SamplerCustomAdvanced(self, inputs: dict[str, Any]) -> tuple[Any, ...]:
        guider = self.graph[inputs["guider"][0]]["inputs"]
        points = self.graph[inputs["sigmas"][0]]["inputs"]["points"]
        seed = self.graph[inputs["noise"][0]]["inputs"]["noise_seed"]
        scales = guider["cfg_conds"], guider["cfg_cond2_negative"]
        return self._sample(self.value(guider["cond1"]), points, *scales, seed, solver="euler")

    def VAEDecode(self, inputs: dict[str, Any]) -> tuple[Any, ...]:
        return (self.value(inputs["samples"]),)


def psnr(shown: Image.Image, expected: Tensor) -> float:
    truth = (expected.clamp(0, 1) * 255).numpy()
    error = np.square(np.asarray(shown, dtype=np.float64) - truth).mean()
    return float(10 * np.log10(255**2 / error))


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflow_runs_and_equals_the_pipeline(
    name: str, host: SimpleNamespace, node: Any, pipeline: Any, run_graph: Any
) -> None:
    graph = WORKFLOWS[name]()
    page = graph.page(host.nodes.NODE_CLASS_MAPPINGS)
    if os.environ.get("UPDATE_WORKFLOWS"):
        for folder, content in ((API, graph.api()), (PAGE, page)):
            folder.mkdir(exist_ok=True)
            (folder / f"{name}.json").write_text(stored(content))
    advice = "run UPDATE_WORKFLOWS=1 make test-host to write it again"
    assert (API / f"{name}.json").read_text() == stored(graph.api()), advice
    assert (PAGE / f"{name}.json").read_text() == stored(page), advice
    executor = run_graph(graph.api())
    numbers = {entry["_meta"]["title"]: number for number, entry in graph.api().items()}
    reference = Reference(graph.api(), node, pipeline)
    for title, what in graph.shown.items():
        expected = reference.value([numbers[what.node], what.slot])
        for shown, truth in zip(pictures(executor, numbers[title]), expected, strict=True):
            assert psnr(shown, truth) >= LEAST_PSNR, title
    if os.environ.get("UPDATE_WORKFLOWS"):
        thumbnail(graph, executor, numbers).save(PAGE / f"{name}.jpg", quality=88)
    with Image.open(PAGE / f"{name}.jpg") as picture:
        assert picture.format == "JPEG"


def thumbnail(graph: Graph, executor: Any, numbers: dict[str, str]) -> Image.Image:
    """The workflow's pictures side by side."""
    shown = [picture.convert("RGB") for title in graph.shown for picture in pictures(executor, numbers[title])]
    scaled = [p.resize((round(p.width * THUMBNAIL / p.height), THUMBNAIL), Image.Resampling.LANCZOS) for p in shown]
    sheet = Image.new("RGB", (sum(p.width for p in scaled) + 4 * (len(scaled) - 1), THUMBNAIL), "white")
    left = 0
    for picture in scaled:
        sheet.paste(picture, (left, 0))
        left += picture.width + 4
    return sheet


def test_nothing_else_ships() -> None:
    names = {path.stem for path in PAGE.iterdir()}
    assert names == set(WORKFLOWS) == {path.stem for path in API.iterdir()}
    assert all(path.stat().st_size < 60_000 for path in PAGE.glob("*.jpg"))


@pytest.mark.parametrize("name", WORKFLOWS)
def test_nothing_overlaps_in_the_page(name: str) -> None:
    page = json.loads((PAGE / f"{name}.json").read_text())
    # A title stands above its node.
    boxes = [(*node["pos"], *node["size"]) for node in page["nodes"]]
    boxes = [(x, y - 30, x + width, y + height) for x, y, width, height in boxes]
    for one, other in combinations(boxes, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1], (one, other)
    groups = [group["bounding"] for group in page["groups"]]
    inside = [
        sum(x <= a and y <= b and c <= x + width and d <= y + height for x, y, width, height in groups)
        for a, b, c, d in boxes
    ]
    assert inside == [0] + [1] * (len(boxes) - 1), "the note alone stands in no group"
    # Beside the page's side bar, under its top bars, and large enough to read.
    scale, (left, top) = page["extra"]["ds"]["scale"], page["extra"]["ds"]["offset"]
    assert scale >= 0.5
    corner = [scale * (min(box[i] for box in boxes) + shift) for i, shift in ((0, left), (1, top))]
    assert corner[0] >= 80 and corner[1] >= 80


def test_previews_have_titles() -> None:
    for name in WORKFLOWS:
        nodes = json.loads((PAGE / f"{name}.json").read_text())["nodes"]
        titles = [node.get("title") for node in nodes if node["type"] == "PreviewImage"]
        assert None not in titles and len(set(titles)) == len(titles), name


def test_a_wrong_graph_is_refused_in_words(host: SimpleNamespace) -> None:
    graph = WORKFLOWS["Restore a picture"]().api()
    graph["1"]["inputs"]["model"] = "gone.safetensors"
    valid = host.loop.run_until_complete(host.execution.validate_prompt("test", graph, None))
    assert "gone.safetensors" in str(valid[3])
