"""What a model declares: for each task the code of its answers, and the settings that suit it.

A model whose files declare nothing has this project's own: the first code of each task in `registry.TASKS` and the
settings of `defaults.DEFAULTS`. The released weights' are in `released_codes`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..guidance import ALWAYS, DualGuidance
from ..patch_grids import SHIFTS
from ..solvers import DEFAULT_SOLVER, EVALUATIONS
from .codecs.asked import asked_codec, asked_options
from .codecs.box import BOLD as BOX_LINE
from .codecs.keypoint import BOLD as DOT_RADIUS
from .defaults import DEFAULTS, GENERAL
from .registry import TASKS
from .task import Task

# The row of instructions that resemble no task.
FREE = "none"
# Value of an option for colours of marks: those that the instruction names, see `codecs.asked`.
ASKED = "instruction"
DEFAULT_SIZE = 256
# Options of codecs whose marks this project draws in sizes of its own.
SIZES: dict[str, dict[str, Any]] = {"box": {"line": BOX_LINE}, "keypoint": {"radius": DOT_RADIUS}}
# What models that were saved earlier do not declare.
LATER = "patch_grids"
FIX = "use an unmodified copy of the model, or update pixwizard"


@dataclass(frozen=True)
class TaskSettings:
    """A task's row.

    Attributes:
        codec: a key of the task's `codecs`.
        codec_options: keywords of that codec's `decode`, plain values; ASKED where the instruction decides.
        solver: a key of `solvers.EVALUATIONS`.
        points: of the time grid.
        text_guidance, image_guidance: weights.
        guided_channels: latent channels that guidance acts on; None is all of them.
        patch_grids: that velocities are averaged over, see `patch_grids`; models saved before there were any declare
            none, and have 1.
    """

    codec: str
    codec_options: Mapping[str, Any]
    solver: str
    points: int
    text_guidance: float
    image_guidance: float
    guided_channels: int | None = None
    patch_grids: int = 1

    def asked(self, **wanted: Any) -> TaskSettings:
        """With other values of fields where these are not None; 0 guided channels are all."""
        given = {name: value for name, value in wanted.items() if value is not None}
        if given.get("guided_channels") == 0:
            given["guided_channels"] = None
        return replace(self, **given)

    def guidance(self, interval: tuple[float, float] = ALWAYS) -> DualGuidance:
        """What it guides by, at the times of an interval."""
        return DualGuidance(self.text_guidance, self.image_guidance, self.guided_channels, interval)

    def reading(self, instruction: str = "") -> dict[str, Any]:
        """Keywords of `Task.decode` and `Task.confidence` for an answer to an instruction."""
        codec = asked_codec(self.codec, instruction)
        if codec != self.codec:
            return {"codec": codec}
        asked = asked_options(self.codec, instruction)
        options = {name: asked[name] if value == ASKED else value for name, value in self.codec_options.items()}
        return {"codec": codec} | options


@dataclass(frozen=True)
class Declared:
    """What a model declares.

    Attributes:
        tasks: rows by task, and one of FREE; a task without a row has the project's code and the settings of FREE.
        class_names: names of the classes that its segmentations show, by id; the first is "nothing".
        max_size: side in pixels of the largest square that it was trained for.
    """

    tasks: Mapping[str, TaskSettings] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    max_size: int = DEFAULT_SIZE

    @classmethod
    def own(
        cls,
        class_names: Sequence[str] = (),
        depth_range: tuple[float, float] | None = None,
        max_size: int = DEFAULT_SIZE,
    ) -> Declared:
        """The project's own codes and settings, for a model trained on these classes and depths in metres."""
        rows = {}
        for name, row in (DEFAULTS | {FREE: GENERAL}).items():
            task = TASKS.get(name)
            codec = "picture" if task is None else next(iter(task.codecs))
            options = marks_options(codec)
            if task is not None and task.kind == "classes" and class_names:
                options["classes"] = list(range(1, len(class_names)))
            if task is not None and task.kind == "depth" and depth_range is not None:
                options |= dict(near=float(depth_range[0]), far=float(depth_range[1]))
            rows[name] = TaskSettings(codec, options, DEFAULT_SOLVER, row.steps, *row.guidance, patch_grids=row.grids)
        return cls(rows, tuple(class_names), max_size)

    @classmethod
    def read(cls, rows: Any, class_names: Any, max_size: Any, where: str | Path) -> Declared:
        """From the plain values of a file. Tasks that are not known here are left out.

        Raises:
            ValueError: anything that no codec, solver or guidance takes.
        """
        if not isinstance(rows, Mapping) or FREE not in rows:
            raise ValueError(f"{where} should declare rows of tasks and of {FREE!r}, found {str(rows)[:60]}: {FIX}")
        if not isinstance(class_names, list | tuple) or not all(isinstance(name, str) for name in class_names):
            raise ValueError(f"{where} should name classes in a list, found {str(class_names)[:60]}: {FIX}")
        if not isinstance(max_size, int) or max_size < 16:
            raise ValueError(f"{where} should have a max_size of at least 16 pixels, found {max_size!r}: {FIX}")
        known = {name: _row(name, values, where) for name, values in rows.items() if name in TASKS or name == FREE}
        return cls(known, tuple(class_names), max_size)

    def __getitem__(self, task: str | None) -> TaskSettings:
        """The row of a task, or of None for instructions that resemble no task."""
        free = self.tasks.get(FREE) or TaskSettings("picture", {}, DEFAULT_SOLVER, GENERAL.steps, *GENERAL.guidance)
        if task is None:
            return free
        if task in self.tasks:
            return self.tasks[task]
        codec = next(iter(TASKS[task].codecs))
        return replace(free, codec=codec, codec_options=marks_options(codec))

    def label_kind(self, task: Task, instruction: str = "") -> str:
        """Kind of the label of an answer to an instruction: `Task.kind`, or "relative" where depth is asked so."""
        return task.label_kind(self[task.name].reading(instruction)["codec"])

    @property
    def depth_range(self) -> tuple[float, float] | None:
        """Smallest and largest depth in metres, where they are declared."""
        options = self["depth"].codec_options
        return (options["near"], options["far"]) if {"near", "far"} <= set(options) else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values: `read` is the inverse."""
        rows = {name: asdict(row) | {"codec_options": dict(row.codec_options)} for name, row in self.tasks.items()}
        return {"max_size": self.max_size, "class_names": list(self.class_names), "tasks": rows}

    def rows(self) -> Iterator[dict[str, Any]]:
        """For every task its name, its row and the largest size, plain values."""
        for name in TASKS:
            yield {"name": name} | asdict(self[name]) | {"size": self.max_size}


def marks_options(codec: str, sizes: Mapping[str, Mapping[str, Any]] = SIZES) -> dict[str, Any]:
    """Options of a codec that let the instruction say in which colours its marks are, and their sizes; empty for other
    codecs.
    """
    return dict.fromkeys(asked_options(codec, ""), ASKED) | dict(sizes.get(codec, {}))


def _row(name: str, values: Any, where: str | Path) -> TaskSettings:
    wanted = [item.name for item in fields(TaskSettings)]
    if not isinstance(values, dict) or set(values) | {LATER} != set(wanted):
        found = ", ".join(map(str, values)) if isinstance(values, dict) else str(values)[:60]
        raise ValueError(f"{where} should declare {', '.join(wanted)} of {name}, found {found}: {FIX}")
    row = TaskSettings(**values)
    problem = _problem(name, row)
    if problem:
        raise ValueError(f"{where} declares of {name} {problem}: {FIX}")
    return row


def _problem(name: str, row: TaskSettings) -> str:
    """What of a row cannot be used; "" where all can."""
    codecs = TASKS[name].codecs if name in TASKS else TASKS["text_to_image"].codecs
    if row.codec not in codecs:
        return f"the code {row.codec!r}, known are {', '.join(codecs)}"
    known = inspect.signature(codecs[row.codec].decode).parameters
    options = row.codec_options if isinstance(row.codec_options, dict) else {"": None}
    foreign = [option for option in options if option not in known or option in ("picture", "source")]
    if foreign:
        return f"the option {foreign[0]!r}, which its code {row.codec} does not have"
    unasked = [name for name, value in options.items() if value == ASKED and name not in asked_options(row.codec, "")]
    if unasked:
        return f"the option {unasked[0]!r} as the {ASKED} says, which says nothing of it"
    if row.solver not in EVALUATIONS:
        return f"the solver {row.solver!r}, known are {', '.join(EVALUATIONS)}"
    if not _whole(row.points, 2):
        return f"{row.points!r} points, of which there are at least 2"
    for weight in (row.text_guidance, row.image_guidance):
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
            return f"the guidance {weight!r}, which is no finite number"
    if row.guided_channels is not None and not _whole(row.guided_channels, 1):
        return f"{row.guided_channels!r} guided channels, which are null or at least 1"
    if isinstance(row.patch_grids, bool) or row.patch_grids not in SHIFTS:
        return f"{row.patch_grids!r} patch grids, of which there are {', '.join(map(str, SHIFTS))}"
    return ""


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
