"""A small training run for test_trainer.py, in a process of its own: FOLDER STEPS [slow]."""

import sys
import time
from pathlib import Path

import torch

from pixwizard.comfyui_pixwizard.encoders.nano_autoencoder import NanoAutoencoder, NanoAutoencoderConfig
from pixwizard.training.recipes.autoencoder import AutoencoderStage
from pixwizard.training.trainer import Trainer, TrainerConfig


class SlowStage(AutoencoderStage):
    """Gives the test time to kill the process between two steps."""

    def batch(self, generator):
        time.sleep(0.2)
        return super().batch(generator)


def main(folder: str, steps: str, slow: str = "") -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = NanoAutoencoder(NanoAutoencoderConfig(width=16, encoder_blocks=1, decoder_blocks=1))
    kind = SlowStage if slow else AutoencoderStage
    stage = kind(model, [(1.0, lambda n, size, g: torch.rand(n, 3, size, size, generator=g))], batch_size=2, size=32)
    config = TrainerConfig(warmup=2, cooldown=0.5, save_minutes=0.0, log_every=2)
    trainer = Trainer(stage, Path(folder), config)
    print("resumed" if trainer.resume() else "fresh", trainer.step, flush=True)
    print("finished" if trainer.run(steps=int(steps)) else "stopped", trainer.step, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
