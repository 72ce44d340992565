"""Networks without a part of their conditioning: what is held away stays away through training, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from pixwizard.cli.main import main
from pixwizard.comfyui_pixwizard.config import PixWizardConfig
from pixwizard.training.evaluate.token_choice import DIM, brightness, overlaps
from pixwizard.training.recipes.ablation import Part, hold
from pixwizard.training.recipes.arms import ARMS, Name, NanoArms
from pixwizard.training.recipes.towers import NanoModel, train_bpe

SENTENCES = ["Remove the noise.", "Estimate the depth of this picture."]


def trained(*parts: Part) -> NanoModel:
    """A network whose closed ways are open, without some parts, after a few steps on noise."""
    model = NanoModel.build(train_bpe(SENTENCES), PixWizardConfig.preset("nano"))
    hold(model, parts)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.transformer.parameters():
            if parameter.requires_grad and not parameter.any():
                parameter.normal_(0, 0.2)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-2)
    for _ in range(2):
        x, source, picture, target = inputs(2)
        velocity = model(x, torch.tensor([0.3, 0.7]), source, picture, SENTENCES, torch.tensor([False, False]))
        optimizer.zero_grad()
        (velocity - target).square().mean().backward()
        optimizer.step()
    return model.eval()


def inputs(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    latents = torch.randn(3, n, 16, 8, 8)
    return latents[0], latents[1], torch.rand(n, 3, 64, 64) * 2 - 1, latents[2]


@torch.no_grad()
def asked(model: NanoModel, source: torch.Tensor, picture: torch.Tensor, sentence: str) -> torch.Tensor:
    """As the pipeline asks, which knows nothing of what is held."""
    x = torch.linspace(-1, 1, source.numel()).reshape(source.shape)
    features, mask = model.text.encode([sentence])
    conditions = model.transformer.encode_conditions(
        features, mask, model.task.encode([sentence]), model.vision.encode(picture)
    )
    return model.transformer.velocity(x, torch.tensor([0.4]), source, conditions)


@torch.no_grad()
def choice(model: NanoModel, task: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
    features, mask = model.text.encode(SENTENCES[:1])
    return model.transformer.encode_conditions(features, mask, task, model.vision.encode(picture)).selected


@pytest.mark.parametrize("part", ["", *get_args(Part)])
def test_what_is_held_has_no_say_and_the_rest_has(part: str) -> None:
    model = trained(*([part] if part else []))  # type: ignore[list-item]
    torch.manual_seed(5)
    _, sources, pictures, _ = inputs(2)
    source, picture = sources[:1], pictures[:1]
    base = asked(model, source, picture, SENTENCES[0])
    changed = {
        "structure": asked(model, sources[1:], picture, SENTENCES[0]),
        "semantic tokens": asked(model, source, pictures[1:], SENTENCES[0]),
        "": asked(model, source, picture, SENTENCES[1]),
    }
    for name, answer in changed.items():
        assert torch.equal(answer, base) == (name == part and name != ""), name
    # Vectors that are far apart, as a trained tower makes them: a fresh one's are all alike.
    same = torch.equal(*(choice(model, torch.randn(1, 192), picture) for _ in range(2)))
    assert same == (part == "task-aware choice")


def test_there_is_an_arm_for_each_part() -> None:
    assert set(get_args(Name)) == set(ARMS)
    assert {arm.held for arm in ARMS.values()} == {(), *((part,) for part in get_args(Part))}
    with pytest.raises(ValueError, match=r"--tasks are some of .* found depths"):
        NanoArms(tasks=("depths",)).run()


def test_overlaps_and_brightness_by_hand() -> None:
    kept = torch.tensor([[[1, 1, 0, 0], [0, 0, 1, 1]], [[1, 0, 1, 0], [0, 0, 1, 1]]]).bool()
    assert torch.allclose(overlaps(kept), torch.tensor([[1.0, 0.75], [0.75, 1.0]], dtype=torch.double))
    bright = brightness(kept[1], (4, 2))
    half = DIM + (1 - DIM) / 2
    assert np.allclose(bright, [[half, half, DIM, DIM], [1, 1, half, half]])


def test_the_picture_of_the_bundled_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (90, 60), (200, 200, 200)).save(tmp_path / "photo.png")
    out, told = tmp_path / "tokens.png", tmp_path / "tokens.json"
    command = ["eval", "tokens", str(out), "--photo", str(tmp_path / "photo.png"), "--json", str(told)]
    assert main([*command, "--tasks", "depth", "edit_recolor"]) == 0
    assert "each of 6 layers keeps 48 of 64 tokens" in capsys.readouterr().out
    chosen = json.loads(told.read_text())
    assert chosen["tokens"] == 64 and all(len(row) == 48 for rows in chosen["tasks"].values() for row in rows)
    pixels = np.asarray(Image.open(out).convert("L"))
    left = 8 + 184 + 176 // 16
    shown = np.array([pixels[8 + 28 + 117 // 16, left + column * 176 // 8] for column in range(8)])
    counts = [sum(column in row for row in chosen["tasks"]["depth"]) for column in range(8)]
    assert np.allclose(shown, [200 * (DIM + (1 - DIM) * count / 6) for count in counts], atol=1)
    assert main([*command, "--tasks", "depth", "deeper"]) == 2
    assert "found 'deeper'" in capsys.readouterr().err
