"""The start that looks at neighbours: heads peak at their offsets, names and shapes stay."""

import pytest
import torch

from pixwizard.comfyui_pixwizard.config import PixWizardConfig
from pixwizard.comfyui_pixwizard.rope import apply_rope, rope_table
from pixwizard.comfyui_pixwizard.transformer import PixWizardTransformer
from pixwizard.training.recipes.locality import OFFSETS, find_places, position_bias, prefer_neighbours


@pytest.mark.parametrize("offset", OFFSETS)
def test_a_head_looks_at_its_offset(offset):
    e, side = 32, 8
    cos, sin = rope_table(side, side, e)
    query, key = (
        apply_rope(position_bias(d, e, 2.4).expand(1, side * side, 1, e), cos, sin)[0, :, 0] for d in (offset, (0, 0))
    )
    found = (query @ key.T)[3 * side + 4].argmax().item()
    assert divmod(found, side) == (3 + offset[0], 4 + offset[1])


def test_only_biases_change():
    config = PixWizardConfig.preset("nano")
    torch.manual_seed(0)
    fresh, local = PixWizardTransformer(config), PixWizardTransformer(config)
    local.load_state_dict(fresh.state_dict())
    prefer_neighbours(local)
    changed = {name for name, value in local.state_dict().items() if not torch.equal(value, fresh.state_dict()[name])}
    wanted = {f"layers.{i}.attention.{n}_norm.bias" for i in range(config.n_layers) for n in "qk"}
    assert changed == wanted


def test_a_network_without_norms_is_refused():
    config = PixWizardConfig(**PixWizardConfig.preset("nano").to_dict() | {"qk_norm": False})
    with pytest.raises(ValueError, match="found qk_norm=False"):
        prefer_neighbours(PixWizardTransformer(config))


def test_a_network_of_few_heads_takes_the_first_offsets():
    few = {"n_heads": 2, "n_kv_heads": 1, "dim": 32}
    transformer = PixWizardTransformer(PixWizardConfig(**PixWizardConfig.preset("nano").to_dict() | few))
    prefer_neighbours(transformer, 1.0)
    query = transformer.blocks[0].attention.q_norm.get_parameter("bias").view(2, 16)
    for head, offset in enumerate(OFFSETS[:2]):
        assert torch.allclose(query[head], position_bias(offset, 16, 1.0))


def looked_at(block, tokens, side):
    """The weights [h,L,N] that the heads' biases alone give to the tokens of one picture [1,N,W]."""
    attention = block.attention
    keys, _ = attention.image_keys_values(block.attention_input_norm(block.input_image_proj(tokens)))
    heads, e = attention.heads, keys.shape[-1]
    cos, sin = rope_table(side, side, e)
    query = apply_rope(attention.q_norm.get_parameter("bias").view(1, 1, heads, e).expand(1, side**2, -1, -1), cos, sin)
    repeated = keys[0].repeat_interleave(heads // keys.shape[1], 0)
    return (query[0].transpose(0, 1) @ repeated.transpose(1, 2) / e**0.5).softmax(-1)


@torch.no_grad()
def test_a_head_finds_the_token_at_its_offset_in_pictures_that_the_fit_has_not_seen():
    torch.manual_seed(0)
    config, grid, side = PixWizardConfig.preset("nano"), 6, 8
    transformer = PixWizardTransformer(config)
    prefer_neighbours(transformer)
    places = torch.randn(grid**2, config.clip_image_dim)
    tokens = places + 0.7 * torch.randn(200, grid**2, config.clip_image_dim)
    others = {k: v.clone() for k, v in transformer.state_dict().items() if "wk_ii" not in k}
    free = transformer.blocks[0].attention.wk_ii.weight[96:].clone()
    before = looked_at(transformer.blocks[3], tokens[-1:], side)
    find_places(transformer, tokens[:-1], side)
    after = transformer.state_dict()
    assert all(torch.equal(after[name], value) for name, value in others.items())
    assert torch.equal(transformer.blocks[0].attention.wk_ii.weight[96:], free), "heads without a place are left"
    at = (torch.arange(grid) + 0.5) * side / grid - 0.5
    for block in (transformer.blocks[0], transformer.blocks[3]):
        weights = looked_at(block, tokens[-1:], side).view(-1, side, side, grid, grid)
        for head, (row, column) in enumerate(OFFSETS):
            best = weights[head, 3, 4].argmax().item()
            there = at[best // grid], at[best % grid]
            assert abs(there[0] - 3 - row) < 1.4 and abs(there[1] - 4 - column) < 1.4, "at most one token off"
    own = (torch.arange(side).view(-1, 1, 1) - at).abs() < 1.4  # [side, 1, grid], on one axis
    near = (own[:, None, :, :, None] & own[None, :, :, None, :]).view(side, side, grid, grid)
    assert (weights[0] * near).sum((2, 3)).mean() > 1.8 * (before.view_as(weights)[0] * near).sum((2, 3)).mean()


def test_the_tokens_of_other_pictures_than_square_ones_are_refused():
    transformer = PixWizardTransformer(PixWizardConfig.preset("nano"))
    with pytest.raises(ValueError, match="found 12 of each"):
        find_places(transformer, torch.zeros(1, 12, transformer.config.clip_image_dim), 8)
