"""The start of a small model: times are told apart, gates are open, nothing else changes."""

import pytest
import torch

from pixwizard.comfyui_pixwizard.config import PixWizardConfig
from pixwizard.comfyui_pixwizard.transformer import PixWizardTransformer
from pixwizard.training.loop.optimizing import OptimizerConfig, Optimizing
from pixwizard.training.recipes.initialization import (
    SUMMED_BIASES,
    in_full_precision,
    open_gates,
    reopen_gates,
    spread_times,
)
from pixwizard.training.recipes.locality import OFFSETS


@pytest.fixture
def transformer():
    torch.manual_seed(0)
    return PixWizardTransformer(PixWizardConfig.preset("nano"))


@torch.no_grad()
def modes(embedder):
    """Singular values of the embedding over t, the largest 1."""
    out = embedder(torch.linspace(0, 1, 101))
    values = torch.linalg.svdvals(out - out.mean(0))
    return values / values[0], out


def test_times_are_told_apart(transformer):
    fresh, _ = modes(transformer.t_embedder)
    assert fresh[2] < 0.01
    spread_times(transformer.t_embedder)
    values, out = modes(transformer.t_embedder)
    assert values[2] > 0.2 and values[5] > 0.05
    assert out.mean(0).abs().max() < 0.05
    assert float(out.std(0).mean()) == pytest.approx(0.5, rel=0.1)


@torch.no_grad()
def test_outside_autocast_neighbouring_times_stay_two(transformer):
    spread_times(transformer.t_embedder)
    wanted = transformer.t_embedder(torch.linspace(0, 1, 101))
    in_full_precision(transformer.t_embedder)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(transformer.t_embedder(torch.linspace(0, 1, 101)), wanted)


def test_gates_open_where_no_place_is_preferred(transformer):
    open_gates(transformer, text=0.3, image=0.1)
    for block in transformer.blocks:
        for gate, value in ((block.attention.gate, 0.3), (block.attention.gate_for_ii, 0.1)):
            assert gate[: len(OFFSETS)].abs().max() == 0
            assert torch.all(gate[len(OFFSETS) :] == value)


def test_closed_gates_to_the_picture_are_opened_again_and_others_left(transformer):
    open_gates(transformer, text=0.4, image=-0.6)
    first = transformer.blocks[0].attention.gate_for_ii
    with torch.no_grad():
        first[-1] = -0.02
    reopen_gates(transformer, image=0.3)
    assert first[-1].item() == pytest.approx(0.3) and torch.all(first[len(OFFSETS) : -1] == -0.6)
    assert torch.all(transformer.blocks[1].attention.gate_for_ii[len(OFFSETS) :] == -0.6)
    assert all(torch.all(block.attention.gate_for_ii[: len(OFFSETS)] == 0.3) for block in transformer.blocks)


def test_biases_that_are_summed_move_at_a_rate_of_their_own(transformer):
    rates = {f"*{name}": 0.5 for name in SUMMED_BIASES}
    weights = Optimizing(transformer, OptimizerConfig(lr=1.0, warmup=1, vector_lr=6.0, rates=rates))
    for parameter in transformer.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {name: value.clone() for name, value in transformer.named_parameters()}
    weights.step(0, 0.0)
    moved = {name: float((value - before[name]).abs().max()) for name, value in transformer.named_parameters()}
    for name in SUMMED_BIASES:
        assert moved[name] == pytest.approx(0.5, rel=1e-3)
    assert moved["t_embedder.mlp.0.bias"] == pytest.approx(6.0, rel=1e-3)
    assert moved["x_embedder.weight"] == pytest.approx(1.0, rel=0.05)


def test_what_has_the_rate_zero_is_not_trained_and_costs_no_gradient(transformer):
    weights = Optimizing(transformer, OptimizerConfig(rates={"*t_embedder.*": 0.0}))
    still = {name for name, value in transformer.named_parameters() if not value.requires_grad}
    assert still == {name for name, _ in transformer.named_parameters() if name.startswith("t_embedder.")}
    assert not still & set(weights.named) and not still & set(weights.averaged())
    assert not [name for name in weights.tensors() if any(part in name for part in still)]
