"""A newcomer's ComfyUI: nothing but its own requirements and ours is installed, and the server does the work."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import EXTENSION, HOST
from fresh import FreshHost
from PIL import Image

FOLDER = Path(__file__).parent
LACKING = {"onnx", "onnx_ir", "onnxruntime", "onnxscript", "diffusers", "cv2", "skimage", "pytest", "pixwizard"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FreshHost]:
    made = FreshHost(Path(HOST), EXTENSION, tmp_path_factory.mktemp("fresh"))
    try:
        made.wait()
        yield made
    finally:
        made.close()


def test_only_requirements_can_be_imported(server: FreshHost) -> None:
    from importlib import metadata

    installed = set(metadata.packages_distributions())
    assert {"torch", "einops", "transformers", "open_clip", "tyro", "aiohttp"} <= installed - set(server.hidden)
    assert installed & LACKING <= set(server.hidden) and "pytest" in server.hidden


def test_the_extension_loads_and_lists_all_nodes(server: FreshHost) -> None:
    assert "IMPORT FAILED" not in server.said() and "Cannot import" not in server.said(), server.said()
    nodes = server.get("object_info")
    assert set(json.loads((FOLDER / "schema.json").read_text())) <= set(nodes)
    assert "ComfyUI-PixWizard" in server.get("workflow_templates")


def test_the_list_of_blueprints_has_ours(server: FreshHost) -> None:
    found = server.get("global_subgraphs")
    files = {path.stem: path.read_text() for path in (EXTENSION / "subgraphs").glob("*.json")}
    assert len(files) == 5
    assert {entry["name"]: server.get(f"global_subgraphs/{number}")["data"] for number, entry in found.items()} == files
    assert {entry["info"]["node_pack"] for entry in found.values()} == {"custom_nodes.ComfyUI-PixWizard"}


def test_the_restoration_workflow_runs(server: FreshHost) -> None:
    graph = json.loads((FOLDER / "api" / "Restore a picture.json").read_text())
    done = server.run(graph)
    assert done["status"]["status_str"] == "success", done["status"]
    shown = {
        graph[number]["_meta"]["title"]: np.asarray(Image.open(io.BytesIO(server.picture(found["images"][0]))))
        for number, found in done["outputs"].items()
        if graph[number]["class_type"] == "PreviewImage"
    }
    before, after = (shown[name].astype(float) for name in ("before", "after"))
    assert before.shape == after.shape == (256, 256, 3) and after.std() > 10
    assert 1 < np.abs(after - before).mean() < 100


def test_a_graph_in_a_picture_gives_the_same_picture_elsewhere(
    server: FreshHost, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The host writes the graph into its pictures, and whoever gets one makes it again."""
    graph = json.loads((FOLDER / "api" / "Select by words (mask).json").read_text())
    (shows, *_) = [number for number, entry in graph.items() if entry["_meta"]["title"] == "after"]

    def made(host: FreshHost, asked: dict[str, object]) -> Image.Image:
        done = host.run(asked)
        assert done["status"]["status_str"] == "success", done["status"]
        return Image.open(io.BytesIO(host.picture(done["outputs"][shows]["images"][0])))

    first = made(server, graph)
    carried = json.loads(first.info["prompt"])
    assert carried.keys() == graph.keys()
    other = FreshHost(Path(HOST), EXTENSION, tmp_path_factory.mktemp("other"))
    try:
        other.wait()
        assert np.array_equal(np.asarray(made(other, carried)), np.asarray(first))
    finally:
        other.close()


def test_an_accelerator_that_is_not_installed_is_told_with_the_hosts_own_python(server: FreshHost) -> None:
    graph = json.loads((FOLDER / "api" / "Restore a picture.json").read_text())
    (load,) = (number for number, entry in graph.items() if entry["class_type"] == "PixWizardLoad")
    (sampler,) = (number for number, entry in graph.items() if entry["class_type"] == "PixWizardSampler")
    inputs = {"model": [load, 0], "backend": "onnxruntime", "precision": "auto", "on_missing": "build"}
    graph["fast"] = {"class_type": "PixWizardAccelerate", "inputs": inputs}
    graph[sampler]["inputs"] |= {"model": ["fast", 0], "seed": 2}
    graph["end"] = {"class_type": "PreviewAny", "inputs": {"source": ["fast", 1]}}
    done = server.run(graph)
    assert done["status"]["status_str"] == "success", done["status"]
    (status,) = done["outputs"]["fast"]["text"]
    assert status.startswith("the network runs as it is: onnxruntime: ")
    assert status.endswith(f": {sys.executable} -m pip install onnx onnxscript onnx-ir onnxruntime")


def test_a_graph_may_end_in_a_decode_node(server: FreshHost) -> None:
    graph = json.loads((FOLDER / "api" / "Read depth, normals and classes.json").read_text())
    ends = {number: entry for number, entry in graph.items() if entry["class_type"] != "PreviewImage"}
    done = server.run(ends)
    assert done["status"]["status_str"] == "success", done["status"]
    shown = {ends[number]["class_type"] for number, found in done["outputs"].items() if found.get("images")}
    assert {"PixWizardDecodeDepth", "PixWizardDecodeNormals", "PixWizardDecodeSegmentation"} <= shown
