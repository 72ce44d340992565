"""The solvers that are made for the flow from noise to image: order, limits, the published formulas, ragged batches."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pixwizard.comfyui_pixwizard.flow import time_grid
from pixwizard.comfyui_pixwizard.solvers import solve

METHODS = ("dpmpp_2m", "unipc")
MEAN = 0.3


def normal_velocity(spread):
    """The exact velocity of the flow to normally distributed data; its paths are t*MEAN + width(t) * noise."""

    def velocity(x, t):
        t = t.double()
        width = (t * spread) ** 2 + (1 - t) ** 2
        return MEAN + (t * spread**2 - (1 - t)) / width * (x - t * MEAN)

    return velocity


def noise():
    return torch.linspace(-2, 2, 9, dtype=torch.float64)


def normal_error(method, steps, spread, shift):
    found = solve(normal_velocity(spread), noise(), time_grid(steps + 1, shift).double(), method)
    return float((found - (MEAN + spread * noise())).square().mean().sqrt())


@pytest.mark.parametrize(("spread", "shift"), [(0.5, 1.0), (2.0, 1.0), (2.0, 3.0), (1.3, 2.0)])
def test_errors_fall_by_four_when_steps_double(spread, shift):
    errors = {method: [normal_error(method, n, spread, shift) for n in (64, 128, 256)] for method in METHODS}
    for first, second in zip(errors["dpmpp_2m"], errors["dpmpp_2m"][1:], strict=False):
        assert math.log2(first / second) == pytest.approx(2, abs=0.15)
    # The corrector has order 3 but for the steps where lambda is infinite: never worse than order 2.
    for first, second in zip(errors["unipc"], errors["unipc"][1:], strict=False):
        assert math.log2(first / second) > 1.95
    assert all(one < two for one, two in zip(errors["unipc"], errors["dpmpp_2m"], strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_few_steps_beat_euler(method):
    for steps in (4, 8, 16):
        assert normal_error(method, steps, 0.5, 1.0) < 0.6 * normal_error("euler", steps, 0.5, 1.0)


@pytest.mark.parametrize("method", METHODS)
def test_from_image_to_noise(method):
    def error(steps):
        grid = time_grid(steps + 1).double().flip(0)
        found = solve(normal_velocity(0.5), MEAN + 0.5 * noise(), grid, method)
        return float((found - noise()).abs().max())

    assert error(64) < 5e-3 and math.log2(error(64) / error(128)) > 1.8


def published(f, x: Tensor, grid: list[float], correct: bool) -> Tensor:
    """Both methods as their papers write them, with lambda, alpha and sigma, for grids where all is finite."""
    lam = [math.log(t / (1 - t)) for t in grid]
    images: list[Tensor] = []
    start = x
    for i, t in enumerate(grid[:-1]):
        images.append(x + (1 - t) * f(x, torch.tensor(t, dtype=torch.float64)))
        if correct and i > 1:
            h = lam[i] - lam[i - 1]
            alpha, sigma, ratio = t, 1 - t, (lam[i - 2] - lam[i - 1]) / h
            b_h, phi_1 = math.expm1(-h), math.expm1(-h)
            phi_2 = phi_1 / -h - 1
            phi_3 = phi_2 / -h - 0.5
            system = torch.tensor([[1.0, 1.0], [ratio, 1.0]], dtype=torch.float64)
            first, second = torch.linalg.solve(system, torch.tensor([phi_2, 2 * phi_3], dtype=torch.float64) / b_h)
            change = first * (images[-3] - images[-2]) / ratio + second * (images[-1] - images[-2])
            x = sigma / (1 - grid[i - 1]) * start - alpha * phi_1 * images[-2] - alpha * b_h * change
        elif correct and i == 1:
            x = x + (t - grid[0]) / (2 - t - grid[0]) * (images[-1] - images[-2])
        start, after, h = x, grid[i + 1], lam[i + 1] - lam[i]
        image = images[-1]
        if i:
            ratio = (lam[i] - lam[i - 1]) / h
            image = (1 + 1 / (2 * ratio)) * images[-1] - 1 / (2 * ratio) * images[-2]
        x = (1 - after) / (1 - t) * x - after * math.expm1(-h) * image
    return x


@pytest.mark.parametrize("method", METHODS)
def test_inside_it_is_the_published_method(method):
    grid = [0.22, 0.3, 0.35, 0.45, 0.6, 0.7, 0.78]

    def field(x, t):
        return torch.sin(3 * t) * x + x.cos()

    found = solve(field, noise(), torch.tensor(grid, dtype=torch.float64), method)
    torch.testing.assert_close(found, published(field, noise(), grid, method == "unipc"), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_one_step_is_eulers(method):
    for ends in ((0.0, 1.0), (0.0, 0.4), (0.3, 0.6), (1.0, 0.5)):
        grid = torch.tensor(ends, dtype=torch.float64)
        found = solve(normal_velocity(2.0), noise(), grid, method)
        torch.testing.assert_close(found, solve(normal_velocity(2.0), noise(), grid, "euler"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("grid", [[0.0, 0.05, 0.1], [0.85, 0.9, 0.95, 1.0]])
def test_steps_beside_an_infinite_lambda_are_of_second_order(method, grid):
    """Only the first step may have an error like Euler's."""
    times = torch.tensor(grid, dtype=torch.float64)

    def error(name):
        found = solve(lambda x, t: 3 * t + 0 * x, noise(), times, name)
        return float((found - noise()).mean() - 1.5 * (times[-1] ** 2 - times[0] ** 2))

    assert abs(error(method)) < 0.55 * abs(error("euler"))


