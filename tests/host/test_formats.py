"""Round trips through the forms of the host and of other packs: masks, boxes, poses, depth."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor


def pictures(size: int, count: int = 1) -> Tensor:
    """Noise in 8 bits, as files hold it."""
    drawn = torch.rand(count, size, size, 3, generator=torch.Generator().manual_seed(1))
    return (drawn * 255).round() / 255


def test_masks_go_through_the_hosts_editor(node: Any, host: SimpleNamespace, run_graph: Any) -> None:
    image, mask = pictures(size=64), torch.zeros(1, 64, 64)
    mask[:, 10:30, 20:40] = 1
    (file,) = node("PixWizardMaskToEditor", image=image, mask=mask)
    picture, found = node("LoadImage", image=file)
    assert torch.equal(found, mask)
    # Colours stay under the mask.
    torch.testing.assert_close(picture, image, atol=1e-6, rtol=0)
    # The editor's brush: what is painted is transparent.
    place = host.base / "input" / file
    with Image.open(place) as stored:
        pixels = np.array(stored)
    pixels[40:50, 5:15, 3] = 0
    Image.fromarray(pixels).save(place)
    picture, painted = node("LoadImage", image=file)
    hole = node("PixWizardInpaintCanvas", image=picture, mask=painted)[1]
    mask[:, 40:50, 5:15] = 1
    assert torch.equal(hole, mask)
    assert node("PixWizardMaskToEditor", image=image, mask=mask)[0] != file, "no file is overwritten"
    with pytest.raises(ValueError, match="name has letters, digits, spaces"):
        node("PixWizardMaskToEditor", image=image, mask=mask, name="../a")
    again = {"image": ["1", 0], "mask": ["1", 1], "name": "again"}
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": file}},
        "2": {"class_type": "PixWizardMaskToEditor", "inputs": again},
    }
    assert run_graph(graph).history_result["outputs"]["2"]["images"][0]["type"] == "input"


@pytest.mark.parametrize("form", ["x, y, width, height", "x0, y0, x1, y1"])
def test_boxes_go_to_other_packs_and_back(node: Any, form: str) -> None:
    image = pictures(count=2, size=64)
    boxes = [[dict(x=4, y=6, width=20, height=30), dict(x=40, y=1, width=9, height=9)]]
    bbox, text = node("PixWizardBoxesToFormats", boxes=boxes, image=image[:1], form=form, names="cone, box")
    assert bbox[0] == ((4, 6, 20, 30) if form.startswith("x,") else (4, 6, 24, 36))
    found, mask, drawn, names, count = node("PixWizardBoxesFromFormats", image=image[:1], form=form, bbox=bbox)
    assert found == boxes and (names, count) == ("box 1, box 2", 2)
    assert mask[0, 6:36, 4:24].all() and mask.sum() == 20 * 30 + 81 and drawn.shape[1] > 400
    found, _, _, names, count = node("PixWizardBoxesFromFormats", image=image, json=text, form=form)
    assert found == boxes * 2 and (names, count) == ("cone, box", 4)


def test_boxes_of_an_answer_are_read_back(node: Any, host: SimpleNamespace) -> None:
    source = torch.full((1, 128, 128, 3), 0.5)
    draw = host.ours("comfyui_pixwizard.tasks").get_task("referring_box").encode
    answer = draw(torch.tensor([[20.0, 30.0, 70.0, 90.0]]), source[0].permute(2, 0, 1)).permute(1, 2, 0)[None]
    _, boxes, mask, _, _, text, _ = node("PixWizardDecodeBoxes", image=answer, source=source)
    found, area, *_ = node("PixWizardBoxesFromFormats", image=source, json=text)
    assert found == boxes and torch.equal(area, mask)
    bbox, _ = node("PixWizardBoxesToFormats", boxes=boxes, image=source)
    assert node("PixWizardBoxesFromFormats", image=source, bbox=bbox)[0] == boxes


def test_boxes_name_what_is_wrong(node: Any) -> None:
    image = pictures(count=3, size=64)
    for given, words in (
        ({}, "takes json or bbox, found neither"),
        (dict(json="[]", bbox=[]), "takes json or bbox, found both"),
        (dict(json="[[[1, 2, 3, 4]], [[1, 2, 3, 4]]]"), "of each of 3, found those of 2"),
        (dict(json="[["), "json must be JSON"),
    ):
        with pytest.raises(ValueError, match=words):
            node("PixWizardBoxesFromFormats", image=image, **given)


def test_poses_go_to_controlnet_aux_and_back(node: Any, host: SimpleNamespace) -> None:
    figures = host.ours("training.render.figures").render_figures(1, 256, torch.Generator().manual_seed(2))
    pose = figures.pose[0][figures.pose[0].flatten(1).any(1)]
    skeleton = host.ours("comfyui_pixwizard.tasks").get_task("pose").encode(pose, size=(256, 256))
    answer = skeleton.permute(1, 2, 0)[None]
    frames = node("PixWizardDecodeKeypoints", image=answer, kind="skeleton (pose)")[1]
    image, again, text, count = node("PixWizardPoseMap", pose=frames)
    assert again == frames == json.loads(text) and count == len(pose)
    assert torch.equal(node("PixWizardPoseMap", json=text)[0], image)
    smaller = node("PixWizardPoseMap", json=text, width=128, height=192)[1]
    large, small = (torch.tensor([p["pose_keypoints_2d"] for p in f[0]["people"]]).reshape(-1, 18, 3)
                    for f in (frames, smaller))  # fmt: skip
    torch.testing.assert_close(small, large * torch.tensor([0.5, 0.75, 1.0]), atol=0.02, rtol=0)
    read = node("PixWizardDecodeKeypoints", image=image, kind="skeleton (pose)")[1]
    found = torch.tensor([p["pose_keypoints_2d"] for p in read[0]["people"]]).reshape(-1, 18, 3)
    both = (found[..., 2] > 0) & (large[..., 2] > 0)
    assert int(both.sum()) >= 0.9 * int((large[..., 2] > 0).sum())
    assert float((found - large)[both].abs().max()) < 2.0


def test_poses_name_what_is_wrong(node: Any) -> None:
    frame = {"people": [], "canvas_width": 64, "canvas_height": 64}
    for given, words in (
        ({}, "takes json or pose, found neither"),
        (dict(pose=[frame, frame | {"canvas_width": 128}]), "skeletons of one batch have one size"),
        (dict(pose=[frame | {"canvas_width": 10**6}]), "sides of at most 4096 px"),
    ):
        with pytest.raises(ValueError, match=words):
            node("PixWizardPoseMap", **given)


METRES = "metres"
FORMS = [
    "inverse, near white (MiDaS, Depth Anything)",
    "linear, near white (Zoe, metric Depth Anything)",
    "linear, far white (Marigold)",
    "PixWizard's picture of depth",
]


@pytest.fixture
def metres() -> Tensor:
    depth = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0)) * 8 + 2
    depth[0, 0, :2] = torch.tensor([2.0, 10.0])
    return depth[..., None].expand(-1, -1, -1, 3)


@pytest.mark.parametrize("form", FORMS)
def test_depth_goes_to_other_packs_and_back(node: Any, metres: Tensor, form: str) -> None:
    asked = dict(near=2.0, far=10.0)
    (map_,) = node("PixWizardConvertDepth", image=metres, source_form=METRES, target_form=form, **asked)
    assert map_.min() >= 0 and map_.max() <= 1
    if "white" in form:
        near, far = map_[0, 0, 0, 0], map_[0, 0, 1, 0]
        assert (near, far) == ((1, 0) if "near white" in form else (0, 1)), "stretched over the picture"
    (back,) = node("PixWizardConvertDepth", image=map_, source_form=form, target_form=METRES, **asked)
    torch.testing.assert_close(back, metres, atol=2e-3, rtol=2e-3)


def test_grey_of_another_pack_becomes_what_the_model_reads(node: Any) -> None:
    """A map in 8 bits, as depth nodes of other packs give it, becomes the picture that the task is asked on."""
    nearness = (torch.linspace(0, 255, 64).round() / 255).expand(1, 64, 64)
    (picture,) = node("PixWizardConvertDepth", image=nearness[..., None].expand(-1, -1, -1, 3), near=1.0, far=9.0)
    expected = 1 / (nearness / 1.0 + (1 - nearness) / 9.0)
    found = node("PixWizardDecodeDepth", image=picture)[1][..., 0]
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.01)
    with pytest.raises(ValueError, match="near lies before far, found 5 and 2 m"):
        node("PixWizardConvertDepth", image=picture, near=5.0, far=2.0)
    with pytest.raises(ValueError, match="depth in metres is above 0, found 0: choose another source_form"):
        node("PixWizardConvertDepth", image=torch.zeros(1, 8, 8, 3), source_form=METRES)
