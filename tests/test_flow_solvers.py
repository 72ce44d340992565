"""Flow, solvers, guidance, buckets, RoPE and the choice of tokens: properties."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixwizard.comfyui_pixwizard.flow import flow_loss, interpolate, time_grid
from pixwizard.comfyui_pixwizard.guidance import BRANCHES, DualGuidance
from pixwizard.comfyui_pixwizard.pictures.buckets import bucket_for, bucket_sizes, nearest_size
from pixwizard.comfyui_pixwizard.rope import apply_rope, rope_table
from pixwizard.comfyui_pixwizard.solvers import EVALUATIONS, solve
from pixwizard.comfyui_pixwizard.token_sampler import choose_tokens

# unipc has order 2 with a small constant: on grids of this size it looks like more.
ORDERS = {"euler": 1, "midpoint": 2, "heun": 2, "ab2": 2, "rk4": 4, "dpmpp_2m": 2, "unipc": 2.6}
scales = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 1.5, 4.0])


@given(points=st.integers(2, 200), shift=st.floats(0.1, 10))
def test_time_grid(points, shift):
    grid = time_grid(points, shift)
    assert grid.shape == (points,) and grid.dtype == torch.float32
    assert grid[0] == 0 and float(grid[-1]) == pytest.approx(1, abs=1e-6) and (grid.diff() > 0).all()
    even = torch.linspace(0, 1, points)
    assert ((grid - even) * (shift - 1) <= 1e-5).all()  # a shift above 1 lingers at noise
    torch.testing.assert_close(shift * grid / (1 + (shift - 1) * grid), even)  # the training shift is its inverse


def test_even_grid_and_errors():
    assert torch.equal(time_grid(5, None), torch.linspace(0, 1, 5)) and torch.equal(time_grid(5, 0), time_grid(5, None))
    for arguments in ((1,), (5, -1.0)):
        with pytest.raises(ValueError, match=r"time (grid|shift)"):
            time_grid(*arguments)


@given(st.integers(0, 2**31), st.floats(0.05, 0.95))
@settings(max_examples=20)
def test_path_and_velocity_give_back_both_ends(seed, t):
    noise, data = torch.randn(2, 3, 4, 2, 5, generator=torch.Generator().manual_seed(seed)).unbind()
    times = torch.tensor([t, 0.0, 1.0])
    x, velocity = interpolate(noise, data, times), data - noise
    spread = times.view(3, 1, 1, 1)
    torch.testing.assert_close(x + (1 - spread) * velocity, data, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(x - spread * velocity, noise, rtol=1e-5, atol=1e-5)
    ragged = interpolate(list(noise), list(data), times)
    torch.testing.assert_close(torch.stack(ragged), x)


def test_loss_weighs_samples_equally():
    noise = [torch.zeros(2, 4, 4), torch.zeros(2, 2, 2)]
    data = [torch.ones(2, 4, 4), torch.full((2, 2, 2), 3.0)]
    velocity = [torch.zeros(2, 4, 4), torch.zeros(2, 2, 2)]
    assert flow_loss(velocity, noise, data).tolist() == [1.0, 9.0]
    pair = torch.randn(3, 2, 4, 4)
    assert flow_loss(pair, pair * 0, pair).tolist() == [0.0, 0.0, 0.0]
    assert flow_loss(pair.bfloat16(), pair * 0, pair).dtype == torch.float32


@pytest.mark.parametrize("method", EVALUATIONS)
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_order_of_convergence(method, shift):
    start, calls = torch.tensor([0.3, -1.2], dtype=torch.float64), []

    def field(x, t):
        calls.append(t)
        assert t.dim() == 0 and t.is_floating_point()
        return torch.sin(3 * t) * x + x.cos()

    def error(points):
        return float((solve(field, start, time_grid(points, shift).double(), method) - exact).abs().max())

    exact = solve(field, start, time_grid(1025, shift).double(), "rk4")
    coarse, fine = error(33), error(65)
    assert math.log2(coarse / fine) == pytest.approx(ORDERS[method], abs=0.35)
    calls.clear()
    solve(field, start, time_grid(11), method)
    assert len(calls) == 10 * EVALUATIONS[method]


@pytest.mark.parametrize("method", EVALUATIONS)
def test_straight_paths_are_exact_and_ragged_ones_equal(method):
    noise, data = torch.randn(2, 2, 3, 4, generator=torch.Generator().manual_seed(0)).unbind()
    seen = []
    out = solve(lambda x, t: data - noise, noise, time_grid(4, 2.0), method, lambda *step: seen.append(step))
    torch.testing.assert_close(out, data, rtol=1e-5, atol=1e-5)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    curved = solve(lambda x, t: x * t, noise, time_grid(4), method)
    ragged = solve(lambda x, t: [item * t for item in x], list(noise), time_grid(4), method)
    torch.testing.assert_close(torch.stack(ragged), curved)


def test_solver_errors():
    with pytest.raises(ValueError, match="solver must be one of"):
        solve(lambda x, t: x, torch.zeros(1), time_grid(3), "dopri5")
    for grid in ([0.0], [0.0, 1.0, 0.5], [0.0, 0.0]):
        with pytest.raises(ValueError, match="strictly monotonic"):
            solve(lambda x, t: x, torch.zeros(1), torch.tensor(grid))


@given(text=scales, image=scales, channels=st.sampled_from([None, 1, 3, 4, 9]))
def test_guidance(text, image, channels):
    guidance = DualGuidance(text, image, channels)
    parts = dict(zip(BRANCHES, torch.randn(3, 2, 4, 3, 3, generator=torch.Generator().manual_seed(0)), strict=True))
    needed = {name: parts[name] for name in guidance.branches()}
    wanted = parts["none"] + image * (parts["image"] - parts["none"]) + text * (parts["full"] - parts["image"])
    if channels is not None:
        wanted = torch.cat((wanted[:, :channels], parts["full"][:, channels:]), dim=1)
    torch.testing.assert_close(guidance.combine(needed), wanted, rtol=1e-5, atol=1e-5)
    ragged = guidance.combine({name: list(part) for name, part in needed.items()})
    torch.testing.assert_close(torch.stack(ragged), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "image", "channels", "branches"),
    [
        (4.0, 1.0, None, ["full", "image"]),
        (4.0, 1.5, None, ["full", "image", "none"]),
        (1.0, 1.0, None, ["full"]),
        (2.0, 2.0, None, ["full", "none"]),
        (0.0, 0.0, None, ["none"]),
        (0.0, 1.0, None, ["image"]),
        (0.0, 1.0, 3, ["full", "image"]),
    ],
)
def test_only_weighted_branches_are_evaluated(text, image, channels, branches):
    guidance = DualGuidance(text, image, channels)
    assert guidance.branches() == branches and sum(guidance.weights.values()) == pytest.approx(1)
    with pytest.raises(ValueError, match="combine needs the branches"):
        guidance.combine({})


def test_guided_channels_error():
    with pytest.raises(ValueError, match="guided_channels"):
        DualGuidance(guided_channels=0)


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([64, 128, 144, 256, 512]))
def test_buckets(width, height, center):
    sizes = bucket_sizes(center)
    assert (center, center) in sizes and (16 * round(center / 16) == center)
    for w, h in sizes:
        assert w % 16 == h % 16 == 0 and w * h <= center * center and max(w, h) <= 4 * min(w, h)
    chosen = bucket_for(width, height, center)
    gaps = [abs(w / h - width / height) for w, h in sizes]
    assert chosen == sizes[gaps.index(min(gaps))]
    if width == height:
        assert chosen[0] == chosen[1]


def test_bucket_errors_and_ties():
    assert nearest_size(1, 1, [(32, 16), (64, 32)]) == (32, 16)
    with pytest.raises(ValueError, match="at least 16 pixels"):
        bucket_sizes(8)
    with pytest.raises(ValueError, match="largest aspect"):
        bucket_sizes(64, max_aspect=0.5)
    with pytest.raises(ValueError, match="at least one pixel"):
        nearest_size(0, 3, [(16, 16)])
    with pytest.raises(ValueError, match="at least one size"):
        nearest_size(3, 3, [])


def test_rope_is_a_rotation_of_relative_position():
    cos, sin = rope_table(5, 7, 16)
    query, key = torch.randn(2, 1, 35, 2, 16, generator=torch.Generator().manual_seed(0)).unbind()
    turned = apply_rope(query, cos, sin)
    torch.testing.assert_close(turned.norm(dim=-1), query.norm(dim=-1))
    torch.testing.assert_close(apply_rope(turned, cos, -sin), query, rtol=1e-5, atol=1e-5)
    # One vector everywhere: the score of two places depends on their offset only.
    same_q, same_k = (apply_rope(v[:, :1].expand(-1, 35, -1, -1), cos, sin) for v in (query, key))
    scores = torch.einsum("blhe,bmhe->hlm", same_q, same_k).unflatten(2, (5, 7)).unflatten(1, (5, 7))
    torch.testing.assert_close(scores[:, 0, 0, 1, 2], scores[:, 3, 4, 4, 6], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(scores[:, 0, 0, 1, 2], scores[:, 0, 0, 2, 1], atol=1e-3)


@given(st.integers(0, 2**31), st.integers(1, 9))
@settings(max_examples=25)
def test_choice_of_tokens(seed, count):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(4, 9, generator=generator, requires_grad=True)
    draws = torch.empty(4, 9).exponential_(generator=generator)
    for noise in (None, draws):
        indices, straight = choose_tokens(scores, noise, count)
        assert indices.shape == straight.shape == (4, count) and (indices.diff() > 0).all()
        assert (straight == 1).all()
        perturbed = scores.detach() if noise is None else scores.detach() - noise.log()
        rest = torch.ones(4, 9, dtype=torch.bool).scatter(1, indices, False)
        worst = perturbed.gather(1, indices).amin(dim=1)
        assert (worst >= perturbed.masked_fill(~rest, -math.inf).amax(dim=1)).all()
        (gradient,) = torch.autograd.grad(straight[:, 0].sum(), scores, retain_graph=True)
        probabilities = (perturbed / 5).softmax(dim=1)
        chosen = torch.nn.functional.one_hot(indices[:, 0], 9)
        wanted = probabilities.gather(1, indices[:, :1]) * (chosen - probabilities) / 5
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-6)


def test_noise_frequencies_follow_the_scores():
    scores = torch.tensor([0.0, 1.0, 2.0]).expand(20000, 3)
    draws = torch.empty(20000, 3).exponential_(generator=torch.Generator().manual_seed(0))
    indices, _ = choose_tokens(scores, draws, 1)
    found = torch.bincount(indices.flatten(), minlength=3) / 20000
    torch.testing.assert_close(found, scores[0].softmax(0), rtol=0, atol=0.015)
