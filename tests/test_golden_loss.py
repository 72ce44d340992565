"""Loss and gradients equal the released trainer's."""

import pytest
import torch

from pixwizard.comfyui_pixwizard.flow import flow_loss, interpolate

# Gradients that the straight-through mask attenuates by about 1e-4: float32 has no more than two digits of them.
RANKER = ("y_pool_proj", "in_conv", "out_conv")
# Analytically zero: a key bias without RoPE and a score bias only shift a softmax.
DEAD = ("pad_token", "kii_norm.bias", "ky_norm.bias", "out_conv.4.bias")


def run(model, g, case, full_draws, dtype=torch.float32):
    clip = torch.cat(g.listed("in.clip")).to(dtype)
    is_null = ~(clip != 0).flatten(1).any(dim=1)
    rows = int((~is_null).sum())
    draws = full_draws(g["noise.exponential"].unflatten(0, (-1, rows)), is_null) if case == "seeded" else None
    noise, data = ([item.to(dtype) for item in g.listed(name)] for name in ("in.x0", "in.x1"))
    x = interpolate(noise, data, g["in.t"].to(dtype))
    conditions = model.encode_conditions(
        g["in.cap_feats"].to(dtype), g["in.cap_mask"], g["in.cap_pooled"].to(dtype), clip, gumbel=draws
    )
    source = [item.to(dtype) for item in g.listed("in.input_x")]
    loss = flow_loss(model.velocity(x, g["in.t"].to(dtype), source, conditions), noise, data)
    (loss.sum() / len(loss)).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return x, loss.detach(), gradients


def is_ranker(name):
    return any(part in name for part in RANKER)


def relative_error(found, wanted):
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


@pytest.mark.parametrize("case", ["free", "seeded"])
@pytest.mark.parametrize("file", ["loss", "loss_ragged_null"])
def test_loss_and_gradients(golden, golden_model, full_draws, file, case):
    g, reference = golden(file), golden(f"{file}_ref64")
    x, loss, gradients = run(golden_model(), g, case, full_draws)
    for found, wanted in zip(x, g.listed("out.xt"), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    torch.testing.assert_close(loss, g[f"out.{case}.per_sample_loss"], rtol=1e-5, atol=1e-5)
    names = [key.removeprefix(f"out.{case}.grad.") for key in g.tensors if key.startswith(f"out.{case}.grad.")]
    assert len(names) == 18
    for name in names:
        found = gradients[name]
        if name.endswith(DEAD):
            assert found is None or float(found.abs().max()) < 1e-8, name
        elif is_ranker(name):
            assert relative_error(found, reference[f"{case}.grad.{name}"]) < 1e-2, name
        else:
            assert relative_error(found, g[f"out.{case}.grad.{name}"]) < 1e-5, name
    total = torch.stack([value.norm() for value in gradients.values() if value is not None]).norm()
    torch.testing.assert_close(total, g[f"out.{case}.total_grad_l2"].squeeze(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("case", ["free", "seeded"])
@pytest.mark.parametrize("file", ["loss", "loss_ragged_null"])
def test_gradients_in_float64(golden, golden_model, full_draws, file, case):
    reference = golden(f"{file}_ref64")
    _, _, gradients = run(golden_model(dtype=torch.float64), golden(file), case, full_draws, torch.float64)
    compared = 0
    for key, wanted in reference.tensors.items():
        name = key.removeprefix(f"{case}.grad.")
        if not key.startswith(case) or name.endswith(DEAD):
            continue
        # RoPE and time tables are float32 on both sides, summed in another order.
        assert relative_error(gradients[name], wanted) < (1e-4 if is_ranker(name) else 1e-6), name
        compared += 1
    assert compared >= 15


def test_sigma_rows_get_no_gradient(golden, golden_model, full_draws):
    _, _, gradients = run(golden_model(), golden("loss"), "free", full_draws)
    rows = gradients["final_layer.linear.weight"].unflatten(0, (4, 8))
    assert float(rows[:, :4].norm()) > 0
    assert float(rows[:, 4:].abs().max()) == 0


def test_mask_after_norm_lets_the_ranker_learn(golden, golden_json, golden_model, full_draws):
    wanted = golden_json("dsts_attenuation")["goldens"]
    norms = {}
    for placement in ("before_norm", "after_norm"):
        model = golden_model(placement, torch.float64)
        _, _, gradients = run(model, golden("loss"), "seeded", full_draws, torch.float64)
        alive = [v for name, v in gradients.items() if is_ranker(name) and not name.endswith(DEAD)]
        norms[placement] = float(torch.stack([value.norm() for value in alive]).norm())
    assert norms["before_norm"] == pytest.approx(wanted["mask_before_norm_official"], rel=1e-2)
    assert norms["after_norm"] == pytest.approx(wanted["mask_after_norm"], rel=1e-2)
