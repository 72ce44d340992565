"""A model of 20 k parameters and data made of noise, for the tests of the trainer; also run by path in processes of
its own: `tiny.py FOLDER STEPS`, see `main` for its options.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import torch

from pixwizard.comfyui_pixwizard import PixWizardConfig, PixWizardTransformer
from pixwizard.training.data.feed.mixture import Batch
from pixwizard.training.loop.parallel import ParallelConfig, World
from pixwizard.training.loop.seeding import seed_of, seeded
from pixwizard.training.loop.trainer import Trainer, TrainerConfig
from pixwizard.training.loop.velocity import Drawing, Dropout, FeatureModel
from pixwizard.training.recipes.flow_stage import FlowStage

CONFIG = PixWizardConfig(
    in_channels=2, dim=32, n_layers=2, n_heads=4, n_kv_heads=2, multiple_of=16, qk_norm=True, cap_feat_dim=12,
    cap_clip_feat_dim=8, clip_image_dim=10, sample_tokens=4,
)  # fmt: skip
TOKENS, TEXT = 9, 5


def tiny_transformer(seed=0):
    """Every gate a little open, so that every parameter has a gradient."""
    torch.manual_seed(seed)
    transformer = PixWizardTransformer(CONFIG)
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return transformer


class NoiseStage(FlowStage):
    """Items numbered from 0 on, dealt to the processes in turn; their place is the only state."""

    name = "noise"

    def __init__(self, batch=8, world=None, pause=0.0, fail_at=None, drawing=None, **options):
        drawing = drawing or Drawing(dropout=Dropout(0.1, 0.1, 0.1), gumbel=True)
        super().__init__(FeatureModel(tiny_transformer()), drawing, tokens=TOKENS, **options)
        world = world or World()
        self.share, self.rank, self.size = batch // world.size, world.rank, world.size
        self.place, self.pause, self.fail_at, self.calls = 0, pause, fail_at, 0

    def batch(self, generator):
        time.sleep(self.pause)
        self.calls += 1
        if self.fail_at is not None and self.calls > self.fail_at and self.rank == self.size - 1:
            raise OSError("shard 000007.tar is broken after 4096 bytes: build it again")
        first = self.place + self.rank * self.share
        self.place += self.size * self.share
        items = range(first, first + self.share)
        shape = (2, 4, 6)
        return Batch(
            tasks=[("denoise", "depth")[item % 2] for item in items],
            sentences=[f"item {item}" for item in items],
            picture=torch.zeros(self.share, 3, 8, 8),
            source=torch.stack([torch.randn(shape, generator=seeded("source", item % 40)) for item in items]),
            target=torch.stack([torch.randn(shape, generator=seeded("target", item % 40)) for item in items]),
            seeds=[seed_of("item", item) for item in items],
        )

    def inputs(self, batch, sentences, no_image):
        generators = [seeded("words", sentence) for sentence in sentences]
        features = torch.stack([torch.randn(TEXT, 12, generator=g) for g in generators])
        task = torch.stack([torch.randn(8, generator=g) for g in generators])
        tokens = torch.stack([torch.randn(TOKENS, 10, generator=seeded("image", s)) for s in batch.sentences])
        mask = torch.ones(len(sentences), TEXT, dtype=torch.bool)
        return (features, mask), task, tokens.masked_fill(no_image[:, None, None], 0.0)

    def data_state(self):
        return {"place": self.place}

    def load_data_state(self, state):
        self.place = state["place"]


SETTINGS = dict(lr=3e-3, warmup=5, cooldown=0.0, weight_decay=0.0, ema=0.9, clip=2.0, log_every=1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("steps", type=int)
    parser.add_argument("--mode", default="auto")
    parser.add_argument("--shard", type=int, default=0)
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--fail-at", type=int)
    parser.add_argument("--save-minutes", type=float, default=10.0)
    parser.add_argument("--recompute", action="store_true")
    parser.add_argument("--bfloat16", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    parallel = ParallelConfig(given.mode, given.shard, bfloat16=given.bfloat16, recompute=given.recompute)
    world = World(parallel, "cpu")
    stage = NoiseStage(given.batch, world, given.slow, given.fail_at, bfloat16=given.bfloat16)
    config = TrainerConfig(accumulate=given.accumulate, save_minutes=given.save_minutes, **SETTINGS)
    trainer = Trainer(stage, given.folder, config, world)
    if world.main:
        print("resumed" if trainer.resume() else "fresh", trainer.step, flush=True)
    else:
        trainer.resume()
    done = trainer.run(steps=given.steps)
    if world.main:
        print("finished" if done else "stopped", trainer.step, flush=True)
    world.close()


def work(folder, steps, *options, processes=1):
    """Start `main` in a process of its own, or with torchrun in several."""
    command = [sys.executable]
    if processes > 1:
        command += [
            "-m",
            "torch.distributed.run",
            "--nproc_per_node",
            str(processes),
            "--master_port",
            str(free_port()),
        ]
    command += [__file__, str(folder), str(steps), *map(str, options)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def finished(process, code=0):
    """What it printed, when it has ended as expected."""
    out, err = process.communicate(timeout=240)
    assert process.returncode == code, err[-3000:]
    return out if code == 0 else err


def log(folder):
    """Lines of a run's log by step."""
    lines = [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]
    return {line["step"]: line for line in lines}


if __name__ == "__main__":
    main()
