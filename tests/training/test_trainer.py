"""The trainer: it learns, warms up and cools down, saves on signals, and stops clearly when a loss is not finite."""

import itertools
import signal
import time
from pathlib import Path

import pytest
import torch
from tiny import finished, log, work
from torch import nn

from pixwizard.training.loop.checkpoints import newest, read
from pixwizard.training.loop.trainer import Trainer, TrainerConfig, TrainingError


def load(folder):
    """Tensors and the step of the newest checkpoint."""
    tensors, state = read(newest(folder))
    return tensors, state["step"]


def test_sigterm_saves_and_ends(tmp_path):
    process = work(tmp_path, 500, "--slow", "0.02", "--save-minutes", "0.0")
    deadline = time.monotonic() + 120
    while newest(tmp_path) is None:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    word, step = finished(process).split()[-2:]
    assert word == "stopped" and load(tmp_path)[1] == int(step) < 500
    assert list(log(tmp_path)) == list(range(1, int(step) + 1))


def test_a_pause_stops_the_process_and_is_not_training(tmp_path):
    process = work(tmp_path, 200, "--slow", "0.02")
    deadline = time.monotonic() + 120
    while not (tmp_path / "log.jsonl").exists() or not log(tmp_path):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTSTP)
    state = ""
    while state != "T":
        assert process.poll() is None and time.monotonic() < deadline
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2][0]
    began, before = time.monotonic(), log(tmp_path)
    time.sleep(3)
    assert log(tmp_path) == before
    paused = time.monotonic() - began
    process.send_signal(signal.SIGCONT)
    assert finished(process)
    lines = log(tmp_path)
    assert list(lines) == list(range(1, 201))
    seconds = [line["seconds"] for line in lines.values()]
    assert max(b - a for a, b in itertools.pairwise(seconds)) < paused


class Line(nn.Module):
    """y = w x, to be fitted to y = 3 x."""

    name = "line"

    def __init__(self, poison=None):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1, 1))
        self.poison, self.calls = poison, 0

    @property
    def model(self):
        return self

    def batch(self, generator):
        return torch.randn(16, 1, generator=generator)

    def loss(self, batch, generator):
        self.calls += 1
        error = (batch @ self.w - 3 * batch).square().mean()
        return error * (float("nan") if self.calls == self.poison else 1.0), {"error": (float(error), 1)}


def test_it_learns_and_the_average_follows(tmp_path):
    stage = Line()
    trainer = Trainer(stage, tmp_path, TrainerConfig(lr=0.1, warmup=5, ema=0.9, weight_decay=0.0))
    assert trainer.run(steps=200)
    assert stage.w.item() == pytest.approx(3.0, abs=0.02)
    trainer.load_average()
    assert stage.w.item() == pytest.approx(3.0, abs=0.05)


def test_the_rate_warms_up_and_cools_down(tmp_path):
    weights = Trainer(Line(), tmp_path, TrainerConfig(lr=1.0, warmup=10, cooldown=0.5)).weights
    assert weights.rate(0, 0.0) == pytest.approx(0.1)
    assert weights.rate(50, 0.4) == 1.0
    assert weights.rate(50, 0.75) == pytest.approx(0.5)
    assert weights.rate(50, 1.0) == pytest.approx(0.01)


def test_nan_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    trainer = Trainer(Line(poison=4), tmp_path, TrainerConfig(save_minutes=0.0))
    with pytest.raises(TrainingError, match="must stay finite, found nan in stage line at step 3"):
        trainer.run(steps=10)
    assert load(tmp_path)[1] == 3


def test_minutes_or_steps(tmp_path):
    with pytest.raises(ValueError, match="either minutes or steps"):
        Trainer(Line(), tmp_path, TrainerConfig()).run()


def test_a_plan_decides_the_rate_not_the_call(tmp_path):
    """Pieces of a plan: in the first half the rate stays, in the last piece it falls."""
    trainer = Trainer(Line(), tmp_path, TrainerConfig(lr=0.1, warmup=1, cooldown=0.5, log_every=1))
    trainer.run(minutes=0.01, plan_minutes=0.04)
    assert trainer.weights.optimizer.param_groups[0]["lr"] == pytest.approx(0.1)
    trainer.run(minutes=0.03, plan_minutes=0.04)
    assert trainer.weights.optimizer.param_groups[0]["lr"] < 0.1
