"""Batches that the host's own nodes repeat, cut or join: everything of a sample stays of one picture."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import sampled


@pytest.fixture(scope="module")
def two(example: Any) -> torch.Tensor:
    """Two small pictures."""
    return torch.cat([example(size=64), example(size=64).flip(1)])


@pytest.mark.parametrize("choice", ["best", "sampled"])
def test_a_repeated_batch_is_its_pictures_in_turn(
    node: Any, host: SimpleNamespace, parts: SimpleNamespace, conditioned: Any, two: torch.Tensor, choice: str
) -> None:
    both = conditioned(two)
    latent = host.nodes.RepeatLatentBatch().repeat(both[3], 2)[0]
    more: dict[str, Any] = dict(seed=5, token_choice=choice)
    found = sampled(node, parts.model, (*both[:3], latent, None), **more)
    assert len(found) == 4
    for i in range(4):
        alone = sampled(node, parts.model, conditioned(two[i % 2 : i % 2 + 1]), **more | {"seed": 5 + i})
        torch.testing.assert_close(found[i : i + 1], alone, atol=2e-4, rtol=1e-3)


def test_a_part_of_a_batch_is_refused(
    node: Any, host: SimpleNamespace, parts: SimpleNamespace, conditioned: Any, two: torch.Tensor
) -> None:
    both = conditioned(two)
    latent = host.nodes.LatentFromBatch().frombatch(both[3], 1, 1)[0]
    with pytest.raises(ValueError, match="a latent belongs to each picture of the conditioning, found 1 for 2"):
        sampled(node, parts.model, (*both[:3], latent, None))


def test_joined_texts_are_read_whole(node: Any, host: SimpleNamespace, parts: SimpleNamespace) -> None:
    first, second = (node("PixWizardInstruction", clip=parts.clip, text=text)[0] for text in ("Denoise.", "No rain."))
    (joined,) = host.nodes.ConditioningConcat().concat(first, second)
    features, options = joined[0]
    given = options | {"cross_attn": features, "device": torch.device("cpu")}
    _, mask = parts.model.model.encode_branch(given)
    _, alone = parts.model.model.encode_branch(first[0][1] | {"cross_attn": first[0][0], "device": torch.device("cpu")})
    assert mask.shape[1] - alone.shape[1] == second[0][0].shape[1] and bool(mask.all())
