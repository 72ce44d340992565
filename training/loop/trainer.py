"""One trainer for every stage of every recipe: it steps, averages, logs, saves, resumes and stops on a signal.

What is random in a step is a function of (seed, step) and of what a batch holds, so a run that is killed and resumed
ends at the same weights as one that is not, and so does one that is resumed on another number of processes as far as
sums in another order allow. One device, DDP and FSDP2 are one code path (see `parallel`).
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from tqdm import tqdm

from .checkpoints import Checkpoints
from .logs import Logs, Records
from .optimizing import OptimizerConfig, Optimizing
from .parallel import World
from .seeding import seed_of, seeded


@dataclass(frozen=True)
class TrainerConfig(OptimizerConfig):
    """How a stage is trained; the optimiser's part is `OptimizerConfig`.

    Attributes:
        save_minutes: minutes between checkpoints.
        keep: how many checkpoints to keep.
        log_every: steps between lines of the log.
        accumulate: batches of every process in a step.
        validate_every: steps between validations, 0 for none.
        ahead: steps whose batches are announced to a stage that draws ahead.
        wandb: project to log to at Weights & Biases, beside TensorBoard.
    """

    save_minutes: float = 2.0
    keep: int = 2
    log_every: int = 25
    accumulate: int = 1
    validate_every: int = 0
    ahead: int = 24
    wandb: str | None = None
    seed: int = 0


class Stage(Protocol):
    """What is trained: a module, its batches and its loss."""

    name: str

    @property
    def model(self) -> nn.Module:
        """What is trained: its parameters that require gradients."""

    def batch(self, generator: torch.Generator) -> Any:
        """One batch of this process, with a length; everything random comes from the generator or from the data."""

    def loss(self, batch: Any, generator: torch.Generator) -> tuple[Tensor, Records]:
        """Answer the mean loss of the batch and what to log: name -> (sum, count)."""


@runtime_checkable
class Spread(Protocol):
    """A stage that can be trained by several processes: it calls `network` where it would call its model."""

    network: nn.Module


@runtime_checkable
class Streaming(Protocol):
    """A stage whose data have a place to continue from, the same for all processes."""

    def data_state(self) -> dict[str, Any]:
        """Plain values."""

    def load_data_state(self, state: dict[str, Any]) -> None:
        """Continue from there."""


@runtime_checkable
class Scheduled(Protocol):
    """A stage that changes with the learning rate."""

    def rate_is(self, left: float) -> None:
        """Told before each step: the rate as a share of its peak, without the warm-up."""


@runtime_checkable
class Foreseeing(Protocol):
    """A stage that can draw batches before they are asked for."""

    def expect(self, generators: Sequence[torch.Generator]) -> None:
        """Told before each step which generators will be asked with next, the nearest first."""


class TrainingError(ValueError):
    """Training cannot go on as it was asked for; the last good checkpoint is kept."""


class Trainer:
    """Runs a stage in a folder; continues from the newest checkpoint there.

    Args:
        world: where it runs; by default this process alone.
        validate: called with the step and the averaged weights (whole, by name) every `validate_every` steps on the
            main process; answers what to log.

    Raises:
        ValueError: a stage that cannot be spread over several processes.
    """

    def __init__(
        self,
        stage: Stage,
        folder: Path,
        config: TrainerConfig,
        world: World | None = None,
        validate: Callable[[int, dict[str, Tensor]], dict[str, Any]] | None = None,
    ):
        self.folder, self.config, self.world = Path(folder), config, world or World()
        self.validate = validate
        self.step, self.seconds, self._stop, self._saved = 0, 0.0, False, -1
        if self.world.mode != "single" and not isinstance(stage, Spread):
            raise ValueError(f"stage {stage.name} trains in one process, found {self.world.mode}: leave torchrun out")
        self._places: dict[str, dict[str, Any]] = {}  # where each stage's data stand
        self.network = self.world.wrap(stage.model)
        self.use(stage)
        self.weights = Optimizing(stage.model, config)
        self.checkpoints = Checkpoints(self.folder, self.world, config.keep)
        self.logs = Logs(self.folder, self.world, config.wandb)

    def use(self, stage: Stage) -> None:
        """Go on with another stage of the same model, where it was if it has been used before."""
        if isinstance(stage, Spread):
            stage.network = self.network
        if isinstance(stage, Streaming) and stage.name in self._places:
            stage.load_data_state(self._places[stage.name])
        self.stage = stage

    # -- checkpoints ---------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Begin to write everything that resuming needs; training goes on meanwhile."""
        state: dict[str, Any] = {"seconds": self.seconds, "stage": self.stage.name, "processes": self.world.size}
        if isinstance(self.stage, Streaming):
            self._places[self.stage.name] = self.stage.data_state()
        state["data"] = self._places
        self.checkpoints.save(self.step, self.weights.tensors(), state)
        self._saved = self.step

    def resume(self) -> bool:
        """Load the newest checkpoint, if there is one.

        Raises:
            ValueError: it is damaged or belongs to another model or other data.
        """
        path = self.checkpoints.latest()
        if path is None:
            return False
        state = self.checkpoints.load(path, self.weights.tensors())
        self._places = state["data"]
        self.use(self.stage)
        self.step, self.seconds, self._saved = state["step"], state["seconds"], state["step"]
        self.logs.cut(self.step)
        return True

    def load_average(self) -> None:
        """Put the averaged weights into the model, for export and evaluation."""
        self.weights.load_average()

    # -- the loop --------------------------------------------------------------------------------------------------

    def _generator(self, part: int, later: int = 0) -> torch.Generator:
        return seeded("step", self.config.seed, self.step + later, part, self.world.rank)

    def _batches(self) -> tuple[list[tuple[Any, torch.Generator]], int]:
        """This process' batches of a step, and the number of samples of all processes.

        A process whose data cannot be read says so to all others, which would wait for it otherwise.
        """
        drawn, failure = [], None
        if isinstance(self.stage, Foreseeing):
            parts = range(self.config.accumulate)
            self.stage.expect(
                [self._generator(part, later) for later in range(self.config.ahead + 1) for part in parts]
            )
        try:
            for part in range(self.config.accumulate):
                generator = self._generator(part)
                drawn.append((self.stage.batch(generator), generator))
        except Exception as error:  # whatever it is, the other processes must hear of it
            failure = error
        failed, samples = self.world.sum([failure is not None, sum(len(batch) for batch, _ in drawn)])
        if not failed:
            return drawn, int(samples)
        if failure is not None and not isinstance(failure, (ValueError, OSError)):
            raise failure
        told = failure or "another process could not read its data, see its message"
        raise TrainingError(f"{told}; training stopped at step {self.step}, {self._last()}") from failure

    def _last(self) -> str:
        self.checkpoints.finish()
        kept = self.checkpoints.latest()
        return f"{kept} holds the last good state" if kept else "there is no checkpoint yet"

    def _check(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            # No rate has had a say at the first step; a compiler may.
            cure = "lower the learning rate" if self.step else "look at the data, or train with --no-compile,"
            raise TrainingError(
                f"the {what} must stay finite, found {value} in stage {self.stage.name} at step {self.step}: "
                f"{cure} and run again; {self._last()}"
            )

    def train_step(self, progress: float = 0.0) -> Records:
        """One optimiser step; `progress` is the share of the training that is behind us."""
        # Nothing should draw from the global generator; if something in a model does, it is the same after resuming.
        torch.manual_seed(seed_of("global", self.config.seed, self.step, self.world.rank) % 2**63)
        if isinstance(self.stage, Scheduled):
            self.stage.rate_is(self.weights.left(progress))
        batches, samples = self._batches()
        self.weights.optimizer.zero_grad(set_to_none=True)
        records: Records = {}
        mean = 0.0
        for part, (batch, generator) in enumerate(batches):
            # Gradients are averaged over processes, samples weigh equally over all of them.
            share = len(batch) * self.world.size / samples
            with self.world.accumulating(self.network, last=part == len(batches) - 1):
                loss, found = self.stage.loss(batch, generator)
                (loss * share).backward()
            mean += loss.item() * share / self.world.size
            for name, (total, count) in found.items():
                before = records.get(name, (0.0, 0))
                records[name] = before[0] + total, before[1] + count
        (mean,) = self.world.sum([mean])
        self._check(mean, "loss")
        norm = self.weights.clip()
        self._check(norm, "norm of the gradient")
        self.weights.step(self.step, progress)
        self.step += 1
        # Of this process alone the first, of all processes the other two: they are the same everywhere.
        return records | {"loss": (mean, 1), "gradient": (norm, 1)}

    def run(
        self,
        *,
        minutes: float | None = None,
        steps: int | None = None,
        plan_minutes: float | None = None,
        plan_steps: int | None = None,
    ) -> bool:
        """Train for some minutes, or until `steps` in all; saves on the way, at the end and on SIGTERM or Ctrl-C.
        Ctrl-Z pauses it, `fg` or SIGCONT lets it go on; a pause does not count.

        Args:
            plan_minutes, plan_steps: how long the whole training is meant to be, in what bounds this call; the rate
                falls to zero at its end. None: this call is the whole.

        Returns:
            True when the run came to its end, False when a signal ended it early.

        Raises:
            ValueError: not exactly one of minutes and steps.
            TrainingError: the loss is not finite, or data cannot be read.
        """
        span = Span(minutes, steps, plan_minutes, plan_steps, self.seconds)
        saved = time.monotonic()
        with self._signals(span), self._bar(span) as bar:
            while True:
                self.seconds = span.before + span.spent
                due = time.monotonic() - saved > self.config.save_minutes * 60 and self._saved != self.step
                over, progress = span.at(self.step)
                # The clock is the main process', so that all save and stop in the same step.
                decided = self.world.sum([self._stop, *((over, due, progress) if self.world.main else (0, 0, 0))])
                if decided[0] or decided[1]:
                    break
                if decided[2]:
                    self.save()
                    saved = time.monotonic()
                found = self.train_step(decided[3])
                self.logs.add(found)
                span.show(bar, self.step)
                if self.step % self.config.log_every == 0:
                    self.seconds = span.before + span.spent
                    line = self.logs.write(self.step, self.seconds, self.weights.optimizer.param_groups[0]["lr"])
                    bar.set_postfix_str(f"step {self.step} loss {line['loss']:.4f}")
                self._validate()
            stopped = bool(decided[0])
            if isinstance(self.stage, Foreseeing):
                self.stage.expect([])
            if self._saved != self.step:
                self.save()
            self.checkpoints.finish()
            self.logs.flush()
        return not stopped

    def _validate(self) -> None:
        every = self.config.validate_every
        if self.validate is None or not every or self.step % every:
            return
        weights = self.weights.averaged()
        if self.world.main:
            self.logs.show(self.step, self.validate(self.step, weights))
        self.world.wait()

    def _bar(self, span: Span) -> tqdm:
        bar = tqdm(total=span.total, desc=self.stage.name, unit=span.unit, disable=not self.world.main)
        bar.update(self.step if span.steps else 0)
        return bar

    @contextmanager
    def _signals(self, span: Span) -> Iterator[None]:
        handlers: dict[int, Any] = {s: signal.signal(s, self._request_stop) for s in (signal.SIGTERM, signal.SIGINT)}
        if hasattr(signal, "SIGTSTP"):  # not on Windows
            handlers[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, lambda *_: span.pause())
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _request_stop(self, *_: object) -> None:
        self._stop = True

    @property
    def stopped(self) -> bool:
        """Whether a signal has ended a run."""
        return self._stop


class Span:
    """How long a call trains, in minutes or steps, and how far it is.

    Args:
        plan, plan_steps: of the whole training.   seconds: trained before this call.

    Raises:
        ValueError: not exactly one of minutes and steps.
    """

    def __init__(
        self, minutes: float | None, steps: int | None, plan: float | None, plan_steps: int | None, seconds: float
    ) -> None:
        if (minutes is None) == (steps is None):
            raise ValueError("a run is bounded by either minutes or steps, found both or neither: give one of them")
        self.minutes, self.steps, self.plan, self.plan_steps = minutes, steps, plan, plan_steps
        self.before, self.start = seconds, time.monotonic()

    def pause(self) -> None:
        """Answer Ctrl-Z (SIGTSTP): stop the process here until SIGCONT; the time between is not training."""
        began = time.monotonic()
        signal.raise_signal(signal.SIGSTOP)  # not SIGTSTP, which a process without a terminal would not obey
        self.start += time.monotonic() - began

    @property
    def spent(self) -> float:
        """Seconds since the call began, pauses left out."""
        return time.monotonic() - self.start

    @property
    def unit(self) -> str:
        return "step" if self.steps else "s"

    @property
    def total(self) -> int:
        return self.steps if self.steps is not None else round((self.minutes or 0.0) * 60)

    def at(self, step: int) -> tuple[bool, float]:
        """Whether the call is over, and the share of the whole training that is behind us."""
        if self.steps is not None:
            return step >= self.steps, step / max(self.plan_steps or self.steps, 1)
        done = self.spent / max((self.minutes or 0.0) * 60, 1e-9)
        return done >= 1, (self.before + self.spent) / (self.plan * 60) if self.plan else done

    def show(self, bar: tqdm, step: int) -> None:
        """Move the bar to where the call is."""
        bar.update((step if self.steps is not None else min(round(self.spent), self.total)) - bar.n)
