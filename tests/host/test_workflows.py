"""Every example workflow runs in the host as it ships, and answers as the core pipeline does."""

from __future__ import annotations

import json
import os
from itertools import combinations, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from reference import Reference
from workflow_checks import ADVICE, check_links, check_places, pictures, psnr, stored
from workflow_graph import Graph
from workflow_page import page
from workflows import WORKFLOWS
from workflows_more import FOLDER, LORA, TASK_FILE, released

ROOT = Path(__file__).resolve().parents[2]
API = Path(__file__).parent / "api"
PAGE = ROOT / "example_workflows"
THUMBNAIL = 192
# More where the thumbnail is made of it.
LEARNED_STEPS = 300 if os.environ.get("UPDATE_WORKFLOWS") else 30
RELEASED_WEIGHTS = released().title


@pytest.fixture(scope="module")
def brought(host: SimpleNamespace, node: Any, pipeline: Any) -> SimpleNamespace:
    """What readers of some workflows bring: a folder of pictures, a LoRA with the pipeline that has it, a task."""
    import folder_paths
    from safetensors.torch import save_file

    folder = host.base / "input" / FOLDER
    folder.mkdir()
    for kind in ("coffee", "rocket"):
        hazy = node("PixWizardExample", kind=f"photograph: {kind}", prepared_for="dehaze", seed=3, size=256)[0][0]
        Image.fromarray((hazy * 255).round().to(torch.uint8).numpy()).save(folder / f"{kind}.png")
    loras = host.base / "loras"
    loras.mkdir()
    weights, layer = pipeline.transformer.state_dict(), "layers.2.feed_forward.w1"
    rows, columns = weights[f"{layer}.weight"].shape
    generator = torch.Generator().manual_seed(0)
    up, down = torch.randn(rows, 4, generator=generator), torch.randn(4, columns, generator=generator) / columns**0.5
    names = {"lora_A.weight": down, "lora_B.weight": up / 2, "alpha": torch.tensor(4.0)}
    save_file({f"diffusion_model.{layer}.{name}": value for name, value in names.items()}, loras / LORA)
    folder_paths.add_model_folder_path("loras", str(loras))
    adapted = type(pipeline).from_pretrained("nano")
    adapted.transformer.load_state_dict(host.ours("training.loop.lora").merged(weights, loras / LORA))
    # In the order in which the host's node reads them.
    read = [np.asarray(Image.open(folder / name)) for name in os.listdir(folder)]
    shown = [torch.from_numpy(one / np.float32(255))[None] for one in read]
    return SimpleNamespace(pictures=shown, adapted=adapted, task=learned_task(host, pipeline))


def learned_task(host: SimpleNamespace, pipeline: Any) -> Any:
    """A duotone, learned from a few pairs and in fewer steps than a reader would take, where the host looks."""
    import folder_paths

    learning = host.ours("training.recipes.inversion")
    instruction, draw = host.ours("training.data.rendered.new_tasks").NEW_TASKS["duotone"]
    generator = torch.Generator().manual_seed(0)
    source, target = draw(12, 128, generator)
    pairs = [learning.encoded(pipeline, source * 2 - 1, target * 2 - 1)]
    network = type(pipeline).from_pretrained("nano").transformer.requires_grad_(False)
    table = host.ours("comfyui_pixwizard.task_table").TaskTable.of(network.config, ["my-task"])
    model = host.ours("training.loop.velocity").FeatureModel(network, table)
    stage = learning.PairStage(model, pipeline, "my-task", instruction, pairs, 4)
    # The host has not what the trainer logs with.
    optimizer = torch.optim.Adam(table.parameters(), 0.1)
    for _ in range(LEARNED_STEPS):
        optimizer.zero_grad()
        stage.loss(stage.batch(generator), generator)[0].backward()
        optimizer.step()
    task = host.ours("comfyui_pixwizard.files.learned_task").LearnedTask(table.eval(), instruction, 5)
    (host.base / "tasks").mkdir()
    task.save(host.base / "tasks" / TASK_FILE)
    folder_paths.add_model_folder_path("pixwizard_tasks", str(host.base / "tasks"))
    return task


