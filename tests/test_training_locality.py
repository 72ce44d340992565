"""The start that looks at neighbours: heads peak at their offsets, names and shapes stay."""

import pytest
import torch

from pixwizard.comfyui_pixwizard.config import PixWizardConfig
from pixwizard.comfyui_pixwizard.rope import apply_rope, rope_table
from pixwizard.comfyui_pixwizard.transformer import PixWizardTransformer
from pixwizard.training.recipes.locality import OFFSETS, position_bias, prefer_neighbours


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
