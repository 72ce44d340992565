"""The bar that `pixwizard run` shows: steps of all pictures, time left, pictures an hour."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from ..comfyui_pixwizard.pipeline import Progress
    from .jobs import Job, JobOutcome


class StepBar(tqdm):
    """Steps of all pictures; those of a picture that fails are taken off, those that nobody told are made up for.

    The bar itself says how much time is left, by the steps.

    Attributes:
        done: pictures that are finished.
    """

    def __init__(self, jobs: Sequence[Job], steps: int) -> None:
        super().__init__(total=len(jobs) * steps, unit="step", leave=False)
        self.jobs, self.steps, self.begun = len(jobs), steps, 0
        self.told: Counter[Job] = Counter()
        self.done, self.begin_time = 0, time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since the bar is there."""
        return time.perf_counter() - self.begin_time

    @property
    def an_hour(self) -> float:
        """Finished pictures an hour."""
        return 3600 * self.done / max(self.seconds, 1e-9)

    def begin(self, job: Job) -> Progress:
        """The model takes up a job; returns what counts its steps."""
        self.begun += 1
        self.set_description(job.name if self.jobs == 1 else f"{self.begun}/{self.jobs} {job.name}")

        def advance(done: int, of: int) -> None:
            self.told[job] += 1
            self.update()

        return advance

    def end(self, outcome: JobOutcome) -> None:
        """A job has ended."""
        untold = self.steps - self.told.pop(outcome.job, 0)
        if outcome.error is None:
            self.done += 1
            if self.jobs > 1:
                self.set_postfix_str(f"{self.an_hour:.0f} pictures/h", refresh=False)
            self.update(untold)
        else:
            self.total -= untold
