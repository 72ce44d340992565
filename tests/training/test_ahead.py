"""Batches that are drawn ahead: the same ones, in other processes, whatever is expected and whoever stops."""

import os
import signal
import subprocess
import time

import pytest
import torch

from pixwizard.training.data.feed.ahead import Ahead, DrawsAhead
from pixwizard.training.loop.seeding import seeded
from pixwizard.training.loop.trainer import Trainer, TrainerConfig

SEEN = torch.arange(1000.0)  # a pool, which forks see


def draw(generator):
    if generator.initial_seed() == 13:
        raise OSError("unreadable")
    return os.getpid(), SEEN[torch.randint(1000, (5,), generator=generator)]


def slow_draw(generator):
    time.sleep(0.5)
    return os.getpid(), torch.zeros(2_000_000)


def test_processes_draw_what_this_one_would():
    ahead = Ahead(draw, 2)
    generators = [seeded("ahead", i) for i in range(6)]
    ahead.expect(generators)
    for i in range(6):
        process, found = ahead.take(seeded("ahead", i))
        assert process != os.getpid()
        assert torch.equal(found, draw(seeded("ahead", i))[1])
    process, found = ahead.take(seeded("unexpected"))
    assert process == os.getpid()
    ahead.expect([])


def test_what_drawing_raises_is_raised_where_it_is_asked_for():
    ahead = Ahead(draw, 1)
    ahead.expect([torch.Generator().manual_seed(13)])
    with pytest.raises(OSError, match="unreadable"):
        ahead.take(torch.Generator().manual_seed(13))
    ahead.close()


def test_a_killed_process_is_a_line_of_advice():
    ahead = Ahead(lambda generator: os._exit(9), 1)
    ahead.expect([torch.Generator().manual_seed(1)])
    with pytest.raises(ValueError, match="a worker was killed"):
        ahead.take(torch.Generator().manual_seed(1))
    ahead.close()


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="this system does not say who sent a signal")
def test_a_signal_for_all_processes_is_the_trainings_alone():
    """What is half handed over when a service manager stops everything still arrives."""
    ahead = Ahead(slow_draw, 1)
    ahead.expect([torch.Generator().manual_seed(i) for i in range(2)])
    process, _ = ahead.take(torch.Generator().manual_seed(0))
    subprocess.run(["kill", "-TERM", str(process)], check=True)
    subprocess.run(["kill", "-INT", str(process)], check=True)
    again, found = ahead.take(torch.Generator().manual_seed(1))
    assert again == process and len(found) == 2_000_000
    ahead.expect([torch.Generator().manual_seed(3)])
    os.kill(process, signal.SIGTERM)  # from here it counts
    with pytest.raises(ValueError, match="a worker was killed"):
        ahead.take(torch.Generator().manual_seed(3))
    ahead.close()


class Line(DrawsAhead):
    """y = w x, learned from numbers that are drawn."""

    name = "line"

    def __init__(self):
        torch.manual_seed(0)
        self.model = torch.nn.Linear(1, 1)
        self.processes = set()

    def draw(self, generator):
        return os.getpid(), torch.randn(8, 1, generator=generator)

    def batch(self, generator):
        process, batch = self.drawn(generator)
        self.processes.add(process)
        return batch

    def loss(self, batch, generator):
        return (self.model(batch) - 3 * batch).square().mean(), {}


def test_training_is_the_same_whoever_draws(tmp_path):
    weights = []
    for processes in (0, 2):
        stage = Line()
        stage.draw_ahead(processes)
        Trainer(stage, tmp_path / str(processes), TrainerConfig(ahead=3)).run(steps=12)
        weights.append(stage.model.weight.detach().clone())
        assert (os.getpid() in stage.processes) == (processes == 0)
    assert torch.equal(*weights)
