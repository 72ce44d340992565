"""Configuration: presets, dictionaries, errors."""

import json

import pytest
import torch

from pixwizard.comfyui_pixwizard import PixWizardConfig, PixWizardTransformer


@pytest.mark.parametrize("name", ["2b", "nano"])
def test_dictionary_round_trip(name):
    config = PixWizardConfig.preset(name)
    assert PixWizardConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.sampler_mask == "after_norm"


def test_nano_is_small():
    with torch.device("meta"):
        model = PixWizardTransformer(PixWizardConfig.preset("nano"))
    assert 8e6 < sum(parameter.numel() for parameter in model.parameters()) < 20e6


def test_feed_forward_width():
    assert PixWizardConfig.preset("2b").ffn_dim == 6144
    assert PixWizardConfig(dim=96, n_heads=6, multiple_of=32, ffn_dim_multiplier=0.5).ffn_dim == 128


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(dim=100, n_heads=6), "multiple of 4\\*n_heads"),
        (dict(n_heads=32, n_kv_heads=5), "multiple of n_kv_heads"),
        (dict(sampler_mask="inside_norm"), "sampler_mask must be"),
        (dict(n_layers=0), "n_layers must be at least 1"),
    ],
)
def test_fields_that_do_not_fit(fields, message):
    with pytest.raises(ValueError, match=message):
        PixWizardConfig(**fields)


def test_unknown_names():
    with pytest.raises(ValueError, match="unknown config fields \\['width'\\]"):
        PixWizardConfig.from_dict({"dim": 64, "width": 3})
    with pytest.raises(ValueError, match="preset must be one of"):
        PixWizardConfig.preset("3b")