def written(name: str, graph: Graph, classes: Any) -> dict[str, Any]:
    """The API graph of a workflow, which is stored as its page is; UPDATE_WORKFLOWS stores them."""
    shown = page(graph, classes)
    if os.environ.get("UPDATE_WORKFLOWS"):
        for folder, content in ((API, graph.api()), (PAGE, shown)):
            folder.mkdir(exist_ok=True)
            (folder / f"{name}.json").write_text(stored(content))
    assert (API / f"{name}.json").read_text() == stored(graph.api()), ADVICE
    assert (PAGE / f"{name}.json").read_text() == stored(shown), ADVICE
    return graph.api()


@pytest.mark.parametrize("name", [name for name in WORKFLOWS if name != RELEASED_WEIGHTS])
def test_workflow_runs_and_equals_the_pipeline(
    name: str, host: SimpleNamespace, node: Any, pipeline: Any, run_graph: Any, brought: SimpleNamespace
) -> None:
    graph = WORKFLOWS[name]()
    classes = host.nodes.NODE_CLASS_MAPPINGS
    absent = sorted({kind for kind, _ in graph.flat().values()} - set(classes))
    if absent:
        pytest.skip(f"this ComfyUI has no {', '.join(absent)}")
    api = written(name, graph, classes)
    executor = run_graph(api)
    numbers = {entry["_meta"]["title"]: number for number, entry in api.items()}
    # A list of pictures goes through the graph one by one.
    known = [{numbers["pictures"]: (one,)} for one in brought.pictures] if "pictures" in numbers else [{}]
    references = [Reference(api, node, pipeline, brought.adapted, brought.task, given) for given in known]
    for title, what in graph.shown.items():
        origin = graph.origin(what)
        expected = [one for each in references for one in each.value([numbers[origin.node], origin.slot])]
        for shown, truth in zip(pictures(executor, numbers[title]), expected, strict=True):
            assert psnr(shown, truth) >= graph.least, title
    update_thumbnail(name, graph, executor, numbers)


def test_a_lora_is_seen_and_a_folder_is_saved(host: SimpleNamespace, run_graph: Any, brought: SimpleNamespace) -> None:
    import folder_paths

    api = {name: json.loads((API / f"{name}.json").read_text()) for name in ("With a LoRA", "Restore a folder")}
    (number,) = (number for number, entry in api["With a LoRA"].items() if entry["_meta"]["title"] == "after")
    answers = []
    for strength in (1.0, 0.0):
        for entry in api["With a LoRA"].values():
            entry["inputs"] |= {"strength_model": strength} if "strength_model" in entry["inputs"] else {}
        answers.append(np.asarray(pictures(run_graph(api["With a LoRA"]), number)[0], dtype=np.float64))
    assert np.abs(answers[0] - answers[1]).mean() > 2
    if "LoadImageDataSetFromFolder" not in host.nodes.NODE_CLASS_MAPPINGS:
        pytest.skip("this ComfyUI has no nodes for folders")
    run_graph(api["Restore a folder"])
    saved = sorted(Path(folder_paths.get_output_directory(), "restored").iterdir())
    assert len(saved) == len(brought.pictures) == 2
    for path, before in zip(saved, brought.pictures, strict=True):
        assert Image.open(path).size == (before.shape[2], before.shape[1])


def test_the_released_weights_are_named_where_they_are_missing(
    host: SimpleNamespace, run_graph: Any, tmp_path: Path
) -> None:
    import folder_paths

    graph = WORKFLOWS[RELEASED_WEIGHTS]()
    api = written(RELEASED_WEIGHTS, graph, host.nodes.NODE_CLASS_MAPPINGS)
    numbers = {entry["_meta"]["title"]: number for number, entry in api.items()}

    def errors() -> dict[str, Any]:
        return host.loop.run_until_complete(host.execution.validate_prompt("test", api, None))[3]

    wanted = {title: [file.name for file in files] for title, files in graph.files.items()}
    missing = errors()
    assert {number for title, number in numbers.items() if title in wanted} == set(missing)
    for title, files in wanted.items():
        chosen = {value for value in api[numbers[title]]["inputs"].values() if isinstance(value, str)}
        assert set(files) == chosen - {"default"}
        assert all(name in str(missing[numbers[title]]) for name in chosen - {"default"})
    for files in graph.files.values():
        for name, url, directory in files:
            assert url.startswith("https://huggingface.co/") and directory in folder_paths.folder_names_and_paths
            (tmp_path / directory).mkdir(exist_ok=True)
            (tmp_path / directory / name).touch()
            folder_paths.add_model_folder_path(directory, str(tmp_path / directory))
    assert errors() == {}
    nodes = json.loads((PAGE / f"{RELEASED_WEIGHTS}.json").read_text())["nodes"]
    told = [file for entry in nodes for file in entry["properties"].get("models", ())]
    assert sorted(file["name"] for file in told) == sorted(name for names in wanted.values() for name in names)
    # The card shows the picture alone, which needs no weights.
    graph.shown = {"before": graph.shown["before"]}
    alone = {number: api[number] for number in (numbers["example"], numbers["before"])}
    update_thumbnail(RELEASED_WEIGHTS, graph, run_graph(alone), numbers)


