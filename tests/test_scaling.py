"""Beyond the trained size: the rule, the tables and factors that a sampling takes, and how it is measured."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pixwizard.bench.reference import Inputs
from pixwizard.bench.sizes import repetition, table
from pixwizard.bench.speed import random_inputs, random_transformer
from pixwizard.comfyui_pixwizard.config import PixWizardConfig
from pixwizard.comfyui_pixwizard.evaluator import Eager
from pixwizard.comfyui_pixwizard.sampling import Sampling
from pixwizard.comfyui_pixwizard.scaling import PLAIN, Scaling, scaling_for
from pixwizard.comfyui_pixwizard.transformer import PixWizardTransformer
from pixwizard.runtime.graph_inputs import constant_inputs

CONFIG = PixWizardConfig.from_dict(PixWizardConfig.preset("nano").to_dict() | {"n_layers": 2})


@pytest.fixture(scope="module")
def setting() -> tuple[PixWizardTransformer, dict[str, Inputs], Tensor]:
    return random_transformer(CONFIG), *random_inputs(CONFIG, 12, 2, torch.device("cpu"))


def test_the_rule_scales_what_is_larger_than_trained() -> None:
    assert scaling_for((256, 256), 256) == PLAIN and scaling_for((512, 128), 256) == PLAIN
    assert scaling_for((512, 512), 256) == Scaling(2.0, 0.3, 256)
    assert scaling_for((768, 384), 256).rope_scale == pytest.approx(math.sqrt(768 * 384) / 256)
    assert scaling_for((512, 512), 256, rope_scale=1.0, proportional=False) == PLAIN
    assert scaling_for((256, 256), 256, rope_scale=1.5, rope_watershed=0.6, proportional=True) == Scaling(1.5, 0.6, 256)


@pytest.mark.parametrize("t", [0.1, 0.3, 0.7])
def test_a_sampling_is_the_networks_own_scaling(setting, t: float) -> None:
    transformer, inputs, x = setting
    scaling = Scaling(2.0, 0.3, 9)
    with torch.inference_mode():
        step = Eager().start(transformer, {"full": inputs["full"].branch(transformer)}, [0.1, 0.7], scaling)
        found = step(x, t, ("full",))["full"]
        conditions = inputs["full"].encode(transformer)
        time = torch.full((len(x),), t)
        wanted = transformer.velocity(
            x, time, inputs["full"].source, conditions, rope_scale=2.0, rope_watershed=0.3, base_seqlen=9
        )
        plain = transformer.velocity(x, time, inputs["full"].source, conditions)
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=2e-5)
    assert (found - plain).abs().max() > 1e-3


def test_engines_are_given_the_scale(setting) -> None:
    transformer, inputs, _ = setting
    branch, cpu = inputs["full"].branch(transformer), torch.device("cpu")
    scale = Scaling(base_tokens=9).attention_scale(36)
    given = constant_inputs(CONFIG, branch, torch.float32, cpu, scale)["attention_scale"]
    torch.testing.assert_close(given, torch.tensor([math.sqrt(math.log(36) / math.log(9))]))
    assert constant_inputs(CONFIG, branch, torch.float32, cpu)["attention_scale"].tolist() == [1.0]


@pytest.mark.parametrize(
    "wrong, told",
    [
        (dict(rope_scale=0.0), "the RoPE scale must be a positive number, found 0"),
        (dict(rope_scale=math.nan), "the RoPE scale"),
        (dict(rope_watershed=1.5), "the RoPE watershed is a flow time from 0 to 1, found 1.5"),
        (dict(base_tokens=1), "two tokens or more, found 1"),
    ],
)
def test_scales_that_cannot_be(wrong: dict[str, float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Scaling(**wrong)
    with pytest.raises(ValueError, match="the time shift must be a positive number, found 0"):
        Sampling(shift=0.0)


def test_repetition_is_seen() -> None:
    generator = torch.Generator().manual_seed(0)
    tile = torch.rand(1, 3, 32, 32, generator=generator)
    noise = torch.rand(1, 3, 128, 128, generator=generator)
    both = repetition(torch.cat([tile.repeat(1, 1, 4, 4), noise]))
    assert both[0] > 0.9 and both[1] < 0.1
    assert table([dict(side=512, scaled="both", psnr=30.0, repetition=0.5)]).splitlines()[1].split()[1] == "both"
