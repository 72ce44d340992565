"""The network equals the released one: outputs, inner values, sampler."""

import json

import pytest
import torch

from pixwizard.comfyui_pixwizard.token_sampler import gather_tokens

TOLERANCE = dict(rtol=0, atol=1e-5)
FILES = ["forward_square", "forward_ragged", "forward_null_image", "forward_null_image_single"]


def encode(model, g, gumbel=None):
    return model.encode_conditions(
        g["in.cap_feats"], g["in.cap_mask"], g["in.cap_pooled"], torch.cat(g.listed("in.clip")), gumbel=gumbel
    )


def test_generated_weights_are_the_recorded_ones(golden, golden_model):
    state = golden_model().state_dict()
    recorded = golden("state-03-of-03").tensors
    assert len(recorded) == 9
    for name, value in recorded.items():
        torch.testing.assert_close(state[name], value, rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", FILES)
@torch.no_grad()
def test_forward_list(golden, golden_model, name):
    g, model = golden(name), golden_model()
    out = model.velocity(g.listed("in.x"), g["in.t"], g.listed("in.input_x"), encode(model, g))
    assert isinstance(out, list) and len(out) == len(g["in.t"])
    for found, wanted in zip(out, g.listed("out.out"), strict=True):
        torch.testing.assert_close(found, wanted, **TOLERANCE)


@pytest.mark.parametrize("name", [name for name in FILES if name != "forward_ragged"])
@torch.no_grad()
def test_forward_tensor(golden, golden_model, name):
    g, model = golden(name), golden_model()
    x, source = torch.stack(g.listed("in.x")), torch.stack(g.listed("in.input_x"))
    out = model.velocity(x, g["in.t"], source, encode(model, g))
    torch.testing.assert_close(out, torch.stack(g.listed("out.out")), **TOLERANCE)


@pytest.mark.parametrize("name", FILES)
@torch.no_grad()
def test_inner_values(golden, golden_model, name):
    g, model = golden(name), golden_model()
    found, hooks = {}, []

    def record(module, label, index=None):
        def hook(_, inputs, output):
            if index is not None:
                found[f"{label}_in"] = inputs[index]
            found[f"{label}_out" if index is not None else label] = output

        hooks.append(module.register_forward_hook(hook))

    record(model.t_embedder, "t_emb")
    record(model.task_embedder, "task_emb")
    record(model.global_semantic_embedder, "clip_global_emb")
    record(model.final_layer, "final_tokens")
    for i, block in enumerate(model.blocks):
        record(block.adaLN_modulation, f"layer{i}.adaln")
        record(block.attention, f"layer{i}.attn", index=0)
        record(block.feed_forward, f"layer{i}.ffn", index=0)
        record(block, f"layer{i}.out")
    model.blocks[0].register_forward_pre_hook(lambda _, inputs: found.update(x_embed=inputs[0], adaln_input=inputs[1]))
    conditions = encode(model, g)
    model.velocity(g.listed("in.x"), g["in.t"], g.listed("in.input_x"), conditions)
    model.blocks[0]._forward_pre_hooks.clear()
    for hook in hooks:
        hook.remove()

    clip = torch.cat(g.listed("in.clip"))
    for i, block in enumerate(model.blocks):
        chosen = gather_tokens(block.input_image_proj(clip), conditions.selected[i].clamp(min=0))
        found[f"layer{i}.selected_tokens"] = chosen * ~conditions.is_null[:, None, None]
    untraced = {"freqs_real", "freqs_imag", "x_mask", "clip_mean_pool"}
    wanted = {key.removeprefix("out.trace."): value for key, value in g.tensors.items() if "trace" in key}
    assert len(wanted) >= 27
    for key in wanted.keys() - untraced:
        torch.testing.assert_close(found[key], wanted[key], rtol=1e-5, atol=1e-5, msg=lambda m, key=key: f"{key}: {m}")


@pytest.mark.parametrize("name", FILES)
@torch.no_grad()
def test_selected_tokens(golden, golden_model, name):
    g, model = golden(name), golden_model()
    conditions = encode(model, g)
    compared = 0
    for layer in range(3):
        for row in range(len(g["in.t"])):
            key = f"out.layer{layer}.sample{row}"
            if f"{key}.indices" not in g.tensors:
                assert conditions.is_null[row] and (conditions.selected[layer, row] == -1).all()
                continue
            assert torch.equal(conditions.selected[layer, row], g[f"{key}.indices"])
            torch.testing.assert_close(conditions.scores[layer, row], g[f"{key}.scores"], rtol=0, atol=1e-6)
            compared += 1
    assert compared == 3 * (len(g["in.t"]) - len(g.arguments.get("null_samples", [])))


@pytest.mark.parametrize("case", ["free", "seeded"])
@torch.no_grad()
def test_sampler(golden, golden_model, case):
    g, model = golden("dsts"), golden_model()
    conditions = encode(model, g, g["noise.exponential"] if case == "seeded" else None)
    clip = torch.cat(g.listed("in.clip"))
    torch.testing.assert_close(conditions.task_embedding, g[f"out.{case}.task_emb"], **TOLERANCE)
    for layer, block in enumerate(model.blocks):
        for row in range(2):
            key = f"out.{case}.layer{layer}.sample{row}"
            assert torch.equal(conditions.selected[layer, row], g[f"{key}.indices"])
            multi_hot = torch.zeros(12).scatter(0, conditions.selected[layer, row], 1.0)
            assert torch.equal(multi_hot, g[f"{key}.multi_hot"])
            torch.testing.assert_close(conditions.scores[layer, row], g[f"{key}.scores"], rtol=0, atol=1e-6)
        chosen = gather_tokens(block.input_image_proj(clip), conditions.selected[layer])
        torch.testing.assert_close(chosen, g[f"out.{case}.layer{layer}.selected_tokens"], **TOLERANCE)
    out = model.velocity(g.listed("in.x"), g["in.t"], g.listed("in.input_x"), conditions)
    for found, wanted in zip(out, g.listed(f"out.{case}.out"), strict=True):
        torch.testing.assert_close(found, wanted, **TOLERANCE)


def test_config_file_is_complete(golden_json, golden_model):
    fields = golden_json("config")["config"]
    assert json.loads(json.dumps(golden_model().config.to_dict())).items() >= fields.items()
