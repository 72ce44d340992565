"""What a fresh network begins with beyond the released initialisation: a clock that ticks, ears and eyes that are open.

As in `locality`, only numbers are set: names and shapes stay, and training is free to undo it.
Shapes: D conditioning width, F = 256 sinusoid channels, K knots.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...comfyui_pixwizard.layers import TimestepEmbedder
from ...comfyui_pixwizard.transformer import PixWizardTransformer
from .locality import OFFSETS

# Biases whose sum is all that the network sees of them: they get one gradient, so each must move slowly.
SUMMED_BIASES = ("t_embedder.mlp.2.bias", "task_embedder.1.bias", "global_semantic_embedder.1.bias")
SLOPE, MODES = 12.0, 12


@torch.no_grad()
def open_gates(transformer: PixWizardTransformer, text: float = 0.4, image: float = 0.2) -> None:
    """Open the gates to text and picture of the heads that look at no fixed place.

    A closed gate passes what it guards and its gradient only as fast as it opens, and it opens only once that says
    something.
    """
    for block in transformer.blocks:
        block.attention.gate[len(OFFSETS) :] = text
        block.attention.gate_for_ii[len(OFFSETS) :] = image


@torch.no_grad()
def reopen_gates(transformer: PixWizardTransformer, image: float = 0.3, closed: float = 0.15) -> None:
    """Open the gates to the picture that are nearly closed, of all heads: `locality.find_places` has made them look.

    Tokens that say little are shut out in some minutes, and a tower that has learned better since is not noticed.
    """
    for block in transformer.blocks:
        gates = block.attention.gate_for_ii
        gates[gates.tanh().abs() < closed] = image


@torch.no_grad()
def spread_times(embedder: TimestepEmbedder, spread: float = 0.5) -> None:
    """Let the time embedding tell times apart: SiLU knots along t, then a projection in which many of them count.

    t in [0, 1] turns the sinusoids by less than a radian, so under the released initialisation all times look alike
    (singular values over t of 1, 0.1 and 0.05 after a short training). The first layer becomes ramps that begin at K
    places in [0, 1]; the second projects their leading modes over t to D channels with no mean.

    Args:
        spread: standard deviation of the embedding's channels over t.
    """
    first, last = embedder.mlp[0], embedder.mlp[2]
    assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
    knots = first.out_features
    # The least weights by which sines make a line; cosines are all but constant and would only add rounding.
    times = torch.linspace(0, 1, 513)
    waves = embedder.sinusoid(times).double()
    half = waves.shape[1] // 2
    sines = waves[:, half:]
    ridge = 1e-4 * torch.eye(half, dtype=torch.double)
    line = torch.linalg.solve(sines.T @ sines / len(times) + ridge, sines.T @ times.double() / len(times))
    sign = torch.where(torch.arange(knots) % 2 == 0, 1.0, -1.0)
    place = torch.linspace(-0.05, 1.05, knots)
    first.weight.zero_()
    first.weight[:, half:] = (SLOPE * sign)[:, None] * line.float()
    first.bias.copy_(-SLOPE * sign * place)
    ramps = embedder.mlp[1](first(waves.float()))
    _, _, modes = torch.linalg.svd(ramps - ramps.mean(0), full_matrices=False)
    modes = modes[:MODES]
    scores = (ramps - ramps.mean(0)) @ modes.T
    # Half whitened: later modes, which tell near times apart, would vanish beside the first, a slope along t.
    scale = scores.std(0).rsqrt()
    directions = torch.randn(last.out_features, len(modes))
    weight = directions @ (scale[:, None] * modes)
    weight *= spread / (scores @ (directions * scale).T).std(0).mean()
    last.weight.copy_(weight)
    last.bias.copy_(-weight @ ramps.mean(0))


@torch.no_grad()
def scatter_embeddings(
    transformer: PixWizardTransformer, generator: torch.Generator, task: float = 0.4, image: float = 0.15
) -> None:
    """Project task and picture to the conditioning vector at random instead of not at all, so that modulations can be
    fitted by it. task, image: standard deviation of a channel of each projection.
    """
    for embedder, spread in ((transformer.task_embedder, task), (transformer.global_semantic_embedder, image)):
        weight = embedder[1].get_parameter("weight")
        weight.copy_(torch.randn(weight.shape, generator=generator) * spread / weight.shape[1] ** 0.5)


def in_full_precision(module: nn.Module) -> None:
    """Run a module outside autocast: in bfloat16 neighbouring times are one."""
    run = module.forward

    def forward(x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return run(x)

    module.forward = forward  # type: ignore[method-assign]
