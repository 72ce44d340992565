"""A pipeline with a task table: on disk, and what it is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from pixwizard.comfyui_pixwizard.files.table_file import TABLE_FILE
from pixwizard.comfyui_pixwizard.pipeline import PixWizardPipeline
from pixwizard.comfyui_pixwizard.task_table import TaskTable
from pixwizard.comfyui_pixwizard.tasks import TASKS


@pytest.fixture
def tabled(fresh_tiny: Callable[[], PixWizardPipeline]) -> PixWizardPipeline:
    plain = fresh_tiny()
    table = TaskTable.of(plain.transformer.config, list(TASKS))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in table.parameters():
            parameter.normal_(generator=generator)
    return PixWizardPipeline(**plain.parts, task_table=table, provenance={"recipe": "test"})


def ask(pipeline: PixWizardPipeline, **options: object) -> torch.Tensor:
    source = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return pipeline.generate(source, ["Remove the noise."], steps=3, guidance=(2.0, 1.0), seeds=[0], **options)  # type: ignore[arg-type]


def test_a_table_is_kept_in_a_file_beside_the_network(tabled: PixWizardPipeline, tmp_path: Path) -> None:
    tabled.save_pretrained(tmp_path, torch.float32)
    loaded = PixWizardPipeline.from_pretrained(tmp_path)
    assert (tmp_path / TABLE_FILE).is_file() and loaded.task_table is not None
    assert torch.equal(ask(loaded, tasks=["denoise"]), ask(tabled, tasks=["denoise"]))
    loaded.task_table = None
    loaded.save_pretrained(tmp_path, torch.float32)
    assert not (tmp_path / TABLE_FILE).exists(), "a table of before is none of this model"


def test_what_the_table_is_told(tabled: PixWizardPipeline, tiny: PixWizardPipeline) -> None:
    none, denoise, depth = (ask(tabled, tasks=[task]) for task in (None, "denoise", "depth"))
    assert torch.equal(none, ask(tiny)), "no task, no change"
    assert not torch.allclose(denoise, none, atol=1e-3) and not torch.allclose(denoise, depth, atol=1e-3)
    assert torch.equal(ask(tabled), denoise), "without tasks the predicted ones"
    picture = Image.new("RGB", (64, 64), "gray")
    said = [
        tabled(picture, "Remove the noise", steps=3, task=task).image.tobytes() for task in (None, "denoise", "hed")
    ]
    assert said[0] == said[1] != said[2]
    with pytest.raises(ValueError, match="tasks are given for each of 1 instructions, found 2"):
        ask(tabled, tasks=["denoise", "depth"])


def test_widths_must_be_the_networks(tiny: PixWizardPipeline) -> None:
    with pytest.raises(ValueError, match="task_table must have widths 32 and 32 for this transformer, found 31 and 32"):
        PixWizardPipeline(**tiny.parts, task_table=TaskTable(["depth"], 31, 32))
