"""What makes a CPU fast changes no answer: linear layers through oneDNN, attention in bfloat16 by tiles."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pixwizard.bench.speed import random_transformer
from pixwizard.comfyui_pixwizard.attention import attend
from pixwizard.comfyui_pixwizard.config import PixWizardConfig
from pixwizard.comfyui_pixwizard.cpu.linear import OneDnnLinear, available, through_onednn
from pixwizard.comfyui_pixwizard.cpu.tiled_attention import SMALLEST, fits, tiled_attention

needs_onednn = pytest.mark.skipif(not available(), reason="this PyTorch has no oneDNN")


@needs_onednn
@settings(max_examples=25, deadline=None)
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    inputs=st.integers(1, 40),
    outputs=st.integers(1, 40),
    bias=st.booleans(),
    strided=st.booleans(),
)
def test_onednn_products_equal_plain_ones(shape, inputs, outputs, bias, strided) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(inputs, outputs, bias=bias)
    x = torch.randn(*shape, inputs, 2)[..., 0] if strided else torch.randn(*shape, inputs)
    with torch.no_grad():
        torch.testing.assert_close(through_onednn(copy.deepcopy(plain))(x), plain(x), atol=1e-5, rtol=1e-5)


@needs_onednn
def test_only_plain_linear_layers_change_and_keep_names_and_weights() -> None:
    class Own(nn.Linear):
        pass

    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), Own(4, 2))
    before = dict(module.named_parameters())
    assert through_onednn(module) is module
    assert [type(layer) for layer in module] == [OneDnnLinear, nn.LayerNorm, Own]
    assert all(before[name] is parameter for name, parameter in module.named_parameters())


@needs_onednn
def test_gradients_and_other_types_take_the_plain_way() -> None:
    layer = through_onednn(nn.Linear(8, 8))
    x = torch.randn(2, 8, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None and layer.weight.grad is not None
    half = through_onednn(nn.Linear(8, 8)).to(torch.bfloat16)
    with torch.no_grad():
        assert half(x.to(torch.bfloat16)).dtype == torch.bfloat16
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16


@needs_onednn
def test_a_network_answers_as_before() -> None:
    config = PixWizardConfig.from_dict(PixWizardConfig.preset("nano").to_dict() | {"n_layers": 2})
    model = random_transformer(config)
    inputs = torch.randn(2, 5, config.cap_feat_dim), torch.ones(2, 5), torch.randn(2, config.cap_clip_feat_dim)
    tokens = torch.randn(2, 64, config.clip_image_dim)
    x, source, t = torch.randn(2, config.in_channels, 8, 8), torch.randn(2, config.in_channels, 8, 8), torch.rand(2)
    quick = through_onednn(copy.deepcopy(model))
    assert sum(type(layer) is OneDnnLinear for layer in quick.modules()) > 20
    with torch.inference_mode():
        conditions = [network.encode_conditions(*inputs, tokens) for network in (model, quick)]
        assert torch.equal(conditions[0].selected, conditions[1].selected)
        answers = [network.velocity(x, t, source, own) for network, own in zip((model, quick), conditions, strict=True)]
    torch.testing.assert_close(answers[1], answers[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("batch, heads, groups, length, keys, width",
                         [(2, 4, 2, 300, 256, 24), (1, 4, 4, 257, 300, 72), (2, 6, 2, 1030, 2100, 8)])  # fmt: skip
def test_attention_by_tiles_is_attention(batch, heads, groups, length, keys, width) -> None:
    torch.manual_seed(0)
    query = torch.randn(batch, length, heads, width).transpose(1, 2)
    key, value = (torch.randn(batch, keys, groups, width).transpose(1, 2) for _ in range(2))
    with torch.no_grad():
        small = [tensor.to(torch.bfloat16) for tensor in (query, key, value)]
        assert fits(small[0], small[1], None)
        expected = F.scaled_dot_product_attention(*(tensor.float() for tensor in small), enable_gqa=True)
        found = attend(*small)
        assert found.dtype == torch.bfloat16 and found.shape == expected.shape
        # Rounding of bfloat16 is 2^-9; scores, weights and sums are rounded once each.
        assert float((found.float() - expected).norm() / expected.norm()) < 8e-3
        torch.testing.assert_close(attend(query, key, value), tiled_attention(query, key, value), atol=1e-5, rtol=1e-4)


def test_tiles_are_for_large_bfloat16_without_mask_and_gradients() -> None:
    side = int(SMALLEST**0.5)
    query, small = (torch.zeros(1, 1, rows, 8, dtype=torch.bfloat16) for rows in (side, side - 1))
    with torch.no_grad():
        assert fits(query, query, None)
        assert not fits(small, query, None)
        assert not fits(query.float(), query.float(), None)
        assert not fits(query, query, torch.ones(1, 1, 1, side, dtype=torch.bool))
    assert not fits(query, query, None)


def test_a_compiler_takes_the_tiles_as_one_operation() -> None:
    query = torch.randn(1, 2, 260, 16, dtype=torch.bfloat16)
    with torch.no_grad():
        compiled = torch.compile(lambda q: attend(q, q, q) * 2, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(query), attend(query, query, query) * 2)
        torch.library.opcheck(tiled_attention, (query, query, query))
