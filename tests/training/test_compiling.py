"""The network's training step is one graph, whatever the samples lost and however long their sentences are."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from pixwizard.comfyui_pixwizard.config import PixWizardConfig
from pixwizard.comfyui_pixwizard.transformer import PixWizardTransformer
from pixwizard.training.loop.velocity import predict
from pixwizard.training.recipes import towers
from pixwizard.training.recipes.initialization import in_full_precision
from pixwizard.training.recipes.towers import NanoModel, train_bpe


@pytest.fixture
def transformer():
    torch.manual_seed(0)
    small = {"dim": 64, "n_layers": 2}
    transformer = PixWizardTransformer(PixWizardConfig(**PixWizardConfig.preset("nano").to_dict() | small))
    for parameter in transformer.parameters():
        if not parameter.abs().max() > 0:
            torch.nn.init.normal_(parameter, std=0.1)
    in_full_precision(transformer.t_embedder)
    return transformer


def given(length: int, lost: int, batch: int = 3):
    generator = torch.Generator().manual_seed(length)
    x, source = torch.randn(2, batch, 16, 8, 8, generator=generator)
    text = torch.randn(batch, length, 192, generator=generator)
    mask = torch.arange(length) < torch.tensor([length, 5, 3])[:batch, None]
    tokens = torch.randn(batch, 64, 192, generator=generator)
    tokens[:lost] = 0
    for value in (text, mask):
        torch._dynamo.mark_dynamic(value, 1)
    task = torch.randn(batch, 192, generator=generator)
    return x, torch.rand(batch, generator=generator), source, (text, mask), task, tokens


def gradients(transformer, function, arguments):
    transformer.zero_grad()
    out = function(transformer, *arguments)
    out.square().mean().backward()
    return out.detach(), {name: p.grad.clone() for name, p in transformer.named_parameters() if p.grad is not None}


def test_one_graph_for_all_samples(transformer):
    torch._dynamo.reset()
    counter = CompileCounter()
    compiled = torch.compile(predict, fullgraph=True, dynamic=False, backend=counter)
    for length, lost in ((16, 0), (24, 1), (40, 3), (16, 2)):
        wanted, right = gradients(transformer, predict, given(length, lost))
        found, got = gradients(transformer, compiled, given(length, lost))
        torch.testing.assert_close(found, wanted)
        assert set(got) == set(right)
        for name, value in right.items():
            torch.testing.assert_close(got[name], value, msg=name)
    assert counter.frame_count == 1


def test_a_lost_picture_is_the_null_image_of_inference(transformer):
    arguments = given(16, 2)
    trained = predict(transformer, *arguments).detach()
    with torch.no_grad():
        torch.testing.assert_close(predict(transformer, *arguments), trained)


def test_without_a_compiler_the_recipe_says_so(monkeypatch):
    model = NanoModel.build(train_bpe(["Remove the noise."]), PixWizardConfig.preset("nano"))
    monkeypatch.setattr(towers.shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match=r"needs a C\+\+ compiler, found none of .*--no-compile"):
        model.compile()


@pytest.mark.slow
def test_compiled_by_inductor_the_step_is_the_same(transformer):
    torch._dynamo.reset()
    compiled = torch.compile(predict, fullgraph=True, dynamic=False, options=towers.OPTIONS)
    wanted, right = gradients(transformer, predict, given(16, 1))
    found, got = gradients(transformer, compiled, given(16, 1))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-3)
    for name, value in right.items():
        torch.testing.assert_close(got[name], value, atol=1e-4, rtol=1e-2, msg=name)
