"""What training computes: the released loss and gradients, and a whole seeded run whose losses are stored."""

import json
from pathlib import Path

import pytest
import torch
from tiny import SETTINGS, NoiseStage, log

from pixwizard.comfyui_pixwizard.flow import flow_loss, interpolate
from pixwizard.training.loop.parallel import ParallelConfig, prepare_block
from pixwizard.training.loop.trainer import Trainer, TrainerConfig
from pixwizard.training.loop.velocity import Drawing, Dropout, FeatureModel

CURVE = Path(__file__).with_name("loss_curve.json")
STEPS, EVERY = 200, 10
# Sums in another order stay below 1e-6; the smallest of the changes below is ten times as large as this.
TOLERANCE = 2e-5
DEAD = ("pad_token", "kii_norm.bias", "ky_norm.bias", "out_conv.4.bias")
RANKER = ("y_pool_proj", "in_conv", "out_conv")


@pytest.mark.parametrize("case", ["free", "seeded"])
@pytest.mark.parametrize("recompute", [False, True])
def test_the_trained_module_gives_the_released_loss_and_gradients(golden, golden_model, full_draws, case, recompute):
    """`tests/test_golden_loss.py` calls the transformer; this calls what the trainer calls, blocks prepared as it does.

    The mask lies where the released code has it ("before_norm" in `golden_model`).
    """
    g = golden("loss")
    model = golden_model()
    methods = [dict(vars(block)) for block in model.blocks]
    for block in model.blocks:
        prepare_block(block, ParallelConfig(recompute=recompute))
    try:
        tokens = torch.cat(g.listed("in.clip"))
        draws = None
        if case == "seeded":
            draws = full_draws(g["noise.exponential"].unflatten(0, (-1, len(tokens))), torch.zeros(len(tokens)).bool())
        noise, data, source = (torch.stack(g.listed(name)) for name in ("in.x0", "in.x1", "in.input_x"))
        x = interpolate(noise, data, g["in.t"])
        text = g["in.cap_feats"], g["in.cap_mask"]
        velocity = FeatureModel(model)(x, g["in.t"], source, text, g["in.cap_pooled"], tokens, draws)
        loss = flow_loss(velocity, noise, data)
        loss.mean().backward()
    finally:
        for block, before in zip(model.blocks, methods, strict=True):
            vars(block).clear()
            vars(block).update(before)
    torch.testing.assert_close(loss.detach(), g[f"out.{case}.per_sample_loss"], rtol=1e-5, atol=1e-5)
    compared = 0
    for name, parameter in model.named_parameters():
        wanted = g.tensors.get(f"out.{case}.grad.{name}")
        if wanted is not None and not name.endswith(DEAD) and not any(part in name for part in RANKER):
            assert float((parameter.grad - wanted).norm() / wanted.norm()) < 1e-5, name
            compared += 1
    assert compared >= 10


def run(folder, steps, drawing=None, **settings):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        Trainer(NoiseStage(drawing=drawing), folder, TrainerConfig(**SETTINGS | settings)).run(steps=steps)
    finally:
        torch.set_num_threads(threads)
    return {step: line["loss"] for step, line in log(folder).items()}


def test_a_seeded_run_has_the_stored_losses(tmp_path):
    """Stored by `python tests/training/test_loss.py`, only when what training computes is meant to change."""
    wanted = {int(step): loss for step, loss in json.loads(CURVE.read_text()).items()}
    found = run(tmp_path, STEPS)
    assert list(wanted) == [1, *range(EVERY, STEPS + 1, EVERY)]
    for step, loss in wanted.items():
        assert found[step] == pytest.approx(loss, abs=TOLERANCE), step


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("rate", {"lr": 3.1e-3}),
        ("clipping", {"clip": 0.5}),
        ("moments", {"betas": (0.9, 0.99)}),
        ("seldom dropped", {"drawing": Drawing(dropout=Dropout(0.05, 0.1, 0.1), gumbel=True)}),
        ("zeros for noise", {"drawing": Drawing(dropout=Dropout(0.1, 0.1, 0.1), gumbel=True, null="zeros")}),
        ("times", {"drawing": Drawing("lognorm", Dropout(0.1, 0.1, 0.1), gumbel=True)}),
    ],
)
def test_the_stored_losses_notice(tmp_path, what, change):
    wanted = {int(step): loss for step, loss in json.loads(CURVE.read_text()).items()}
    found = run(tmp_path, 40, **change)
    assert max(abs(found[step] - wanted[step]) for step in (1, 10, 20, 30, 40)) > 10 * TOLERANCE, what


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        losses = run(Path(place), STEPS)
    CURVE.write_text(json.dumps({step: losses[step] for step in (1, *range(EVERY, STEPS + 1, EVERY))}, indent=0) + "\n")