def update_thumbnail(name: str, graph: Graph, executor: Any, numbers: dict[str, str]) -> None:
    """Write the card's picture where UPDATE_WORKFLOWS asks for it; there is one."""
    if os.environ.get("UPDATE_WORKFLOWS"):
        thumbnail(graph, executor, numbers).save(PAGE / f"{name}.jpg", quality=80, optimize=True)
    with Image.open(PAGE / f"{name}.jpg") as picture:
        assert picture.format == "JPEG" and picture.height == THUMBNAIL


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
    assert all(path.stat().st_size < 40_000 for path in PAGE.glob("*.jpg"))


@pytest.mark.parametrize("name", WORKFLOWS)
def test_nothing_overlaps_in_the_page(name: str) -> None:
    graph = json.loads((PAGE / f"{name}.json").read_text())
    boxes = check_places(graph["nodes"])
    groups = [group["bounding"] for group in graph["groups"]]
    inside = [
        sum(x <= a and y <= b and c <= x + width and d <= y + height for x, y, width, height in groups)
        for a, b, c, d in boxes
    ]
    assert inside == [0] + [1] * (len(boxes) - 1), "the note alone stands in no group"
    # Beside the page's side bar, under its top bars, and large enough to read.
    scale, (left, top) = graph["extra"]["ds"]["scale"], graph["extra"]["ds"]["offset"]
    assert scale >= 0.5
    corner = [scale * (min(box[i] for box in boxes) + shift) for i, shift in ((0, left), (1, top))]
    assert corner[0] >= 80 and corner[1] >= 80


@pytest.mark.parametrize("name", WORKFLOWS)
def test_links_fit(name: str) -> None:
    graph = json.loads((PAGE / f"{name}.json").read_text())
    check_links(graph["nodes"], graph["links"])


def test_no_wires_cross_between_readings() -> None:
    graph = json.loads((PAGE / "Read depth, normals and classes.json").read_text())
    nodes = {node["id"]: node for node in graph["nodes"]}
    points = {point["id"]: point for point in graph["extra"]["reroutes"]}
    last = {entry["id"]: entry["parentId"] for entry in graph["extra"]["linkExtensions"]}
    wires = []
    for number, origin, slot, target, place, _ in graph["links"]:
        one, other = nodes[origin], nodes[target]
        way, at = [(other["pos"][0], other["pos"][1] + 14 + 20 * place)], last.get(number)
        while at:
            assert number in points[at]["linkIds"]
            way.append(tuple(points[at]["pos"]))
            at = points[at].get("parentId")
        way.append((one["pos"][0] + one["size"][0], one["pos"][1] + 14 + 20 * slot))
        wires.append(({origin, target}, list(pairwise(way))))
    assert len(wires) == 8
    for (ends, way), (_, second) in combinations(wires, 2):
        assert not any(crossing(a, b) for a in way for b in second), ends
    for ends, way in wires:
        for node in (node for number, node in nodes.items() if number not in ends):
            (x, y), (width, height) = node["pos"], node["size"]
            corners = (x, y - 30), (x + width, y - 30), (x + width, y + height), (x, y + height)
            assert not any(crossing(a, b) for a in way for b in pairwise((*corners, corners[0]))), (ends, node["type"])


def crossing(one: Any, other: Any) -> bool:
    """Whether two straight lines cross, their ends apart."""

    def side(a: Any, b: Any, c: Any) -> float:
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    (a, b), (c, d) = one, other
    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


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
