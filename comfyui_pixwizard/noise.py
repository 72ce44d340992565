"""The initial noise of a batch, drawn sample by sample, so that the batch size changes no answer."""

from collections.abc import Sequence

import torch
from torch import Tensor

LARGEST_SEED = 2**63 - 1
Generators = Sequence[torch.Generator | None]


def noise_generators(
    n: int, generator: torch.Generator | Sequence[torch.Generator] | None, seeds: Sequence[int] | None
) -> Generators:
    """A generator for each of n samples: from seeds, as given, the same for all, or None for torch's global state.

    Raises:
        ValueError: both generator and seeds, a seed out of range, or another number of either.
    """
    if seeds is not None:
        if generator is not None:
            raise ValueError("noise comes from generator or seeds, found both: give one of them")
        wrong = [seed for seed in seeds if not 0 <= seed <= LARGEST_SEED]
        if wrong:
            raise ValueError(f"seeds lie in 0 to {LARGEST_SEED}, found {wrong[0]}: take 0")
        generator = [torch.Generator().manual_seed(seed) for seed in seeds]
    if generator is None or isinstance(generator, torch.Generator):
        return [generator] * n
    if len(generator) != n:
        raise ValueError(f"one generator or seed for each of {n} samples is needed, found {len(generator)}: give {n}")
    return list(generator)


def draw_noise(shape: tuple[int, int, int], generators: Generators, device: torch.device) -> Tensor:
    """Normal noise [B, C, h, w] float32 for samples of a shape [C, h, w]; a generator's own device draws."""
    drawn = [torch.randn(shape, generator=g, device=g.device if g else "cpu") for g in generators]
    return torch.stack([item.to(device) for item in drawn])
