"""Spreading a training: what differs between devices must not show in the result."""

import pytest
import torch
from tiny import SETTINGS, NoiseStage, finished, log, work

from pixwizard.comfyui_pixwizard.block import TransformerBlock
from pixwizard.training.loop.checkpoints import newest, read
from pixwizard.training.loop.parallel import ParallelConfig, World
from pixwizard.training.loop.trainer import Trainer, TrainerConfig
from pixwizard.training.loop.velocity import Drawing, Dropout


def losses(folder, steps=4, stage=None, parallel=None, **settings):
    world = World(parallel)
    trainer = Trainer(stage or NoiseStage(), folder, TrainerConfig(**SETTINGS | settings), world)
    trainer.run(steps=steps)
    return [line["loss"] for line in log(folder).values()], trainer


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return losses(tmp_path_factory.mktemp("plain"))[0]


def test_accumulated_batches_are_one_batch(plain, tmp_path):
    found, _ = losses(tmp_path, stage=NoiseStage(batch=2), accumulate=4)
    assert found == pytest.approx(plain, abs=1e-6)


def test_recomputing_changes_nothing_but_what_is_kept(plain, tmp_path):
    """Defect 7 of the released trainer: its checkpointing looked for blocks under a name that does not exist."""
    found, trainer = losses(tmp_path, parallel=ParallelConfig(recompute=True))
    assert found == pytest.approx(plain, abs=1e-6)
    kept = {}
    for name, stage in (("recomputed", trainer.stage), ("plain", NoiseStage())):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, sizes=sizes: sizes.append(x.numel()) or x, lambda x: x):
            stage.loss(stage.batch(torch.Generator()), torch.Generator())
        kept[name] = sum(sizes)
    assert kept["recomputed"] < 0.5 * kept["plain"]


def test_compiled_blocks_compute_the_same(plain, tmp_path, monkeypatch):
    compile_ = torch.compile
    asked = []
    monkeypatch.setattr(torch, "compile", lambda f: asked.append(f) or compile_(f, backend="aot_eager"))
    found, trainer = losses(tmp_path, steps=2, parallel=ParallelConfig(compile=True))
    assert found == pytest.approx(plain[:2], abs=1e-5)
    blocks = [m for m in trainer.stage.model.modules() if isinstance(m, TransformerBlock)]
    assert len(asked) == 3 * len(blocks) == 6


def test_bfloat16_keeps_master_weights_gradients_and_moments_in_float32(plain, tmp_path):
    found, trainer = losses(tmp_path, stage=NoiseStage(bfloat16=True), parallel=ParallelConfig(bfloat16=True))
    assert found == pytest.approx(plain, rel=2e-2) and found != pytest.approx(plain, rel=1e-6)
    assert {value.dtype for value in trainer.weights.tensors().values()} == {torch.float32}
    assert {p.grad.dtype for p in trainer.weights.parameters if p.grad is not None} == {torch.float32}


def test_names_of_parameters_do_not_depend_on_how_it_is_spread(tmp_path):
    plain = NoiseStage().model.state_dict()
    _, trainer = losses(tmp_path, steps=1, parallel=ParallelConfig(recompute=True))
    assert list(trainer.stage.model.state_dict()) == list(plain)


def test_a_batch_without_images_gives_every_parameter_the_same_kind_of_gradient():
    """With FSDP a process that left the token sampler out would wait for the others for ever."""
    grads = []
    for dropout in (Dropout(0.0, 1.0, 0.0), Dropout(0.0, 0.0, 0.0)):
        stage = NoiseStage(drawing=Drawing(dropout=dropout))
        stage.loss(stage.batch(torch.Generator()), torch.Generator())[0].backward()
        grads.append({name: p.grad for name, p in stage.model.named_parameters()})
    assert {n for n, g in grads[0].items() if g is None} == {n for n, g in grads[1].items() if g is None}
    ranking = [g for name, g in grads[0].items() if ".in_conv." in name]
    assert ranking and all(g is not None and not g.any() for g in ranking)


def test_a_batch_without_images_is_what_the_null_image_is():
    """`predict` with gradients equals the plain evaluation without."""
    stage = NoiseStage(drawing=Drawing(dropout=Dropout(0.0, 1.0, 0.0)))
    batch = stage.batch(torch.Generator())
    with_gradients = stage.losses(batch)[0]
    with torch.no_grad():
        without = stage.losses(batch)[0]
    torch.testing.assert_close(with_gradients, without, rtol=0, atol=1e-6)


def test_one_process_cannot_be_several(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ValueError, match=r"started with torchrun, found fsdp in 1"):
        World(ParallelConfig(mode="fsdp"))


def test_shards_in_bfloat16_come_close_and_broken_data_of_one_process_stop_all(plain, tmp_path):
    options = ("--mode", "fsdp", "--bfloat16", "--recompute", "--fail-at", 3, "--save-minutes", 0.0)
    err = finished(work(tmp_path, 8, *options, processes=2), code=1)
    assert "shard 000007.tar is broken after 4096 bytes: build it again; training stopped at step 3" in err
    assert "another process could not read its data" in err
    assert newest(tmp_path).name == "step-00000003"
    assert {value.dtype for value in read(newest(tmp_path))[0].values()} == {torch.float32}
    found = [line["loss"] for line in log(tmp_path).values()]
    assert found == pytest.approx(plain[:3], rel=2e-2)
