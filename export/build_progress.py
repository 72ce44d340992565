"""How far a compiler is, from the phases and steps that it reports while it nests them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class _Phase:
    name: str
    steps: int
    done: int = 0


class BuildProgress:
    """A fraction that only grows.

    A phase inside another one fills the step at which the outer one is.
    """

    def __init__(self) -> None:
        self.open: list[_Phase] = []
        self.fraction = 0.0

    @property
    def words(self) -> str:
        """The innermost phase."""
        return self.open[-1].name if self.open else ""

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins, inside `parent` where there is one."""
        while self.open and self.open[-1].name != parent:
            self.open.pop()
        self.open.append(_Phase(name, max(1, steps)))
        self._update()

    def step(self, name: str, step: int) -> None:
        """Step `step` of a phase, counted from 0, is done."""
        for phase in self.open:
            if phase.name == name:
                phase.done = max(phase.done, min(step + 1, phase.steps))
        self._update()

    def end(self, name: str) -> None:
        """A phase is over; so is everything inside it."""
        names = [phase.name for phase in self.open]
        if name in names:
            del self.open[names.index(name) :]
        if not self.open:
            self.fraction = 1.0

    def _update(self) -> None:
        fraction, share = 0.0, 1.0
        for phase in self.open:
            fraction += share * phase.done / phase.steps
            share *= (phase.done < phase.steps) / phase.steps
        self.fraction = max(self.fraction, min(fraction, 1.0))
