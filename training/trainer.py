"""One trainer for every stage of a recipe: it steps, averages, logs, saves, resumes and stops on a signal.

What a batch holds is a function of (seed, step), so a run that is killed and resumed ends at the same weights as one
that is not. Checkpoints are written to a temporary name and renamed.
"""

from __future__ import annotations

import json
import math
import pickle
import signal
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..comfyui_pixwizard.safe_files import replaced

Records = dict[str, tuple[float, int]]
# Averaging touches every weight; every fourth step with the decay of four steps is as good and four times cheaper.
AVERAGE_EVERY = 4


@dataclass(frozen=True)
class TrainerConfig:
    """How a stage is optimised.

    Attributes:
        lr: peak learning rate of AdamW, reached after `warmup` steps.
        cooldown: share of the training over which the rate falls linearly to zero (0 keeps it constant).
        ema: decay of the averaged weights, reached gradually: min(ema, (1 + step) / (10 + step)).
        vector_lr: factor on the rate of parameters with one axis. Gates start at zero and the weights of the query and
            key norms set how sharp attention is; at the rate of matrices a short run leaves both where they were.
        clip: largest gradient norm.
        save_minutes: minutes between checkpoints.
    """

    lr: float = 1e-3
    warmup: int = 100
    cooldown: float = 0.25
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    ema: float = 0.999
    vector_lr: float = 1.0
    clip: float = 1.0
    save_minutes: float = 2.0
    log_every: int = 25
    seed: int = 0


class Stage(Protocol):
    """What is trained: a module, its batches and its loss."""

    name: str

    @property
    def model(self) -> nn.Module:
        """What is trained: its parameters that require gradients."""

    def batch(self, generator: torch.Generator) -> Any:
        """Draw one batch; everything random comes from the generator."""

    def loss(self, batch: Any, generator: torch.Generator) -> tuple[Tensor, Records]:
        """Answer the scalar loss and what to log: name -> (sum, count)."""


class TrainingError(ValueError):
    """Training cannot go on as it was asked for; the last good checkpoint is kept."""


class Trainer:
    """Runs a stage in a folder; continues from `last.pt` there."""

    def __init__(self, stage: Stage, folder: Path, config: TrainerConfig):
        self.stage, self.folder, self.config = stage, Path(folder), config
        self.folder.mkdir(parents=True, exist_ok=True)
        self.step, self.seconds = 0, 0.0
        self.parameters = [p for p in stage.model.parameters() if p.requires_grad]
        decay = [p for p in self.parameters if p.ndim >= 2]
        plain = [p for p in self.parameters if p.ndim < 2]
        groups = [{"params": decay, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)
        self.average = [p.detach().clone() for p in self.parameters]
        self._stop = False

    # -- checkpoints ---------------------------------------------------------------------------------------------

    @property
    def checkpoint(self) -> Path:
        return self.folder / "last.pt"

    def save(self) -> None:
        """Write everything that resuming needs; the file appears whole or not at all."""
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "model": self.stage.model.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }
        with replaced(self.checkpoint) as file:
            torch.save(state, file)

    def resume(self) -> bool:
        """Load `last.pt` if there is one.

        Raises:
            ValueError: the file is damaged or belongs to another model.
        """
        if not self.checkpoint.exists():
            return False
        try:
            state = torch.load(self.checkpoint, weights_only=True, map_location="cpu")
            self.stage.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, KeyError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"a run continues from a whole checkpoint of the same model, found {self.checkpoint}: {reason}; "
                "remove that file to start over"
            ) from error
        for mine, theirs in zip(self.average, state["average"], strict=True):
            mine.copy_(theirs)
        self.step, self.seconds = state["step"], state["seconds"]
        return True

    @torch.no_grad()
    def load_average(self) -> None:
        """Put the averaged weights into the model, for export and evaluation."""
        for parameter, mean in zip(self.parameters, self.average, strict=True):
            parameter.copy_(mean)

    # -- the loop --------------------------------------------------------------------------------------------------

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed((self.config.seed + 1) * 1_000_000_007 + self.step)

    def _rate(self, progress: float) -> float:
        warm = min(1.0, (self.step + 1) / max(self.config.warmup, 1))
        left = (1 - progress) / self.config.cooldown if self.config.cooldown else 1.0
        return self.config.lr * warm * min(1.0, max(left, 0.01))

    def train_step(self, progress: float = 0.0) -> Records:
        """One optimiser step; `progress` is the share of the training that is behind us."""
        generator = self._generator()
        batch = self.stage.batch(generator)
        loss, records = self.stage.loss(batch, generator)
        if not math.isfinite(loss.item()):
            raise TrainingError(
                f"the loss must stay finite, found {loss.item()} in stage {self.stage.name} at step {self.step}: "
                f"lower the learning rate and run again; {self.checkpoint} holds the last good state"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip, foreach=True)
        for group, factor in zip(self.optimizer.param_groups, (1.0, self.config.vector_lr), strict=True):
            group["lr"] = self._rate(progress) * factor
        self.optimizer.step()
        self.step += 1
        if self.step % AVERAGE_EVERY == 0:
            decay = min(self.config.ema, (1 + self.step) / (10 + self.step)) ** AVERAGE_EVERY
            torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - decay)
        return records | {"loss": (loss.item(), 1)}

    def run(self, *, minutes: float | None = None, steps: int | None = None, plan_minutes: float | None = None) -> bool:
        """Train for some minutes, or until `steps` in all; saves on the way, at the end and on SIGTERM or Ctrl-C.

        Args:
            plan_minutes: how long the whole training is meant to be; the rate falls to zero at its end. None: this
                call is the whole.

        Returns:
            True when the run came to its end, False when a signal ended it early.

        Raises:
            ValueError: not exactly one of minutes and steps.
            TrainingError: the loss is not finite.
        """
        if (minutes is None) == (steps is None):
            raise ValueError("a run is bounded by either minutes or steps, found both or neither: give one of them")
        first_step, start, saved = self.step, time.monotonic(), time.monotonic()
        before = self.seconds
        totals: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        handlers = {s: signal.signal(s, self._request_stop) for s in (signal.SIGTERM, signal.SIGINT)}
        bar = tqdm(total=steps or round(minutes * 60), desc=self.stage.name, unit="step" if steps else "s")  # type: ignore[operator]
        bar.update(first_step if steps else 0)
        try:
            while not self._stop:
                spent = time.monotonic() - start
                done = self.step / steps if steps else spent / (minutes * 60)  # type: ignore[operator]
                if done >= 1:
                    break
                progress = (before + spent) / (plan_minutes * 60) if plan_minutes else done
                for name, (total, count) in self.train_step(progress).items():
                    totals[name][0] += total
                    totals[name][1] += count
                now = time.monotonic()
                self.seconds = before + now - start
                bar.update(1 if steps else min(round(now - start), bar.total) - bar.n)
                if self.step % self.config.log_every == 0:
                    bar.set_postfix_str(f"step {self.step} loss {self._log(totals):.4f}")
                    totals.clear()
                if now - saved > self.config.save_minutes * 60:
                    self.save()
                    saved = now
            self.save()
        finally:
            bar.close()
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return not self._stop

    def _request_stop(self, *_: object) -> None:
        self._stop = True

    def _log(self, totals: dict[str, list[float]]) -> float:
        means = {name: round(total / max(count, 1), 5) for name, (total, count) in sorted(totals.items())}
        line = {
            "step": self.step,
            "seconds": round(self.seconds, 1),
            "lr": self.optimizer.param_groups[0]["lr"],
        } | means
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        return means["loss"]
