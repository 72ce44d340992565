"""What nodes show for looking: pictures in a row, image tokens that are kept, depth as a surface."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor


@pytest.fixture(scope="module")
def given(example: Any, conditioned: Any) -> tuple[Any, ...]:
    return conditioned(example(count=2, size=64))


def test_pictures_stand_in_a_row(node: Any) -> None:
    one, two = torch.rand(1, 64, 64, 3), (torch.rand(2, 128, 128, 3) * 255).round() / 255
    row = node("PixWizardSideBySide", source=one, answer=two, height=128)[0]
    assert row.shape[0] == 2 and row.shape[2] == 2 * 128 + 3 * 8
    torch.testing.assert_close(row[1, 26 : 26 + 128, 8 + 128 + 8 : -8], two[1], atol=1e-6, rtol=0)
    three = node("PixWizardSideBySide", source=one, answer=two, label=two, height=128, titles="a, b, c")[0]
    assert three.shape[2] == 3 * 128 + 4 * 8
    with pytest.raises(ValueError, match="a picture for label must come once or once for each of 3 rows, found 2"):
        node("PixWizardSideBySide", source=one, answer=one.expand(3, -1, -1, -1), label=two)


def test_kept_tokens_are_those_of_the_pipeline(
    node: Any, parts: SimpleNamespace, given: tuple[Any, ...], host: SimpleNamespace, pipeline: Any
) -> None:
    positive, *_, source = given
    image, layers, text = node("PixWizardKeptTokens", model=parts.model, positive=positive, source=source)
    told = json.loads(text)
    choice = host.ours("training.evaluate.token_choice")
    to_image = host.ours("comfyui_pixwizard.pictures.images").unit_to_image
    for entry, picture in zip(told, source, strict=True):
        expected = choice.chosen_tokens(
            pipeline, to_image(picture.permute(2, 0, 1)), ["Remove the rain from this picture."]
        )
        found = torch.zeros_like(expected[0])
        for row, numbers in zip(found, entry["layers"], strict=True):
            row[numbers] = True
        assert float((found == expected[0]).float().mean()) > 0.99
    side = round(told[0]["tokens"] ** 0.5)
    alone = node("PixWizardKeptTokens", model=parts.model, positive=positive, source=source, layer=1)[0]
    assert alone.shape == image.shape and layers.shape[0] == 2
    # The first row of tokens, by how bright they are against the picture itself.
    cell = alone.shape[1] // side
    whole = torch.nn.functional.interpolate(source.permute(0, 3, 1, 2), size=alone.shape[1:3], mode="bicubic")
    tops = alone[0, :cell].mean((0, 2)), whole[0, :, :cell].mean((0, 1))
    seen, picture = (top[: side * cell].reshape(side, cell).mean(1) for top in tops)
    assert (seen / picture > 0.5).tolist() == [k in told[0]["layers"][0] for k in range(side)]


def test_kept_tokens_name_what_is_wrong(node: Any, parts: SimpleNamespace, given: tuple[Any, ...]) -> None:
    asked = dict(model=parts.model, positive=given[0], source=given[-1])
    count = len(parts.model.model.diffusion_model.layers)
    for wrong, words in (
        (dict(layer=count + 1), f"this model has {count} layers, found layer {count + 1}"),
        (dict(positive=given[2]), "found none: connect positive of Image Conditioning"),
        (dict(model=SimpleNamespace(model=None)), "needs a PixWizard MODEL, found another one"),
    ):
        with pytest.raises(ValueError, match=words):
            node("PixWizardKeptTokens", **(asked | wrong))


def test_of_large_batches_the_first_are_drawn(node: Any) -> None:
    preview, *_, drawn = node("PixWizardDecodeNormals", image=torch.rand(70, 8, 8, 3))
    assert len(preview) == 70 and len(drawn) == 64


def triangles(path: Path) -> int:
    """Of a GLB file."""
    length = struct.unpack("<I", path.read_bytes()[12:16])[0]
    accessors = json.loads(path.read_bytes()[20 : 20 + length])["accessors"]
    return next(entry["count"] for entry in accessors if entry["type"] == "SCALAR") // 3


def test_the_host_saves_depth_as_a_surface(run_graph: Any, host: SimpleNamespace) -> None:
    canvas = {"class_type": "PixWizardBlankCanvas", "inputs": {"width": 64, "height": 64, "batch_size": 2}}
    depth = {"image": ["1", 0], "code": "gray", "near": 1.0, "far": 13.0}
    mesh = {"metres": ["2", 1], "field_of_view": 50.0, "tear": 0.1, "points": 256}
    executor = run_graph({
        "1": canvas,
        "2": {"class_type": "PixWizardDecodeDepth", "inputs": depth},
        "3": {"class_type": "PixWizardDepthMesh", "inputs": mesh},
        "4": {"class_type": "SaveGLB", "inputs": {"mesh": ["3", 0], "filename_prefix": "surface"}},
    })  # fmt: skip
    assert len(executor.history_result["outputs"]["4"]["3d"]) == 2
    assert [triangles(path) for path in sorted((host.base / "output").glob("surface*.glb"))] == [2 * 63 * 63] * 2


def test_surfaces_of_a_batch_tear_each_for_itself(node: Any) -> None:
    metres = torch.full((2, 16, 16, 3), 2.0)
    metres[1, :, 8:] = 4.0
    mesh = node("PixWizardDepthMesh", metres=metres)[0]
    assert mesh.vertices.shape == (2, 256, 3) and mesh.faces.shape == (2, 2 * 15 * 15, 3)
    area = [float(areas(corners, faces).gt(0).sum()) for corners, faces in zip(mesh.vertices, mesh.faces, strict=True)]
    assert area == [2 * 15 * 15, 2 * 15 * 14]


def areas(corners: Tensor, faces: Tensor) -> Tensor:
    a, b, c = corners[faces].unbind(1)
    return torch.linalg.cross(b - a, c - a).norm(dim=-1) / 2
