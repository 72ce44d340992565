"""Learned tasks and the task table in a graph: what they change, and that a MODEL without them stays as it was."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor


@pytest.fixture
def task_file(host: SimpleNamespace, tmp_path: Path) -> str:
    """A file of a task of random numbers, where the host looks."""
    import folder_paths

    config = host.ours("comfyui_pixwizard.config").PixWizardConfig.preset("nano")
    table = host.ours("comfyui_pixwizard.task_table").TaskTable.of(config, ["my-task"])
    generator = torch.Generator().manual_seed(0)
    for parameter in table.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    host.ours("comfyui_pixwizard.files.learned_task").LearnedTask(table, "Do it.", 3).save(tmp_path / "my.safetensors")
    folder_paths.add_model_folder_path("pixwizard_tasks", str(tmp_path))
    return "my.safetensors"


@pytest.fixture
def answer(node: Any, parts: SimpleNamespace, conditioned: Any, example: Any) -> Any:
    """Samples of a MODEL for "Remove the rain", as a named task or by the words."""

    def ask(model: Any, **more: Any) -> Tensor:
        asked = dict(clip=parts.clip, text="Remove the rain from this picture.", model=model)
        encoded, empty = node("PixWizardInstruction", **asked, **more)[:2]
        given = dict(positive=encoded, empty=empty, clip_vision=parts.vision, vae=parts.vae, image=example(size=64))
        positive, image_only, negative, latent = node("PixWizardImageConditioning", **given)[:4]
        branches = dict(positive=positive, image_only=image_only, negative=negative, latent=latent)
        return node("PixWizardSampler", model=model, points=3, text_guidance=2.0, **branches)[0]["samples"]

    return ask


def test_a_task_file_patches_a_model(node: Any, parts: SimpleNamespace, answer: Any, task_file: str) -> None:
    before = answer(parts.model)
    patched, sentence, points = node("PixWizardLoadTask", model=parts.model, task_file=task_file)
    assert (sentence, points) == ("Do it.", 3)
    assert not torch.allclose(answer(patched), before, atol=1e-3)
    idle = node("PixWizardLoadTask", model=parts.model, task_file=task_file, strength=0.0)[0]
    assert torch.equal(answer(idle), before) and torch.equal(answer(parts.model), before)
    with pytest.raises(ValueError, match="Load PixWizard Task: model takes a MODEL, found a value of type object"):
        node("PixWizardLoadTask", model=object(), task_file=task_file)


def test_a_task_table_is_told_the_task_of_the_instruction(
    host: SimpleNamespace, parts: SimpleNamespace, answer: Any
) -> None:
    network = parts.model.model
    kept = getattr(network, "task_table", (None,))
    network.task_table = (None,)
    before = answer(parts.model)
    table = host.ours("comfyui_pixwizard.task_table").TaskTable.of(network.diffusion_model.config, ["derain", "depth"])
    network.task_table = (table,)
    try:
        assert torch.equal(answer(parts.model), before), "zeros change nothing"
        table.vectors.data[0] = 1.0
        assert not torch.allclose(answer(parts.model), before, atol=1e-3)
        assert torch.equal(answer(parts.model, task="hed"), before), "a task that the table does not have"
    finally:
        network.task_table = kept
