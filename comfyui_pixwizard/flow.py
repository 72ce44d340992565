"""The linear flow from noise (t = 0) to image (t = 1): path, time grid, training times, loss.

Shapes: B batch; a ragged batch is a list of B tensors.  Source: paper section 3.4, docs/mathematics.md section 2.
"""

from collections.abc import Sequence

import torch
from einops import rearrange, reduce
from torch import Tensor

from .rope import at_least_float32

Batch = Tensor | Sequence[Tensor]


def time_grid(points: int, shift: float | None = 1.0) -> Tensor:
    """The sampler's times, `points - 1` steps.

    Args:
        points: number of grid points ("60 steps" of the released scripts are 60 points).
        shift: s of t -> t/(t + s - s*t); above 1 it crowds the grid towards noise, None or 0 leave it even.

    Returns:
        [points] float32 from 0 to 1.

    Raises:
        ValueError: fewer than two points, a negative shift.
    """
    if points < 2:
        raise ValueError(f"a time grid needs at least 2 points, found {points}: ask for one more point than steps")
    if shift is not None and shift < 0:
        raise ValueError(f"the time shift must not be negative, found {shift:g}: 1 is an even grid")
    t = torch.linspace(0.0, 1.0, points)
    return t / (t + shift - shift * t) if shift else t


def interpolate(noise: Batch, data: Batch, t: Tensor) -> Batch:
    """x_t = t*data + (1-t)*noise.

    Args:
        noise, data: [B, ...] or lists of B tensors.
        t: [B].
    """
    if isinstance(data, Tensor) and isinstance(noise, Tensor):
        t = rearrange(t, "b -> b" + " 1" * (data.dim() - 1))
        return t * data + (1 - t) * noise
    return [ti * d + (1 - ti) * n for ti, d, n in zip(t, data, noise, strict=True)]


def flow_loss(velocity: Batch, noise: Batch, data: Batch) -> Tensor:
    """Mean squared error of a predicted velocity against data - noise, per sample.

    Returns:
        [B], float32 or wider: each sample's mean over its own elements, so that samples weigh equally.
    """
    if isinstance(velocity, Tensor) and isinstance(noise, Tensor) and isinstance(data, Tensor):
        error = at_least_float32(velocity) - (at_least_float32(data) - at_least_float32(noise))
        return reduce(error.square(), "b ... -> b", "mean")
    errors = [
        at_least_float32(v) - (at_least_float32(d) - at_least_float32(n))
        for v, n, d in zip(velocity, noise, data, strict=True)
    ]
    return torch.stack([error.square().mean() for error in errors])


def sample_times(count: int, kind: str = "uniform", generator: torch.Generator | None = None) -> Tensor:
    """Training times of the released samplers.

    Args:
        count: B.
        kind: "uniform", "uniform_a_b" (U(a, b)), "lognorm" (sigmoid of a normal) or "shift_s"
            (s*u/(1+(s-1)*u), towards the image for s > 1).
        generator: source of randomness, on CPU.

    Returns:
        [B] float32.

    Raises:
        ValueError: an unknown kind.
    """
    _parse(kind)
    draw = torch.randn if kind == "lognorm" else torch.rand
    return times_from_draws(draw(count, generator=generator), kind)


def times_from_draws(base: Tensor, kind: str) -> Tensor:
    """Maps base draws (normal for "lognorm", else uniform in [0, 1)) to training times, see `sample_times`."""
    name, numbers = _parse(kind)
    if name == "lognorm":
        return 1 / (1 + torch.exp(-base))
    if name == "shift":
        return (numbers[0] * base) / (1 + (numbers[0] - 1) * base)
    low, high = numbers or (0.0, 1.0)
    return base * (high - low) + low


def _parse(kind: str) -> tuple[str, tuple[float, ...]]:
    name, *rest = kind.split("_")
    if len(rest) in {"uniform": (0, 2), "lognorm": (0,), "shift": (1,)}.get(name, ()):
        try:
            return name, tuple(float(number) for number in rest)
        except ValueError:
            pass  # falls to the one message below
    raise ValueError(
        f"the t sampler must be uniform, uniform_a_b, lognorm or shift_s, found {kind!r}: for example shift_3.0"
    )
