"""Fixed-step solvers of dx/dt = velocity over a given grid of times.

A state x is a tensor or, for a ragged batch, a list of tensors.  Source: docs/mathematics.md section 11 (the released
sampler integrates with torchdiffeq's fixed-step methods, whose formulas euler, midpoint, heun and rk4 follow).

dpmpp_2m (Lu et al., arXiv 2211.01095) and unipc (Zhao et al., arXiv 2302.04867) are made for the flow from noise to
image, x = t*data + (1-t)*noise, alone. With u = 1 - t they look at the predicted image D = x + u*v, of which a step
from t0 to t1 is the exact mean
    x1 = u1/u0 * x0 + u1 * integral of D d(t/u) = x0 + dt/u0 * (D0 - x0 + what D changes in the step)
and continue D as a polynomial in lambda = log(t/u), half the logarithm of the signal-to-noise ratio.
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from torch import Tensor

State = Tensor | list[Tensor]
Velocity = Callable[[State, Tensor], State]

# Velocity evaluations per step.
EVALUATIONS = {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4, "ab2": 1, "dpmpp_2m": 1, "unipc": 1}
# What a sampling takes unless told otherwise: `pixwizard bench quality` shows that it needs the fewest evaluations.
DEFAULT_SOLVER = "unipc"
# Times nearer to 0 or 1 than this are where lambda runs away, see `_continuation`.
EDGE = 0.2
# How far rounding may put the ends of a grid outside of [0, 1].
ROUNDING = 1e-5


def solve(
    f: Velocity,
    x: State,
    grid: Tensor,
    method: str = "euler",
    progress: Callable[[int, int], None] | None = None,
) -> State:
    """Integrates from grid[0] to grid[-1].

    Args:
        f: velocity of (state, 0-dim float t).
        x: state at grid[0].
        grid: [points], strictly monotonic.
        method: "euler", "midpoint", "heun" (order 2), "rk4" (the 3/8 rule, order 4), "ab2" (Adams-Bashforth for
            uneven steps, order 2 at one evaluation a step; the first step is Euler's), and for grids within [0, 1]
            "dpmpp_2m" (DPM-Solver++ 2M, the same order and cost) or "unipc" (UniPC of order 2 with B(h) = e^h - 1:
            each evaluation also corrects the step that led to it).
        progress: called after every step with (steps done, steps in all).

    Returns:
        State at grid[-1].

    Raises:
        ValueError: unknown method, or a grid that is too short, not monotonic, or outside of what the method is for.
    """
    if method not in EVALUATIONS:
        raise ValueError(f"solver must be one of {', '.join(EVALUATIONS)}, found {method!r}: take euler")
    steps = grid.diff()
    if grid.dim() != 1 or not len(steps) or not (bool((steps > 0).all()) or bool((steps < 0).all())):
        raise ValueError(
            f"the grid must hold at least two strictly monotonic times, found {grid.tolist()}: use flow.time_grid"
        )
    exponential = method in ("dpmpp_2m", "unipc")
    if exponential and not (grid.min() > -ROUNDING and grid.max() < 1 + ROUNDING):
        raise ValueError(f"{method} needs times in [0, 1], found {grid.tolist()}: use flow.time_grid, or ab2")
    states = _exponential(f, x, grid, method == "unipc") if exponential else _stepped(f, x, grid, steps, method)
    for done, state in enumerate(states, start=1):
        x = state
        if progress is not None:
            progress(done, len(steps))
    return x


def _stepped(f: Velocity, x: State, grid: Tensor, steps: Tensor, method: str) -> Iterator[State]:
    """States after each step of the methods that hold for any differential equation."""
    previous: tuple[State, Tensor] | None = None
    for t, dt in zip(grid[:-1], steps, strict=True):
        first = f(x, t)
        x = _step(f, x, t, dt, first, previous, method)
        previous = (first, dt)
        yield x


def _step(
    f: Velocity, x: State, t: Tensor, dt: Tensor, k1: State, previous: tuple[State, Tensor] | None, method: str
) -> State:
    if method == "midpoint":
        return _moved(x, (dt, f(_moved(x, (0.5 * dt, k1)), t + 0.5 * dt)))
    if method == "heun":
        k2 = f(_moved(x, (dt, k1)), t + dt)
        return _moved(x, (0.5 * dt, k1), (0.5 * dt, k2))
    if method == "rk4":
        k2 = f(_moved(x, (dt / 3, k1)), t + dt / 3)
        k3 = f(_moved(x, (-dt / 3, k1), (dt, k2)), t + dt * 2 / 3)
        k4 = f(_moved(x, (dt, k1), (-dt, k2), (dt, k3)), t + dt)
        return _moved(x, (dt / 8, k1), (dt * 3 / 8, k2), (dt * 3 / 8, k3), (dt / 8, k4))
    if method == "ab2" and previous is not None:
        ratio = dt / previous[1]
        return _moved(x, (dt * (1 + ratio / 2), k1), (-dt * ratio / 2, previous[0]))
    return _moved(x, (dt, k1))


def _exponential(f: Velocity, x: State, grid: Tensor, correct: bool) -> Iterator[State]:
    """States after each step of DPM-Solver++(2M), or of UniPC where each is corrected later.

    The first step is Euler's, which is what both are with one value of D.
    """
    times: list[float] = grid.tolist()
    images: list[State] = []
    for i, (t, after) in enumerate(pairwise(times)):
        velocity = f(x, grid[i])
        images = [*images[-2:], _moved(x, (1 - t, velocity))]
        if not i:
            x = _moved(x, (after - t, velocity))
        else:
            if correct:
                x = _corrected(x, images, times[max(i - 2, 0) : i + 1])
            share, more = (after - t) / (1 - t), _continuation(times[i - 1], t, after)
            x = _moved(x, (-share, x), (share * (1 + more), images[-1]), (-share * more, images[-2]))
        yield x


def _continuation(before: float, now: float, after: float) -> float:
    """What multiple of D(now) - D(before) is the mean change of D in the step to `after`.

    DPM-Solver++(2M) takes half the ratio of the two steps in lambda, an order 2 where these are small. Towards t = 0
    and t = 1 they are not, on however fine a grid: from t = 0 the ratio is 0, to t = 1 infinite, and even without
    these two the errors of the others add up to dt^2 log(1/dt). There D is continued as if v were linear in t, which
    has order 2 and no infinities.
    """
    if min(before, after) < EDGE or max(before, after) > 1 - EDGE:
        return (after - now) / (now - before) * (1 - now) / (2 - before - now)
    return (_lambda(after) - _lambda(now)) / (2 * (_lambda(now) - _lambda(before)))


def _corrected(x: State, images: list[State], times: list[float]) -> State:
    """A predicted state with the last step done again, now that D at its end is known (UniC).

    Args:
        x: at times[-1], as predicted.
        images: D at the times, two or three.
    """
    start, end = times[-2:]
    if len(times) == 2:
        # The trapezoidal rule in t: lambda of the first time may be infinite.
        change = (end - start) / (2 - start - end)
        return _moved(x, (change, images[-1]), (-change, images[-2]))
    latest, oldest = _correction(_lambda(times[0]), _lambda(start), _lambda(end))
    predicted = _continuation(*times)
    share = (end - start) / (1 - start)
    return _moved(
        x,
        (share * latest, images[-1]),
        (share * (predicted + oldest), images[-3]),
        (-share * (latest + predicted + oldest), images[-2]),
    )


def _correction(before: float, now: float, after: float) -> tuple[float, float]:
    """Weights of D(after) - D(now) and of D(before) - D(now) in the mean change of D in a step, by lambdas.

    They integrate a parabola through the three exactly; where `before` is infinite, the straight line through two.
    """
    h = after - now
    # Means of s and of s^2 over the step, with s = (lambda - now) / h and the solver's weight e^lambda.
    first = -1 / math.expm1(-h) - 1 / h
    if math.isinf(before):
        return first, 0.0
    second = -1 / math.expm1(-h) - 2 / h * first
    place = (before - now) / h
    oldest = (second - first) / (place * (place - 1))
    return first - place * oldest, oldest


def _lambda(t: float) -> float:
    """log(t / (1 - t)), infinite at the ends, which rounding may put a little outside of [0, 1]."""
    if t <= 0 or t >= 1:
        return -math.inf if t <= 0 else math.inf
    return math.log(t / (1 - t))


def _moved(x: State, *terms: tuple[Tensor | float, State]) -> State:
    """x + sum of coefficient * velocity."""
    if isinstance(x, list):
        return [_moved_tensor(item, *((c, velocity[i]) for c, velocity in terms)) for i, item in enumerate(x)]
    return _moved_tensor(x, *terms)


def _moved_tensor(x: Tensor, *terms: tuple[Tensor | float, Any]) -> Tensor:
    for coefficient, velocity in terms:
        x = x + coefficient * velocity
    return x
