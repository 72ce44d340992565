"""Fixed-step solvers of dx/dt = velocity over a given grid of times.

A state x is a tensor or, for a ragged batch, a list of tensors.  Source: goldens NOTES section 6 (the released sampler
integrates with torchdiffeq's fixed-step methods, whose formulas euler, midpoint, heun and rk4 follow).
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

State = Tensor | list[Tensor]
Velocity = Callable[[State, Tensor], State]

# Velocity evaluations per step.
EVALUATIONS = {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4, "ab2": 1}


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
        method: "euler", "midpoint", "heun" (order 2), "rk4" (the 3/8 rule, order 4) or "ab2" (Adams-Bashforth for
            uneven steps, order 2 at one evaluation a step; the first step is Euler's).
        progress: called after every step with (steps done, steps in all).

    Returns:
        State at grid[-1].

    Raises:
        ValueError: unknown method, or a grid that is too short or not monotonic.
    """
    if method not in EVALUATIONS:
        raise ValueError(f"solver must be one of {', '.join(EVALUATIONS)}, found {method!r}: take euler")
    steps = grid.diff()
    if grid.dim() != 1 or not len(steps) or not (bool((steps > 0).all()) or bool((steps < 0).all())):
        raise ValueError(
            f"the grid must hold at least two strictly monotonic times, found {grid.tolist()}: use flow.time_grid"
        )
    previous: tuple[State, Tensor] | None = None
    for done, (t, dt) in enumerate(zip(grid[:-1], steps, strict=True), start=1):
        first = f(x, t)
        x = _step(f, x, t, dt, first, previous, method)
        previous = (first, dt)
        if progress is not None:
            progress(done, len(steps))
    return x


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


def _moved(x: State, *terms: tuple[Tensor, State]) -> State:
    """x + sum of coefficient * velocity."""
    if isinstance(x, list):
        return [_moved_tensor(item, *((c, velocity[i]) for c, velocity in terms)) for i, item in enumerate(x)]
    return _moved_tensor(x, *terms)


def _moved_tensor(x: Tensor, *terms: tuple[Tensor, Any]) -> Tensor:
    for coefficient, velocity in terms:
        x = x + coefficient * velocity
    return x
