"""What holds for any weights: batching, padding, null rows, cached conditions, gradients, errors."""

from dataclasses import replace

import pytest
import torch

from pixwizard.comfyui_pixwizard import PixWizardConfig, PixWizardTransformer
from pixwizard.comfyui_pixwizard.conditions import Conditions
from pixwizard.comfyui_pixwizard.flow import flow_loss

CONFIG = PixWizardConfig(
    in_channels=3,
    dim=32,
    n_layers=2,
    n_heads=4,
    n_kv_heads=2,
    multiple_of=8,
    qk_norm=True,
    cap_feat_dim=12,
    cap_clip_feat_dim=10,
    sample_tokens=4,
    clip_image_dim=14,
)
CLOSE = dict(rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = PixWizardTransformer(CONFIG)
    for parameter in made.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def inputs(batch=3, text=5, seed=1):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(batch, text, dtype=torch.bool)
    mask[1:, text - 2 :] = False
    shapes = [(batch, text, 12), (batch, 10), (batch, 9, 14)]
    features, task, image = (torch.randn(shape, generator=generator) for shape in shapes)
    return features, mask, task, image


def latents(batch=3, height=4, width=6, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, batch, 3, height, width, generator=generator).unbind()


def test_a_fresh_model_predicts_zero_and_reaches_every_parameter():
    model = PixWizardTransformer(CONFIG)
    (x, source), t = latents(), torch.rand(3)
    out = model.velocity(x, t, source, model.encode_conditions(*inputs()))
    assert out.shape == x.shape and not out.any()
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    out = model.velocity(x, t, source, model.encode_conditions(*inputs()))
    flow_loss(out, torch.randn_like(x), x).mean().backward()
    without = {
        name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()
    }
    # A ranker's last bias moves all scores alike: its gradient is rounding, which can be zero.
    assert {name for name in without if not name.endswith("out_conv.4.bias")} <= {"pad_token"}


@torch.no_grad()
def test_rows_do_not_see_each_other(model):
    (x, source), t, given = latents(), torch.tensor([0.1, 0.5, 0.9]), inputs()
    together = model.velocity(x, t, source, model.encode_conditions(*given))
    for i in range(3):
        row = slice(i, i + 1)
        alone = model.velocity(x[row], t[row], source[row], model.encode_conditions(*(part[row] for part in given)))
        torch.testing.assert_close(alone, together[row], **CLOSE)


@torch.no_grad()
def test_ragged_rows_equal_lone_ones(model):
    sizes = [(4, 6), (2, 2), (6, 4)]
    pairs = [latents(1, *size, seed=i) for i, size in enumerate(sizes)]
    x, source = [pair[0][0] for pair in pairs], [pair[1][0] for pair in pairs]
    t, conditions = torch.tensor([0.2, 0.4, 0.6]), model.encode_conditions(*inputs())
    ragged = model.velocity(x, t, source, conditions)
    for i in range(3):
        alone = model.velocity(x[i][None], t[i : i + 1], source[i][None], conditions[i])
        torch.testing.assert_close(ragged[i], alone[0], **CLOSE)


@torch.no_grad()
def test_masked_text_is_not_read(model):
    features, mask, task, image = inputs()
    (x, source), t = latents(), torch.rand(3)
    changed = features.masked_fill(~mask[..., None], 7.0)
    first, second = (
        model.velocity(x, t, source, model.encode_conditions(f, mask, task, image)) for f in (features, changed)
    )
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@torch.no_grad()
def test_a_full_mask_costs_nothing(model):
    features, _, task, image = inputs()
    assert model.encode_conditions(features, torch.ones(3, 5), task, image).text_mask is None


@torch.no_grad()
def test_null_image_contributes_exactly_nothing(model):
    features, mask, task, image = inputs()
    image[1] = 0
    (x, source), t = latents(), torch.rand(3)
    mixed = model.encode_conditions(features, mask, task, image)
    assert mixed.is_null.tolist() == [False, True, False]
    assert (mixed.selected[:, 1] == -1).all() and (mixed.selected[:, 0] >= 0).all()
    alone = model.encode_conditions(features[1:2], mask[1:2], task[1:2], image[1:2])
    assert alone.image_keys.shape[-2] == 0
    without = replace(mixed, image_keys=mixed.image_keys[..., :0, :], image_values=mixed.image_values[..., :0, :])
    with_zeros, skipped = model.velocity(x, t, source, mixed), model.velocity(x, t, source, without)
    assert torch.equal(with_zeros[1], skipped[1]) and not torch.equal(with_zeros[0], skipped[0])
    # The pooled image vector is not skipped: it is a learned constant.
    assert alone.global_embedding.any()


@torch.no_grad()
def test_concatenated_conditions_equal_jointly_encoded_ones(model):
    features, mask, task, image = inputs()
    image[2] = 0
    joint = model.encode_conditions(features, mask, task, image)
    parts = [
        model.encode_conditions(features[:1], mask[:1], task[:1], image[:1]),
        model.encode_conditions(features[1:2, :3], mask[1:2, :3], task[1:2], image[1:2]),
        model.encode_conditions(features[2:, :3], mask[2:, :3], task[2:], image[2:]),
    ]
    joined = Conditions.cat(parts)
    assert len(joined) == len(joint) == 3
    assert torch.equal(joined.selected, joint.selected) and torch.equal(joined.text_mask, joint.text_mask)
    (x, source), t = latents(), torch.rand(3)
    torch.testing.assert_close(model.velocity(x, t, source, joined), model.velocity(x, t, source, joint), **CLOSE)
    order = [2, 0, 1]
    torch.testing.assert_close(
        model.velocity(x[order], t[order], source[order], joined[order]),
        model.velocity(x, t, source, joined)[order],
        **CLOSE,
    )
    assert len(joined[1]) == 1 and len(joined[-1]) == 1 and torch.equal(joined[-1].vector, joined.vector[2:])
    assert joined.to(dtype=torch.float64).vector.dtype == torch.float64


@torch.no_grad()
def test_redraw_equals_a_fresh_encoding(model):
    features, mask, task, image = inputs()
    image[1] = 0
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    first = model.encode_conditions(features, mask, task, image, gumbel=generators[0])
    redrawn = first.redraw(generators[1])
    fresh = model.encode_conditions(features, mask, task, image, gumbel=torch.Generator().manual_seed(4))
    assert torch.equal(redrawn.selected, fresh.selected) and not torch.equal(redrawn.selected, first.selected)
    torch.testing.assert_close(redrawn.image_keys, fresh.image_keys, **CLOSE)
    torch.testing.assert_close(redrawn.image_values, fresh.image_values, **CLOSE)
    assert not redrawn.image_values[:, 1].any()
    null = model.encode_conditions(features, mask, task, image * 0, gumbel=generators[0])
    assert (null.redraw(generators[0]).selected == -1).all()
    with pytest.raises(ValueError, match="redraw needs the keys"):
        model.encode_conditions(features, mask, task, image).redraw(generators[0])


def test_a_null_row_draws_no_noise(model):
    features, mask, task, image = inputs()
    alone = model.encode_conditions(
        features[::2], mask[::2], task[::2], image[::2], gumbel=torch.Generator().manual_seed(5)
    )
    image[1] = 0
    mixed = model.encode_conditions(features, mask, task, image, gumbel=torch.Generator().manual_seed(5))
    assert torch.equal(mixed.selected[:, ::2], alone.selected)


def test_proportional_attention_is_nothing_at_the_base_length(model):
    (x, source), t, conditions = latents(), torch.rand(3), model.encode_conditions(*inputs())
    plain = model.velocity(x, t, source, conditions)
    torch.testing.assert_close(model.velocity(x, t, source, conditions, base_seqlen=6), plain, **CLOSE)
    assert not torch.allclose(model.velocity(x, t, source, conditions, base_seqlen=2), plain, atol=1e-3)


@torch.no_grad()
def test_configured_scale_is_ntk(model):
    scaled = PixWizardTransformer(replace(CONFIG, scale_factor=2.0)).eval()
    scaled.load_state_dict(model.state_dict())
    (x, source), conditions = latents(), model.encode_conditions(*inputs())
    t = torch.full((3,), 0.5)
    by_config = scaled.velocity(x, t, source, conditions)
    ntk = model.velocity(x, t, source, conditions, rope_scale=2.0, rope_watershed=0.5)
    linear = model.velocity(x, t, source, conditions, rope_scale=2.0, rope_watershed=0.6)
    torch.testing.assert_close(by_config, ntk, rtol=0, atol=0)
    assert not torch.allclose(by_config, linear, atol=1e-4)


def test_inference_tables_serve_training(model):
    (x, source), t, given = latents(height=8, width=10), torch.rand(3), inputs()
    with torch.inference_mode():
        model.velocity(x, t, source, model.encode_conditions(*given))
    model.velocity(x, t, source, model.encode_conditions(*given)).sum().backward()
    model.zero_grad(set_to_none=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f, m, v, i: (f[..., :5], m, v, i), "text_features must be"),
        (lambda f, m, v, i: (f, m[:, :3], v, i), "text_mask must be"),
        (lambda f, m, v, i: (f, m, v[:2], i), "task_vector must be"),
        (lambda f, m, v, i: (f, m, v, i[..., 1:]), "image_tokens must be"),
        (lambda f, m, v, i: (f, m, v, i[:, :3]), "at least sample_tokens=4"),
        (lambda f, m, v, i: (f, m & False, v, i), "true entry in every row"),
    ],
)
def test_conditions_that_do_not_fit(model, change, message):
    with pytest.raises(ValueError, match=message):
        model.encode_conditions(*change(*inputs()))


