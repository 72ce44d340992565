"""How a sampling is asked for: the choice of image tokens."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from pixwizard.cli.main import main
from pixwizard.comfyui_pixwizard.evaluator import EagerStep
from pixwizard.comfyui_pixwizard.pictures.images import metadata_of
from pixwizard.comfyui_pixwizard.pipeline import PixWizardPipeline
from pixwizard.comfyui_pixwizard.sampling import Sampling

WORDS = ["Remove the rain", "Remove the noise"]


@pytest.fixture(scope="module")
def source() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_sampled_tokens_follow_the_seed_alone(tiny: PixWizardPipeline, source: Tensor) -> None:
    how = dict(steps=3, solver="euler", guidance=(2.0, 1.5), token_choice="sampled")
    both = tiny.generate(source, WORDS, seeds=[4, 5], **how)
    assert torch.equal(both, tiny.generate(source, WORDS, seeds=[4, 5], **how))
    alone = tiny.generate(source[1:], WORDS[1:], seeds=[5], **how)
    torch.testing.assert_close(alone, both[1:], atol=1e-5, rtol=0)
    best = tiny.generate(source, WORDS, seeds=[4, 5], **(how | {"token_choice": "best"}))
    assert (both - best).abs().max() > 1e-3


def test_tokens_are_drawn_at_every_evaluation(
    tiny: PixWizardPipeline, source: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[Tensor] = []
    prepare = EagerStep.__init__

    def noted(self: EagerStep, transformer: object, branches: dict, *others: object, **more: object) -> None:
        chosen.append(branches["full"].conditions.selected)
        prepare(self, transformer, branches, *others, **more)

    monkeypatch.setattr(EagerStep, "__init__", noted)
    tiny.generate(source, WORDS, seeds=[4, 5], steps=4, solver="euler", guidance=(1.0, 1.0), token_choice="sampled")
    assert len(chosen) == 3
    assert all(not torch.equal(a, b) for a, b in pairwise(chosen))
    ordered = torch.stack(chosen).diff(dim=-1)
    assert bool((ordered > 0).all()), "each token once, in ascending order"


def test_run_writes_the_choice(tiny_folder: Path, tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 60).convert("RGB").save(tmp_path / "in.png")
    command = ["run", str(tmp_path / "in.png"), "-i", "Remove the noise", "--model", str(tiny_folder), "--steps", "2"]
    assert main([*command, "-o", str(tmp_path / "a.png"), "--token-choice", "sampled"]) == 0
    assert main([*command, "-o", str(tmp_path / "b.png")]) == 0
    assert metadata_of(tmp_path / "a.png")["token_choice"] == "sampled"
    assert "token_choice" not in metadata_of(tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


def test_other_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="the token choice is best or sampled, found 'worst'"):
        Sampling(token_choice="worst")
