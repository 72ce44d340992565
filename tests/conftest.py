"""Golden files and the small random model that they were made with."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
GOLDENS = Path(__file__).parent / "goldens"

# The root holds a package called `nodes`, which a ComfyUI checkout has too: only `pixwizard.*` may be imported.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]

from pixwizard.comfyui_pixwizard import PixWizardConfig, PixWizardTransformer  # noqa: E402


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="also run tests marked slow, which take minutes")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes minutes or gigabytes; runs with --run-slow")


def pytest_runtest_setup() -> None:
    # `pixwizard train`, which tests of several folders call, rounds numbers below 1e-38 to zero for the whole process;
    # other tests look at such numbers, and Hypothesis draws no floats without them.
    torch.set_flush_denormal(False)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--run-slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="takes minutes or gigabytes: --run-slow"))


@dataclass(frozen=True)
class Golden:
    """One file's tensors and arguments."""

    tensors: dict[str, Tensor]
    arguments: dict[str, Any]

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def listed(self, name: str) -> list[Tensor]:
        """Tensors name.0, name.1, ..."""
        found: list[Tensor] = []
        while f"{name}.{len(found)}" in self.tensors:
            found.append(self.tensors[f"{name}.{len(found)}"])
        return found


@cache
def _load(name: str) -> Golden:
    with safe_open(GOLDENS / f"{name}.safetensors", "pt") as file:
        metadata = (file.metadata() or {}).get("golden", "{}")
        return Golden({key: file.get_tensor(key) for key in file.keys()}, json.loads(metadata))  # noqa: SIM118


@cache
def _model(sampler_mask: str, dtype: torch.dtype) -> PixWizardTransformer:
    fields = json.loads((GOLDENS / "config.json").read_text())["config"]
    with torch.device("meta"):
        model = PixWizardTransformer(PixWizardConfig(**fields, sampler_mask=sampler_mask))
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, parameter in sorted(model.state_dict().items()):
        noise = 0.05 * torch.randn(parameter.shape, generator=generator)
        is_norm = name.endswith("weight") and parameter.dim() == 1
        state[name] = (1 + noise if is_norm else noise).to(dtype)
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval()


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Golden]:
    """Loads a golden file by its stem."""
    return _load


@pytest.fixture(scope="session")
def golden_json() -> Callable[[str], Any]:
    """Loads a JSON golden by its stem."""
    return lambda name: json.loads((GOLDENS / f"{name}.json").read_text())


@pytest.fixture
def golden_model() -> Callable[..., PixWizardTransformer]:
    """The goldens' model, fresh gradients; arguments: sampler_mask, dtype."""

    def get(sampler_mask: str = "before_norm", dtype: torch.dtype = torch.float32) -> PixWizardTransformer:
        model = _model(sampler_mask, dtype)
        model.zero_grad(set_to_none=True)
        return model

    return get


@pytest.fixture(scope="session")
def full_draws() -> Callable[[Tensor, Tensor], Tensor]:
    """Recorded draws of the rows that draw, [layers, rows, N], spread over the batch with ones in null rows."""

    def spread(draws: Tensor, is_null: Tensor) -> Tensor:
        full = torch.ones(draws.shape[0], len(is_null), draws.shape[-1])
        full[:, ~is_null] = draws
        return full

    return spread