@pytest.mark.parametrize("method", METHODS)
@given(
    steps=st.lists(st.floats(0.05, 1), min_size=1, max_size=8),
    low=st.sampled_from([0.0, 0.3]),
    high=st.sampled_from([0.7, 1.0]),
    back=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_constant_velocity_is_integrated_exactly(method, steps, low, high, back):
    sums = torch.tensor([0.0, *steps], dtype=torch.float64).cumsum(0)
    grid = low + (high - low) * sums / sums[-1]
    grid = grid.flip(0) if back else grid
    found = solve(lambda x, t: torch.full_like(x, 2.5), noise(), grid, method)
    torch.testing.assert_close(found, noise() + 2.5 * float(grid[-1] - grid[0]))


@pytest.mark.parametrize("method", METHODS)
def test_ragged_batches_and_evaluations(method):
    generator = torch.Generator().manual_seed(0)
    items = [torch.randn(shape, generator=generator) for shape in ((2, 3, 4), (2, 5, 1), (1,))]
    seen: list[float] = []

    def field(x, t):
        seen.append(float(t))
        return [torch.sin(item + 2 * t) for item in x] if isinstance(x, list) else torch.sin(x + 2 * t)

    grid, steps = time_grid(7, 2.0), []
    found = solve(field, items, grid, method, lambda *step: steps.append(step))
    assert seen == grid[:-1].tolist() and steps == [(i, 6) for i in range(1, 7)]
    assert isinstance(found, list) and all(item.dtype == torch.float32 for item in found)
    for item, start in zip(found, items, strict=True):
        torch.testing.assert_close(item, solve(field, start, grid, method))


@pytest.mark.parametrize("method", METHODS)
def test_times_outside(method):
    with pytest.raises(ValueError, match=r"needs times in \[0, 1\], found .*: use flow.time_grid"):
        solve(lambda x, t: x, noise(), torch.tensor([0.0, 0.5, 1.5]), method)
    rounded = torch.tensor([-1e-7, 0.5, 1 + 1e-7], dtype=torch.float64)
    assert solve(lambda x, t: x, noise(), rounded, method).isfinite().all()
