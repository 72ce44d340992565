"""A run's state, cut into small files, goes on elsewhere; damaged files are named."""

import json

import pytest
import torch

from pixwizard.training.loop.packing import INDEX, Pack, Unpack
from pixwizard.training.loop.trainer import Trainer, TrainerConfig


class Line:
    name = "line"

    def __init__(self):
        torch.manual_seed(0)
        self.model = torch.nn.Linear(20, 20)

    def batch(self, generator):
        return torch.randn(8, 20, generator=generator)

    def loss(self, batch, generator):
        return (self.model(batch) - 3 * batch).square().mean(), {}


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    for steps in (2, 4):
        trainer = Trainer(Line(), folder / "stage", TrainerConfig(log_every=1))
        trainer.resume()
        trainer.run(steps=steps, plan_steps=6)
    (folder / "pools").mkdir()
    (folder / "pools" / "large").write_bytes(b"rendered")
    (folder / "tokenizer.json").write_text("{}")
    return folder


def test_a_packed_run_goes_on_as_the_one_that_stayed(run, tmp_path):
    assert Pack(run, tmp_path / "pack", mib=0.01).run()
    parts = sorted(path for path in (tmp_path / "pack").iterdir() if path.name != INDEX)
    assert len(parts) > 1 and all(path.stat().st_size <= 0.01 * 2**20 for path in parts)
    (tmp_path / "there" / "pools").mkdir(parents=True)
    assert Unpack(tmp_path / "pack", tmp_path / "there").run()
    assert (tmp_path / "there" / "tokenizer.json").exists() and not list((tmp_path / "there" / "pools").iterdir())
    assert len(list((tmp_path / "there" / "stage" / "checkpoints").glob("step-*"))) == 1
    weights = []
    for folder in (run, tmp_path / "there"):
        trainer = Trainer(Line(), folder / "stage", TrainerConfig())
        assert trainer.resume() and trainer.step == 4
        trainer.run(steps=6, plan_steps=6)
        weights.append(trainer.stage.model.weight.detach())
    assert torch.equal(*weights)


def test_mistakes_are_a_line_each(run, tmp_path):
    with pytest.raises(ValueError, match=r"found none in .*nothing"):
        Pack(tmp_path / "nothing", tmp_path / "pack").run()
    Pack(run, tmp_path / "pack", mib=0.01).run()
    with pytest.raises(ValueError, match="goes into an empty folder"):
        Pack(run, tmp_path / "pack").run()
    with pytest.raises(ValueError, match="unpacked into a new folder, found"):
        Unpack(tmp_path / "pack", run).run()
    part = tmp_path / "pack" / "run-001"
    part.write_bytes(part.read_bytes()[::-1])
    with pytest.raises(ValueError, match="run-001 missing or changed"):
        Unpack(tmp_path / "pack", tmp_path / "there").run()
    assert not (tmp_path / "there").exists()
    (tmp_path / "pack" / INDEX).write_text(json.dumps({"parts": [{"name": "../x"}]}))
    with pytest.raises(ValueError, match=r"has an index\.json"):
        Unpack(tmp_path / "pack", tmp_path / "there").run()
