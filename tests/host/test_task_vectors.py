"""The task vector apart from the text: the same as Instruction's, mixed by weight, and heard by the model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

RAIN = "Remove the rain from this picture."


@pytest.fixture(scope="module")
def vectors(node: Any, parts: SimpleNamespace) -> dict[str, Any]:
    return {task: node("PixWizardTaskEncoder", clip=parts.clip, task=task)[0] for task in ("derain", "depth")}


def test_the_encoder_gives_the_vector_that_instruction_has(node: Any, parts: SimpleNamespace) -> None:
    text = node("PixWizardInstruction", clip=parts.clip, text=RAIN)[0]
    vector, sentence, task = node("PixWizardTaskEncoder", clip=parts.clip, text=RAIN)
    assert torch.equal(vector.vector, text[0][1]["pooled_output"])
    assert (vector.task, sentence, task) == ("derain", RAIN, "derain")
    own = node("PixWizardInstruction", clip=parts.clip, task="depth")
    vector, sentence, task = node("PixWizardTaskEncoder", clip=parts.clip, task="depth")
    assert torch.equal(vector.vector, own[0][0][1]["pooled_output"]) and (sentence, task) == own[2:4]


def test_tasks_mix_by_weight(node: Any, vectors: dict[str, Any]) -> None:
    first, second = vectors.values()
    ends = [node("PixWizardMixTasks", first=first, second=second, weight=weight)[0] for weight in (0.0, 1.0)]
    for end, whole in zip(ends, (first, second), strict=True):
        assert torch.equal(end.vector, whole.vector) and end.task == whole.task
    half, likeness = node("PixWizardMixTasks", first=first, second=second)
    torch.testing.assert_close(half.vector, (first.vector + second.vector) / 2)
    assert half.task is None
    assert -1 <= likeness < 0.999 and node("PixWizardMixTasks", first=first, second=first)[1] > 0.999
    with pytest.raises(ValueError, match="have one width, found 192 and 768"):
        node("PixWizardMixTasks", first=first, second=first._replace(vector=torch.zeros(1, 768)))


def test_a_text_keeps_its_features_and_takes_another_task(
    node: Any, parts: SimpleNamespace, vectors: dict[str, Any]
) -> None:
    text = node("PixWizardInstruction", clip=parts.clip, task="derain")[0]
    before = text[0][1]["pooled_output"].clone()
    ((features, options),) = node("PixWizardSetTask", text=text, task_vector=vectors["depth"])[0]
    assert torch.equal(features, text[0][0]) and torch.equal(options["attention_mask"], text[0][1]["attention_mask"])
    assert torch.equal(options["pooled_output"], vectors["depth"].vector) and options["pixwizard_task"] == "depth"
    assert torch.equal(text[0][1]["pooled_output"], before), "the text that came in stays as it is"
    for wrong, found in (({}, "found none"), ({"pooled_output": before[:, :8]}, "width 8 ")):
        with pytest.raises(ValueError, match=f"Set Task needs the conditioning.*{found}"):
            node("PixWizardSetTask", text=[[features, wrong]], task_vector=vectors["depth"]._replace(vector=before))


def test_the_model_hears_the_vector(node: Any, parts: SimpleNamespace, vectors: dict[str, Any], example: Any) -> None:
    text, empty = node("PixWizardInstruction", clip=parts.clip, task="derain")[:2]
    image = dict(empty=empty, clip_vision=parts.vision, vae=parts.vae, image=example(size=64))

    def answer(positive: Any) -> Tensor:
        *branches, latent, _ = node("PixWizardImageConditioning", positive=positive, **image)
        given = dict(zip(("positive", "image_only", "negative"), branches, strict=True), latent=latent)
        return node("PixWizardSampler", model=parts.model, seed=5, points=2, **given)[0]["samples"]

    usual = answer(text)
    own, other = (answer(node("PixWizardSetTask", text=text, task_vector=vectors[t])[0]) for t in vectors)
    assert torch.equal(own, usual)
    assert float((other - usual).abs().mean()) > 1e-3 * float(usual.abs().mean())


def test_another_models_clip_is_refused(node: Any) -> None:
    with pytest.raises(
        ValueError, match="PixWizard Task Encoder: clip takes a CLIP, found a value of type SimpleNamespace"
    ):
        node("PixWizardTaskEncoder", clip=SimpleNamespace(cond_stage_model=torch.nn.Identity()), text=RAIN)
