"""Makes `tiny` importable for the tests here, which run it by path in other processes too."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def denormals_as_before():
    """`pixwizard train` rounds numbers below 1e-38 to zero for the whole process; other tests look at such numbers."""
    yield
    torch.set_flush_denormal(False)
