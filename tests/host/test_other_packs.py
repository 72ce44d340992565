"""Labels in nodes of other packs, where these lie in the host's folder of custom nodes (or in OTHER_PACKS)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from torch import Tensor

FOLDER = Path(os.environ.get("OTHER_PACKS") or Path(os.environ.get("COMFYUI_PATH", "")) / "custom_nodes")


@pytest.fixture(scope="module")
def pack(host: SimpleNamespace) -> Callable[[str, str], None]:
    """Loads a pack as the host does; skips where it is not there or lacks what it needs."""

    def load(name: str, wanted: str) -> None:
        place = FOLDER / name
        if not place.is_dir():
            pytest.skip(f"no {name} in {FOLDER}: clone it there")
        if wanted not in host.nodes.NODE_CLASS_MAPPINGS:
            import server

            with pytest.MonkeyPatch.context() as patch:  # packs add routes to the page's server while they load
                patch.setattr(server.PromptServer, "instance", MagicMock(), raising=False)
                host.loop.run_until_complete(host.nodes.load_custom_node(str(place)))
        if wanted not in host.nodes.NODE_CLASS_MAPPINGS:
            pytest.skip(f"{name} does not load here, its own log says why: install its requirements")

    return load


@pytest.fixture(scope="module")
def figure(node: Any, host: SimpleNamespace) -> SimpleNamespace:
    """People as an answer to the task pose, and what Decode Keypoints reads there."""
    drawn = host.ours("training.render.figures").render_figures(1, 256, torch.Generator().manual_seed(2))
    pose = drawn.pose[0][drawn.pose[0].flatten(1).any(1)]
    skeleton = host.ours("comfyui_pixwizard.tasks").get_task("pose").encode(pose, size=(256, 256))
    answer = skeleton.permute(1, 2, 0)[None]
    frames = node("PixWizardDecodeKeypoints", image=answer, kind="skeleton (pose)")[1]
    return SimpleNamespace(answer=answer, frames=frames)


def test_controlnet_aux_draws_the_poses(pack: Any, node: Any, figure: SimpleNamespace) -> None:
    pack("comfyui_controlnet_aux", "RenderPeopleKps")
    asked = dict(render_body=True, render_hand=True, render_face=True)
    (drawn,) = node("RenderPeopleKps", kps=figure.frames, **asked)
    assert drawn.shape == figure.answer.shape

    def lit(image: Tensor) -> Tensor:
        return image[0].amax(-1) > 0.3

    # Its lines are thinner: all of them lie on ours, and every joint of ours is lit.
    ours = torch.nn.functional.max_pool2d(lit(figure.answer).float()[None, None], 5, 1, 2)[0, 0] > 0
    assert float(ours[lit(drawn)].float().mean()) > 0.95
    joints = torch.tensor([person["pose_keypoints_2d"] for person in figure.frames[0]["people"]]).reshape(-1, 3)
    seen = joints[joints[:, 2] > 0].long()
    assert lit(drawn)[seen[:, 1], seen[:, 0]].all()


def test_what_controlnet_aux_saves_is_read(
    pack: Any, node: Any, host: SimpleNamespace, figure: SimpleNamespace
) -> None:
    pack("comfyui_controlnet_aux", "SavePoseKpsAsJsonFile")
    saver = host.nodes.NODE_CLASS_MAPPINGS["SavePoseKpsAsJsonFile"]()
    saver.save_pose_kps(figure.frames, "Pose")
    (saved,) = (host.base / "output").glob("Pose*.json")
    image, frames, *_ = node("PixWizardPoseMap", json=saved.read_text())
    assert frames == figure.frames == json.loads(saved.read_text())
    read = node("PixWizardDecodeKeypoints", image=image, kind="skeleton (pose)")[2]
    assert read >= 0.9 * sum(sum(p["pose_keypoints_2d"][2::3]) for p in frames[0]["people"])


@pytest.mark.parametrize(("form", "name"), [("x, y, width, height", "xywh"), ("x0, y0, x1, y1", "xyxy")])
def test_kjnodes_takes_the_boxes(pack: Any, node: Any, form: str, name: str) -> None:
    pack("ComfyUI-KJNodes", "BboxVisualize")
    image, boxes = torch.zeros(1, 64, 64, 3), [[dict(x=8, y=6, width=20, height=30)]]
    bbox, _ = node("PixWizardBoxesToFormats", boxes=boxes, image=image, form=form)
    (drawn,) = node("BboxVisualize", images=image, bboxes=bbox, line_width=1, bbox_format=name)
    rows, columns = (drawn[0, ..., 0] > 0.5).nonzero().T
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (8, 28, 6, 36)
    if name == "xywh":
        assert node("BboxToInt", bboxes=bbox, index=0)[:4] == (8, 6, 20, 30)
        first, _ = node("SplitBboxes", bboxes=bbox, index=1)
        assert node("PixWizardBoxesFromFormats", image=image, bbox=first)[0] == boxes
