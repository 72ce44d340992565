"""Nodes around the MODEL: instructions, canvases, schedule, decoders with real answers, errors."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch


@pytest.fixture(scope="module")
def scene(node: Any) -> SimpleNamespace:
    """A rendered scene with what is known of it."""
    names = ("image", "clean", "caption", "thing", "mask")
    return SimpleNamespace(**dict(zip(names, node("PixWizardExample", kind="scene", seed=4, size=128), strict=True)))


# -- instructions ---------------------------------------------------------------------------------------------------


def test_a_task_writes_its_sentence_and_settings(host: SimpleNamespace, node: Any, parts: SimpleNamespace) -> None:
    tasks = host.ours("comfyui_pixwizard.tasks").TASKS
    given = dict(clip=parts.clip, caption="the red cone", color="blue", class_name="a green box")
    for name, task in tasks.items():
        *_, sentence, chosen, points, text, image = node("PixWizardInstruction", task=name, **given)
        assert chosen == name and "{" not in sentence
        assert (points, (text, image)) == (task.steps, task.guidance)
    first, second = (node("PixWizardInstruction", clip=parts.clip, task="derain", wording=i)[2] for i in (0, 1))
    assert first != second
    inpaint = [
        node("PixWizardInstruction", clip=parts.clip, task="inpaint", caption=word)[2] for word in ("", "a cone")
    ]
    assert inpaint == ["Fill in the missing parts of this picture.", "Fill the holes with a cone."]
    every = node("PixWizardInstruction", clip=parts.clip, task="referring_box", class_name="red cone")[2]
    assert every == "Draw a box around every red cone."
    assert node("PixWizardInstruction", clip=parts.clip, text="Remove the rain.")[3] == "derain"
    assert node("PixWizardInstruction", clip=parts.clip, text="Zzzz qqq")[3] == "none"


def test_instructions_name_what_is_missing(node: Any, parts: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match="found neither"):
        node("PixWizardInstruction", clip=parts.clip)
    with pytest.raises(ValueError, match="fill in caption"):
        node("PixWizardInstruction", clip=parts.clip, task="edit_remove")
    with pytest.raises(ValueError, match="fill in class_name"):
        node("PixWizardInstruction", clip=parts.clip, task="edit_replace", caption="the box")


# -- canvases and schedule --------------------------------------------------------------------------------------------


def test_inpaint_canvas_cuts_holes(node: Any, scene: SimpleNamespace) -> None:
    mask = torch.zeros(1, 64, 64)
    mask[:, 16:32, 16:32] = 1
    canvas, hole = node("PixWizardInpaintCanvas", image=scene.clean, mask=mask, fill="white")
    assert hole.sum() == 32 * 32 and bool((canvas[hole > 0.5] == 1).all())
    assert torch.equal(canvas[hole < 0.5], scene.clean[hole < 0.5])
    _, larger = node("PixWizardInpaintCanvas", image=scene.clean, mask=mask, grow=4)
    _, back = node("PixWizardInpaintCanvas", image=scene.clean, mask=larger, grow=-4)
    assert larger.sum() > 40 * 38 and torch.equal(back, hole)


def test_outpaint_canvas_adds_margins(node: Any, scene: SimpleNamespace) -> None:
    canvas, mask = node("PixWizardOutpaintCanvas", image=scene.clean, left=8, top=16, right=24, bottom=0)
    assert canvas.shape == (1, 144, 160, 3) and torch.equal(canvas[:, 16:, 8:136], scene.clean)
    assert mask.sum() == 144 * 160 - 128 * 128 and mask[0, 20, 20] == 0


def test_blank_canvas(node: Any) -> None:
    canvas = node("PixWizardBlankCanvas", width=128, height=64, batch_size=2)[0]
    assert canvas.shape == (2, 64, 128, 3) and bool((canvas == 1).all())


def test_resolution_keeps_the_shape_of_the_picture(conditioned: Any, example: Any) -> None:
    wide = example(size=192)[:, :96]
    *_, latent, source = conditioned(wide, resolution=128)
    assert tuple(source.shape[1:3]) == (80, 192) or source.shape[2] > source.shape[1]
    assert tuple(latent["samples"].shape[-2:]) == (source.shape[1] // 8, source.shape[2] // 8)
    assert conditioned(example(count=2), resolution=64)[4].shape == (2, 64, 64, 3)


def test_schedule_is_the_released_grid(node: Any) -> None:
    sigmas = node("PixWizardFlowSchedule", points=5)[0]
    torch.testing.assert_close(sigmas, torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0]))
    part = node("PixWizardFlowSchedule", points=5, denoise=0.5)[0]
    torch.testing.assert_close(part, torch.tensor([0.5, 0.25, 0.0]))
    shifted = node("PixWizardFlowSchedule", points=3, shift=3.0)[0]
    torch.testing.assert_close(shifted[1], torch.tensor(0.75))


def test_guided_channels_leave_the_others_alone(
    node: Any, parts: SimpleNamespace, conditioned: Any, example: Any
) -> None:
    positive, image_only, negative, latent, _ = conditioned(example(size=64))
    branches = dict(model=parts.model, positive=positive, image_only=image_only, negative=negative, latent=latent)
    some, plain, full = (
        node("PixWizardSampler", points=2, text_guidance=g, guided_channels=c, **branches)[0]["samples"]
        for g, c in ((3.0, "first 3 (released code)"), (1.0, "all"), (3.0, "all"))
    )
    torch.testing.assert_close(some[:, 3:], plain[:, 3:])
    torch.testing.assert_close(some[:, :3], full[:, :3])


def test_keep_unchanged_keeps_the_source(node: Any, parts: SimpleNamespace, scene: SimpleNamespace) -> None:
    soft = node("VAEDecode", vae=parts.vae, samples=node("VAEEncode", vae=parts.vae, pixels=scene.clean)[0])[0]
    answer = soft.clone()
    answer[:, 40:80, 40:80] = torch.tensor([1.0, 0.0, 1.0])
    kept = node("PixWizardKeepUnchanged", image=answer, source=scene.clean, vae=parts.vae)[0]
    assert torch.equal(kept[:, 100:], scene.clean[:, 100:])
    torch.testing.assert_close(kept[:, 50:70, 50:70], answer[:, 50:70, 50:70], atol=0.05, rtol=0)


def test_keep_unchanged_compares_with_the_source_itself(
    node: Any, parts: SimpleNamespace, scene: SimpleNamespace
) -> None:
    answer = scene.clean + 0.02
    answer[:, 40:80, 40:80] = torch.tensor([1.0, 0.0, 1.0])
    given = dict(image=answer, source=scene.clean, vae=parts.vae, threshold=0.03, reference="source")
    kept = node("PixWizardKeepUnchanged", **given)[0]
    assert torch.equal(kept[:, 100:], scene.clean[:, 100:])
    torch.testing.assert_close(kept[:, 50:70, 50:70], answer[:, 50:70, 50:70], atol=1e-5, rtol=0)


def test_keep_unchanged_at_threshold_0_takes_all_for_changed(
    node: Any, parts: SimpleNamespace, scene: SimpleNamespace
) -> None:
    soft = node("VAEDecode", vae=parts.vae, samples=node("VAEEncode", vae=parts.vae, pixels=scene.clean)[0])[0]
    answer = soft * 0.5
    kept = node("PixWizardKeepUnchanged", image=answer, source=scene.clean, vae=parts.vae, threshold=0.0)[0]
    error, plain = ((picture - scene.clean * 0.5).square().mean() for picture in (kept, answer))
    assert error < 0.2 * plain, "what the autoencoder loses is half as strong too"


def test_keep_unchanged_does_what_its_task_needs(node: Any, parts: SimpleNamespace, scene: SimpleNamespace) -> None:
    given = dict(image=scene.clean * 0.5, source=scene.clean, vae=parts.vae)
    large = torch.nn.functional.interpolate(scene.clean.movedim(-1, 1), scale_factor=2).movedim(1, -1)

    def kept(threshold: float = 0.1, **more: Any) -> Any:
        return node("PixWizardKeepUnchanged", threshold=threshold, **given, **more)[0]

    def enlarged(image: Any) -> Any:
        return node("PixWizardSourceSize", image=image, original=large)[0]

    everywhere, a_part = kept(0.0), kept()
    assert not torch.equal(everywhere, a_part)
    assert torch.equal(kept(task="dehaze"), everywhere) and torch.equal(kept(0.0, task="edit_remove"), a_part)
    for plain in ("denoise", "depth", "none"):
        assert torch.equal(kept(task=plain), given["image"])
        assert torch.equal(kept(task=plain, original=large), enlarged(given["image"]))
    assert torch.equal(kept(task="dehaze", original=large), kept(0.0, original=large))
    assert torch.equal(kept(task="derain", original=large), enlarged(everywhere))
    with pytest.raises(ValueError, match="found 'paint': choose one of them"):
        kept(task="paint")


def test_a_chain_is_its_steps_one_after_the_other(node: Any, parts: SimpleNamespace, scene: SimpleNamespace) -> None:
    given = dict(model=parts.model, clip=parts.clip, clip_vision=parts.vision, vae=parts.vae)
    first, second = "Remove the rain from this picture.", "Estimate the depth of this picture."

    def chain(image: Any, *lines: str, **more: Any) -> tuple[Any, ...]:
        return node("PixWizardEditChain", image=image, instructions="\n".join(lines), **given, **more)

    image, steps, tasks = chain(scene.clean, first, " ", second)
    assert tasks.splitlines() == ["derain", "depth"] and torch.equal(steps[1:], image)
    alone, whole = chain(scene.clean, first)[0], chain(scene.clean, first, threshold=0.0)[0]
    assert torch.equal(steps[:1], alone)
    kept = (alone == scene.clean).all(-1)
    assert bool(kept.any()) and not bool((whole == scene.clean).all(-1)[kept].all())
    assert torch.equal(chain(alone, second)[0], image)
    assert torch.equal(chain(alone, second, threshold=0.0)[0], image), "reading pastes nothing back"
    large = scene.clean.repeat_interleave(2, 1).repeat_interleave(2, 2)
    found = chain(large, first, resolution=128)[0]
    assert found.shape == large.shape and bool((found == large).all(-1).any())
    with pytest.raises(ValueError, match="Edit Chain needs an instruction, found none"):
        chain(scene.clean, " ", "")


# -- decoders ---------------------------------------------------------------------------------------------------------


def test_depth_in_metres(node: Any, encode: Any) -> None:
    depth = torch.linspace(1.5, 12.0, 64).repeat(64, 1)
    preview, metres, nearness, sure, text, drawn = node("PixWizardDecodeDepth", image=encode("depth", depth))
    assert preview.shape == (1, 64, 64, 3) and sure > 0.9
    assert drawn.shape[1] > 400 and drawn.shape[2] > drawn.shape[1], "enlarged, with a scale beside it"
    torch.testing.assert_close(metres[0, ..., 0], depth, atol=0.05, rtol=0.01)
    assert nearness[0, 0, 0] == 1 and nearness[0, 0, -1] == 0
    assert abs(json.loads(text)[0]["farthest_m"] - 12) < 0.1


def test_relative_depth_has_no_metres(node: Any, encode: Any) -> None:
    from comfy_execution.graph_utils import ExecutionBlocker

    depth = torch.linspace(2.0, 8.0, 64).repeat(64, 1)
    image = encode("depth", depth, codec="relative")
    expected = (1 / depth - 1 / 8) / (1 / 2 - 1 / 8)
    for asked in (dict(sentence="Make a relative depth map."), dict(code="relative")):
        preview, metres, nearness, sure, text, drawn = node("PixWizardDecodeDepth", image=image, **asked)
        assert preview.shape == image.shape and sure == 1 and isinstance(metres, ExecutionBlocker)
        assert drawn.shape[1] > 400
        torch.testing.assert_close(nearness[0], expected, atol=1e-5, rtol=1e-5)
        (found,) = json.loads(text)
        assert found["relative"] and (found["nearest"], found["farthest"]) == (1, 0)
        assert not [name for name in found if name.endswith("_m")]


def test_normals(node: Any, encode: Any) -> None:
    normal = torch.nn.functional.normalize(torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0)), dim=0)
    _, values, sure, *_ = node("PixWizardDecodeNormals", image=encode("normal", normal))
    torch.testing.assert_close(values[0].permute(2, 0, 1), normal, atol=1e-3, rtol=0)
    assert sure > 0.9


def test_edges(node: Any, encode: Any) -> None:
    edges = torch.zeros(32, 32)
    edges[10, 4:28] = 1
    preview, mask, sure, text, drawn = node("PixWizardDecodeEdges", image=encode("canny", edges))
    assert torch.equal(mask[0], edges) and sure == 1 and torch.equal(preview, drawn)
    assert json.loads(text)[0]["share"] == round(24 / 1024, 4)
    band = torch.zeros(32, 32)
    band[8:13] = torch.tensor([0.1, 0.2, 0.4, 0.2, 0.1])[:, None]
    found, strengths = (
        node("PixWizardDecodeEdges", image=encode("canny", band), code=c)[1] for c in ("lines", "edges")
    )
    assert torch.equal(found[0, 10], torch.ones(32)) and found.sum() == 32
    torch.testing.assert_close(strengths[0], band)


def test_classes_and_a_mask_of_one(node: Any, encode: Any) -> None:
    classes = torch.ones(64, 64, dtype=torch.long)
    classes[16:40, 16:40] = 4
    image = encode("segmentation", classes)
    _, mask, ids, sure, text, _ = node("PixWizardDecodeSegmentation", image=image, pick="box")
    assert torch.equal(mask[0].bool(), classes == 4) and torch.equal(ids[0, ..., 0].long(), classes) and sure > 0.9
    assert {entry["name"] for entry in json.loads(text)[0]["classes"]} == {"ground", "box"}
    assert node("PixWizardDecodeSegmentation", image=image, pick="1")[1].sum() == (classes == 1).sum()
    with pytest.raises(ValueError, match="pick names a class"):
        node("PixWizardDecodeSegmentation", image=image, pick="zebra")


def test_masks_by_overlay_and_in_black_and_white(
    node: Any, encode: Any, parts: SimpleNamespace, scene: SimpleNamespace
) -> None:
    truth = scene.mask[0] > 0.5
    overlay = encode("referring_segmentation", truth, scene.clean)
    mask, _, found, sure, *_ = node("PixWizardDecodeMask", image=overlay, source=scene.clean)
    assert found and sure > 0.1
    assert (mask[0].bool() & truth).sum() / (mask[0].bool() | truth).sum() > 0.9
    answer = node("VAEDecode", vae=parts.vae, samples=node("VAEEncode", vae=parts.vae, pixels=overlay)[0])[0]
    mask = node("PixWizardDecodeMask", image=answer, source=scene.clean, vae=parts.vae)[0]
    assert (mask[0].bool() & truth).sum() / (mask[0].bool() | truth).sum() > 0.7
    kind = "black and white (mask)"
    mask, *_ = node("PixWizardDecodeMask", image=encode("referring_mask", truth), kind=kind)
    assert torch.equal(mask[0].bool(), truth)
    assert node("PixWizardDecodeMask", image=torch.zeros(1, 64, 64, 3), kind=kind)[2] is False


def test_colours_of_marks_are_read_from_the_sentence(node: Any, encode: Any, scene: SimpleNamespace) -> None:
    truth = torch.zeros(128, 128, dtype=torch.bool)
    truth[30:90, 20:70] = True
    overlay, said = encode("referring_segmentation", truth, scene.clean, color="green"), "Highlight the cone in green."
    mask = node("PixWizardDecodeMask", image=overlay, source=scene.clean, sentence=said)[0]
    assert (mask[0].bool() & truth).sum() / (mask[0].bool() | truth).sum() > 0.9
    boxes = torch.tensor([[20.0, 30.0, 70.0, 90.0], [80.0, 10.0, 120.0, 60.0]])
    image, said = encode("referring_box", boxes, scene.clean, color="blue"), "Draw blue boxes around all red boxes."
    assert node("PixWizardDecodeBoxes", image=image, source=scene.clean, sentence=said)[3] == 2
    dots = torch.tensor([[40.0, 60.0, 1.0], [90.0, 20.0, 1.0]])
    image = encode("keypoint", dots, scene.clean, colors=("yellow", "blue"))
    said = "Mark the nose in yellow and the left knee in blue."
    assert node("PixWizardDecodeKeypoints", image=image, source=scene.clean, sentence=said)[2] == 2


def test_boxes(node: Any, encode: Any, scene: SimpleNamespace) -> None:
    box = torch.tensor([[20.0, 30.0, 70.0, 90.0]])
    image = encode("referring_box", box, scene.clean)
    _, boxes, mask, count, _, text, drawn = node("PixWizardDecodeBoxes", image=image, source=scene.clean)
    assert count == 1 and abs(boxes[0][0]["x"] - 20) <= 1 and abs(boxes[0][0]["width"] - 50) <= 2
    assert abs(mask.sum() - 50 * 60) < 250 and json.loads(text)[0]["canvas_width"] == 128
    named = node("PixWizardDecodeBoxes", image=image, source=scene.clean, names="the cone, nothing")[-1]
    assert named.shape == drawn.shape and not torch.equal(named, drawn)
    assert node("PixWizardDecodeBoxes", image=scene.clean, source=scene.clean)[3] == 0


def test_dots_and_skeletons(node: Any, encode: Any, scene: SimpleNamespace, host: SimpleNamespace) -> None:
    dot = torch.tensor([[40.0, 60.0, 1.0]])
    image = encode("keypoint", dot, scene.clean, colors=("red",))
    _, frames, count, *_ = node("PixWizardDecodeKeypoints", image=image, source=scene.clean)
    x, y, seen = frames[0]["people"][0]["pose_keypoints_2d"]
    assert count == 1 and abs(x - 40) < 1 and abs(y - 60) < 1 and seen == 1
    render = host.ours("training.render.figures").render_figures
    figure = render(1, 256, torch.Generator().manual_seed(2))
    pose = figure.pose[0][figure.pose[0].flatten(1).any(1)]
    skeleton = encode("pose", pose, size=(256, 256))
    _, frames, count, *_ = node("PixWizardDecodeKeypoints", image=skeleton, kind="skeleton (pose)")
    assert len(frames[0]["people"]) == len(pose) and count >= 0.9 * (pose[..., 2] > 0).sum()


def test_sources_of_another_size_are_refused(node: Any, scene: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match="connect the source output of Image Conditioning"):
        node("PixWizardDecodeMask", image=scene.clean, source=scene.clean[:, :64])


@pytest.mark.parametrize("kind, prepared_for", [("face", "face"), ("people", "pose_to_image"), ("shapes", "derain"),
                                                ("scene", "sketch_to_image"), ("scene", "depth_to_image"),
                                                ("photograph: cat", "dehaze")])  # fmt: skip
def test_examples(node: Any, kind: str, prepared_for: str) -> None:
    image, clean, caption, *_ = node("PixWizardExample", kind=kind, prepared_for=prepared_for, seed=2, size=128)
    again = node("PixWizardExample", kind=kind, prepared_for=prepared_for, seed=2, size=128)[0]
    assert torch.equal(image, again) and not torch.equal(image, clean)
    assert bool(caption) == (kind in {"scene", "people", "photograph: cat"})


def test_a_photograph_has_any_size_and_no_labels(node: Any) -> None:
    own, half = (node("PixWizardExample", kind="photograph: rocket", size=size)[1] for size in (256, 128))
    assert own.shape == (1, 256, 256, 3) and half.shape == (1, 128, 128, 3)
    pooled = own.unflatten(2, (128, 2)).unflatten(1, (128, 2)).mean((2, 4))
    assert (pooled - half).abs().mean() < 0.01
    with pytest.raises(ValueError, match="choose people"):
        node("PixWizardExample", kind="photograph: rocket", prepared_for="pose_to_image")


def test_an_example_without_the_map_is_refused(node: Any) -> None:
    with pytest.raises(ValueError, match="choose scene"):
        node("PixWizardExample", kind="face", prepared_for="depth_to_image")


DECODERS = {
    "Depth": dict(code="walk", near=1.0, far=13.0),
    "Normals": {},
    "Segmentation": dict(code="palette", class_names="", pick=""),
    "Mask": dict(kind="black and white (mask)", color="magenta"),
    "Boxes": dict(color="red"),
    "Keypoints": dict(kind="skeleton (pose)", colors="red"),
}


@pytest.mark.parametrize("name", DECODERS)
def test_a_graph_may_end_in_a_decoder(run_graph: Any, name: str) -> None:
    graph = {
        "1": {"class_type": "PixWizardBlankCanvas", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "2": {"class_type": f"PixWizardDecode{name}", "inputs": {"image": ["1", 0]} | DECODERS[name]},
    }
    assert run_graph(graph).history_result["outputs"]["2"]["images"]
