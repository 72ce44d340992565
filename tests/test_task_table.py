"""The task table: without effect where it is absent or zero, and what its rows do where they are not."""

from pathlib import Path

import pytest
import torch

from pixwizard.comfyui_pixwizard.files.table_file import load_table, save_table
from pixwizard.comfyui_pixwizard.task_table import TaskTable

FILES = ["forward_square", "forward_ragged", "forward_null_image", "forward_null_image_single"]
NAMES = ("denoise", "depth", "edit_add")


def inputs(g):
    return g["in.cap_feats"], g["in.cap_mask"], g["in.cap_pooled"], torch.cat(g.listed("in.clip"))


def answer(model, g, rows=None):
    conditions = model.encode_conditions(*inputs(g), task_rows=rows)
    return model.velocity(g.listed("in.x"), g["in.t"], g.listed("in.input_x"), conditions)


def table_of(model, seed=None):
    table = TaskTable.of(model.config, NAMES)
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        for parameter in table.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
    return table


@pytest.mark.parametrize("name", FILES)
@torch.no_grad()
def test_the_released_answers_stay_with_a_table_that_is_absent_or_zero(golden, golden_model, name):
    g, model = golden(name), golden_model()
    table = table_of(model)
    without = answer(model, g)
    zero = answer(model, g, table.rows(table.places(["depth", None, "denoise", "edit_add"][: len(g["in.t"])])))
    for a, b, wanted in zip(without, zero, g.listed("out.out"), strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(b, wanted, rtol=0, atol=1e-5)


@torch.no_grad()
def test_rows_act_on_their_samples_alone(golden, golden_model):
    g, model = golden("forward_ragged"), golden_model()
    table, count = table_of(model, 0), len(g["in.t"])
    plain = answer(model, g)
    mixed = answer(model, g, table.rows(table.places(["depth", *[None] * (count - 1)])))
    assert not torch.allclose(mixed[0], plain[0], atol=1e-4)
    for a, b in zip(mixed[1:], plain[1:], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    other = answer(model, g, table.rows(table.places(["denoise", *[None] * (count - 1)])))
    assert not torch.allclose(other[0], mixed[0], atol=1e-4)


@pytest.mark.parametrize("part", ["vectors", "tokens"])
@torch.no_grad()
def test_vector_and_token_both_act(golden, golden_model, part):
    g, model = golden("forward_square"), golden_model()
    table = table_of(model, 1)
    getattr(table, part).zero_()
    rows = table.rows(table.places(["depth"] * len(g["in.t"])))
    assert not torch.allclose(answer(model, g, rows)[0], answer(model, g)[0], atol=1e-4)
    conditions = model.encode_conditions(*inputs(g), task_rows=rows)
    text = g["in.cap_feats"].shape[1]
    assert conditions.text_keys.shape[-2] == (text if part == "tokens" else text + 1)


@torch.no_grad()
def test_the_token_is_one_more_text_token_whatever_the_padding(golden, golden_model):
    g, model = golden("forward_square"), golden_model()
    table, (features, mask, *others) = table_of(model, 2), inputs(g)
    rows = table.rows(table.places(["edit_add"] * len(features)))
    longer = torch.nn.functional.pad(features, (0, 0, 0, 5)), torch.nn.functional.pad(mask, (0, 5))
    x, t, source = g.listed("in.x"), g["in.t"], g.listed("in.input_x")
    conditions = [model.encode_conditions(*text, *others, task_rows=rows) for text in ((features, mask), longer)]
    for a, b in zip(*(model.velocity(x, t, source, one) for one in conditions), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    valid = mask.bool().sum(1)
    # Valid tokens lie together at the front, which evaluators rely on when they cut the padding off.
    front = torch.arange(conditions[1].text_mask.shape[1]) < (valid + 1)[:, None]
    assert torch.equal(conditions[1].text_mask, front)


def test_rows_of_zeros_have_gradients(golden, golden_model):
    g, model = golden("forward_square"), golden_model()
    table = table_of(model)
    out = answer(model, g, table.rows(table.places(["depth"] * len(g["in.t"]))))
    sum(part.square().sum() for part in out).backward()
    for parameter in table.parameters():
        assert parameter.grad[1].abs().max() > 0 and not parameter.grad[[0, 2]].any()


def test_rows_of_another_network_are_refused(golden, golden_model):
    g, model = golden("forward_square"), golden_model()
    table = TaskTable(NAMES, model.config.conditioning_dim + 1, model.config.cap_feat_dim)
    with pytest.raises(ValueError, match="rows of a task table must be"):
        answer(model, g, table.rows(table.places([None] * len(g["in.t"]))))
    with pytest.raises(ValueError, match="names each task once, found depth, depth"):
        TaskTable(["depth", "depth"], 4, 4)


def test_a_file_keeps_the_table(golden_model, tmp_path: Path):
    table = table_of(golden_model(), 3)
    save_table(table, tmp_path / "t.safetensors", provenance={"recipe": "test"})
    again = load_table(tmp_path / "t.safetensors")
    assert again.names == NAMES
    assert torch.equal(again.vectors, table.vectors) and torch.equal(again.tokens, table.tokens)
    begun = TaskTable.of(golden_model().config, ["canny", "depth"], again)
    assert torch.equal(begun.tokens[1], table.tokens[1]) and not begun.tokens[0].any()
    named = again.names
    again.names = named[:2]
    save_table(again, tmp_path / "short.safetensors")
    with pytest.raises(ValueError, match="should hold vectors and tokens with a row for each of its tasks"):
        load_table(tmp_path / "short.safetensors")
    with pytest.raises(ValueError, match="found none at"):
        load_table(tmp_path / "none.safetensors")
