"""The table of all tasks."""

from __future__ import annotations

from .definitions import control, dense, editing, generation, grounding, painting, restoration
from .task import Codec, Task

DOMAINS = (restoration, painting, dense, control, grounding, editing, generation)
TASKS: dict[str, Task] = {task.name: task for domain in DOMAINS for task in domain.TASKS}


def get_task(name: str) -> Task:
    """The task of a name.

    Raises:
        ValueError: no task of this name.
    """
    if name not in TASKS:
        raise ValueError(f"the tasks are {', '.join(TASKS)}, found {name!r}: choose one of them")
    return TASKS[name]


def words_for(task: Task | str) -> tuple[str, ...]:
    """Names of the words that a task's instructions need, sorted: () or e.g. ("caption", "color").

    Raises:
        ValueError: no task of this name.
    """
    return (get_task(task) if isinstance(task, str) else task).words


__all__ = ["TASKS", "Codec", "Task", "get_task", "words_for"]
