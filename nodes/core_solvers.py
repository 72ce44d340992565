"""The core's solvers as samplers of the host, so that nodes, pipeline and command line draw the same picture.

Shapes: B pictures, C latent channels, h w latent sides.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import comfy.samplers
from torch import Tensor

from ..comfyui_pixwizard.solvers import State, solve

# They evaluate at the end of the grid too, where the host gives the picture and not the velocity.
AT_THE_END = ("heun", "rk4")


def core_sampler(name: str, grid: Tensor) -> Any:
    """The host's sampler that runs a solver of `solvers.EVALUATIONS`.

    Args:
        name: of the solver.
        grid: the flow times whose sigmas the host is given. They are taken as they are: a solver treats times near
            the ends differently, and 1 - (1 - t) may fall on the other side of that border.

    Raises:
        ValueError: one that needs the velocity at the end of the grid.
    """
    if name in AT_THE_END:
        raise ValueError(
            f"the model's solver is one that needs no velocity at the end of the grid, found {name}: choose a solver "
            "of ComfyUI in PixWizard Sampler"
        )
    return comfy.samplers.KSAMPLER(partial(sample, name=name, grid=grid))


def sample(
    model: Callable[..., Tensor],
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], None] | None = None,
    disable: bool | None = None,
    *,
    name: str,
    grid: Tensor,
) -> Tensor:
    """As the host's own sampler functions.

    Args:
        model: the picture that is predicted, [B, C, h, w], from a state, sigmas [B] and `extra_args`.
        x: state at the first sigma, [B, C, h, w].
        sigmas: 1 - t, falling.
        callback: called after every step with its number i, the state x that was looked at and what it looked like.
        disable: whether the host wants no bar on its terminal; there is none here.
        name, grid: as for `core_sampler`.
    """
    shown: dict[str, Any] = {}

    def velocity(state: State, t: Tensor) -> State:
        assert isinstance(state, Tensor), "a tensor goes in"
        sigma = 1 - t
        denoised = model(state, sigma * state.new_ones(len(state)), **(extra_args or {}))
        shown.update(x=state, sigma=sigma, sigma_hat=sigma, denoised=denoised)
        return (denoised - state) / sigma

    def tell(done: int, of: int) -> None:
        if callback is not None:
            callback(shown | {"i": done - 1})

    answer = solve(velocity, x, grid.to(sigmas), name, tell)
    assert isinstance(answer, Tensor), "a tensor goes in"
    return answer
