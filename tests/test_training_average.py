"""The model between two: weights on the line from one to the other, and a folder that runs."""

from pathlib import Path

import pytest
import torch

from pixwizard.cli.train import Train
from pixwizard.comfyui_pixwizard import PixWizardPipeline
from pixwizard.training.recipes.average import AverageRecipe, average


def test_weights_lie_between(tmp_path: Path) -> None:
    begun, ended = PixWizardPipeline.from_pretrained("nano"), PixWizardPipeline.from_pretrained("nano")
    with torch.no_grad():
        for part in ended.parts.values():
            for weight in part.parameters():
                weight.add_(0.25)
    ended.save_pretrained(tmp_path / "ended", torch.float32)
    assert Train(AverageRecipe(other=tmp_path / "ended", share=0.2, out=tmp_path / "between")).run() == 0
    found = PixWizardPipeline.from_pretrained(tmp_path / "between")
    assert found.parts.keys() == begun.parts.keys() and "task_predictor" in found.parts
    for name, part in begun.parts.items():
        for key, weight in part.named_parameters():
            there = found.parts[name].get_parameter(key)
            torch.testing.assert_close(there, weight + 0.05, rtol=2e-3, atol=1e-3, msg=f"{name}.{key}")
    assert found.direction is None and begun.direction is not None and found.provenance["share"] == 0.2


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"found 1\.5: take 0\.5"):
        AverageRecipe(other=tmp_path, share=1.5).run()
    with pytest.raises(ValueError, match="one shape, found weight"):
        average(torch.nn.Linear(3, 2), torch.nn.Linear(4, 2), 0.5)
    bare = PixWizardPipeline.from_pretrained("nano")
    bare.task_table = None
    bare.save_pretrained(tmp_path / "bare")
    with pytest.raises(ValueError, match="found task_table in one only"):
        AverageRecipe(other=tmp_path / "bare").run()
