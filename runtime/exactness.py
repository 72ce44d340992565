"""How far an answer of the network is from the exact one."""

from torch import Tensor


def velocity_error(found: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference over that of the expected."""
    return float((found - expected).square().mean().sqrt() / expected.square().mean().sqrt())