@pytest.mark.parametrize("gumbel", [torch.ones(2, 3, 8), torch.zeros(2, 3, 9), "sampled"])
def test_noise_that_does_not_fit(model, gumbel):
    with pytest.raises(ValueError, match="recorded draws"):
        model.encode_conditions(*inputs(), gumbel=gumbel)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, s, t: (x[:2], s, t), "one batch size"),
        (lambda x, s, t: (x, list(s), t), "of one kind"),
        (lambda x, s, t: (x, s[..., :4], t), "encode both at one size"),
        (lambda x, s, t: (x[..., 1:], s[..., 1:], t), "divisible by 2"),
        (lambda x, s, t: (x[:, :2], s[:, :2], t), r"\[3, h, w\]"),
        (lambda x, s, t: (list(x), [*s[:2], s[2][:, :2]], t), "encode both at one size"),
    ],
)
def test_latents_that_do_not_fit(model, change, message):
    (x, source), conditions = latents(), model.encode_conditions(*inputs())
    x, source, t = change(x, source, torch.rand(3))
    with pytest.raises(ValueError, match=message):
        model.velocity(x, t, source, conditions)


def test_parts_that_do_not_fit(model):
    with pytest.raises(ValueError, match="at least one part"):
        Conditions.cat([])
    features, mask, task, image = inputs()
    other = model.encode_conditions(features, mask, task, image[:, :8])
    with pytest.raises(ValueError, match="encode with one model"):
        Conditions.cat([model.encode_conditions(features, mask, task, image), other])
