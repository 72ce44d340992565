"""Dual guidance and whole trajectories equal the released sampler's."""

import pytest
import torch

from pixwizard.comfyui_pixwizard.flow import time_grid
from pixwizard.comfyui_pixwizard.guidance import BRANCHES, DualGuidance
from pixwizard.comfyui_pixwizard.solvers import EVALUATIONS, solve

CASES = [
    ("cfg", "t4_i1.5", "free"),
    ("cfg", "t4_i1.5", "seeded"),
    ("cfg", "t4_i1.0", "free"),
    ("cfg", "no_prop", "free"),
    ("cfg", "sf1.5_ws0.3_t0.1_linear", "free"),
    ("cfg", "sf1.5_ws0.3_t0.7_ntk", "free"),
    ("cfg_square", "square_t4_i1.5", "free"),
    ("cfg_square", "square_t1_i1", "free"),
]
ODES = ["euler10_s1", "euler10_s4", "midpoint6_s1", "midpoint6_s4", "euler5_s1_img1_seeded"]


def encode(model, g, gumbel=None):
    return model.encode_conditions(
        g["in.cap_feats"], g["in.cap_mask"], g["in.cap_pooled"], g["in.input_clip_x"], gumbel=gumbel
    )


def guidance_of(case):
    return DualGuidance(case["text_cfg_scale"], case["image_cfg_scale"], guided_channels=3)


def rope_of(case):
    return dict(
        rope_scale=case["scale_factor"], rope_watershed=case["scale_watershed"], base_seqlen=case["base_seqlen"]
    )


@pytest.mark.parametrize(("file", "name", "noise"), CASES)
@torch.no_grad()
def test_guided_velocity(golden, golden_model, full_draws, file, name, noise):
    g, model = golden(file), golden_model()
    case, null = g.arguments["cases"][name], torch.tensor([False, False, True])
    conditions = encode(model, g, full_draws(g[f"noise.{name}"], null) if noise == "seeded" else None)
    x, t = g["in.z"][:1].expand(3, -1, -1, -1), torch.full((3,), case["t"])
    branches = model.velocity(x, t, g["in.input_x"], conditions, **rope_of(case))
    torch.testing.assert_close(branches, g[f"out.{name}.{noise}.branches"], rtol=0, atol=3e-5)

    guidance, wanted = guidance_of(case), g[f"out.{name}.{noise}.out"]
    parts = {branch: branches[i : i + 1] for i, branch in enumerate(BRANCHES)}
    needed = {branch: parts[branch] for branch in guidance.branches()}
    torch.testing.assert_close(guidance.combine(needed), wanted[:1], rtol=0, atol=3e-5)
    # The other rows of the released result differ from the first only in the unguided channels.
    torch.testing.assert_close(branches[1:, 3:], wanted[1:, 3:], rtol=0, atol=3e-5)

    rows = [BRANCHES.index(branch) for branch in guidance.branches()]
    fewer = model.velocity(x[rows], t[rows], g["in.input_x"][rows], conditions[rows], **rope_of(case))
    parts = dict(zip(guidance.branches(), fewer.split(1), strict=True))
    torch.testing.assert_close(guidance.combine(parts), wanted[:1], rtol=0, atol=3e-5)


@pytest.mark.parametrize("name", ODES)
@torch.no_grad()
def test_trajectory(golden, golden_model, full_draws, name):
    g, model = golden("ode"), golden_model()
    case, guidance = g.arguments["cases"][name], guidance_of(g.arguments["cases"][name])
    null = torch.tensor([False, False, True])
    seeded = full_draws(g[f"noise.{name}"].flatten(0, 1), null).unflatten(0, (-1, 3)) if case["seeded"] else None
    conditions = encode(model, g, None if seeded is None else seeded[0])
    times, velocities, states = [], [], []

    def velocity(x, t):
        nonlocal conditions
        if seeded is not None:
            conditions = conditions.redraw(seeded[len(times)])
        states.append(x[0])
        rows = x[:1].expand(3, -1, -1, -1)
        branches = model.velocity(rows, t.expand(3), g["in.input_x"], conditions, **rope_of(case))
        guided = guidance.combine({branch: branches[i : i + 1] for i, branch in enumerate(BRANCHES)})
        times.append(t)
        velocities.append(guided[0])
        return torch.cat((guided[:, :3].expand(3, -1, -1, -1), branches[:, 3:]), dim=1)

    grid = time_grid(case["num_steps"], case["time_shifting_factor"])
    assert torch.equal(grid, g[f"out.{name}.time_grid"])
    final = solve(velocity, g["in.z"], grid, case["method"])
    torch.testing.assert_close(torch.stack(times), g[f"out.{name}.eval_t"], rtol=0, atol=1e-7)
    torch.testing.assert_close(torch.stack(velocities), g[f"out.{name}.eval_v_row0"], rtol=0, atol=5e-5)
    on_grid = [*states[:: EVALUATIONS[case["method"]]], final[0]]
    torch.testing.assert_close(torch.stack(on_grid), g[f"out.{name}.states_row0"], rtol=0, atol=5e-5)
    torch.testing.assert_close(final, g[f"out.{name}.final"], rtol=0, atol=5e-5)
